"""What a PostgreSQL database holds now, as far as an installer of slots must know: read, never changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from psycopg.rows import class_row

from cdc.capture.triggers.postgres_state import Connection
from cdc.database.postgres_journal import LOCK_CLASS, LOCK_CONSUMER
from cdc.database.postgres_slot import PUBLICATION, SlotMemory, slot_name
from cdc.model.column import Capture
from cdc.sqlfile import load, render

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SlotServer:
    """``version``: as in server_version_num.  ``free_slots``: how many may still be made.  ``keep_size``:
    max_slot_wal_keep_size.  ``publishes_all``: the publication has the options that it should have.  ``consumer``:
    whether one is at work."""

    version: int
    standby: bool
    read_only: bool
    role: str
    database: str
    schema: str
    may_create: bool
    may_replicate: bool
    wal_level: str
    free_slots: int
    senders: int
    keep_size: str
    published: bool
    publication_owned: bool
    comment: str | None
    publishes_all: bool
    consumer: bool


@dataclass(frozen=True, slots=True)
class Slot:
    """``invalid``: why the server has given it up, empty when it has not.  ``retained``: bytes of log kept for it;
    ``unread``: bytes that its reader has not confirmed.  ``idle``: seconds since somebody read it; None while somebody
    does, and before PostgreSQL 17."""

    plugin: str
    database: str
    active: bool
    invalid: str
    wal_status: str
    retained: int
    unread: int
    idle: float | None = None


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """``kind``: pg_class.relkind; ``identity``: pg_class.relreplident.  ``leaves``: partitions that hold rows.
    ``stored`` and ``virtual``: generated columns."""

    name: str
    kind: str
    owner: str
    owned: bool
    unlogged: bool
    has_key: bool
    identity: str
    identity_index: str
    indexes: list[str]
    published: bool
    leaves: list[str]
    strange_leaves: list[str]
    columns: list[str]
    stored: list[str]
    virtual: list[str]
    key: list[str] = field(default_factory=list)

    @property
    def holders(self) -> list[str]:
        """The tables whose replica identity matters: itself, or its partitions."""
        return self.leaves if self.kind == "p" else [self.name]


@dataclass(frozen=True, slots=True)
class SlotInstallation:
    """``schema``: the ERP's, as installed, else the session's.  ``memory``: None without a publication of ours."""

    server: SlotServer
    schema: str
    slot_name: str
    slot: Slot | None = None
    memory: SlotMemory | None = None
    tables: Mapping[str, PublishedTable] = field(default_factory=dict)

    def within(self, captures: Iterable[Capture]) -> list[Capture]:
        """Return the captures with their secret columns named; those of tables that do not exist as they are."""
        there = self.tables
        return [c if (table := there.get(c.table)) is None else c.within(table.columns, table.key) for c in captures]

    @property
    def published(self) -> list[str]:
        """Tables of the publication, by name."""
        return sorted(table.name for table in self.tables.values() if table.published)


def inspect(connection: Connection) -> SlotInstallation:
    """Read everything in one snapshot; the connection must be outside a transaction."""
    with connection.transaction():
        connection.execute(b"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        lock = {"lock_class": LOCK_CLASS, "lock_consumer": LOCK_CONSUMER}
        server = _all(connection, SlotServer, "inspect_server", {"publication": PUBLICATION, **lock})[0]
        name = slot_name(server.database)
        slots = _all(connection, Slot, "inspect_slot", {"slot": name})
        memory = SlotMemory.load(server.comment)
        schema = memory.schema if memory is not None else server.schema
        tables = _all(connection, PublishedTable, "inspect_tables", {"schema": schema, "publication": PUBLICATION})
    slot = slots[0] if slots else None
    return SlotInstallation(server, schema, name, slot, memory, {table.name: table for table in tables})


def _all(connection: Connection, noun: type[T], name: str, parameters: Mapping[str, object]) -> list[T]:
    with connection.cursor(row_factory=class_row(noun)) as cursor:
        sql = render(f"postgres/slot/{name}.sql", erp_schema=load("postgres/read/erp_schema.sql"))
        return cursor.execute(sql.encode(), parameters).fetchall()
