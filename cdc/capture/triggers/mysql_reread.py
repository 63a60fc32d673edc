"""Tables of MariaDB and MySQL that must be read again, because triggers that are replaced may have missed a change.

Pure.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import orjson

from cdc.capture.triggers.mysql_render import CascadeTarget, Dialect, WantedTrigger, gap, statement
from cdc.capture.triggers.mysql_state import MySQLState, MySQLTrigger, shape_ids
from cdc.database.mysql_connection import Flavour, literal, quote
from cdc.database.mysql_journal import INSTALLATION, MADE_ROW, MADE_ROWS, REREAD_ROW, VERSION, JournalShape
from cdc.database.mysql_types import MySQLColumn, same, value
from cdc.model.column import Column


def missed(
    found: MySQLState, targets: Mapping[str, CascadeTarget], wanted: Iterable[WantedTrigger], dialect: Dialect
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
            if (
                known is None
                or known.table != trigger.table
                or _may_have_missed(found, known, targets[table], dialect.flavour)
            ):
                again.setdefault(trigger.table, set()).add(table)
    return again


def _may_have_missed(found: MySQLState, old: MySQLTrigger, target: CascadeTarget, flavour: Flavour) -> bool:
    """Return whether changes of the target were not recorded, or without something, by the trigger that is there
    now."""
    shapes = (found.shapes.get(number) for number in old.shape_ids)
    shape = next((shape for shape in shapes if shape is not None and shape.table == target.shape.table), None)
    return shape is None or _differs(shape, target.shape, flavour)


def _differs(old: JournalShape, new: JournalShape, flavour: Flavour) -> bool:
    """A longer text, or a column that is secret now, loses nothing."""
    before, after = ({column.name: column for column in shape.columns} for shape in (old, new))
    names = (before.keys() | set(old.secrets), after.keys() | set(new.secrets))
    common = before.keys() & after.keys()
    return (
        old.key != new.key
        or names[0] != names[1]
        or any(_written(before[name], flavour) != _written(after[name], flavour) for name in common)
    )


def _written(column: Column, flavour: Flavour) -> tuple[str, str, str]:
    """Return how triggers write and compare the column's values."""
    known = MySQLColumn.recorded(column)
    return column.kind, value(known, "x"), same(known, flavour, "x", "y")


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


def watched(trigger: MySQLTrigger, targets: Mapping[str, CascadeTarget]) -> set[str]:
    """Return the captured tables whose changes a trigger journals."""
    return {
        table for table, target in targets.items() if table == trigger.table or target.shape_id in trigger.shape_ids
    }


def _path(table: str) -> str:
    """Return the path of the table's member in a JSON object."""
    return literal("$." + orjson.dumps(table).decode())


def unknown_shapes(found: MySQLState, triggers: Iterable[MySQLTrigger]) -> set[int]:
    """Shapes that these triggers write and that nobody knows any more, so that no row with them can be read."""
    return {number for each in triggers for number in each.shape_ids} - found.shapes.keys()
