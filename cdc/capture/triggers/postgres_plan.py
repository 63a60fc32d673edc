"""Plans of an installation on PostgreSQL: missing parts, parts to remove; and the reasons why changes of a database
cannot be captured, each with the statement that fixes it.  Pure.

The refusals before `refuse_server` hold for triggers and for slots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from cdc.capture.triggers import postgres_render as sql
from cdc.capture.triggers.base import Plan, Step, refuse_all, unread_notes
from cdc.capture.triggers.postgres_state import PostgresState, Relation, Server
from cdc.database.postgres_capture import JOURNAL_VERSION, PROBE
from cdc.database.sqlfile import load
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
    """Raise `InstallError` for tables that do not exist, have no primary key or cannot be captured.  ``refuse``:
    raises for an existing table that cannot be captured."""
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
    ours = found.version is not None or server.schema_ours
    if not ours and server.schema_exists:
        raise InstallError(
            f"Database {server.database} already has a schema named cdc that is not this product's.",
            "Rename it, or give role " + server.role + " USAGE on it if the journal is in there.",
        )
    if not ours and server.namesakes:
        raise InstallError(
            f"Tables named like the journal's exist already: {', '.join(server.namesakes)}.",
            "Rename them: FacturaScripts looks at table names without their schema.",
        )
    if not ours and not server.may_create:
        raise InstallError(
            f"Role {server.role} may not create a schema in database {server.database}.",
            f"GRANT CREATE ON DATABASE {sql.quote(server.database)} TO {sql.quote(server.role)};",
        )
    if not ours:
        return
    if found.version is None and not server.schema_usable:
        raise InstallError(f"Role {server.role} may not use the schema cdc of database {server.database}.", _OWNER)
    if found.version not in (None, JOURNAL_VERSION):
        raise InstallError(
            f"The journal in database {server.database} has version {found.version}, not {JOURNAL_VERSION}.",
            "Let the consumer finish, run cdc uninstall-triggers of the version that made it, then install again.",
        )
    if not server.schema_owned:
        raise InstallError(f"Role {server.role} does not own the schema cdc of database {server.database}.", _OWNER)


def refuse_tables(found: PostgresState, captures: Sequence[Capture]) -> None:
    names = [capture.table for capture in captures]
    refuse_relations(found.server.database, found.schema, found.tables, names, lambda name: refuse_table(found, name))
    forbidden = [
        name
        for name in names
        if not found.tables[name].may_trigger and (len(found.triggers.get(name, ())) < len(sql.TRIGGERS))
    ]
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


#: Without statements: changes of the probe must be journaled as its triggers should.
PROOF = Step("Prove that changes are captured", "", ())
MISSING, DISABLED, OTHER, SILENT = "is missing", "is disabled", "was replaced by another one", "records nothing"
#: Of triggers up to 0.2.0: a cast to json of the ERP's account ran in them as the installer.
_EXPOSED = (
    "its trigger function is of an earlier version, in which code of the ERP's account can run with its owner's rights"
)
_CHANGED = "its triggers were switched off for a while, or the table was restored, or a partition came or went"


def plan_install(found: PostgresState, captures: Sequence[Capture]) -> Plan:
    """Plan the installation of these captures.  Raises `InstallError` for what can never work."""
    refuse_all(lambda: refuse_server(found), lambda: refuse_tables(found, captures))
    wanted = {capture.table for capture in captures}
    steps = _journal_steps(found, captures)
    probe = found.functions.get(PROBE)
    if probe is None or probe.source != sql.function_source(Capture(PROBE)) or probe.definer:
        owners = {found.tables[capture.table].owner for capture in captures} - {found.server.role}
        grants = map(_grant_owner, sorted(owners))
        steps.append(Step("Make the probe", "", (*sql.probe(existing=probe is not None), *grants)))
    tables = [_forget(table) for table in found.captures if table not in wanted]
    tables += _table_steps(found, captures)
    return Plan((*steps, PROOF, *tables) if steps or tables else ())


def plan_repair(found: PostgresState, tables: Sequence[str]) -> Plan:
    """Plan the repair of these tables, as they were captured.  A table that cannot be captured any more is refused
    alone."""
    unknown = [table for table in tables if table not in found.captures]
    if unknown:
        raise InstallError(f"Not captured, so not to be repaired: {', '.join(unknown)}.", "Run cdc install-triggers.")
    refuse_server(found)
    captures, refused = [], {}
    for capture in (found.captures[table] for table in tables):
        try:
            refuse_tables(found, [capture])
        except InstallError as error:
            refused[capture.table] = error
        else:
            captures.append(capture)
    return Plan((*_journal_steps(found, found.captures.values()), *_table_steps(found, captures)), refused=refused)


def plan_restore(found: PostgresState, captures: Sequence[Capture], consumer: str) -> Plan:
    """Plan the restoration of a lost journal while triggers of ours are left; empty in any other case.  ``consumer``:
    the role that reads the journal."""
    if not found.journal_lost:
        return Plan(())
    known = {**{capture.table: capture for capture in captures}, **found.captures}
    there = replace(found, captures={name: capture for name, capture in known.items() if name in found.tables})
    plan = plan_repair(there, list(there.captures))
    first, *others = plan.steps
    if consumer not in ("", found.server.role):
        first = replace(
            first, statements=(*first.statements, sql.statement("grant_consumer", consumer=sql.quote(consumer)))
        )
    return replace(plan, steps=(first, *others))


def plan_extend(found: PostgresState, captures: Sequence[Capture]) -> Plan:
    """Plan the capture of these tables besides the captured ones, with a gap for each, so that its rows are read."""
    if found.version is None:
        raise InstallError(f"No journal is installed in {found.server.database}.", "Run cdc install-triggers.")
    refuse_server(found)
    refuse_tables(found, captures)
    steps = [replace(step, statements=(*step.statements, _gap(step.table))) for step in _table_steps(found, captures)]
    return Plan((*_journal_steps(found, [*found.captures.values(), *captures]), *steps))


def _journal_steps(found: PostgresState, captures: Iterable[Capture]) -> list[Step]:
    """An installation of an earlier version has no marker, and no function that writes the journal."""
    steps = []
    if not found.complete:
        marker = () if found.server.marker_exists else (sql.statement("marker"),)
        steps.append(Step("Make the journal", "", (sql.journal(found.schema), *marker)))
    elif not found.server.marker_exists:
        steps.append(Step("Make room to note which outbox reads the journal", "", (sql.statement("marker"),)))
    if found.complete and not found.server.states_exist:
        steps.append(
            Step(
                "Make room to note which triggers were installed",
                "",
                (sql.statement("states", state=load("postgres/trigger/state.sql")),),
            )
        )
    owners = {found.tables[capture.table].owner for capture in captures if capture.table in found.tables}
    blind = append_drift(found)
    if blind or found.append is None or found.append.source != sql.append_source(found.schema, owners):
        missed = sorted(name for name in found.captures if _calls_append(found, name)) if blind else ()
        statements = (sql.append(found.schema, owners), *map(_gap, missed))
        steps.append(Step("Make the function that writes the journal", "", statements))
    return steps


def append_drift(found: PostgresState) -> str:
    """Return why triggers cannot write the journal, as a phrase; empty when they can."""
    append = found.append
    if append is None:
        return f"function cdc.cdc_append {MISSING}"
    if not append.open:
        return "not every role may use the schema cdc and call its function cdc_append"
    if not append.definer or "INSERT INTO cdc.cdc_journal" not in append.source:
        return f"function cdc.cdc_append {OTHER}"
    return ""


def _calls_append(found: PostgresState, table: str) -> bool:
    """Return whether the table's triggers write by cdc_append, as those up to 0.2.0 do not."""
    return table in found.functions and "cdc.cdc_append" in found.functions[table].source


def plan_uninstall(found: PostgresState, waiting: int) -> Plan:
    """Plan the removal of triggers and journal.  ``waiting``: changes in the journal that nobody has read."""
    if found.server.schema_exists and not found.server.schema_ours:
        return Plan((), ("The schema cdc of this database is not ours: nothing to remove.",))
    if not found.server.schema_exists:
        return Plan(())
    if not found.server.schema_owned:
        raise InstallError(
            f"Role {found.server.role} does not own the schema cdc of database {found.server.database}.",
            "Uninstall with the account that installed the triggers, or a superuser.",
        )
    tables = sorted({*found.captures, *found.functions} - {PROBE})
    steps = [_forget(table, recorded="cdc_capture" in found.server.present) for table in tables]
    drop = Step("Drop the journal", "", (sql.statement("drop_journal"),))
    return Plan((*steps, drop), unread_notes(waiting))


def drift(found: PostgresState, capture: Capture) -> list[str]:
    """Return the differences of this table from its installation, a phrase each; empty when there are none."""
    function = found.functions.get(capture.table)
    if function is None:
        return [f"its trigger function {MISSING}"]
    wrong = []
    styled = capture.table in found.tables and found.tables[capture.table].styled
    if function.definer and "cdc.cdc_journal" in function.source:
        wrong.append(_EXPOSED)
    elif not _calls_append(found, capture.table):
        wrong.append(f"its trigger function {SILENT}")
    elif function.source != sql.function_source(capture, partitioned=_partitioned(found, capture.table)):
        wrong.append("its trigger function was changed")
    elif function.definer or {each.lower() for each in function.settings} != sql.function_settings(styled=styled):
        wrong.append("the settings of its trigger function were changed")
    wrong += _trigger_drift(found, capture.table)
    if capture.table in found.changed and not _was_blind(wrong):
        wrong.append(_CHANGED)
    return wrong


def _trigger_drift(found: PostgresState, table: str) -> Iterator[str]:
    triggers = {trigger.name: trigger for trigger in found.triggers.get(table, ())}
    for shape in sql.TRIGGERS:
        trigger = triggers.get(shape.name)
        if trigger is None:
            yield f"trigger {shape.name} {MISSING}"
        elif trigger.enabled not in "OA":
            yield f"trigger {shape.name} {DISABLED}"
        elif (trigger.type, trigger.function) != (shape.type, table) or (
            trigger.condition and sql.COMPARES in found.functions[table].source
        ):
            yield f"trigger {shape.name} {OTHER}"


def _partitioned(found: PostgresState, table: str) -> bool:
    return table in found.tables and found.tables[table].kind == "p"


def _table_steps(found: PostgresState, captures: Sequence[Capture]) -> Iterator[Step]:
    for capture in captures:
        wrong = drift(found, capture)
        recorded = found.captures.get(capture.table) == capture
        if wrong or not recorded or found.journal_lost:
            title = f"Repair the triggers of {capture.table}" if recorded else f"Capture {capture.table}"
            yield Step(title, capture.table, _table_statements(found, capture, wrong))


def _table_statements(found: PostgresState, capture: Capture, wrong: Sequence[str]) -> tuple[str, ...]:
    triggers = {trigger.name: trigger for trigger in found.triggers.get(capture.table, ())}
    sound = {
        shape.name
        for shape in sql.TRIGGERS
        if (trigger := triggers.get(shape.name))
        and trigger.enabled in "OA"
        and (trigger.type, trigger.condition, trigger.function) == (shape.type, False, capture.table)
    }
    afresh = len(sound) < len(triggers)
    missing = [shape for shape in sql.TRIGGERS if afresh or shape.name not in sound]
    owner, quoted = found.tables[capture.table].owner, sql.quote(capture.table)
    partitioned = _partitioned(found, capture.table)
    lost = found.journal_lost or (capture.table in found.captures and _was_blind(wrong))
    return (
        *([sql.statement("drop_function", function=quoted)] if afresh else []),
        sql.function(capture, styled=found.tables[capture.table].styled, partitioned=partitioned),
        sql.statement("revoke_function", function=quoted),
        *(sql.trigger(shape, found.schema, capture.table) for shape in missing),
        sql.remember_capture(capture),
        *([_grant_owner(owner)] if owner != found.server.role else []),
        *([sql.statement("grant_partitions", function=quoted)] if partitioned else []),
        *([_gap(capture.table)] if lost else []),
    )


def _was_blind(wrong: Sequence[str]) -> bool:
    """Return whether changes may have been missed, rather than recorded in another way than now."""
    return any(phrase.endswith((MISSING, DISABLED, OTHER, SILENT, _CHANGED)) for phrase in wrong)


def _gap(table: str) -> str:
    """Return the statement that makes the consumer read the table again."""
    return sql.statement("gap", table=sql.literal(table))


def _grant_owner(owner: str) -> str:
    return sql.statement("grant_owner", owner=sql.quote(owner))


def _forget(table: str, *, recorded: bool = True) -> Step:
    drop = sql.statement("drop_function", function=sql.quote(table))
    forget = [sql.statement("forget_capture", table=sql.literal(table))] if recorded else []
    return Step(f"Stop capturing {table}", table, (drop, *forget))


def restoring(found: PostgresState, captures: Mapping[str, Capture] | None) -> Plan:
    """Plan the way back from the present installation to these captures (None: to no installation)."""
    if captures is None:
        return plan_uninstall(found, waiting=0)
    plan = plan_install(found, list(captures.values()))
    return replace(plan, steps=tuple(step for step in plan.steps if step is not PROOF))
