"""The probe: a table of ours with the triggers of a captured one, and the step that proves capture by it.  Pure."""

from __future__ import annotations

from dataclasses import dataclass

from cdc.capture.triggers.base import Step
from cdc.capture.triggers.mysql_render import CascadeTarget, Dialect, row_triggers, shape_of, statement
from cdc.capture.triggers.mysql_state import MySQLState
from cdc.database.mysql_connection import quote
from cdc.database.mysql_journal import PROBE, PROBE_SHAPE, Tokens
from cdc.database.mysql_tables import MySQLTable
from cdc.database.mysql_types import MySQLColumn
from cdc.model.column import Capture

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
    lost = any(trigger.definer in found.lost_definers for trigger in found.probe_triggers)
    if there == {trigger.name: trigger.body.strip() for trigger in wanted} and not lost:
        return []
    drop = [f"DROP TABLE {quote(PROBE)}"] if PROBE in found.own_objects else []
    statements = (*drop, statement("mysql/probe.sql"), *(trigger.statement for trigger in wanted))
    return [Step("create the probe", PROBE, statements)]


def proof(tokens: Tokens, *, cascades_only: bool, definer: str) -> Proof:
    return Proof("prove that changes are captured", PROBE, (), tokens, cascades_only, definer)
