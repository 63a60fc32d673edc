"""Rules by time for operators: how far each is, and what a day brings."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import NamedTuple

from cdc.capture.due_rows import due_rows
from cdc.config import SourceConfig
from cdc.config.rules import catalogue, mapper_of, schedule_of
from cdc.mapping.facts import NO_FACTS
from cdc.mapping.merge import merged
from cdc.model.change import Existing, Operation, RowChange, Transaction
from cdc.model.due import NOT_BY_API, progress
from cdc.model.event import Event
from cdc.model.finding import Finding, Severity


class DueStatus(NamedTuple):
    """``complete``: the last day that is complete; empty: none yet.  ``next``: when the next day begins, UTC.
    ``problem``: why the rule is off all the same."""

    source: str
    event: str
    column: str
    days: tuple[int, ...]
    complete: str
    next: datetime
    problem: str


def described(source: SourceConfig, states: Mapping[str, str], now: datetime) -> list[DueStatus]:
    """``states``: the source's.  Raises `ConfigError`."""
    schedule = schedule_of(source)
    if schedule is None:
        return []
    found = []
    for rule in schedule.rules:
        complete = progress(states, rule.event, schedule.today(now)).done
        problem = NOT_BY_API if source.capture == "rest" else ""
        shown = "" if complete is None else complete.isoformat()
        column = f"{rule.table}.{rule.column}"
        found.append(DueStatus(source.name, rule.event, column, rule.days, shown, schedule.next(now), problem))
    return found


async def preview(source: SourceConfig, day: date, now: datetime) -> list[Event]:
    """Return the events of a day as the database is now, without the included rows.  Raises `CdcError`."""
    schedule, mapper, events = schedule_of(source), mapper_of(source), list[Event]()
    for rule in () if schedule is None else schedule.rules:
        due = rule.on(day)
        table, rows = await due_rows(source.connection(), catalogue(source).capture_of(rule.table), due)
        read = [
            RowChange(Operation.READ, table.name, {name: row[name] for name in table.key}, None, row, now, number)
            for number, row in enumerate(rows)
        ]
        job = f"due/{rule.event}/{day}"
        transactions = merged([Transaction(job, tuple(read), existing=Existing(job, due=due))])
        events += mapper.map_batch(source.name, transactions, NO_FACTS, {}).events
    return events


def due_findings(source: SourceConfig) -> list[Finding]:
    """Return the doctor's check; none where no rule by time is on."""
    schedule = schedule_of(source)
    if schedule is None:
        return []
    if source.capture == "rest":
        return [
            Finding(
                "events by time",
                Severity.WRONG,
                NOT_BY_API,
                'Remove `days` from its rules, or use capture = "triggers".',
            )
        ]
    names, at, zone = ", ".join(rule.event for rule in schedule.rules), f"{schedule.at:%H:%M}", str(schedule.zone)
    if catalogue(source).due_zone or source.timezone():
        return [Finding("events by time", Severity.OK, f"{names}: each day at {at}, {zone}")]
    detail = f"{names}: each day at {at}, {zone}, because the time zone of FacturaScripts is not known."
    fix = 'timezone = "Europe/Madrid" under [due] of the rules'
    return [Finding("events by time", Severity.WARNING, detail, fix)]
