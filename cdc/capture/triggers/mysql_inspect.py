"""Reads from a MariaDB or MySQL database what `cdc.capture.triggers.mysql_plan` needs to know."""

from __future__ import annotations

import re
from itertools import groupby
from operator import itemgetter
from typing import Any

import orjson
import pymysql
from pymysql.connections import Connection

from cdc import sqlfile
from cdc.capture.triggers.mysql_render import SUFFIXES, trigger_name
from cdc.capture.triggers.mysql_state import ForeignKey, Installation, Instrumentation, MySQLState, MySQLTrigger, Rights
from cdc.database.mysql_connection import NO_PRIVILEGE, Flavour, code_of, quote, rows, server_of
from cdc.database.mysql_journal import (
    CASCADES_ROW,
    INSTALLATION,
    REREAD_ROW,
    SHAPES,
    TABLES,
    WAIT,
    Shape,
    Tokens,
    captures_from_json,
    wait_comment,
)
from cdc.database.mysql_tables import read_tables, text

#: The comment of our tables: what makes them ours.
_COMMENT = "facturascripts-cdc"
_GRANT = re.compile(r"GRANT (?P<what>.+?) ON (?P<where>\S+) TO ")
_COLUMN_LIST = re.compile(r"\([^)]*\)")


def inspect(connection: Connection[Any]) -> MySQLState:
    server = server_of(connection)
    mysql = server.flavour is Flavour.MYSQL
    tables = read_tables(connection)
    triggers = _triggers(connection)
    own, taken, stale_wait = _own_objects(connection, left=any(trigger.ours for trigger in triggers))
    installation, rereads = _installation(connection) if INSTALLATION in own else (None, frozenset())
    ours_by_name = {trigger_name(table, suffix) for table in tables for suffix in SUFFIXES}
    taken |= {t.name for t in triggers if t.name in ours_by_name and not t.ours}
    return MySQLState(
        server=server,
        tables={name: table for name, table in tables.items() if name not in TABLES},
        foreign_keys=_foreign_keys(connection),
        triggers=triggers,
        shapes=_shapes(connection) if SHAPES in own else {},
        installation=installation,
        own_objects=frozenset(own),
        taken=frozenset(taken),
        rights=rights_of(connection),
        trusts_creators=bool(rows(connection, "SELECT @@log_bin_trust_function_creators")[0][0]),
        instrumentation=_instrumentation(connection) if mysql else Instrumentation.EMPTY,
        galera=_variable(connection, "wsrep_on") == "ON",
        cascade_switch=bool(_variable(connection, "enable_cascade_triggers")),
        lost_definers=_lost_definers(connection, {t.definer for t in triggers if t.ours}),
        native_foreign_keys=_variable(connection, "innodb_native_foreign_keys"),
        snapshot_switch=bool(_variable(connection, "innodb_snapshot_isolation")),
        stale_wait=stale_wait,
        rereads=rereads,
    )


def _foreign_keys(connection: Connection[Any]) -> tuple[ForeignKey, ...]:
    found = rows(connection, sqlfile.load("mysql/inspect_foreign_keys.sql"))
    keys = []
    for (name, table), group in groupby(found, key=itemgetter(0, 1)):
        columns = list(group)
        _, _, _, parent, _, on_delete, on_update = columns[0]
        own, referenced = tuple(c[2] for c in columns), tuple(c[4] for c in columns)
        keys.append(ForeignKey(name, table, own, parent, referenced, on_delete, on_update))
    return tuple(keys)


def _triggers(connection: Connection[Any]) -> tuple[MySQLTrigger, ...]:
    return tuple(MySQLTrigger(*map(text, row)) for row in rows(connection, sqlfile.load("mysql/inspect_triggers.sql")))


def _own_objects(connection: Connection[Any], *, left: bool) -> tuple[set[str], set[str], bool]:
    """Return our names that exist, as ours and as somebody else's, and whether our routine is of another version.

    ``left``: triggers of ours are there, so the routine is ours, too, even if somebody dropped all tables."""
    own: set[str] = set()
    taken: set[str] = set()
    stale = False
    for name, comment in rows(connection, sqlfile.load("mysql/inspect_own_tables.sql")):
        (own if comment == _COMMENT else taken).add(name)
    for name, kind, comment in rows(connection, sqlfile.load("mysql/inspect_routines.sql")):
        (own if kind == "PROCEDURE" and not taken else taken).add(name)
        stale = text(comment) != wait_comment()
    if WAIT in own and not left and not own & set(TABLES):
        return own - {WAIT}, taken | {WAIT}, False
    return own, taken, stale and WAIT in own


def _shapes(connection: Connection[Any]) -> dict[int, Shape]:
    sql = f"SELECT `id`, `table_name`, `layout` FROM {quote(SHAPES)}"  # noqa: S608 - a constant name
    return {number: Shape.from_json(table, layout) for number, table, layout in rows(connection, sql)}


def _installation(connection: Connection[Any]) -> tuple[Installation | None, frozenset[str]]:
    """What is installed, and the tables that are to be read again."""
    sql = f"SELECT `id`, `version`, `tokens`, `captures` FROM {quote(INSTALLATION)}"  # noqa: S608 - a constant name
    found = {number: rest for number, *rest in rows(connection, sql)}
    rereads = frozenset(orjson.loads(found[REREAD_ROW][2])) if REREAD_ROW in found else frozenset[str]()
    if 1 not in found:
        return None, rereads
    version, tokens, captures = found[1]
    captured = tuple(captures_from_json(captures))
    return Installation(version, Tokens(tokens), captured, CASCADES_ROW in found), rereads


def _lost_definers(connection: Connection[Any], definers: set[str]) -> frozenset[str]:
    """Empty too when the account may not see which accounts exist."""
    lost = set()
    for definer in definers:
        user, _, host = definer.rpartition("@")
        try:
            (exists,) = rows(connection, sqlfile.load("mysql/definer_exists.sql"), (user, host))[0]
        except (pymysql.err.OperationalError, pymysql.err.ProgrammingError):
            return frozenset()
        if not exists:
            lost.add(definer)
    return frozenset(lost)


def _instrumentation(connection: Connection[Any]) -> Instrumentation:
    if not rows(connection, "SELECT @@performance_schema")[0][0]:
        return Instrumentation.EMPTY
    rows(connection, "BEGIN")
    try:
        (shown,) = rows(connection, sqlfile.load("mysql/inspect_instrumentation.sql"))[0]
    except pymysql.err.OperationalError as error:
        if code_of(error) not in NO_PRIVILEGE:
            raise
        return Instrumentation.DENIED
    finally:
        rows(connection, "ROLLBACK")
    return Instrumentation.READ if shown else Instrumentation.EMPTY


def _variable(connection: Connection[Any], name: str) -> str:
    """The value of a system variable, or "" when this server has no such variable."""
    found = rows(connection, "SHOW VARIABLES LIKE %s", (name.replace("_", r"\_"),))
    return str(found[0][1]) if found else ""


def rights_of(connection: Connection[Any]) -> Rights:
    """What SHOW GRANTS says of the connected account, active roles included."""
    account, database = rows(connection, "SELECT CURRENT_USER(), DATABASE()")[0]
    everywhere: set[str] = set()
    here: set[str] = set()
    for (line,) in rows(connection, "SHOW GRANTS"):
        if match := _GRANT.match(line):
            privileges = _privileges(match["what"])
            if match["where"] == "*.*":
                everywhere |= privileges
            elif _covers(match["where"], database):
                here |= privileges
    return Rights(account, frozenset(everywhere), frozenset(here))


def _privileges(words: str) -> set[str]:
    return {part.strip().upper() for part in _COLUMN_LIST.sub("", words).split(",")}


def _covers(where: str, database: str) -> bool:
    """Whether a grant's ``db.*`` (a LIKE pattern) covers the database."""
    pattern, _, objects = where.rpartition(".")
    if objects != "*":
        return False
    plain = pattern.strip("`").replace("``", "`")
    like = {"%": ".*", "_": ".", "\\%": "%", "\\_": "_"}
    regex = "".join(like.get(part, re.escape(part)) for part in re.findall(r"\\[%_]|.", plain))
    return re.fullmatch(regex, database, re.DOTALL) is not None
