"""Questions to a MariaDB or MySQL server: the tables of a database, the rights of accounts and the statements that
create them, the changes that the server receives from another one, and whether triggers and the log show them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import pymysql
from pymysql.connections import Connection

from cdc.database import sqlfile
from cdc.database.mysql_connection import (
    NO_PRIVILEGE,
    WRONG_LOGIN,
    Flavour,
    account_literal,
    code_of,
    connect,
    literal,
    quote,
    rows,
    server_of,
)
from cdc.database.mysql_journal import TABLES, Tokens
from cdc.database.mysql_types import MySQLColumn
from cdc.model.column import SecretColumns, Table
from cdc.model.connection import Account, AccountChoice, AccountRole, ConnectionInfo, KnownAccount, Standing
from cdc.model.errors import SourceError, SourceUnavailable, printable_line
from cdc.model.finding import NO_KEY, NOT_INNODB, Finding, Severity, SurveyedTable


@dataclass(frozen=True, slots=True)
class MySQLTable:
    """``key``: primary key columns, empty without one."""

    name: str
    engine: str
    columns: tuple[MySQLColumn, ...]
    key: tuple[str, ...]

    def column(self, name: str) -> MySQLColumn:
        return next(column for column in self.columns if column.name == name)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all columns."""
        return tuple(column.name for column in self.columns)

    def without(self, secrets: SecretColumns) -> MySQLTable:
        hidden = secrets.of(self.names, self.key)
        columns = tuple(column for column in self.columns if column.name not in hidden)
        return MySQLTable(self.name, self.engine, columns, self.key)

    @property
    def as_table(self) -> Table:
        return Table(self.name, tuple(column.column for column in self.columns), self.key)


def read_tables(connection: Connection[Any], name: str | None = None) -> dict[str, MySQLTable]:
    """All base tables that the account may see, by name; or the one called ``name``, if it is there."""

    def ask(what: str) -> Sequence[Sequence[Any]]:
        return rows(connection, sqlfile.load(f"mysql/queries.sql#inspect_{what}"), (name,))

    keys, columns = _by_table(ask("keys")), _by_table(ask("columns"))
    found = {text(table): text(engine) for table, engine in ask("tables")}
    if not columns.keys() & found.keys() <= keys.keys():
        keys = _by_table(ask("keys")) | keys  # a table that was created after the first question has its key by now
    tables = {}
    for table, engine in found.items():
        key = tuple(column for (column,) in keys.get(table, ()))
        described = tuple(MySQLColumn(*column) for column in columns.get(table, ()))
        if described and {column.name for column in described} >= set(key):  # else it was replaced between questions
            tables[table] = MySQLTable(table, engine, described, key)
    return tables


def _by_table(found: Iterable[Sequence[Any]]) -> dict[str, list[list[str]]]:
    """Rows that begin with the name of a table, without it."""
    tables: dict[str, list[list[str]]] = {}
    for table, *rest in found:
        tables.setdefault(text(table), []).append([text(each) for each in rest])
    return tables


#: Before a statement that names a table which the connected account does not see.
UNSEEN = "-- The account that printed this sees no such table: "


def survey(connection: Connection[Any], installed: Collection[str] | None, *, counted: bool) -> list[SurveyedTable]:
    """The base tables but ours.  ``installed``: those whose triggers are; None: none needs any."""
    found = rows(connection, sqlfile.load("mysql/queries.sql#inspect_tables"), (None,))
    estimates = rows(connection, sqlfile.load("mysql/queries.sql#estimated_rows")) if counted else []
    counts = {text(name): int(count) for name, count in estimates}
    keyed = {text(name) for name, _ in rows(connection, sqlfile.load("mysql/queries.sql#inspect_keys"), (None,))}
    return [
        SurveyedTable(
            name,
            counts.get(name),
            NO_KEY if name not in keyed else NOT_INNODB if engine != "innodb" and installed is not None else "",
            installed is None or name in installed,
        )
        for name, engine in ((text(name), text(engine).lower()) for name, engine in found)
        if name not in TABLES
    ]


def text(value: Any) -> str:
    """MySQL gives some texts of information_schema as bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


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
        elif each.schema not in _SERVERS_OWN:
            pattern = re.sub(r"\\([%_])", "", each.schema)
            if not each.covers(database) or (each.table == "*" and re.search("[%_]", pattern)):
                return Standing.SHARED  # it covers others, too
    return Standing.OWN


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


#: Shows an account on MySQL whether its server is a replica.
APPLIER: Final = "performance_schema.replication_applier_status"
_SYNTAX: Final = 1064
_GROUP: Final = "group_replication_"
_PRIMARY: Final = (
    "Use the server where FacturaScripts writes; if that is this one, and no other server writes to its database: "
    'replica = "accept" in [source.NAME]'
)


@dataclass(frozen=True, slots=True)
class ReplicationSettings:
    """``receives``: changes of other servers are applied here now; None: this account may not know.  ``triggered``:
    triggers run for them.  ``logged``: they are in this server's own log.  ``filters``: setting → what it lets in or
    keeps out.  ``account``: the connected one."""

    receives: bool | None
    triggered: bool = False
    logged: bool = True
    filters: Mapping[str, str] = field(default_factory=dict)
    account: str = ""


def read_replication(connection: Connection[Any]) -> ReplicationSettings:
    settings = {str(k).lower(): str(v) for k, v in rows(connection, sqlfile.load("mysql/replication.sql#settings"))}
    logged = settings.get("log_replica_updates", settings.get("log_slave_updates")) == "ON"
    triggered = settings.get("slave_run_triggers_for_rbr", "NO") != "NO"
    filters = {name: value for name, value in settings.items() if name.startswith("replicate_") and value}
    ((account,),) = rows(connection, "SELECT CURRENT_USER()")
    if server_of(connection).flavour is Flavour.MARIADB:
        found = rows(connection, sqlfile.load("mysql/replication.sql#mariadb_running"))
        return ReplicationSettings(any(int(count) for _, count in found), triggered, logged, filters, account)
    read_only = settings.get("read_only", "OFF") != "OFF"
    channels = _channels(connection)
    if channels is None:  # an account for which a server takes no writes is most likely a replica's
        return ReplicationSettings(True if read_only else None, triggered, logged, filters, account)
    for channel in channels.values():
        filters |= {name: value for name, value in channel.items() if name.startswith("replicate_") and value}
    # on the primary of a group, too, its channel is at work
    receives = any(read_only or not name.startswith(_GROUP) for name in channels)
    return ReplicationSettings(receives, triggered, logged, filters, account)


def _channels(connection: Connection[Any]) -> dict[str, Mapping[str, str]] | None:
    """Return the channels at work on a MySQL, with the columns of SHOW REPLICA STATUS; None: it may not know."""
    for sql in ("SHOW REPLICA STATUS", "SHOW SLAVE STATUS"):
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                names = [str(column[0]).lower() for column in cursor.description]
                found = [dict(zip(names, (str(each or "") for each in row), strict=True)) for row in cursor.fetchall()]
        except pymysql.err.MySQLError as error:
            if code_of(error) in NO_PRIVILEGE:
                break
            if code_of(error) != _SYNTAX:
                raise
        else:
            running = ("replica_sql_running", "slave_sql_running")
            return {each["channel_name"]: each for each in found if "Yes" in (each.get(name) for name in running)}
    try:
        applied = rows(connection, sqlfile.load("mysql/replication.sql#mysql_running"))
    except pymysql.err.MySQLError as error:
        if code_of(error) in NO_PRIVILEGE:
            return None
        raise
    return {str(name): {} for (name,) in applied}


def replica_of_triggers(found: ReplicationSettings, tokens: Tokens, *, accepted: bool) -> Finding | None:
    """Return why triggers do not show all changes on this server, or may not; None when they do.

    On a MariaDB whose replication runs them, `@@last_gtid` moves with replicated transactions only if these are logged:
    triggers would take all of them for one."""
    if found.receives is None:
        detail = f"Not proved: {found.account} may not see whether this server is a replica, where triggers do not run."
        fix = f"GRANT SELECT ON {APPLIER} TO {account_literal(found.account)}"
        return Finding("capture", Severity.WARNING, detail, fix)
    if not found.receives or (found.triggered and found.logged and tokens is Tokens.GTID):
        return None
    detail = "This server is a replica: triggers do not run for the changes that replication writes."
    if found.triggered:
        detail = "This server is a replica: triggers cannot tell apart the transactions that replication writes."
    return _refused("capture", detail, _PRIMARY, accepted=accepted)


def replica_of_log(found: ReplicationSettings, *, cascades: bool, accepted: bool) -> Finding | None:
    """Return why this server's log does not show all changes, or may not; None when it does.  ``cascades``: triggers
    journal what foreign keys do, since the log does not hold it."""
    if found.receives is None and (cascades or not found.logged):
        detail = f"Not proved: {found.account} may not see whether this server is a replica."
        fix = f"GRANT REPLICATION CLIENT ON *.* TO {account_literal(found.account)}"
        return Finding("replica", Severity.WARNING, detail, fix)
    if not found.receives:
        return None
    if not found.logged:
        detail = "This server is a replica, and does not write what it receives into its own log."
        fix = f"Write log_slave_updates = ON below [mysqld] in its configuration and restart it, or: {_PRIMARY}"
        return _refused("replica", detail, fix, accepted=accepted)
    if cascades and not found.triggered:
        return cascades_of_replica("replica")
    if not found.filters:
        return Finding("replica", Severity.OK, "This server is a replica, and writes what it receives into its log")
    words = "; ".join(f"{name} = {value}" for name, value in sorted(found.filters.items()))
    detail = f"This server is a replica, and its replication filters may leave changes out: {words}."
    return Finding("replica", Severity.WARNING, detail, "Read a server that has all changes")


def cascades_of_replica(check: str) -> Finding:
    """Return the doubt about triggers that journal what foreign keys do, and whose rows a replica's log has only if the
    primary has them, too."""
    detail = (
        "Not proved: this server is a replica, where triggers do not run. Its log has the changes that foreign keys "
        "make only if its primary has the triggers."
    )
    return Finding(check, Severity.WARNING, detail, "cdc install-triggers --cascades-only on the primary")


def _refused(check: str, detail: str, fix: str, *, accepted: bool) -> Finding:
    if accepted:
        return Finding(
            check, Severity.WARNING, f'{detail} Accepted by replica = "accept".', "Remove it to refuse such a server"
        )
    return Finding(check, Severity.WRONG, detail, fix)
