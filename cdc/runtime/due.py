"""Rules by time for operators: what a day brings, and the doctor's check."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime

from cdc.capture.mysql_lookup import MySQLLookup
from cdc.capture.mysql_session import MySQLSession
from cdc.capture.pages import PageRequest, TablePage
from cdc.capture.postgres_lookup import PostgresLookup
from cdc.config import SourceConfig
from cdc.config.rules import catalogue, mapper_of, schedule_of
from cdc.database.sqlfile import load
from cdc.model.backfill import NOT_BY_API, Backfill
from cdc.model.change import DueDay, Existing, Operation, Row, RowChange, Transaction
from cdc.model.column import Capture, Table
from cdc.model.connection import ConnectionInfo, Engine
from cdc.model.errors import SourceError
from cdc.model.event import Event
from cdc.model.finding import Finding, Severity

#: Rows of a page that is searched.
_PAGE = 5000


async def due_rows(info: ConnectionInfo, capture: Capture, due: DueDay) -> tuple[Table, list[Row]]:
    """Return the table and its rows.  Raises `SourceError`."""
    read = _postgres if info.engine is Engine.POSTGRESQL else _mysql
    return await read(info, capture, due)


async def _postgres(info: ConnectionInfo, capture: Capture, due: DueDay) -> tuple[Table, list[Row]]:
    lookup = PostgresLookup(info, [capture])
    try:
        await lookup.connect()
        found = await lookup.link.query(load("postgres/read/find_table.sql"), [capture.table])
        if not found:
            raise _missing(capture)
        await lookup.use_schema(found[0][0])
        table = (await lookup.tables())[capture.table]

        async def page(request: PageRequest) -> TablePage:
            return (await lookup.read_page(request, "slot/page_marks.sql", {}))[0]

        return table, await _all(table, due, page)
    finally:
        await lookup.disconnect()


async def _mysql(info: ConnectionInfo, capture: Capture, due: DueDay) -> tuple[Table, list[Row]]:
    lookup, session = MySQLLookup({capture.table: capture.hidden}), MySQLSession(info)
    try:
        await session.connect(lambda _: None)
        found = (await session.run(lookup.tables)).get(capture.table)
        if found is None:
            raise _missing(capture)

        async def page(request: PageRequest) -> TablePage:
            return await session.run(lambda connection: lookup.page(connection, request, lambda: None)[0])

        return found.as_table, await _all(found.as_table, due, page)
    finally:
        await session.disconnect()


def _missing(capture: Capture) -> SourceError:
    return SourceError(f"The database has no table {capture.table} that its account may read.")


async def _all(table: Table, due: DueDay, page: Callable[[PageRequest], Awaitable[TablePage]]) -> list[Row]:
    rows: list[Row] = []
    after: Row | None = None
    job = Backfill("", "", table.name, "", datetime.min.replace(tzinfo=UTC), due=due)
    while True:
        found = await page(PageRequest(table, after, _PAGE, backfill=job))
        rows += found.rows
        if found.looked < _PAGE or found.last is None or not table.key:
            return rows
        after = {column: found.last[column] for column in table.key}


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
        transaction = Transaction(job, tuple(read), existing=Existing(job, due=due))
        events += mapper.batch(source.name, [transaction], {}).map().events
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
