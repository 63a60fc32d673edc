"""The state of a PostgreSQL database, as far as an installer of slots must know; the SQL text of each thing that
reading the log needs; and the plans of an installation: obstacles, missing parts, parts to remove.  A plan is pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from cdc.capture.triggers.base import Plan, Step, refuse_all
from cdc.capture.triggers.postgres_plan import (
    LEAVE_OUT,
    named,
    refuse_kind,
    refuse_relations,
    refuse_schema,
    refuse_version,
)
from cdc.capture.triggers.postgres_render import account_parts, consumer_select, literal, qualified, quote
from cdc.capture.triggers.postgres_state import Connection, Relation, Server, fetch, snapshot
from cdc.database.postgres_capture import (
    LOCK_CLASS,
    LOCK_CONSUMER,
    PLUGIN,
    PUBLICATION,
    Identity,
    SlotMemory,
    flaws,
    slot_name,
)
from cdc.database.sqlfile import render
from cdc.model.column import Capture
from cdc.model.connection import AccountChoice, AccountRole, Accounts
from cdc.model.errors import InstallError

_QUERIES = "slot/queries.sql"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotServer(Server):
    """The server, as an installer of slots must know it.  ``free_slots``: how many may still be made.
    ``keep_size``: max_slot_wal_keep_size.  ``flaws``: what the publication leaves out, in words.  ``consumer``:
    whether a session holds its lock."""

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
    """A replication slot.  ``invalid``: why the server has given it up, empty when it has not.  ``retained``: bytes
    of log kept for it; ``unread``: bytes that its reader has not confirmed.  ``idle``: seconds since somebody read
    it; None while somebody does, and before PostgreSQL 17."""

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
    """A table that is or can be published.  ``identity``: pg_class.relreplident.  ``leaves``: partitions that hold
    rows. ``stored`` and ``virtual``: generated columns.  ``flaws``: what the publication leaves out of this table,
    in words."""

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
    """The state of an installation.  ``schema``: the ERP's, as installed, else the session's.  ``memory``: None
    without a publication of ours."""

    server: SlotServer
    schema: str
    slot_name: str
    slot: Slot | None = None
    memory: SlotMemory | None = None
    tables: Mapping[str, PublishedTable] = field(default_factory=dict)

    @property
    def installed(self) -> Collection[str]:
        return self.memory.identities if self.memory is not None else ()

    @property
    def published(self) -> list[str]:
        """The tables of the publication, by name."""
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


#: Partitions are published as themselves: as their table, messages would not say whether they hold a row or its key.
_OPTIONS = "publish = 'insert, update, delete, truncate', publish_via_partition_root = false"
#: From this version on a table with stored generated columns cannot be updated unless they are published.
_GENERATED_VERSION = 180000
#: From this version on a slot may follow a fail-over to a standby that is set up for it.
_FAILOVER_VERSION = 170000
_IDENTITIES = {"d": "DEFAULT", "n": "NOTHING", "f": "FULL"}


def publication_sql(version: int, *, exists: bool) -> str:
    name = "publication_options" if exists else "publication"
    options = f"{_OPTIONS}, publish_generated_columns = stored" if version >= _GENERATED_VERSION else _OPTIONS
    return _render(name, options=options)


def identity_sql(schema: str, table: str, identity: Identity) -> str:
    words = f"USING INDEX {quote(identity.index)}" if identity.kind == "i" else _IDENTITIES[identity.kind]
    return _render("identity", table=qualified(schema, table), identity=words)


def unpublish_sql(schema: str, table: str) -> str:
    return _render("unpublish", table=qualified(schema, table))


def _render(name: str, **parts: str) -> str:
    return render(f"postgres/slot/statements.sql#{name}", publication=quote(PUBLICATION), **parts)


def grants(
    found: SlotInstallation, captures: Sequence[Capture], choice: AccountChoice, accounts: Accounts, connects: str = ""
) -> str:
    """Return the statements of a DBA; see `cdc.capture.triggers.postgres_render.grants`."""
    existing = [capture for capture in captures if capture.table in found.tables]
    owners = sorted({found.tables[capture.table].owner for capture in existing})
    installer, consumer = (accounts[role].name for role in (AccountRole.INSTALLER, AccountRole.CONSUMER))
    return render(
        "postgres/slot/grants.sql",
        **account_parts(accounts, choice, connects, " REPLICATION"),
        database=quote(found.server.database),
        schema=quote(found.schema),
        owners="\n".join(f"GRANT {quote(owner)} TO {quote(installer)};" for owner in owners),
        selects="\n".join(
            consumer_select(found.schema, capture, found.tables[capture.table].columns, consumer)
            for capture in existing
        ),
    )


FULL = "f"
#: What the slot's step is called: it waits for transactions, not for a lock.
SLOT_STEP = "Make the replication slot"


def plan_install(found: SlotInstallation, captures: Sequence[Capture]) -> Plan:
    """Raises `InstallError` for what can never work."""
    refuse_all(lambda: refuse_server(found), lambda: refuse_tables(found, [capture.table for capture in captures]))
    planner = _Planner(found)
    planner.publication()
    planner.forget_others([capture.table for capture in captures])
    for capture in captures:
        planner.table(capture.table)
    planner.slot()
    return planner.plan()


def plan_repair(found: SlotInstallation, tables: Sequence[str]) -> Plan:
    """Plan the repair of these tables, which must have been installed."""
    known = found.memory.identities if found.memory is not None else {}
    unknown = [table for table in tables if table not in known]
    if unknown:
        raise InstallError(f"Not captured, so not to be repaired: {', '.join(unknown)}.", "Run cdc install-slot.")
    return _plan_tables(found, tables)


def plan_extend(found: SlotInstallation, tables: Sequence[str]) -> Plan:
    """Plan the capture of these tables besides those that are captured."""
    if found.memory is None:
        raise InstallError(f"No publication is installed in {found.server.database}.", "Run cdc install-slot.")
    return _plan_tables(found, tables, publish=False)


def _plan_tables(found: SlotInstallation, tables: Sequence[str], *, publish: bool = True) -> Plan:
    refuse_server(found)
    refuse_tables(found, tables)
    planner = _Planner(found)
    if publish:
        planner.publication()
    for table in tables:
        planner.table(table)
    return planner.plan()


def plan_uninstall(found: SlotInstallation) -> Plan:
    """The slot first: while it is there the server keeps its log."""
    if found.server.published and found.memory is None:
        return Plan((), (f"The publication {PUBLICATION} of this database is not ours: nothing to remove.",))
    if found.memory is not None and not found.server.publication_owned:
        raise InstallError(
            f"Role {found.server.role} does not own the publication {PUBLICATION} of database {found.server.database}.",
            "Uninstall with the account that installed the slot, or a superuser.",
        )
    planner = _Planner(found)
    planner.drop_slot()
    if found.memory is not None:
        planner.forget_others([])
        planner.drop_publication()
    return planner.plan()


def drift(found: SlotInstallation, table: str) -> list[str]:
    """Return the differences of this table from its installation, a phrase each; empty when there are none."""
    wrong = []
    if not found.tables[table].published:
        wrong.append("it is not published: the rules capture it since (tables or include changed), or it was taken out")
    wrong += found.tables[table].flaws
    for holder in found.tables[table].holders:
        if found.tables[holder].identity != FULL:
            of = "its" if holder == table else f"the partition {holder}'s"
            wrong.append(f"{of} replica identity is not FULL")
    return wrong


class _Planner:
    """Gathers steps; ``_identities`` is what is remembered after those gathered so far."""

    def __init__(self, found: SlotInstallation) -> None:
        self._found = found
        self._steps: list[Step] = []
        self._notes: list[str] = []
        self._identities = dict(found.memory.identities) if found.memory is not None else {}

    def plan(self) -> Plan:
        return Plan(tuple(self._steps), tuple(self._notes))

    def publication(self) -> None:
        server = self._found.server
        if not server.published:
            statements = (publication_sql(server.version, exists=False), self._remember())
            self._steps.append(Step("Make the publication", "", statements))
        elif server.flaws:
            statement = publication_sql(server.version, exists=True)
            self._steps.append(Step("Repair the publication", "", (statement,)))

    def table(self, table: str) -> None:
        """Plan the capture of a table.  A step locks one table: partitions have steps of their own."""
        schema, found = self._found.schema, self._found.tables[table]
        known = table in self._identities
        title = f"Repair the capture of {table}" if known else f"Capture {table}"
        self._note(table)
        for leaf in found.leaves:
            if made := self._full(leaf):
                self._steps.append(Step(f"{title}: partition {leaf}", leaf, (*made, self._remember())))
        statements = [] if found.kind == "p" else self._full(table)
        if found.flaws:  # an entry's filter and columns cannot be altered
            statements.append(unpublish_sql(schema, table))
        if found.flaws or not found.published:
            statements.append(_render("publish", table=qualified(schema, table)))
        if statements or not known:
            self._steps.append(Step(title, table, (*statements, self._remember())))

    def _note(self, table: str) -> None:
        """The memory names what is captured, and how it was before."""
        found = self._found.tables[table]
        self._identities.setdefault(table, Identity(found.identity, found.identity_index))

    def _full(self, table: str) -> list[str]:
        """Return the step that gives the table the replica identity FULL; the former one is stored."""
        self._note(table)
        whole = self._found.tables[table].identity == FULL
        return [] if whole else [identity_sql(self._found.schema, table, Identity(FULL))]

    def forget_others(self, captured: Sequence[str]) -> None:
        """Plan to stop capturing all tables but these and their partitions."""
        tables = self._found.tables
        needed = {*captured, *(leaf for table in captured if table in tables for leaf in tables[table].leaves)}
        published = {name for name in self._found.published if name not in needed}
        for name in sorted({*self._identities.keys() - needed, *published}):
            statements = [unpublish_sql(self._found.schema, name)] if name in published else []
            statements += self._restored(name)
            self._identities.pop(name, None)
            self._steps.append(Step(f"Stop capturing {name}", name, (*statements, self._remember())))

    def _restored(self, name: str) -> list[str]:
        before = self._identities.get(name)
        found = self._found.tables.get(name)
        if before is None or found is None or found.kind != "r":
            return []
        if Identity(found.identity, found.identity_index) == before:
            return []
        if before.kind == "i" and before.index not in found.indexes:
            self._notes.append(f"Table {name} had its replica identity from the index {before.index}, which is gone.")
            before = Identity("d")
        return [identity_sql(self._found.schema, name, before)]

    def _remember(self) -> str:
        memory = SlotMemory(self._found.schema, dict(self._identities))
        return _render("remember", memory=literal(memory.dump()))

    def slot(self) -> None:
        """Plan the slot: it cannot be read over a part of the log in which its publication did not exist."""
        slot = self._found.slot
        if slot is not None and (slot.invalid or not self._found.server.published):
            self.drop_slot()
            slot = None
        if slot is None:
            more = ", failover => true" if self._found.server.version >= _FAILOVER_VERSION else ""
            statement = _render("create_slot", slot=literal(self._found.slot_name), more=more)
            self._steps.append(Step(SLOT_STEP, "", (statement,)))

    def drop_slot(self) -> None:
        slot, server = self._found.slot, self._found.server
        if slot is None or slot.plugin != PLUGIN or slot.database != server.database:
            return
        if slot.active:
            raise InstallError(
                f"The replication slot {self._found.slot_name} is being read.", "Stop cdc run, then run this again."
            )
        if slot.unread and not slot.invalid:
            self._notes.append(f"{slot.unread} bytes of log that have not been read will be lost.")
        statement = _render("drop_slot", slot=literal(self._found.slot_name))
        self._steps.append(Step("Drop the replication slot", "", (statement,)))

    def drop_publication(self) -> None:
        self._steps.append(Step("Drop the publication", "", (_render("drop_publication"),)))


def restoring(found: SlotInstallation, before: SlotInstallation) -> Plan:
    """Plan the way back from the present installation to the one before."""
    if before.memory is None:
        return plan_uninstall(found)
    return plan_install(found, [Capture(table) for table in before.published])


def refuse_server(found: SlotInstallation) -> None:
    """Raise for problems of the server, the role or the names, whatever the tables."""
    refuse_version(found.server)
    refuse_all(
        lambda: _refuse_settings(found),
        lambda: refuse_schema(found.server, found.schema),
        lambda: _refuse_publication(found),
        lambda: _refuse_slot(found),
    )


def _refuse_settings(found: SlotInstallation) -> None:
    server = found.server
    lacking = []
    if server.wal_level != "logical":
        lacking.append(
            InstallError(
                f"The server's log does not hold rows: wal_level is {server.wal_level}.",
                "ALTER SYSTEM SET wal_level = 'logical'; then restart the server.",
            )
        )
    if not server.may_replicate:
        lacking.append(
            InstallError(
                f"Role {server.role} may not make a replication slot.", f"ALTER ROLE {quote(server.role)} REPLICATION;"
            )
        )
    if refused := InstallError.of_all(lacking):
        raise refused


def _refuse_publication(found: SlotInstallation) -> None:
    server = found.server
    if server.published and found.memory is None:
        raise InstallError(
            f"Database {server.database} already has a publication named {PUBLICATION} that is not this product's.",
            f"Rename it: ALTER PUBLICATION {quote(PUBLICATION)} RENAME TO …;",
        )
    if server.published and not server.publication_owned:
        raise InstallError(
            f"Role {server.role} does not own the publication {PUBLICATION} of database {server.database}.",
            "Use the account that installed it, or a superuser.",
        )
    if not server.published and not server.may_create:
        raise InstallError(
            f"Role {server.role} may not create a publication in database {server.database}.",
            f"GRANT CREATE ON DATABASE {quote(server.database)} TO {quote(server.role)};",
        )


def _refuse_slot(found: SlotInstallation) -> None:
    server, slot = found.server, found.slot
    if slot is not None and (slot.plugin != PLUGIN or slot.database != server.database):
        raise InstallError(
            f"The server already has a replication slot named {found.slot_name} that is not this product's.",
            f"If nobody needs it: SELECT pg_drop_replication_slot('{found.slot_name}');",
        )
    if slot is None and server.free_slots < 1:
        raise InstallError(
            "The server has no replication slot left (max_replication_slots).",
            "ALTER SYSTEM SET max_replication_slots = …; then restart the server, or drop a slot that nobody reads.",
        )


def refuse_tables(found: SlotInstallation, names: Sequence[str]) -> None:
    refuse_relations(found.server.database, found.schema, found.tables, names, lambda name: refuse_table(found, name))
    strange = [name for name in names if not found.tables[name].owned]
    if strange:
        owners = sorted({found.tables[name].owner for name in strange})
        raise InstallError(
            f"Role {found.server.role} does not own {named('table', strange)}.",
            " ".join(f"GRANT {quote(owner)} TO {quote(found.server.role)};" for owner in owners),
        )


def refuse_table(found: SlotInstallation, name: str) -> None:
    """Raise when an existing table cannot be captured, privileges and keys aside."""
    table = found.tables[name]
    refuse_kind(table)
    if table.unlogged:
        raise InstallError(
            f"Table {name} is unlogged: its changes are not in the server's log.", f"ALTER TABLE {name} SET LOGGED;"
        )
    if table.strange_leaves:
        raise InstallError(
            f"Table {name} has partitions in another schema: {', '.join(table.strange_leaves)}.",
            f"Move them to schema {found.schema}, or take the rules for {name} out of the configuration.",
        )
    if table.virtual:
        leave_out = LEAVE_OUT[0].lower() + LEAVE_OUT[1:]
        # PostgreSQL 18 would then refuse the ERP's own updates
        raise InstallError(
            f"Table {name} has virtual generated columns ({', '.join(table.virtual)}), which the log does not hold: "
            f"with whole rows in the log the server would refuse updates of it.",
            f'Make them STORED, capture with triggers (capture = "triggers"), or: {leave_out}',
        )
