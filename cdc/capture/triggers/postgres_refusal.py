"""Reasons why changes of a PostgreSQL database cannot be captured, each with the statement that fixes it.  Pure.

The first half holds for triggers and for slots, the second one for triggers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cdc.capture.triggers import postgres_render as sql
from cdc.capture.triggers.postgres_state import PostgresState, Relation, Server
from cdc.database.postgres_capture import JOURNAL_VERSION
from cdc.model.column import Capture
from cdc.model.errors import InstallError
from cdc.model.finding import Finding, Severity

MINIMUM_VERSION = 130000
LEAVE_OUT = "Take the rules for it out of the configuration."
_OWNER = "Use the account that installed the triggers, or a superuser."
_KINDS = {"v": "a view", "m": "a materialised view", "f": "a foreign table"}


def unfit_server(server: Server) -> Finding | None:
    """Return the doctor's finding of a server that no account can capture from."""
    if server.version < MINIMUM_VERSION:
        detail = f"PostgreSQL {server.version // 10000} is too old: 13 or later"
        return Finding("server", Severity.WRONG, detail, "upgrade the server")
    if server.standby:
        return Finding("server", Severity.WRONG, "this is a standby", "connect to the primary server")
    return None


def refuse_version(server: Server) -> None:
    if server.version < MINIMUM_VERSION:
        major = server.version // 10000
        raise InstallError(f"The server is PostgreSQL {major}; capture needs 13 or later.", "Upgrade the server.")
    if server.standby or server.read_only:
        raise InstallError(
            f"Database {server.database} is read-only here ({'a standby' if server.standby else 'by its settings'}).",
            "Install on the primary server, where FacturaScripts writes.",
        )


def refuse_schema(server: Server, schema: str) -> None:
    if not schema:
        raise InstallError(
            f"Role {server.role} has no current schema in database {server.database}.",
            "Grant it USAGE on the schema of FacturaScripts' tables (public as a rule), or set its search_path.",
        )


def refuse_relations(
    database: str, schema: str, tables: Mapping[str, Relation], names: Sequence[str], refuse: Callable[[str], None]
) -> None:
    """``refuse``: raises for an existing table that cannot be captured."""
    if missing := [name for name in names if name not in tables]:
        raise InstallError(
            f"Schema {schema} of database {database} has no {named('table', missing)}.",
            "Is this FacturaScripts' database? Correct the rules that name them, or the connection.",
        )
    for name in names:
        refuse(name)
    if keyless := [name for name in names if not tables[name].has_key]:
        raise InstallError(
            f"No primary key: {named('table', keyless)}; a changed row could not be named.",
            "Add a primary key, or take the rules for it out of the configuration.",
        )


def refuse_kind(table: Relation) -> None:
    if table.kind in _KINDS:
        raise InstallError(f"{table.name} is {_KINDS[table.kind]}: its changes cannot be captured.", LEAVE_OUT)


def named(noun: str, names: Sequence[str]) -> str:
    return f"{noun} {names[0]}" if len(names) == 1 else f"{noun}s {', '.join(names)}"


def refuse_server(found: PostgresState) -> None:
    """Raise `InstallError` for a fault of the server, the role or the names, regardless of the tables."""
    server = found.server
    refuse_version(server)
    refuse_schema(server, found.schema)
    if found.version is None and not found.server.schema_ours:
        _refuse_names(found)
    elif found.version is None and not found.server.schema_usable:
        raise InstallError(f"Role {server.role} may not use the schema cdc of database {server.database}.", _OWNER)
    elif found.version not in (None, JOURNAL_VERSION):
        raise InstallError(
            f"The journal in database {server.database} has version {found.version}, not {JOURNAL_VERSION}.",
            "Let the consumer finish, run cdc uninstall-triggers of the version that made it, then install again.",
        )
    elif not server.schema_owned:
        raise InstallError(f"Role {server.role} does not own the schema cdc of database {server.database}.", _OWNER)


def _refuse_names(found: PostgresState) -> None:
    server = found.server
    if server.schema_exists:
        raise InstallError(
            f"Database {server.database} already has a schema named cdc that is not this product's.",
            "Rename it, or give role " + server.role + " USAGE on it if the journal is in there.",
        )
    if server.namesakes:
        raise InstallError(
            f"Tables named like the journal's exist already: {', '.join(server.namesakes)}.",
            "Rename them: FacturaScripts looks at table names without their schema.",
        )
    if not server.may_create:
        raise InstallError(
            f"Role {server.role} may not create a schema in database {server.database}.",
            f"GRANT CREATE ON DATABASE {sql.quote(server.database)} TO {sql.quote(server.role)};",
        )


def refuse_tables(found: PostgresState, captures: Sequence[Capture]) -> None:
    names = [capture.table for capture in captures]
    refuse_relations(found.server.database, found.schema, found.tables, names, lambda name: refuse_table(found, name))
    forbidden = [name for name in names if not found.tables[name].may_trigger and _needs_triggers(found, name)]
    if forbidden:
        listed = ", ".join(each for name in forbidden for each in sql.with_partitions(found, name))
        raise InstallError(
            f"Role {found.server.role} may not create triggers on {named('table', forbidden)}.",
            f"GRANT TRIGGER ON {listed} TO {sql.quote(found.server.role)};",
        )


def refuse_table(found: PostgresState, name: str) -> None:
    """Raise `InstallError` when an existing table cannot be captured; privileges and keys are checked elsewhere."""
    refuse_kind(found.tables[name])
    for trigger in found.triggers.get(name, ()):
        if trigger.function is None:
            raise InstallError(
                f"Table {name} has a trigger {trigger.name} that is not this product's.",
                "Rename that trigger.",
            )


def _needs_triggers(found: PostgresState, table: str) -> bool:
    return len(found.triggers.get(table, ())) < len(sql.TRIGGERS)
