"""What an installer finds in a MariaDB or MySQL database: nouns only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from cdc.database.mysql_connection import Flavour, MySQLServer
from cdc.database.mysql_journal import INSTALLATION, JOURNAL, PREFIX, PROBE, SHAPES, Shape, Tokens
from cdc.database.mysql_tables import MySQLTable
from cdc.model.column import Capture, SecretPatterns

_WRITTEN = re.compile(r"UTC_TIMESTAMP\(6\), (\d+), \d+")


class Instrumentation(StrEnum):
    """What the connected account reads in MySQL's performance schema about the transaction it is in."""

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


@dataclass(frozen=True, slots=True)
class MySQLTrigger:
    """``order``: place among the triggers of its table that run at the same moment."""

    name: str
    table: str
    timing: str
    event: str
    body: str
    definer: str

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
    """What the connected account may do on the whole server and in this database."""

    account: str
    everywhere: frozenset[str] = frozenset()
    here: frozenset[str] = frozenset()

    def may(self, privilege: str) -> bool:
        return bool({privilege, "ALL PRIVILEGES"} & (self.everywhere | self.here))

    def may_everywhere(self, privilege: str) -> bool:
        return bool({privilege, "ALL PRIVILEGES"} & self.everywhere)


@dataclass(frozen=True, slots=True)
class MySQLState:
    """Everything that a plan depends on.

    ``own_objects``: our tables and routine that exist.  ``taken``: objects of others under names that we need.
    ``cascade_switch``: the server has `enable_cascade_triggers`: children's own triggers may run for cascades.
    ``native_foreign_keys``: `innodb_native_foreign_keys` (ON: they never do); empty where there is no such choice.
    ``lost_definers``: accounts that triggers of ours run as and that do not exist (any more).
    ``instrumentation``: EMPTY on MariaDB.  ``asked_tokens``: the DBA's choice; None: as installed, or by default.
    ``stale_wait``: our routine is of another version.
    ``snapshot_switch``: it has `innodb_snapshot_isolation`: locking reads may fail on rows newer than the snapshot.
    ``rereads``: tables whose triggers a run that was interrupted began to replace.
    """

    server: MySQLServer
    tables: Mapping[str, MySQLTable]
    foreign_keys: tuple[ForeignKey, ...]
    triggers: tuple[MySQLTrigger, ...]
    shapes: Mapping[int, Shape]
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
    stale_wait: bool = False
    rereads: frozenset[str] = frozenset()

    def within(self, captures: Iterable[Capture]) -> list[Capture]:
        """Return the captures with their secret columns named; those of tables that do not exist as they are."""
        there = self.tables
        return [c if (table := there.get(c.table)) is None else c.within(table.names, table.key) for c in captures]

    def hiding(self, patterns_of: Callable[[str], SecretPatterns]) -> MySQLState:
        """Return the same, as if what is installed were captured with these patterns."""
        if self.installation is None:
            return self
        captures = [replace(each, patterns=patterns_of(each.table)) for each in self.installation.captures]
        return replace(self, installation=replace(self.installation, captures=tuple(self.within(captures))))

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
    def journal_lost(self) -> bool:
        """Triggers of ours are there without what they need: rows that waited in the journal are lost, and every
        write of the ERP to their tables fails (error 1146)."""
        return bool(self.own_triggers) and not self.own_objects >= {JOURNAL, SHAPES, INSTALLATION}


def shape_ids(body: str) -> frozenset[int]:
    """The shapes under which a trigger writes to the journal."""
    return frozenset(map(int, _WRITTEN.findall(body)))
