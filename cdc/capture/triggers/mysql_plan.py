"""Plans of an installation on MariaDB and MySQL, and the tables that must be read again because triggers that are
replaced may have missed a change.  Pure: a plan depends on its arguments only."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import orjson

from cdc.capture.triggers.base import Plan, Step, unread_notes
from cdc.capture.triggers.mysql_render import (
    MOST_PATHS,
    CascadeTarget,
    Dialect,
    PlannedTrigger,
    delete_paths,
    gap,
    parent_trigger,
    row_triggers,
    shape_of,
    statement,
    update_paths,
)
from cdc.capture.triggers.mysql_state import (
    SUFFIXES,
    Installation,
    MySQLState,
    MySQLTrigger,
    by_parent,
    obstacle_of,
    refuse,
    refuse_tables,
    shape_ids,
    trigger_name,
)
from cdc.database.mysql_connection import (
    Flavour,
    literal,
    quote,
)
from cdc.database.mysql_inspect import MySQLTable
from cdc.database.mysql_journal import (
    CASCADES_ROW,
    INSTALLATION,
    JOURNAL,
    MADE_ROW,
    MADE_ROWS,
    MARKER,
    PROBE,
    PROBE_SHAPE,
    REREAD_ROW,
    SHAPES,
    TABLES,
    VERSION,
    WAIT,
    JournalShape,
    Tokens,
    captures_to_json,
)
from cdc.database.mysql_types import MySQLColumn, same, value
from cdc.model.column import Capture
from cdc.model.errors import InstallError


def missed(
    found: MySQLState, targets: Mapping[str, CascadeTarget], wanted: Iterable[PlannedTrigger], dialect: Dialect
) -> dict[str, set[str]]:
    """Return the captured tables of which a change may have been missed, by the table whose triggers are replaced."""
    there = found.installation
    if found.journal_lost:
        return {table: {table} for table in targets}
    if there is None or there.cascades_only is not dialect.cascades_only:
        return {}
    tables = {target.shape_id: table for table, target in targets.items()}
    captured = {capture.table for capture in there.captures}
    old = {trigger.name: trigger for trigger in found.own_triggers}
    again: dict[str, set[str]] = {}
    for trigger in wanted:
        for table in captured & {tables[number] for number in shape_ids(trigger.body)}:
            known = old.get(trigger.name)
            if known is None or known.table != trigger.table:
                again.setdefault(trigger.table, set()).add(table)
                continue
            shapes = (found.shapes.get(number) for number in known.shape_ids)
            shape = next((shape for shape in shapes if shape is not None and shape.table == table), None)
            if shape is None or _loses(shape, targets[table].shape, dialect.flavour):
                again.setdefault(trigger.table, set()).add(table)
    return again


def _loses(old: JournalShape, new: JournalShape, flavour: Flavour) -> bool:
    """Return whether changes that were recorded with the old shape lack something of the new one.  A longer text, or a
    column that is secret now, loses nothing."""
    names: list[set[str]] = []
    written: list[dict[str, tuple[str, str, str]]] = []  # how triggers write and compare each column's values
    for shape in (old, new):
        columns = [(column, MySQLColumn.recorded(column)) for column in shape.columns]
        names.append({column.name for column, _ in columns} | set(shape.secrets))
        written.append({c.name: (c.kind, value(known, "x"), same(known, flavour, "x", "y")) for c, known in columns})
    before, after = written
    common = before.keys() & after.keys()
    return old.key != new.key or names[0] != names[1] or any(before[name] != after[name] for name in common)


class RereadSteps(NamedTuple):
    """The steps that have a table read again after its triggers were replaced.  The announcement before the replacement
    survives an interruption.  The note itself is a gap in the journal and comes after it: read earlier, it would be
    followed by changes that no trigger records."""

    announcement: str
    note: tuple[str, str]


def reread_of(target: CascadeTarget, dialect: Dialect) -> RereadSteps:
    table = target.table.name
    rest = f"JSON_REMOVE(`captures`, {_path(table)})"
    done = f"UPDATE {quote(INSTALLATION)} SET `captures` = {rest} WHERE `id` = {REREAD_ROW}"  # noqa: S608 - a plan is text and takes no parameters: numbers are ours, `quote` and `literal` quote the rest
    return RereadSteps(announce(table), (gap(target, dialect), done))


def announce(table: str) -> str:
    return (
        f"INSERT INTO {quote(INSTALLATION)} VALUES ({REREAD_ROW}, {VERSION}, 'to be read again', "  # noqa: S608 - a plan is text and takes no parameters: numbers are ours, `quote` and `literal` quote the rest
        f"JSON_OBJECT({literal(table)}, 1)) "
        f"ON DUPLICATE KEY UPDATE `captures` = JSON_SET(`captures`, {_path(table)}, 1)"
    )


def recorded(table: str, names: Sequence[str]) -> str:
    """Return the statement that records when these triggers of a table were created, which was just done."""
    listed = ", ".join(map(literal, sorted(names)))
    values = {"row": str(_made_row(names[0])), "version": str(VERSION), "table": literal(table), "names": listed}
    return statement("mysql/queries.sql#record_made", **values)


def accepted(triggers: Iterable[MySQLTrigger]) -> str:
    """Return the statement that records when these triggers were created, as they were found."""
    made: dict[int, dict[str, str]] = {}
    for each in triggers:
        made.setdefault(_made_row(each.name), {})[each.name] = each.made
    rows = ", ".join(
        f"({row}, {VERSION}, 'triggers made', {literal(orjson.dumps(made[row], option=orjson.OPT_SORT_KEYS).decode())})"
        for row in sorted(made)
    )
    return (
        f"INSERT INTO {quote(INSTALLATION)} VALUES {rows} "  # noqa: S608 - a plan is text and takes no parameters: numbers are ours, `quote` and `literal` quote the rest
        "ON DUPLICATE KEY UPDATE `captures` = JSON_MERGE_PATCH(`captures`, VALUES(`captures`))"
    )


def _made_row(trigger: str) -> int:
    """Return the row that says when a trigger was created; all triggers of a table have the same one."""
    of_table, _, _ = trigger.rpartition("_")
    return MADE_ROW + zlib.crc32(of_table.encode()) % MADE_ROWS


def _path(table: str) -> str:
    """Return the path of the table's member in a JSON object."""
    return literal("$." + orjson.dumps(table).decode())


RECORD = "record what is installed"
MARK = "make room to note which outbox reads the journal"
#: Shapes in a statement: each commit waits for the disk; 100 are far from the longest packet.
_SHAPES = 100
_TABLE = MySQLTable(
    PROBE, "InnoDB", (MySQLColumn("id", "bigint", "bigint unsigned"), MySQLColumn("n", "int", "int unsigned")), ("id",)
)
_TARGET = CascadeTarget(_TABLE, shape_of(_TABLE, Capture(PROBE)), PROBE_SHAPE)


@dataclass(frozen=True, slots=True)
class Proof(Step):
    """A step without statements: changes of the probe must be journaled as these triggers should.

    ``definer``: the account that they run as."""

    tokens: Tokens
    cascades_only: bool
    definer: str


def probe_steps(found: MySQLState, dialect: Dialect) -> list[Step]:
    """The probe made again, unless it is as it should be."""
    wanted = row_triggers(_TARGET, dialect)
    there = {trigger.name: trigger.body.strip() for trigger in found.probe_triggers}
    same_triggers = there == {trigger.name: trigger.body.strip() for trigger in wanted}
    lost = any(trigger.definer in found.lost_definers for trigger in found.probe_triggers)
    versioned = dialect.tokens is Tokens.ROW_START
    if same_triggers and not lost and found.versioned_probe is versioned:
        return []
    drop = [f"DROP TABLE {quote(PROBE)}"] if PROBE in found.own_objects else []
    tables = ("probe_row_start", "probe_row") if versioned else ("probe",)
    made = (statement(f"mysql/tables.sql#{name}") for name in tables)
    statements = (*drop, *made, *(trigger.statement for trigger in wanted))
    return [Step("create the probe", PROBE, statements)]


def proof(tokens: Tokens, *, cascades_only: bool, definer: str) -> Proof:
    return Proof("prove that changes are captured", PROBE, (), tokens, cascades_only, definer)


def targets_of(found: MySQLState, captures: Sequence[Capture]) -> dict[str, CascadeTarget]:
    """Captured tables with their shapes: those that exist already, or the next free numbers, which no trigger uses."""
    known = {shape: number for number, shape in found.shapes.items()}
    used = {number for trigger in found.own_triggers for number in trigger.shape_ids}
    free = max(used | found.shapes.keys(), default=0) + 1
    targets = {}
    for capture in sorted(captures, key=lambda capture: capture.table):
        table = found.tables[capture.table]
        shape = shape_of(table, capture)
        number = known.get(shape, 0)
        if not number:
            number, free = free, free + 1
        targets[table.name] = CascadeTarget(table, shape, number)
    return targets


def dialect_of(found: MySQLState, *, cascades_only: bool) -> Dialect:
    return Dialect(
        found.server.flavour,
        found.tokens,
        cascades_only=cascades_only,
        cascade_switch=found.cascade_switch,
        native_switch=bool(found.native_foreign_keys),
        snapshot_switch=found.snapshot_switch,
    )


def planned_triggers(found: MySQLState, targets: dict[str, CascadeTarget], dialect: Dialect) -> list[PlannedTrigger]:
    """Every trigger that should exist, parents' included."""
    wanted = []
    if not dialect.cascades_only:
        wanted += [trigger for target in targets.values() for trigger in row_triggers(target, dialect)]
    references = by_parent(found.foreign_keys)
    for parent in sorted(references.keys() & found.tables.keys()):
        for event, find in (("DELETE", delete_paths), ("UPDATE", update_paths)):
            if paths := find(parent, references, targets):
                wanted.append(parent_trigger(found.tables[parent], event, paths, targets, dialect))
    return wanted


def install_plan(found: MySQLState, captures: Sequence[Capture], *, cascades_only: bool = False) -> Plan:
    """The steps from found to wanted; raises `InstallError` for what can never work."""
    refuse(found, captures)
    if cascades_only and found.native_foreign_keys == "OFF":
        return Plan(
            (), ("This server writes what foreign keys change into its binlog: no trigger is needed for that.",)
        )
    if cascades_only and not found.server.binlog:
        raise InstallError(
            "The server writes no binlog, in which everything but cascades would be read.",
            "Install all triggers, or switch the binlog on: log_bin = binlog in the server's configuration.",
        )
    targets = targets_of(found, captures)
    dialect = dialect_of(found, cascades_only=cascades_only)
    triggers = planned_triggers(found, targets, dialect)
    again = missed(found, targets, triggers, dialect)
    before = [*_journal_steps(found, targets), *_shape_steps(found, targets), *probe_steps(found, dialect)]
    rereads = {t: [reread_of(targets[name], dialect) for name in sorted(names)] for t, names in again.items()}
    changes = _trigger_steps(found, triggers, rereads)
    recorded = _record_steps(found, captures, cascades_only=cascades_only)
    # where the installation itself is lost, a run that is interrupted must leave it behind
    steps = [*recorded, *changes] if found.journal_lost else [*changes, *recorded]
    # tables of which triggers that somebody else created again have missed changes
    foreign = found.foreign_triggers
    unseen = {
        table
        for trigger in foreign
        for table, target in targets.items()
        if table == trigger.table or target.shape_id in trigger.shape_ids
    }
    steps += _reread_steps(found, targets, dialect, changes, unseen)
    if found.made is None and found.own_triggers:
        steps.insert(0, Step("record when triggers were created", "", (accepted(found.own_triggers),)))
    elif foreign:
        accept = (*map(announce, sorted(unseen)), accepted(foreign))
        steps.insert(0, Step("accept triggers that were created again", "", accept))
    if not before and not steps:
        return Plan((), (), obstacle_of(found))
    proving = proof(found.tokens, cascades_only=cascades_only, definer=found.rights.account)
    return Plan((*before, proving, *steps), tuple(_notes(found, targets)), obstacle_of(found))


def _record_steps(found: MySQLState, captures: Sequence[Capture], *, cascades_only: bool) -> list[Step]:
    wanted, there = captures_to_json(captures), found.installation
    recorded = there and (there.tokens, captures_to_json(there.captures), there.cascades_only)
    if recorded == (found.tokens, wanted, cascades_only):
        return []
    records = [_record(found.tokens, wanted)]
    if cascades_only is not bool(there and there.cascades_only):
        insert = f"INSERT INTO {quote(INSTALLATION)} VALUES ({CASCADES_ROW}, {VERSION}, 'cascades only', '')"  # noqa: S608 - all parts are constants
        delete = f"DELETE FROM {quote(INSTALLATION)} WHERE `id` = {CASCADES_ROW}"  # noqa: S608 - all parts are constants
        records.append(insert if cascades_only else delete)
    return [Step(RECORD, "", tuple(records))]


def repair_plan(found: MySQLState, installation: Installation, tables: Collection[str] | None) -> Plan:
    """Plan the repair of these tables' triggers (None: of all captured tables) and of those of their parents, which
    name the same columns; other tables' steps are left out.  A table that cannot be captured any more is refused alone.
    """
    there = [capture for capture in installation.captures if capture.table in found.tables]
    refused: dict[str, InstallError] = {}
    for capture in there:
        try:
            refuse_tables(found, [capture])
        except InstallError as error:
            refused[capture.table] = error
    captures = [capture for capture in there if capture.table not in refused]
    captured = {capture.table for capture in captures}
    tables = {capture.table for capture in there} if tables is None else set(tables)
    wanted = {"", *tables, *_parents_of(found, captured, tables)} - refused.keys()
    names = {trigger_name(table, suffix) for table in tables - refused.keys() for suffix in SUFFIXES}
    wanted |= {trigger.table for trigger in found.own_triggers if trigger.name in names}
    plan = install_plan(found, captures, cascades_only=installation.cascades_only)
    steps = tuple(step for step in plan.steps if step.table in wanted and step.title not in _left_to_install(found))
    return replace(plan, steps=steps, notes=(), refused={t: e for t, e in refused.items() if t in tables})


def extend_plan(found: MySQLState, installation: Installation, more: Sequence[Capture]) -> Plan:
    """Plan the capture of more tables, with the triggers of their parents; other tables' steps are left out.  A gap is
    noted for each, so that its rows are read.  Raises `InstallError`.

    The captured tables are recorded first: a trigger that is missing then is repaired like any lost one.
    """
    captured = {capture.table: capture for capture in installation.captures}
    new = [capture for capture in more if captured.get(capture.table) != capture]
    if not new:  # made again, perhaps
        return repair_plan(found, installation, [capture.table for capture in more])
    names = {capture.table for capture in new}
    every = captured | {capture.table: capture for capture in new}
    there = [capture for table, capture in every.items() if table in found.tables or table in names]
    plan = install_plan(found, there, cascades_only=installation.cascades_only)
    wanted = {"", *names, *_parents_of(found, set(every), names)}
    first = Step(RECORD, "", (_record(found.tokens, captures_to_json(list(every.values()))),))
    kept = [step for step in plan.steps if step.table in wanted and step.title not in _left_to_install(found)]
    if not installation.cascades_only:
        targets, dialect = targets_of(found, there), dialect_of(found, cascades_only=False)
        kept.append(Step("have them read", "", tuple(gap(targets[table], dialect) for table in sorted(names))))
    return replace(plan, steps=(first, *kept), notes=())


def restore_plan(found: MySQLState, captures: Sequence[Capture]) -> Plan:
    """Plan the restoration of a lost journal while triggers of ours are left; empty in any other case."""
    there = found.installation
    if not found.journal_lost and (there is not None or not found.own_triggers):
        return Plan(())
    if there is not None:
        return repair_plan(found, there, None)
    return install_plan(found, [capture for capture in captures if capture.table in found.tables])


def _left_to_install(found: MySQLState) -> tuple[str, ...]:
    """Return the titles of steps that only an installation takes: an account granted its rights by an earlier version
    may not create the marker's table, and its repairs must not fail for that."""
    return (RECORD,) if found.rights.may("CREATE") else (RECORD, MARK)


def _parents_of(found: MySQLState, captured: Collection[str], tables: Collection[str]) -> set[str]:
    """Tables whose cascades reach, or pass, one of these."""
    references = by_parent(found.foreign_keys)
    return {
        parent
        for parent in found.tables
        for find in (delete_paths, update_paths)
        for path in find(parent, references, captured)
        if any(key.table in tables for key in path.keys)
    }


def uninstall_plan(found: MySQLState, waiting: int = 0) -> Plan:
    """Return the plan that removes everything of ours, also from a damaged installation: it is the way out when the
    ERP's writes fail because of us.  ``waiting``: unread changes in the journal."""
    steps = _trigger_steps(found, [], {})
    drops = [f"DROP PROCEDURE IF EXISTS {quote(WAIT)}"] if WAIT in found.own_objects else []
    drops += [f"DROP TABLE IF EXISTS {quote(name)}" for name in TABLES if name in found.own_objects]
    if drops:
        steps.append(Step("remove the journal", "", tuple(drops)))
    return Plan(tuple(steps), unread_notes(waiting))


def _journal_steps(found: MySQLState, targets: Mapping[str, CascadeTarget]) -> list[Step]:
    """The journal last: of a run that is interrupted before, the next one knows that the journal was lost."""
    journal = "mysql/tables.sql#journal_row_start" if found.tokens is Tokens.ROW_START else "mysql/tables.sql#journal"
    files = {INSTALLATION: "mysql/tables.sql#installation", SHAPES: "mysql/tables.sql#shape", JOURNAL: journal}
    missing = [statement(file) for name, file in files.items() if name not in found.own_objects]
    if found.journal_lost:
        place = 0 if INSTALLATION in found.own_objects else 1
        missing[place:place] = [announce(table) for table in targets]
    steps = [Step("create the journal", "", tuple(missing))] if missing else []
    if WAIT in found.own_objects and found.rights.may("ALTER ROUTINE"):
        steps.append(Step(f"remove procedure {WAIT}", "", (f"DROP PROCEDURE IF EXISTS {quote(WAIT)}",)))
    if MARKER not in found.own_objects:
        made = (statement("mysql/tables.sql#marker"), statement("mysql/tables.sql#marker_row"))
        steps.append(Step(MARK, "", made))
    return steps


def _shape_steps(found: MySQLState, targets: dict[str, CascadeTarget]) -> list[Step]:
    rows = [
        f"({target.shape_id}, {literal(target.table.name)}, {literal(target.shape.to_json())})"
        for target in targets.values()
        if target.shape_id not in found.shapes
    ]
    inserts = [
        f"INSERT INTO {quote(SHAPES)} VALUES {', '.join(rows[first : first + _SHAPES])}"  # noqa: S608 - a plan is text, which --dry-run prints, and takes no parameters: ids are numbers that we count, `literal` quotes the texts
        for first in range(0, len(rows), _SHAPES)
    ]
    return [Step("record the tables' columns", "", tuple(inserts))] if inserts else []


def _trigger_steps(
    found: MySQLState, wanted: Iterable[PlannedTrigger], rereads: Mapping[str, Sequence[RereadSteps]]
) -> list[Step]:
    """One step a table, all its triggers under one lock: nobody writes between an old trigger and its successor.

    First go those that sit on another table than they should (the tables were swapped by RENAME): a trigger's name is
    there once in a database, whatever its table.  ``rereads``: by the table whose triggers are replaced."""
    there = {trigger.name: trigger for trigger in found.own_triggers}
    want = {trigger.name: trigger for trigger in wanted}
    having = {trigger.table for trigger in there.values()}
    good = {
        name
        for name, trigger in there.items()
        if (same := want.get(name)) is not None
        and (trigger.table, trigger.timing, trigger.event) == (same.table, same.timing, same.event)
        and trigger.body.strip() == same.body.strip()
        and trigger.definer not in found.lost_definers
    }
    drops = [trigger for trigger in there.values() if trigger.name not in good]
    strays = [trigger for trigger in drops if trigger.name in want and trigger.table != want[trigger.name].table]
    creates = [trigger for trigger in want.values() if trigger.name not in good]
    names: dict[str, list[str]] = {}
    for each in creates:
        names.setdefault(each.table, []).append(each.name)
    moved = [(t.table, f"DROP TRIGGER IF EXISTS {quote(t.name)}") for t in strays]
    actions = [(t.table, f"DROP TRIGGER IF EXISTS {quote(t.name)}") for t in drops if t not in strays]
    actions += [(w.table, w.statement) for w in creates]
    dropped: dict[str, list[MySQLTrigger]] = {}
    for trigger in drops:
        dropped.setdefault(trigger.table, []).append(trigger)
    steps = [Step(f"remove triggers of {table}", table, tuple(statements)) for table, statements in _by_table(moved)]
    for table, statements in _by_table(actions):
        if all(s.startswith("DROP") for s in statements):  # without a lock: LOCK TABLES fails where the journal is lost
            steps.append(Step(f"remove triggers of {table}", table, tuple(statements), independent=True))
            continue
        # of shapes that nobody knows any more, so that no row with them can be read
        unreadable = {number for each in dropped.get(table, ()) for number in each.shape_ids} - found.shapes.keys()
        columns = ", ".join(quote(column.name) for column in found.tables[table].columns)
        steps.append(
            Step(
                f"create triggers of {table}",
                table,
                (
                    *(each.announcement for each in rereads.get(table, ())),
                    f"LOCK TABLES {quote(table)} WRITE",
                    # fails before anything is dropped when the table was altered since the plan was made: new triggers
                    # could not be created then, and the old ones not again
                    f"SELECT {columns} FROM {quote(table)} LIMIT 0",  # noqa: S608 - `quote` quotes all names
                    *statements,
                    "UNLOCK TABLES",
                    *(f"DELETE FROM {quote(JOURNAL)} WHERE `shape` = {number}" for number in sorted(unreadable)),  # noqa: S608 - JOURNAL is a constant, `number` an int
                    recorded(table, names[table]),
                    *(sql for each in rereads.get(table, ()) for sql in each.note),
                ),
                lost=table in rereads and table not in having,
                independent=True,
            )
        )
    return steps


def _by_table(actions: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    ordered = sorted(actions, key=itemgetter(0))
    return [(table, [sql for _, sql in group]) for table, group in groupby(ordered, key=itemgetter(0))]


def _reread_steps(
    found: MySQLState,
    targets: Mapping[str, CascadeTarget],
    dialect: Dialect,
    changes: Sequence[Step],
    unseen: Collection[str],
) -> list[Step]:
    """Return the steps for tables that were announced, or lose their journal, or of which changes were not seen, and
    whose triggers need no change."""
    wanted = {*found.rereads, *unseen, *(targets if found.journal_lost else ())} & targets.keys()
    noted = {sql for step in changes for sql in step.statements}
    rereads = {table: reread_of(targets[table], dialect) for table in sorted(wanted)}
    return [
        Step(f"have {table} read again", table, each.note)
        for table, each in rereads.items()
        if each.note[1] not in noted
    ]


def _record(tokens: Tokens, captures: str) -> str:
    """The statement that says what is captured.  ``captures``: as JSON."""
    return (
        f"INSERT INTO {quote(INSTALLATION)} VALUES (1, {VERSION}, {literal(tokens.value)}, {literal(captures)}) "  # noqa: S608 - `literal` quotes both texts
        "ON DUPLICATE KEY UPDATE `version` = VALUES(`version`), `tokens` = VALUES(`tokens`), "
        "`captures` = VALUES(`captures`)"
    )


def _notes(found: MySQLState, targets: dict[str, CascadeTarget]) -> list[str]:
    notes = []
    if found.tokens is Tokens.ROW_START:
        notes.append(
            "This MariaDB has no binlog, so transactions are told apart by InnoDB's transaction ids: MariaDB then adds "
            "about 150 bytes a captured transaction to mysql.transaction_registry, which TRUNCATE TABLE may empty."
        )
    looped = sorted({key.table for key in found.foreign_keys if key.table == key.parent} & set(targets))
    if looped and found.native_foreign_keys == "OFF":
        notes.append(
            f"This MySQL reads the triggers of tables that reference themselves ({', '.join(looped)}) again in every "
            "statement, about 1 ms; start it with innodb_native_foreign_keys = ON to avoid that."
        )
    references = by_parent(found.foreign_keys)
    crowded = [t for t in found.tables if len(delete_paths(t, references, targets)) >= MOST_PATHS]
    return notes + [
        f"Table {table} has too many chains of foreign keys: {MOST_PATHS} are followed." for table in crowded
    ]
