"""More tables beside those that are captured, for MariaDB and MySQL.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cdc.capture.triggers.base import Plan, Step
from cdc.capture.triggers.mysql_plan import (
    RECORD,
    dialect_of,
    install_plan,
    left_to_install,
    parents_of,
    record,
    repair_plan,
    targets_of,
)
from cdc.capture.triggers.mysql_render import gap
from cdc.capture.triggers.mysql_state import Installation, MySQLState
from cdc.database.mysql_journal import captures_to_json
from cdc.model.column import Capture


def extend_plan(found: MySQLState, installation: Installation, more: Sequence[Capture]) -> Plan:
    """These tables too, and the triggers of their parents; the other tables' steps are left out.  A gap is noted for
    each, so that its rows are read.  Raises `InstallError`.

    What is captured is recorded first: a trigger that is missing then is mended as any lost one."""
    captured = {capture.table: capture for capture in installation.captures}
    new = [capture for capture in more if captured.get(capture.table) != capture]
    if not new:  # made again, perhaps
        return repair_plan(found, installation, [capture.table for capture in more])
    names = {capture.table for capture in new}
    every = captured | {capture.table: capture for capture in new}
    there = [capture for table, capture in every.items() if table in found.tables or table in names]
    plan = install_plan(found, there, cascades_only=installation.cascades_only)
    wanted = {"", *names, *parents_of(found, set(every), names)}
    first = Step(RECORD, "", (record(found.tokens, captures_to_json(list(every.values()))),))
    kept = [step for step in plan.steps if step.table in wanted and step.title not in left_to_install(found)]
    if not installation.cascades_only:
        targets, dialect = targets_of(found, there), dialect_of(found, cascades_only=False)
        kept.append(Step("have them read", "", tuple(gap(targets[table], dialect) for table in sorted(names))))
    return replace(plan, steps=(first, *kept), notes=())
