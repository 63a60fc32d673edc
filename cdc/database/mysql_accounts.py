"""The rights of accounts of a MariaDB or MySQL server, as the server itself says, and statements that create them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, Final, NamedTuple

import pymysql
from pymysql.connections import Connection

from cdc.database import sqlfile
from cdc.database.mysql_connection import (
    NO_PRIVILEGE,
    WRONG_LOGIN,
    account_literal,
    code_of,
    connect,
    literal,
    quote,
    rows,
)
from cdc.model.connection import Account, AccountChoice, AccountRole, ConnectionInfo, KnownAccount, Standing
from cdc.model.errors import SourceError, SourceUnavailable, printable_line

_GRANT: Final = re.compile(r"GRANT (?P<what>.+?) ON (?P<where>\S.*?) TO ")
_COLUMN_LIST: Final = re.compile(r"\([^)]*\)")
#: Rights on everything with which an account administers the server, or writes everywhere.
_ADMINISTERS: Final = frozenset({"ALL PRIVILEGES", "SUPER", "CREATE USER", "INSERT", "UPDATE", "DELETE"})
_WRITES: Final = frozenset({"ALL PRIVILEGES", "INSERT", "UPDATE", "DELETE"})
_SERVERS_OWN: Final = frozenset({"performance_schema", "information_schema"})


class Granted(NamedTuple):
    """A line of SHOW GRANTS.  ``schema``: a LIKE pattern where ``table`` is ``*``."""

    privileges: frozenset[str]
    schema: str
    table: str

    def covers(self, database: str) -> bool:
        """Return whether it grants something on this database, or in it."""
        if self.schema == "*" or self.table != "*":
            return self.schema in ("*", database)
        like = {"%": ".*", "_": ".", "\\%": "%", "\\_": "_"}
        regex = "".join(like.get(part, re.escape(part)) for part in re.findall(r"\\[%_]|.", self.schema, re.DOTALL))
        return re.fullmatch(regex, database, re.DOTALL) is not None

    @property
    def whole(self) -> bool:
        """Return whether it is on all of a database."""
        return self.table == "*"


def granted(connection: Connection[Any], account: str = "") -> list[Granted]:
    """Return the rights of an account (as statements name it) by SHOW GRANTS; empty: of the connected one, with its
    active roles."""
    sql = f"SHOW GRANTS FOR {account}" if account else "SHOW GRANTS"
    return [each for (line,) in rows(connection, sql) if (each := _granted(str(line))) is not None]


def _granted(line: str) -> Granted | None:
    match = _GRANT.match(line)
    if match is None or match["what"] == "PROXY":  # the first: a role
        return None
    privileges = {part.strip().upper() for part in _COLUMN_LIST.sub("", match["what"]).split(",")}
    names = re.findall(r"`(?:[^`]|``)*`|\*", match["where"])
    schema, table = ([*names, "*"] if len(names) == 1 else names)[:2]
    return Granted(frozenset(privileges), _plain(schema), _plain(table))


def _plain(name: str) -> str:
    return name if name == "*" else name[1:-1].replace("``", "`")


def standing(grants: Iterable[Granted], database: str) -> Standing:
    """Return what an account with these rights is to a source of this database."""
    grants = list(grants)
    if any(
        each.privileges & (_ADMINISTERS if each.schema == "*" else _WRITES) and each.whole and each.covers(database)
        for each in grants
    ):
        return Standing.FOREIGN
    for each in grants:
        if each.schema == "*":
            if each.privileges & {"SELECT", "TRIGGER"}:
                return Standing.SHARED
        elif each.schema not in _SERVERS_OWN and not _only(each, database):
            return Standing.SHARED
    return Standing.OWN


def _only(each: Granted, database: str) -> bool:
    """Return whether it covers this database and no other."""
    pattern = re.sub(r"\\([%_])", "", each.schema)
    return each.covers(database) and (each.table != "*" or not re.search("[%_]", pattern))


def account_of(
    choice: AccountChoice, role: AccountRole, info: ConnectionInfo, connection: Connection[Any], installed: str = ""
) -> Account:
    """Return the account for which grants are printed.  ``installed``: the definer of the installed triggers."""

    def known(name: str) -> KnownAccount:
        configured = next((each for each in choice.configured.values() if each.user == name), None)
        return _known(connection, info, name, configured)

    return choice.account(role, info, known, installed.rpartition("@")[0])


def _known(
    connection: Connection[Any], info: ConnectionInfo, name: str, configured: ConnectionInfo | None
) -> KnownAccount:
    try:
        hosts = [str(host) for (host,) in rows(connection, sqlfile.load("mysql/queries.sql#account_hosts"), (name,))]
        if not hosts:
            return KnownAccount(Standing.ABSENT)
        host = "%" if "%" in hosts else hosts[0]
        grants = granted(connection, f"{literal(name)}@{literal(host)}")
        return KnownAccount(standing(grants, info.database), host)
    except pymysql.err.MySQLError as error:  # only administrators see accounts: log in as it
        if code_of(error) not in NO_PRIVILEGE:
            raise
    if configured is None:
        return KnownAccount(Standing.ABSENT)
    try:
        with closing(connect(replace(configured, database=""))) as own:
            ((current,),) = rows(own, "SELECT CURRENT_USER()")
            return KnownAccount(standing(granted(own), info.database), current.rpartition("@")[2])
    except SourceUnavailable:
        raise
    except SourceError as error:
        if code_of(error.__cause__ or error) in WRONG_LOGIN:
            return KnownAccount(Standing.ABSENT)
        raise


def named(account: Account) -> str:
    """Return the account as statements name it."""
    return account_literal(f"{account.name}@{account.host}")


def create(account: Account) -> list[str]:
    """Return the statement that creates the account, or a comment: it exists."""
    if account.password:
        return [f"CREATE USER {named(account)} IDENTIFIED BY {literal(account.password)};"]
    return [f"-- {printable_line(account.name)} exists: its password stays."]


def database_pattern(database: str) -> str:
    """Return a database's name for a grant on all of it, where ``_`` and ``%`` would stand for other names."""
    return quote(database.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%"))


def readable_databases(connection: Connection[Any], databases: Sequence[str]) -> dict[str, str]:
    """Return those of these databases of which the connected account may read something: database → a table."""
    found: dict[str, str] = {}
    if not databases:
        return found
    sql = sqlfile.load("mysql/queries.sql#visible_tables")
    for schema, table in rows(connection, sql, (list(databases),)):
        if schema in found:
            continue
        try:
            name = f"{quote(schema)}.{quote(table)}"
            rows(connection, sqlfile.render("mysql/queries.sql#may_read", table=name))
        except pymysql.err.MySQLError as error:
            if code_of(error) not in NO_PRIVILEGE:
                raise
        else:
            found[schema] = table
    return found
