"""Rules by time for operators: what a day brings, and the doctor's check."""

from __future__ import annotations

from datetime import date, datetime

from cdc.capture.due_rows import due_rows
from cdc.config import SourceConfig
from cdc.config.rules import catalogue, mapper_of, schedule_of
from cdc.mapping.facts import NO_FACTS
from cdc.mapping.merge import merged
from cdc.model.change import Existing, Operation, RowChange, Transaction
from cdc.model.due import NOT_BY_API
from cdc.model.event import Event
from cdc.model.finding import Finding, Severity


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
