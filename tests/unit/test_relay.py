"""The relay: a position is acknowledged only after the outbox holds it, and failures on either side lose nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest

from cdc.capture.base import NO_BACKFILLS, SourceBackfills
from cdc.mapping.catalogue import load_catalogue
from cdc.mapping.mapper import Mapper
from cdc.model.change import Batch, Departure, Gap, Operation, Position, Row, RowChange, Stage, Transaction, Value
from cdc.model.clock import SystemClock
from cdc.model.column import Table
from cdc.model.delivery import LeasedDelivery
from cdc.model.endpoint import Endpoint
from cdc.model.errors import CdcError, OutboxError, OutboxRefused, RowUnreadable, SourceUnavailable
from cdc.model.event import Event
from cdc.model.observer import Observer
from cdc.outbox.base import HandOver
from cdc.relay import Relay, nobody
from support.memory_outbox import MemoryOutbox
from support.waiting import HANG_SECONDS

MOMENT = datetime(2026, 11, 24, 21, 48, tzinfo=UTC)


class QuickClock(SystemClock):
    """Pauses pass at once; what would have been waited is noted."""

    def __init__(self) -> None:
        self.pauses: list[float | None] = []
        self.passed = 0.0

    def monotonic(self) -> float:
        return self.passed

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        self.pauses.append(seconds)
        await asyncio.sleep(0)
        return event.is_set()


@dataclass
class ListedSource:
    """Gives ``batches`` from behind the position on, then waits; fails once before each number in ``failures``."""

    batches_: list[Batch]
    failures: set[int] = field(default_factory=set)
    opened_at: list[Position | None] = field(default_factory=list)
    acknowledged: list[Position] = field(default_factory=list)
    all_acknowledged: asyncio.Event = field(default_factory=asyncio.Event)
    closed: int = 0
    name: str = "main"

    async def open(self, position: Position | None) -> None:
        self.opened_at.append(position)

    async def begin(self) -> Batch | None:
        return None

    async def batches(self, backfills: SourceBackfills = NO_BACKFILLS) -> AsyncIterator[Batch]:
        stored = self.opened_at[-1]
        for number in range(0 if stored is None else int(stored) + 1, len(self.batches_)):
            if number in self.failures:
                self.failures.discard(number)
                raise SourceUnavailable("The database went away.")
            yield self.batches_[number]
        await asyncio.Event().wait()

    async def acknowledge(self, position: Position) -> None:
        self.acknowledged.append(position)
        if len(self.acknowledged) == len(self.batches_):
            self.all_acknowledged.set()

    async def close(self) -> None:
        self.closed += 1

    async def tables(self) -> dict[str, Table]:
        return {}

    async def rows(self, table: str, column: str, values: Sequence[Value]) -> list[Row]:
        return []

    async def all_rows(self, table: str) -> list[Row]:
        return []

    async def site_url(self) -> str:
        return ""


class FailingOutbox(MemoryOutbox):
    """Refuses the first ``failures`` calls of `store`, as a full disk would."""

    failures = 0

    async def store(self, *arguments: Any, **named: Any) -> Any:
        if self.failures:
            self.failures -= 1
            raise OutboxError("The disk is full.")
        return await super().store(*arguments, **named)


def batch(number: int) -> Batch:
    image: Row = {"codcliente": str(number), "nombre": "x"}
    change = RowChange(Operation.CREATE, "clientes", {"codcliente": str(number)}, None, image, MOMENT, 1)
    return Batch((Transaction(f"t{number}", (change,)),), Position(str(number)))


async def outbox() -> FailingOutbox:
    store = FailingOutbox()
    await store.open()
    await store.add_endpoint(Endpoint("ep_1", "https://example.com", ("*",), "whsec_c2VjcmV0", MOMENT))
    return store


async def relay_all(source: ListedSource, store: FailingOutbox) -> tuple[int, QuickClock]:
    """Until every batch is acknowledged; how often dispatch was woken."""
    clock = QuickClock()
    woken = 0

    async def stored() -> None:
        nonlocal woken
        woken += 1

    stop = asyncio.Event()
    running = asyncio.create_task(Relay(source, Mapper(load_catalogue()), store, clock, stored).run(stop))
    async with asyncio.timeout(HANG_SECONDS):
        await source.all_acknowledged.wait()
        stop.set()
        await running
    return woken, clock


async def names(store: MemoryOutbox) -> list[str]:
    return [event.record for event in await store.events(100, after=0)]


async def test_what_the_store_leased_is_handed_over_and_wakes_nobody() -> None:
    source, store = ListedSource([batch(1), batch(2)]), await outbox()
    taken: list[LeasedDelivery] = []
    offers = iter([HandOver("w", MOMENT, (), 1, taken.extend), None])
    woken = 0

    async def stored() -> None:
        nonlocal woken
        woken += 1

    stop = asyncio.Event()
    relay = Relay(source, Mapper(load_catalogue()), store, QuickClock(), stored, hand_over=lambda _: next(offers))
    running = asyncio.create_task(relay.run(stop))
    async with asyncio.timeout(HANG_SECONDS):
        await source.all_acknowledged.wait()
        stop.set()
        await running
    assert [each.record for each in taken] == ["clientes:1"]
    assert woken == 1  # for the second


async def test_batches_are_stored_then_acknowledged_and_dispatch_is_woken() -> None:
    store = await outbox()
    source = ListedSource([batch(0), batch(1)])
    woken, _ = await relay_all(source, store)
    assert await names(store) == ["clientes:0", "clientes:1"]
    assert source.acknowledged == ["0", "1"]
    assert await store.position("main") == "1"
    assert woken == 2
    assert source.closed == 1


async def test_dispatch_goes_first() -> None:
    """What is left to do about a stored batch waits until its deliveries are on their way."""
    source, handed_over, stop = ListedSource([batch(0)]), asyncio.Event(), asyncio.Event()
    asked = asyncio.Event()

    async def stored() -> None:
        asked.set()
        await handed_over.wait()

    relay = Relay(source, Mapper(load_catalogue()), await outbox(), QuickClock(), stored)
    running = asyncio.create_task(relay.run(stop))
    async with asyncio.timeout(HANG_SECONDS):
        await asked.wait()
        await asyncio.sleep(0.02)
        assert source.acknowledged == []
        handed_over.set()
        await source.all_acknowledged.wait()
        stop.set()
        await running


async def test_a_failing_source_is_opened_again_behind_what_is_stored() -> None:
    store = await outbox()
    source = ListedSource([batch(0), batch(1), batch(2)], failures={1, 2})
    _, clock = await relay_all(source, store)
    assert source.opened_at == [None, "0", "1"]
    assert await names(store) == ["clientes:0", "clientes:1", "clientes:2"]
    assert [pause for pause in clock.pauses if pause is not None and pause <= 0.5]  # progress resets the backoff


@pytest.mark.parametrize(("works", "longest"), [(61.0, 0.5), (1.0, 30.0)])
async def test_backoff_begins_again_after_a_minute_without_failure(works: float, longest: float) -> None:
    """Also for a source that had nothing to store."""
    clock, stop = QuickClock(), asyncio.Event()

    class Failing(ListedSource):
        async def open(self, position: Position | None) -> None:
            await super().open(position)
            clock.passed += works
            if len(self.opened_at) == 10:
                stop.set()
            raise SourceUnavailable("The database went away.")

    async with asyncio.timeout(HANG_SECONDS):
        await Relay(Failing([]), Mapper(load_catalogue()), await outbox(), clock, nobody).run(stop)
    assert longest * 0.75 <= max(pause for pause in clock.pauses if pause is not None) <= longest


async def test_a_failing_outbox_is_tried_again_with_the_same_events() -> None:
    store = await outbox()
    store.failures = 3
    source = ListedSource([batch(0), batch(1)])
    _, clock = await relay_all(source, store)
    assert await names(store) == ["clientes:0", "clientes:1"]
    assert source.opened_at == [None]
    pauses = [pause for pause in clock.pauses if pause is not None]
    assert len(pauses) == 3
    assert pauses[0] < pauses[2]


async def test_an_outbox_that_cannot_tell_the_position_is_asked_again() -> None:
    class Unreadable(FailingOutbox):
        refusals = 2

        async def position(self, source: str) -> Position | None:
            if self.refusals:
                self.refusals -= 1
                raise OutboxError("The file is locked.")
            return await super().position(source)

    store = Unreadable()
    await store.open()
    source = ListedSource([batch(0)])
    await relay_all(source, store)
    assert await names(store) == ["clientes:0"]


async def test_a_source_that_is_being_moved_is_read_once_it_has_arrived() -> None:
    class Arriving(FailingOutbox):
        marks: ClassVar = [Departure("m", stage, "elsewhere").dump() for stage in Stage]

        async def position(self, source: str) -> Position | None:
            return self.marks.pop() if self.marks else await super().position(source)

    store = Arriving()
    await store.open()
    source = ListedSource([batch(0)])
    await relay_all(source, store)
    assert source.opened_at == [None]
    assert await names(store) == ["clientes:0"]


async def test_it_stops_while_it_waits() -> None:
    source = ListedSource([])
    stop = asyncio.Event()
    running = asyncio.create_task(
        Relay(source, Mapper(load_catalogue()), await outbox(), QuickClock(), nobody).run(stop)
    )
    await asyncio.sleep(0)
    stop.set()
    async with asyncio.timeout(HANG_SECONDS):
        await running
    assert source.closed == 1


async def test_it_reports_what_happens() -> None:
    """In order: opened, failed, opened again, an outbox that refuses, what was stored."""

    class Told(Observer):
        def __init__(self) -> None:
            self.lines: list[tuple[Any, ...]] = []

        def opening(self, source: str) -> None:
            self.lines.append(("opening", source))

        def reading(self, source: str, position: Position | None) -> None:
            self.lines.append(("reading", source, position))

        def source_failed(self, source: str, error: CdcError) -> None:
            self.lines.append(("failed", source, error.message))

        def outbox_failed(self, user: str, error: CdcError) -> None:
            self.lines.append(("outbox", user, error.message))

        def stored(self, source: str, batch: Batch, events: Sequence[Event], new: int) -> None:
            self.lines.append(("stored", source, batch.position, [event.record for event in events], new))

    store, told, stop = await outbox(), Told(), asyncio.Event()
    store.failures = 1
    source = ListedSource([batch(0), batch(1)], failures={1})
    relay = Relay(source, Mapper(load_catalogue()), store, QuickClock(), nobody, told)
    running = asyncio.create_task(relay.run(stop))
    async with asyncio.timeout(HANG_SECONDS):
        await source.all_acknowledged.wait()
        stop.set()
        await running
    assert told.lines == [
        ("opening", "main"),
        ("reading", "main", None),
        ("outbox", "main", "The disk is full."),
        ("stored", "main", "0", ["clientes:0"], 1),
        ("failed", "main", "The database went away."),
        ("opening", "main"),
        ("reading", "main", "0"),
        ("stored", "main", "1", ["clientes:1"], 1),
    ]


@dataclass
class FreshSource(ListedSource):
    """Begins at 0 where nothing is stored."""

    async def begin(self) -> Batch | None:
        return Batch((), Position("0")) if self.opened_at[-1] is None else None


async def test_source_is_reading_once_its_first_position_is_stored() -> None:
    store, stop, lines = await outbox(), asyncio.Event(), list[tuple[str, Position | None]]()
    store.failures = 1

    class Stopping(Observer):
        def stored(self, source: str, batch: Batch, events: Sequence[Event], new: int) -> None:
            lines.append(("stored", batch.position))

        def reading(self, source: str, position: Position | None) -> None:
            lines.append(("reading", position))
            stop.set()

    source = FreshSource([batch(0), batch(1)])
    async with asyncio.timeout(60):
        await Relay(source, Mapper(load_catalogue()), store, QuickClock(), nobody, Stopping()).run(stop)
    assert lines[:2] == [("stored", "0"), ("reading", "0")]
    assert source.acknowledged[0] == "0"


@dataclass
class StandbySource(ListedSource):
    """While the first `open` waits, the consumer before stores two batches; the others are waited for."""

    store: MemoryOutbox = field(default_factory=MemoryOutbox)

    async def open(self, position: Position | None) -> None:
        if not self.opened_at:
            await self.store.store("main", Position("1"), [], {}, MOMENT)
        await super().open(position)

    async def acknowledge(self, position: Position) -> None:
        await super().acknowledge(position)
        if position == str(len(self.batches_) - 1):
            self.all_acknowledged.set()


async def test_a_standby_goes_on_where_the_one_before_it_stood_at_last() -> None:
    store = await outbox()
    source = StandbySource([batch(number) for number in range(4)], store=store)
    stop = asyncio.Event()
    relay = Relay(source, Mapper(load_catalogue()), store, QuickClock(), nobody, Observer())
    running = asyncio.create_task(relay.run(stop))
    async with asyncio.timeout(HANG_SECONDS):
        await source.all_acknowledged.wait()
    stop.set()
    await running
    assert source.opened_at == [None, Position("1")]
    assert source.acknowledged == [Position("2"), Position("3")]


def gapped(number: int, *gaps: Gap) -> Batch:
    return replace(batch(number), gaps=gaps)


async def told(store: MemoryOutbox) -> list[tuple[str, str]]:
    """Table and operation of each gap that was announced."""
    found = await store.events(100, after=0, pattern="source.gap")
    return [(event.payload["data"]["table"], event.payload["data"]["operation"]) for event in found]


async def test_a_gap_is_announced_in_the_write_that_stores_its_batch() -> None:
    store = await outbox()
    await store.add_endpoint(Endpoint("ep_ops", "https://ops.example.com", ("source.gap",), "whsec_c2VjcmV0", MOMENT))
    store.failures = 1
    batches = [
        Batch((), Position("0"), (Gap("productos", Operation.UPDATE, MOMENT),)),
        gapped(1, Gap("clientes", Operation.READ, MOMENT), Gap("clientes", Operation.READ, MOMENT)),
    ]
    await relay_all(ListedSource(batches), store)
    assert await told(store) == [("productos", "update"), ("clientes", "read")]
    assert await names(store) == ["source:main", "clientes:1", "source:main"]
    due = await store.lease("w", MOMENT + timedelta(days=9999), MOMENT + timedelta(days=9999), 10, {"ep_1": 0})
    assert [(one.endpoint_id, one.event_name) for one in due] == [
        ("ep_ops", "source.gap")
    ]  # in the order of the source


async def test_gaps_of_a_table_are_announced_once_an_hour() -> None:
    """A trigger that nobody mends leaves one with each write."""
    store = await outbox()
    minutes = (0, 5, 11, 12, 71, 72)
    moments = [MOMENT + timedelta(minutes=minute) for minute in minutes]  # 21:48 … 23:00
    gaps = [Gap("clientes", Operation.UPDATE, moment) for moment in moments]
    await relay_all(ListedSource([gapped(number, gap) for number, gap in enumerate(gaps)]), store)
    found = await store.events(100, after=0, pattern="source.gap")
    assert [event.time for event in found] == [moments[0], moments[3], moments[5]]


@dataclass
class Role(ListedSource):
    """Each batch saves one permission of a role with one member."""

    async def all_rows(self, table: str) -> list[Row]:
        return [{"id": 1, "codrole": "ventas", "nick": "lola"}] if table == "roles_users" else []


def permission(number: int) -> Batch:
    row: Row = {"id": number, "codrole": "ventas"}
    change = RowChange(Operation.CREATE, "roles_access", {"id": number}, None, row, MOMENT, 1)
    return Batch((Transaction(f"t{number}", (change,)),), Position(str(number)))


async def _relayed(source: ListedSource, store: FailingOutbox, enough: int) -> None:
    """Until the outbox holds so many events."""
    stop, arrived = asyncio.Event(), asyncio.Event()

    async def stored() -> None:
        if len(await names(store)) >= enough:
            arrived.set()

    running = asyncio.create_task(Relay(source, Mapper(load_catalogue()), store, QuickClock(), stored).run(stop))
    async with asyncio.timeout(HANG_SECONDS):
        await arrived.wait()
        stop.set()
        await running


async def test_held_events_are_released_when_nothing_more_comes() -> None:
    store, source = await outbox(), Role([permission(0), permission(1), permission(2)])
    await _relayed(source, store, 1)
    (event,) = await store.events(100, after=0)
    assert (event.record, len(event.payload["data"]["changes"])) == ("users:lola", 3)
    assert await store.position("main") == "2"
    assert (await store.states("main")).keys() == {"members"}


async def test_held_events_survive_a_stop() -> None:
    """The next consumer continues the burst, with the same id as one that was never stopped."""
    store, source, whole = await outbox(), Role([permission(0), permission(1)]), await outbox()
    await relay_all(Role([permission(0)]), store)
    assert await names(store) == []
    await _relayed(source, store, 1)
    assert source.opened_at == ["0"]
    await _relayed(Role([permission(0), permission(1)]), whole, 1)
    assert [event.id for event in await store.events(100, after=0)] == [
        event.id for event in await whole.events(100, after=0)
    ]


@dataclass
class BreakingSource(ListedSource):
    """Its second batch meets what nobody foresaw, twice."""

    left: int = 2

    async def batches(self, backfills: SourceBackfills = NO_BACKFILLS) -> AsyncIterator[Batch]:
        async for each in super().batches(backfills):
            if each.position == "1" and self.left:
                self.left -= 1
                raise RecursionError("nested 1,020 levels: a value of the row")
            yield each


async def test_what_nobody_foresaw_is_the_sources_failure_and_tried_again() -> None:
    class Failures(Observer):
        def __init__(self) -> None:
            self.errors: list[CdcError] = []

        def source_failed(self, source: str, error: CdcError) -> None:
            self.errors.append(error)

    store, failures, stop = await outbox(), Failures(), asyncio.Event()
    source = BreakingSource([batch(0), batch(1)])
    relay = Relay(source, Mapper(load_catalogue()), store, QuickClock(), nobody, failures)
    running = asyncio.create_task(relay.run(stop))
    async with asyncio.timeout(HANG_SECONDS):
        await source.all_acknowledged.wait()
        stop.set()
        await running
    assert [event.record for event in await store.events(10)] == ["clientes:0", "clientes:1"]
    assert [str(error).split(" in ")[0] for error in failures.errors] == ["Unexpected RecursionError"] * 2
    assert source.closed == 3


@dataclass
class ReadingSource(ListedSource):
    """Says in which order reading ended and the source was closed."""

    order: list[str] = field(default_factory=list)
    reading: asyncio.Event = field(default_factory=asyncio.Event)

    async def batches(self, backfills: SourceBackfills = NO_BACKFILLS) -> AsyncIterator[Batch]:
        try:
            self.reading.set()
            await asyncio.Event().wait()
            yield batch(0)
        finally:
            await asyncio.sleep(0.01)  # it takes a moment to let go
            self.order.append("reading ended")

    async def close(self) -> None:
        self.order.append("closed")


async def test_cancelled_from_outside_it_closes_when_reading_has_ended() -> None:
    source = ReadingSource([])
    relay = Relay(source, Mapper(load_catalogue()), await outbox(), QuickClock(), nobody, Observer())
    running = asyncio.create_task(relay.run(asyncio.Event()))
    await source.reading.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert source.order == ["reading ended", "closed"]


class Hostile(Mapping[str, Value]):
    """An image whose values raise."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getitem__(self, column: str) -> Value:
        raise type(self.error)(str(self.error))  # a new one: tracebacks of the same one grow each time it is logged

    def __iter__(self) -> Iterator[str]:
        raise type(self.error)(str(self.error))

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize("error", [RecursionError("a secret of the row"), RowUnreadable("3 values instead of 4.")])
async def test_row_that_breaks_mapping_off_is_left_out_and_the_others_arrive(error: Exception) -> None:
    store, clock, stop = await outbox(), QuickClock(), asyncio.Event()
    (good,) = batch(0).transactions[0].changes
    (other,) = batch(2).transactions[0].changes
    evil = good._replace(key={"codcliente": "1"}, after=Hostile(error), ordinal=2)
    mixed = Batch((Transaction("t", (good, evil)), Transaction("u", (other,))), Position("0"))
    source = ListedSource([mixed])
    running = asyncio.create_task(Relay(source, Mapper(load_catalogue()), store, clock, nobody).run(stop))
    async with asyncio.timeout(HANG_SECONDS):
        await source.all_acknowledged.wait()
        stop.set()
        await running
    assert sorted(await names(store)) == ["clientes:0", "clientes:2", "source:main"]
    (gap,) = await store.events(100, after=0, pattern="source.gap")
    data = gap.payload["data"]
    assert (data["table"], data["operation"]) == ("clientes", "create")
    assert data["message"].startswith("A change (create) of the table clientes, codcliente 1, was skipped")
    assert "secret" not in data["message"]
    (kept,) = await store.quarantined(10)
    assert f"`cdc quarantine reread {kept.id}`" in data["message"]
    assert (kept.source, kept.table, kept.key, kept.token) == ("main", "clientes", {"codcliente": "1"}, "t")
    assert source.closed == 4, "three tries, then it is looked for"


class FailingMapper(Mapper):
    """Raises ``error`` as often as ``left`` says."""

    error: type[Exception]
    left = 5  # three tries, then the transaction and its only change alone

    def batch(self, *arguments: Any, **named: Any) -> Any:
        if self.left:
            self.left -= 1
            raise self.error
        return super().batch(*arguments, **named)


@pytest.mark.parametrize("error", [OSError, MemoryError])
async def test_row_is_not_skipped_for_an_error_of_the_machine(error: type[Exception]) -> None:
    store, stop, mapper = await outbox(), asyncio.Event(), FailingMapper(load_catalogue())
    source, mapper.error = ListedSource([batch(0)]), error
    running = asyncio.create_task(Relay(source, mapper, store, QuickClock(), nobody).run(stop))
    async with asyncio.timeout(HANG_SECONDS):
        await source.all_acknowledged.wait()
        stop.set()
        await running
    assert await names(store) == ["clientes:0"]


class TogetherMapper(Mapper):
    """Breaks off over changes of both customers 1 and 2 in one transaction, or over more than one transaction."""

    by = ""

    def batch(self, source: str, transactions: Any, *others: Any) -> Any:
        together = any({"1", "2"} <= {change.key["codcliente"] for change in each.changes} for each in transactions)
        if (self.by == "transaction" and together) or (self.by == "batch" and len(transactions) > 1):
            raise RecursionError("a secret of the row")
        return super().batch(source, transactions, *others)


class RefusingOutbox(FailingOutbox):
    """Cannot hold events of customer 1."""

    error: Exception | None = None

    async def store(self, source: str, position: Any, events: Any, *others: Any, **named: Any) -> Any:
        if self.error is not None and any(event.record == "clientes:1" for event in events):
            raise self.error
        return await super().store(source, position, events, *others, **named)


@pytest.mark.parametrize(
    ("by", "error", "skipped"),
    [
        ("transaction", None, ["1", "2"]),
        ("batch", None, []),
        ("outbox", OutboxRefused("The row is too long."), ["1", "2"]),
        ("outbox", OverflowError("The number is too large."), ["1", "2"]),
        ("", None, []),
    ],
)
async def test_transaction_that_fails_only_as_a_whole_is_quarantined(
    by: str, error: Exception | None, skipped: list[str]
) -> None:
    changes = [batch(number).transactions[0].changes[0]._replace(ordinal=number) for number in range(5)]
    mixed = Batch(
        (
            Transaction("t0", (changes[0],)),
            Transaction("t1", (changes[1], changes[2])),
            Transaction("t2", (changes[3], changes[4])),
        ),
        Position("1"),
    )
    store, mapper, stop = RefusingOutbox(), TogetherMapper(load_catalogue()), asyncio.Event()
    await store.open()
    await store.add_endpoint(Endpoint("ep_1", "https://example.com", ("*",), "whsec_c2VjcmV0", MOMENT))
    mapper.by, store.error = by, error
    source = ListedSource([replace(batch(9), position=Position("0")), mixed, replace(batch(8), position=Position("2"))])
    running = asyncio.create_task(Relay(source, mapper, store, QuickClock(), nobody).run(stop))
    async with asyncio.timeout(HANG_SECONDS):
        await source.all_acknowledged.wait()
        stop.set()
        await running
    arrived = {event.record: event.id for event in await store.events(100) if event.name == "customer.created"}
    assert list(arrived) == [f"clientes:{number}" for number in "9012348" if number not in skipped]
    found = await store.quarantined(10)
    assert sorted(str((each.key or {})["codcliente"]) for each in found) == skipped
    assert {each.token for each in found} <= {"t1"}
    gaps = [event.payload["data"]["message"] for event in await store.events(100, after=0, pattern="source.gap")]
    if skipped:
        (message,) = gaps
        assert message.startswith(
            "The transaction t1 (2 changes) cannot be processed as a whole, although each change can."
        )
        assert f"`cdc quarantine reread {min(found, key=lambda each: str(each.key)).id} …`" in message
        assert "secret" not in message
    assert source.closed == (1 if not by else 4), "three tries, then it is looked for"
    plain = (
        await Relay(source, Mapper(load_catalogue()), store, QuickClock(), nobody)._map(mixed.transactions, {}, {})
    ).events
    assert {event.record: event.id for event in plain if event.record in arrived}.items() <= arrived.items()
