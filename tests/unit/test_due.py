"""What is due beside the changes of a source: the order of rules and days, failures, and rows that change."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from cdc.backfilling import RETRY, Backfilling, DueRecords
from cdc.capture.pages import PageReader, PageRequest, TablePage
from cdc.mapping.catalogue import load_catalogue
from cdc.mapping.mapper import Mapper
from cdc.model.backfill import Backfill, DailyRule, Schedule, state_after
from cdc.model.change import BackfillStep, Operation, Position, Row, RowChange, Transaction
from cdc.model.column import Table
from cdc.model.endpoint import Endpoint
from cdc.model.event import Event
from support.manual_clock import START, ManualClock
from support.memory_outbox import MemoryOutbox
from support.outboxes import at

RULES = (
    DailyRule("receipt.due", "recibospagoscli", "vencimiento", (-7, 0)),
    DailyRule("estimate.expiring", "presupuestoscli", "finoferta", (-1,)),
)
TABLE = Table("recibospagoscli", (), ("idrecibo",))
#: The clock's start is 22:48 in Madrid.
DAY = date(2026, 11, 24)
MAPPER = Mapper(load_catalogue("[[event]]\nentity = 'receipt'\nname = 'due'\ndays = [-7, 0]"))


def made(rules: tuple[DailyRule, ...] = RULES) -> tuple[MemoryOutbox, ManualClock, DueRecords]:
    outbox, clock = MemoryOutbox(), ManualClock()
    schedule = Schedule(rules, time(6), ZoneInfo("Europe/Madrid"))
    return outbox, clock, DueRecords(Backfilling(outbox, "main", clock), outbox, "main", schedule, clock)


async def asked(records: DueRecords) -> Backfill:
    found = await records.next()
    assert found is not None
    return found[0]


async def done(outbox: MemoryOutbox, job: Backfill, after: Row | None = None) -> None:
    """A page is stored; the last one, unless it is ``after`` a key."""
    states = state_after(BackfillStep(job.id, 1, after, after is None, job.due), await outbox.states("main"))
    await outbox.store("main", Position("p"), [], states, at(9))


async def test_each_rule_is_worked_through_once_a_day() -> None:
    outbox, clock, records = made()
    first = await asked(records)
    assert (first.id, first.table) == ("due/receipt.due/2026-11-24", "recibospagoscli")
    await done(outbox, first, {"idrecibo": 5})
    again = await asked(records)
    assert (again.id, again.after) == (first.id, {"idrecibo": 5})
    await done(outbox, again)
    second = await asked(records)
    assert second.id == "due/estimate.expiring/2026-11-24"
    await done(outbox, second)
    assert await records.next() is None
    assert records.rest() <= 1.0  # the backfills'
    clock.advance((datetime(2026, 11, 25, 5, tzinfo=START.tzinfo) - clock.now()).total_seconds() - 1)
    assert await records.next() is None
    clock.advance(1)
    assert (await asked(records)).id == "due/receipt.due/2026-11-25"


async def test_days_that_were_missed_come_first_and_the_oldest_of_a_long_time_never() -> None:
    outbox, clock, records = made(RULES[:1])
    await done(outbox, await asked(records))
    clock.advance(timedelta(days=10).total_seconds())
    days = []
    while (found := await records.next()) is not None:
        assert found[0].due is not None
        days.append(found[0].due.day)
        await done(outbox, found[0])
    assert days == [DAY + timedelta(days=number) for number in range(4, 11)]


async def test_nothing_is_asked_between_two_days() -> None:
    outbox, clock, records = made(RULES[:1])
    await done(outbox, await asked(records))
    assert await records.next() is None
    outbox.states = None  # type: ignore[method-assign, assignment]  # a call would fail
    for _ in range(10):
        clock.advance(60)
        assert await records.next() is None


async def days_read(outbox: MemoryOutbox, records: DueRecords) -> list[int]:
    """The days of the month that are read now."""
    found = []
    while (job := await records.next()) is not None:
        assert job[0].due is not None
        found += [job[0].due.day.day] if job[0].due.days else []
        await done(outbox, job[0])
    return found


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("ahead", [1, 2, 20, 400])
async def test_days_come_in_their_turn_after_the_clock_was_ahead(ahead: int, *, restarted: bool) -> None:
    outbox, clock, records = made(RULES[:1])
    assert await days_read(outbox, records) == [24]
    clock.set_wall(ahead * 86_400)
    await days_read(outbox, records)
    clock.set_wall(-ahead * 86_400)
    if restarted:
        records = DueRecords(records._backfills, outbox, "main", records._schedule, clock)
    assert await days_read(outbox, records) == []
    for day in (25, 26, 27):
        clock.advance(86_400)
        assert await days_read(outbox, records) == [day]
        assert await days_read(outbox, records) == []


async def test_clock_that_is_back_for_a_moment_loses_no_day() -> None:
    outbox, clock, records = made(RULES[:1])
    await days_read(outbox, records)
    for back in (1, 9000):
        clock.set_wall(-back * 86_400)
        await days_read(outbox, records)
        clock.set_wall(back * 86_400)
        await days_read(outbox, records)
        clock.advance(86_400)
        assert (await days_read(outbox, records))[-1:] == [clock.now().day]


async def test_a_rule_that_fails_holds_up_no_other_and_is_tried_again() -> None:
    outbox, clock, records = made()
    first = await asked(records)
    await records.fail(first.id, "The table has no such column.")
    second = await asked(records)
    assert second.due is not None
    assert second.due.event == "estimate.expiring"
    await done(outbox, second)
    assert await records.next() is None
    clock.advance(RETRY)
    assert (await asked(records)).id == first.id


async def test_backfills_follow_what_is_due() -> None:
    outbox, _, records = made(RULES[:1])
    await outbox.add_backfill(Backfill("bf_1", "main", "facturascli", "cli:root", at(1)))
    first = await asked(records)
    assert first.due is not None
    await done(outbox, first)
    assert (await asked(records)).id == "bf_1"
    await records.fail("bf_1", "It cannot be read.")
    (failed,) = await outbox.backfills(10)
    assert failed.error == "It cannot be read."


def row(number: int, **values: bool | str | None) -> Row:
    return {"idrecibo": number, "pagado": False, "vencimiento": "2026-12-01", **values}


def transaction(before: Row, after: Row) -> Transaction:
    key = {"idrecibo": after["idrecibo"]}
    return Transaction("t1", (RowChange(Operation.UPDATE, "recibospagoscli", key, before, after, START, 1),))


async def page_of(rows: list[Row], *changes: Transaction) -> list[Event]:
    """The events of a page of which the stream changes rows before it is emitted."""
    _, clock, records = made(RULES[:1])
    reader = PageReader("main", 10, timedelta(minutes=1), clock)
    reader.use(records)

    async def page() -> TablePage:
        return TablePage(rows, rows[-1], len(rows))

    wanted = await reader.next_request((), {"recibospagoscli": TABLE})
    assert isinstance(wanted, PageRequest)
    read: Callable[[], Awaitable[TablePage]] = page
    assert await reader.read(wanted, read)
    reader.follow(changes)
    emitted = reader.emit(())
    assert emitted.step is not None
    assert emitted.step.finished
    return MAPPER.batch("main", emitted.transactions, {}).map().events


async def test_an_event_by_time_has_its_days_and_an_id_of_record_rule_and_day() -> None:
    (event, today) = await page_of([row(1), row(2, vencimiento="2026-11-24")])
    assert (event.name, event.days, today.days) == ("receipt.due", -7, 0)
    assert event.transaction == "due/receipt.due/2026-11-24"
    assert event.id == "evt_d3da769632b06b30a0b55e691b62f107"
    assert event.previous is None


async def test_a_receipt_is_not_due_once_its_payment_was_seen() -> None:
    assert await page_of([row(1, pagado=True)]) == []
    assert await page_of([row(1)], transaction(row(1), row(1, pagado=True))) == []
    assert await page_of([row(1)], transaction(row(1), row(1, vencimiento="2026-12-09"))) == []
    (event,) = await page_of([row(1)], transaction(row(1), row(1, vencimiento="2026-11-24")))
    assert event.days == 0


@pytest.mark.parametrize(("filters", "wanted"), [("days == -7", True), ("days < -7", False), ("days <= 0", True)])
async def test_filters_know_the_days(filters: str, wanted: bool) -> None:
    (event,) = await page_of([row(1)])
    endpoint = Endpoint("ep_1", "https://example.com", ("receipt.*",), "whsec_c2VjcmV0", at(1), condition=filters)
    outbox = MemoryOutbox()
    await outbox.add_endpoint(endpoint)
    stored = await outbox.store("main", Position("p"), [event, event._replace(id="evt_2", days=None)], {}, at(9))
    assert stored.deliveries == (1 if wanted else 0)
