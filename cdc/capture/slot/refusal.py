"""What keeps PostgreSQL's log from being read, each with the statement that mends it.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cdc.capture.slot.state import SlotInstallation
from cdc.capture.triggers.postgres_render import quote
from cdc.database.postgres_slot import PLUGIN, PUBLICATION
from cdc.model.errors import InstallError

MINIMUM_VERSION = 130000
_KINDS = {"v": "a view", "m": "a materialised view", "f": "a foreign table"}


def refuse_server(found: SlotInstallation) -> None:
    """What is wrong with the server, the role or the names, whatever the tables."""
    server = found.server
    if server.version < MINIMUM_VERSION:
        major = server.version // 10000
        raise InstallError(f"The server is PostgreSQL {major}; capture needs 13 or later.", "Upgrade the server.")
    if server.standby or server.read_only:
        raise InstallError(
            f"Database {server.database} is read-only here ({'a standby' if server.standby else 'by its settings'}).",
            "Install on the primary server, where FacturaScripts writes.",
        )
    if server.wal_level != "logical":
        raise InstallError(
            f"The server's log does not hold rows: wal_level is {server.wal_level}.",
            "ALTER SYSTEM SET wal_level = 'logical'; then restart the server.",
        )
    if not found.schema:
        raise InstallError(
            f"Role {server.role} has no current schema in database {server.database}.",
            "Grant it USAGE on the schema of FacturaScripts' tables (public as a rule), or set its search_path.",
        )
    if not server.may_replicate:
        raise InstallError(
            f"Role {server.role} may not make a replication slot.", f"ALTER ROLE {quote(server.role)} REPLICATION;"
        )
    _refuse_publication(found)
    _refuse_slot(found)


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
    missing = [name for name in names if name not in found.tables]
    if missing:
        raise InstallError(
            f"Schema {found.schema} of database {found.server.database} has no {named('table', missing)}.",
            "Is this FacturaScripts' database? Correct the rules that name them, or the connection.",
        )
    for name in names:
        refuse_table(found, name)
    keyless = [name for name in names if not found.tables[name].has_key]
    if keyless:
        raise InstallError(
            f"No primary key: {named('table', keyless)}; a changed row could not be named.",
            "Add a primary key, or take the rules for it out of the configuration.",
        )
    strange = [name for name in names if not found.tables[name].owned]
    if strange:
        owners = sorted({found.tables[name].owner for name in strange})
        raise InstallError(
            f"Role {found.server.role} does not own {named('table', strange)}.",
            " ".join(f"GRANT {quote(owner)} TO {quote(found.server.role)};" for owner in owners),
        )


def refuse_table(found: SlotInstallation, name: str) -> None:
    """What keeps an existing table from being captured, privileges and keys aside."""
    table = found.tables[name]
    rules = "Take the rules for it out of the configuration."
    if table.kind in _KINDS:
        raise InstallError(f"{name} is {_KINDS[table.kind]}: its changes cannot be captured.", rules)
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
        # PostgreSQL 18 would then refuse the ERP's own updates
        raise InstallError(
            f"Table {name} has virtual generated columns ({', '.join(table.virtual)}), which the log does not hold: "
            f"with whole rows in the log the server would refuse updates of it.",
            f'Make them STORED, capture with triggers (capture = "triggers"), or: {rules[0].lower()}{rules[1:]}',
        )


def named(noun: str, names: Sequence[str]) -> str:
    return f"{noun} {names[0]}" if len(names) == 1 else f"{noun}s {', '.join(names)}"
