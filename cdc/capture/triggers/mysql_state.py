"""The state of a MariaDB or MySQL database, as far as an installer must know: read, never changed."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import groupby
from operator import itemgetter
from typing import Any

import orjson
import pymysql
from pymysql.connections import Connection

from cdc.capture.triggers.base import within
from cdc.database import sqlfile
from cdc.database.mysql_connection import (
    BASE_TABLE,
    NO_PRIVILEGE,
    Flavour,
    MySQLServer,
    code_of,
    quote,
    rows,
    server_of,
)
from cdc.database.mysql_inspect import (
    MySQLTable,
    ReplicationSettings,
    granted,
    read_replication,
    read_tables,
    replica_of_triggers,
    text,
)
from cdc.database.mysql_journal import (
    CASCADES_ROW,
    INSTALLATION,
    JOURNAL,
    MADE_ROW,
    PREFIX,
    PROBE,
    REREAD_ROW,
    SHAPES,
    TABLES,
    JournalShape,
    Tokens,
    captures_from_json,
)
from cdc.model.column import Capture, SecretPatterns
from cdc.model.finding import Finding

_LONGEST_NAME = 64
#: Of the names of triggers: after insert, update, delete; before delete, update.
SUFFIXES = ("ai", "au", "ad", "bd", "bu")
_WRITTEN = re.compile(r"UTC_TIMESTAMP\(6\), (\d+), \d+")
#: The comment of our tables: what makes them ours.
_COMMENT = "facturascripts-cdc"


class Instrumentation(StrEnum):
    """The connected account's view of its own transaction in MySQL's performance schema."""

    READ = "read"
    EMPTY = "empty"  # not recorded
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """``columns`` of ``table`` reference ``parent_columns`` of ``parent``; rules as information_schema words them."""

    name: str
    table: str
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    on_delete: str
    on_update: str


def by_parent(keys: Iterable[ForeignKey]) -> dict[str, list[ForeignKey]]:
    """Return the keys that reference each table, in their order."""
    references: dict[str, list[ForeignKey]] = {}
    for key in keys:
        references.setdefault(key.parent, []).append(key)
    return references


@dataclass(frozen=True, slots=True)
class MySQLTrigger:
    """``made``: when it was created (UTC)."""

    name: str
    table: str
    timing: str
    event: str
    body: str
    definer: str
    made: str = ""

    @property
    def ours(self) -> bool:
        return self.name.startswith(PREFIX) and f"`{JOURNAL}`" in self.body

    @property
    def shape_ids(self) -> frozenset[int]:
        return shape_ids(self.body)


@dataclass(frozen=True, slots=True)
class Installation:
    """``cascades_only``: only the triggers of parents, for a consumer that reads everything else in the binlog."""

    version: int
    tokens: Tokens
    captures: tuple[Capture, ...]
    cascades_only: bool = False


@dataclass(frozen=True, slots=True)
class Rights:
    """The rights of the connected account on the whole server and in this database.  ``database``: its name."""

    account: str
    everywhere: frozenset[str] = frozenset()
    here: frozenset[str] = frozenset()
    database: str = ""

    def may(self, privilege: str) -> bool:
        return bool({privilege, "ALL PRIVILEGES"} & (self.everywhere | self.here))

    def may_everywhere(self, privilege: str) -> bool:
        return bool({privilege, "ALL PRIVILEGES"} & self.everywhere)


@dataclass(frozen=True, slots=True)
class MySQLState:
    """The state of the server that a plan depends on.

    ``own_objects``: our tables that exist, and the procedure of an earlier version.  ``taken``: objects of others under
    names that we need.
    ``cascade_switch``: the server has `enable_cascade_triggers`: children's own triggers may run for cascades.
    ``native_foreign_keys``: `innodb_native_foreign_keys` (ON: they never do); empty where there is no such choice.
    ``lost_definers``: accounts that triggers of ours run as and that do not exist (any more).
    ``instrumentation``: EMPTY on MariaDB.  ``asked_tokens``: the DBA's choice; None: as installed, or by default.
    ``snapshot_switch``: it has `innodb_snapshot_isolation`: locking reads may fail on rows newer than the snapshot.
    ``rereads``: tables whose triggers a run that was interrupted began to replace.
    ``versioned_probe``: the probe can have the registry of transactions opened.
    ``made``: when we created our triggers, by name; None: not recorded.
    ``replication``: what this server receives.  ``replica_accepted``: it may be a replica on which triggers do not run.
    """

    server: MySQLServer
    tables: Mapping[str, MySQLTable]
    foreign_keys: tuple[ForeignKey, ...]
    triggers: tuple[MySQLTrigger, ...]
    shapes: Mapping[int, JournalShape]
    installation: Installation | None
    own_objects: frozenset[str]
    taken: frozenset[str]
    rights: Rights
    trusts_creators: bool
    instrumentation: Instrumentation
    galera: bool
    cascade_switch: bool
    native_foreign_keys: str
    snapshot_switch: bool
    lost_definers: frozenset[str]
    asked_tokens: Tokens | None = None
    rereads: frozenset[str] = frozenset()
    versioned_probe: bool = False
    made: Mapping[str, str] | None = None
    replication: ReplicationSettings = field(default_factory=lambda: ReplicationSettings(receives=False))
    replica_accepted: bool = False

    def hiding(self, patterns_of: Callable[[str], SecretPatterns]) -> MySQLState:
        """Return the same, as if what is installed were captured with these patterns."""
        if self.installation is None:
            return self
        captures = [replace(each, patterns=patterns_of(each.table)) for each in self.installation.captures]
        return replace(self, installation=replace(self.installation, captures=tuple(within(self.tables, captures))))

    @property
    def tokens(self) -> Tokens:
        """The way to know a transaction: as asked for, as installed, else the cheapest that this server offers."""
        if self.asked_tokens is not None:
            return self.asked_tokens
        if self.installation is not None:
            return self.installation.tokens
        if self.server.flavour is Flavour.MYSQL:
            return Tokens.PERFORMANCE_SCHEMA
        return Tokens.GTID if self.server.binlog else Tokens.ROW_START

    @property
    def own_triggers(self) -> tuple[MySQLTrigger, ...]:
        return tuple(trigger for trigger in self.triggers if trigger.ours and trigger.table != PROBE)

    @property
    def probe_triggers(self) -> tuple[MySQLTrigger, ...]:
        return tuple(trigger for trigger in self.triggers if trigger.ours and trigger.table == PROBE)

    @property
    def foreign_triggers(self) -> tuple[MySQLTrigger, ...]:
        """Triggers of ours that somebody else created again: with a restored dump, for example."""
        if self.made is None:
            return ()
        return tuple(each for each in self.own_triggers if each.made != self.made.get(each.name))

    @property
    def journal_lost(self) -> bool:
        """Triggers of ours are there without what they need: rows that waited in the journal are lost, and every
        write of the ERP to their tables fails (error 1146)."""
        return bool(self.own_triggers) and not self.own_objects >= {JOURNAL, SHAPES, INSTALLATION}

    @property
    def replica(self) -> Finding | None:
        """Return why triggers do not show all changes on this server, or may not."""
        return replica_of_triggers(self.replication, self.tokens, accepted=self.replica_accepted)


def shape_ids(body: str) -> frozenset[int]:
    """The shapes under which a trigger writes to the journal."""
    return frozenset(map(int, _WRITTEN.findall(body)))


def trigger_name(table: str, suffix: str) -> str:
    """``cdc_<table>_<suffix>``; too long a table name is cut, its checksum keeps it unique."""
    name = f"{PREFIX}{table}_{suffix}"
    if len(name) <= _LONGEST_NAME:
        return name
    check = f"{zlib.crc32(table.encode()):08x}"
    return f"{PREFIX}{table[: _LONGEST_NAME - len(PREFIX) - len(check) - len(suffix) - 2]}_{check}_{suffix}"


def inspect(connection: Connection[Any]) -> MySQLState:
    server = server_of(connection)
    mysql = server.flavour is Flavour.MYSQL
    tables = read_tables(connection)
    rows(connection, "SET SESSION time_zone = '+00:00'")  # of the times at which triggers were created
    triggers = _triggers(connection)
    own, taken = _own_objects(connection, left=any(trigger.ours for trigger in triggers))
    installation, rereads, made = _installation(connection) if INSTALLATION in own else (None, frozenset(), None)
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
        rereads=rereads,
        made=made,
        replication=read_replication(connection),
        versioned_probe=bool(rows(connection, sqlfile.load("mysql/queries.sql#inspect_versioned_probe"))[0][0]),
    )


def _foreign_keys(connection: Connection[Any]) -> tuple[ForeignKey, ...]:
    found = rows(connection, sqlfile.load("mysql/queries.sql#inspect_foreign_keys"))
    rules = {row[:2]: row[2:] for row in rows(connection, sqlfile.load("mysql/queries.sql#inspect_key_rules"))}
    keys = []
    for (table, name), group in groupby(found, key=itemgetter(0, 1)):
        columns = list(group)
        parent = columns[0][3]
        own, referenced = tuple(c[2] for c in columns), tuple(c[4] for c in columns)
        if (table, name) in rules:  # else it was dropped between the two questions
            keys.append(ForeignKey(name, table, own, parent, referenced, *rules[table, name]))
    return tuple(keys)


def _triggers(connection: Connection[Any]) -> tuple[MySQLTrigger, ...]:
    return tuple(
        MySQLTrigger(*map(text, row)) for row in rows(connection, sqlfile.load("mysql/queries.sql#inspect_triggers"))
    )


def _own_objects(connection: Connection[Any], *, left: bool) -> tuple[set[str], set[str]]:
    """Return our names that exist, as ours and as somebody else's.  ``left``: triggers of ours are there, so that a
    procedure with the name of an earlier version's is ours, too, even if somebody dropped all tables."""
    own: set[str] = set()
    taken: set[str] = set()
    for name, comment in rows(connection, sqlfile.load("mysql/queries.sql#inspect_own_tables")):
        (own if comment == _COMMENT else taken).add(name)
    if own or left:
        own |= {name for (name,) in rows(connection, sqlfile.load("mysql/queries.sql#inspect_routines"))}
    return own, taken


def _shapes(connection: Connection[Any]) -> dict[int, JournalShape]:
    sql = f"SELECT `id`, `table_name`, `layout` FROM {quote(SHAPES)} {BASE_TABLE}"  # noqa: S608 - the name is a constant
    return {number: JournalShape.from_json(table, layout) for number, table, layout in rows(connection, sql)}


def _installation(
    connection: Connection[Any],
) -> tuple[Installation | None, frozenset[str], Mapping[str, str] | None]:
    """Return the installation, the tables to read again, and when triggers were created."""
    sql = f"SELECT `id`, `version`, `tokens`, `captures` FROM {quote(INSTALLATION)} {BASE_TABLE} ORDER BY `id`"  # noqa: S608 - the name is a constant
    found = {number: rest for number, *rest in rows(connection, sql)}
    rereads = frozenset(orjson.loads(found[REREAD_ROW][2])) if REREAD_ROW in found else frozenset[str]()
    # the first may have all, of a time when it was the only one
    shares = [orjson.loads(row[2]) for number, row in found.items() if number >= MADE_ROW]
    made = {name: when for share in shares for name, when in share.items()} if shares else None
    if 1 not in found:
        return None, rereads, made
    version, tokens, captures = found[1]
    captured = tuple(captures_from_json(captures))
    return Installation(version, Tokens(tokens), captured, CASCADES_ROW in found), rereads, made


def installation(connection: Connection[Any]) -> Installation | None:
    """Return what is installed, without reading anything else."""
    own = rows(connection, sqlfile.load("mysql/queries.sql#inspect_own_tables"))
    return _installation(connection)[0] if (INSTALLATION, _COMMENT) in own else None


def _lost_definers(connection: Connection[Any], definers: set[str]) -> frozenset[str]:
    """Empty too when the account may not see which accounts exist."""
    lost = set()
    for definer in definers:
        user, _, host = definer.rpartition("@")
        try:
            (exists,) = rows(connection, sqlfile.load("mysql/queries.sql#definer_exists"), (user, host))[0]
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
        (shown,) = rows(connection, sqlfile.load("mysql/queries.sql#inspect_instrumentation"))[0]
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
    """Return the rights of the connected account by SHOW GRANTS, active roles included."""
    account, database = rows(connection, "SELECT CURRENT_USER(), DATABASE()")[0]
    found = [each for each in granted(connection) if each.whole]
    everywhere = (each.privileges for each in found if each.schema == "*")
    here = (each.privileges for each in found if each.schema != "*" and each.covers(database))
    return Rights(account, frozenset().union(*everywhere), frozenset().union(*here), database)
