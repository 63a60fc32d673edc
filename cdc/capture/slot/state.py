"""The state of a PostgreSQL database, as far as an installer of slots must know: read, never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cdc.capture.triggers.postgres_state import Connection, Relation, Server, fetch, snapshot
from cdc.database.postgres_capture import LOCK_CLASS, LOCK_CONSUMER, PUBLICATION, SlotMemory, flaws, slot_name

_QUERIES = "slot/queries.sql"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotServer(Server):
    """``free_slots``: how many may still be made.  ``keep_size``: max_slot_wal_keep_size.  ``flaws``: what
    the publication leaves out, in words.  ``consumer``: whether a session holds its lock."""

    may_replicate: bool
    wal_level: str
    free_slots: int
    keep_size: str
    published: bool
    publication_owned: bool
    comment: str | None
    flaws: list[str]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedTable(Relation):
    """``identity``: pg_class.relreplident.  ``leaves``: partitions that hold rows.
    ``stored`` and ``virtual``: generated columns.  ``flaws``: what the publication leaves out of this table, in
    words."""

    owned: bool
    unlogged: bool
    identity: str
    identity_index: str
    indexes: list[str]
    published: bool
    flaws: list[str]
    leaves: list[str]
    strange_leaves: list[str]
    stored: list[str]
    virtual: list[str]

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

    @property
    def published(self) -> list[str]:
        """Tables of the publication, by name."""
        return sorted(table.name for table in self.tables.values() if table.published)


def inspect(connection: Connection) -> SlotInstallation:
    with snapshot(connection):
        lock = {"lock_class": LOCK_CLASS, "lock_consumer": LOCK_CONSUMER}
        asked = {"publication": PUBLICATION, **lock}
        server = fetch(connection, SlotServer, f"{_QUERIES}#inspect_server", asked, **flaws())[0]
        name = slot_name(server.database)
        slots = fetch(connection, Slot, f"{_QUERIES}#inspect_slot", {"slot": name})
        memory = SlotMemory.load(server.comment)
        schema = memory.schema if memory is not None else server.schema
        asked = {"schema": schema, "publication": PUBLICATION}
        tables = fetch(connection, PublishedTable, f"{_QUERIES}#inspect_tables", asked, **flaws())
    slot = slots[0] if slots else None
    return SlotInstallation(server, schema, name, slot, memory, {table.name: table for table in tables})
