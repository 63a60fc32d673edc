"""What every outbox holds: a search that looks at a stretch at a time gives, page by page, what a listing gives."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdc.model.delivery import DeliveryFilter, DeliveryState, DeliveryView, EventFilter
from cdc.model.errors import UsageError
from cdc.outbox.base import Retention, StoredEvent
from cdc.outbox.postgres import search as postgres_search
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.slices import TimeBudget
from cdc.outbox.sqlite import search as sqlite_search
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import OutboxStore
from support.outboxes import EVERYTHING, NOW, at, endpoint, event, finish, lease, outcome, store
from support.selection import examples

NAMES = ("invoice.paid", "invoice.created", "stock.changed")
EVENTS = 40
STATES = (DeliveryState.DELIVERED, DeliveryState.DEAD, DeliveryState.CANCELLED, DeliveryState.PENDING)

times = st.none() | st.integers(0, EVENTS + 2).map(at)
event_fields = {
    "event_id": st.none() | st.none() | st.sampled_from(["evt_7", "evt_none"]),
    "event_pattern": st.sampled_from([None, "*", "invoice.*", "stock.changed", "order.*"]),
    "record": st.sampled_from([None, None, "a:1", "a:9"]),
    "source": st.sampled_from([None, None, "main", "shop", "none"]),
    "since": times,
    "until": times,
    "text": st.sampled_from([None, None, None, "FAC1"]),
}
event_filters = st.builds(EventFilter, **event_fields)  # type: ignore[arg-type] # strategies by name
delivery_filters = st.builds(
    DeliveryFilter,
    **event_fields,  # type: ignore[arg-type] # as above
    endpoint_id=st.sampled_from([None, "ep_a", "ep_b", "ep_none"]),
    state=st.none() | st.sampled_from(DeliveryState),
)
some = settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def impatient(events: int) -> TimeBudget:
    """One stretch of so many events a page."""
    return TimeBudget(itertools.count().__next__, 0.5, events)


@dataclass
class Log:
    """An outbox with a log, in a loop of its own."""

    runner: asyncio.Runner
    outbox: OutboxStore

    def deliveries(self, which: DeliveryFilter, limit: int, events: int) -> list[DeliveryView]:
        return self.runner.run(deliveries_by_pages(self.outbox, which, limit, events))

    def events(self, which: EventFilter, limit: int, events: int, *, oldest_first: bool) -> list[StoredEvent]:
        return self.runner.run(events_by_pages(self.outbox, which, limit, events, oldest_first=oldest_first))


async def deliveries_by_pages(
    outbox: OutboxStore, which: DeliveryFilter, limit: int, events: int
) -> list[DeliveryView]:
    found, before = [], None
    while True:
        page = await outbox.search_deliveries(which, limit, impatient(events), before)
        assert len(page.found) <= limit
        assert page.looked is None or len(page.found) < limit or page.further is not None
        found += page.found
        if page.further is None:
            return found
        assert page.further != before  # it always goes on
        before = page.further


async def events_by_pages(
    outbox: OutboxStore, which: EventFilter, limit: int, events: int, *, oldest_first: bool
) -> list[StoredEvent]:
    found, place = [], None
    while True:
        page = await outbox.search_events(which, limit, impatient(events), place, oldest_first=oldest_first)
        assert len(page.found) <= limit
        found += page.found
        if page.further is None:
            return found
        assert int(page.further) != place
        place = int(page.further)


async def fill(outbox: OutboxStore) -> None:
    """`EVENTS` events, stored in another order than they happened, with a gap where some were removed; three of four
    deliveries are finished."""
    await outbox.open()
    await outbox.add_endpoint(endpoint("ep_a"))
    await outbox.add_endpoint(endpoint("ep_b", events=("invoice.*",)))
    events = [
        event(
            number,
            f"a:{number % 4}",
            name=NAMES[number % 3],
            source="shop" if number % 7 == 0 else "main",
            time=at(number * 11 % EVENTS),
            data={"codigo": f"FAC{number % 5}"},
        )
        for number in range(1, EVENTS + 1)
    ]
    await store(outbox, *events[: EVENTS // 2], now=at(-10))
    for turn in itertools.count():
        leased = await lease(outbox, at(-10))
        if not leased:
            break
        for number, each in enumerate(leased):
            await outbox.finish("w", [outcome(each, STATES[(turn + number) % 3])], at(-10))
    await outbox.retain(Retention(settled_before=at(0), finished_before=at(0)), 9)
    await store(outbox, *events[EVENTS // 2 :])
    await outbox.finish("w", [outcome(each) for each in await lease(outbox, limit=5)], NOW)


@pytest.fixture(params=["sqlite", "postgresql"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    outbox: OutboxStore
    if request.param == "postgresql":
        outbox = PostgresOutbox(request.getfixturevalue("postgres_outbox_db").info)
    else:
        outbox = SqliteOutbox(tmp_path / "outbox.db")
    with asyncio.Runner() as runner:
        runner.run(fill(outbox))
        yield Log(runner, outbox)
        runner.run(outbox.close())


@pytest.fixture(params=["few", "many", "too many"])
def _few_or_many(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether what an index finds counts as few, and what it finds of a time as many, or too many."""
    for module in (postgres_search, sqlite_search):
        if request.param != "few":
            monkeypatch.setattr(module, "FEW", -1)
        if request.param == "too many":
            monkeypatch.setattr(module, "MANY", -1)


@pytest.mark.usefixtures("_few_or_many")
@some
@given(which=delivery_filters, limit=st.integers(1, 6), events=st.integers(1, EVENTS))
def test_pages_followed_to_the_end_are_the_whole_listing(
    log: Log, which: DeliveryFilter, limit: int, events: int
) -> None:
    whole = log.runner.run(log.outbox.deliveries(which, 1000))
    assert log.deliveries(which, limit, events) == whole


@pytest.mark.usefixtures("_few_or_many")
@some
@given(which=event_filters, limit=st.integers(1, 6), events=st.integers(1, EVENTS), oldest_first=st.booleans())
def test_so_are_pages_of_events(log: Log, which: EventFilter, limit: int, events: int, oldest_first: bool) -> None:
    whole = log.runner.run(log.outbox.find_events(which, 1000))
    assert log.events(which, limit, events, oldest_first=oldest_first) == (whole if oldest_first else whole[::-1])


async def test_a_search_that_finds_nothing_says_how_far_it_looked(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, *[event(number) for number in range(1, 11)])
    nothing = DeliveryFilter(source="none")
    page = await outbox.search_deliveries(nothing, 5, impatient(4))
    assert (page.found, page.looked) == ([], 7)
    page = await outbox.search_deliveries(nothing, 5, impatient(4), page.further)
    assert (page.found, page.looked) == ([], 3)
    page = await outbox.search_deliveries(nothing, 5, impatient(4), page.further)
    assert (page.found, page.further, page.looked) == ([], None, None)
    newest = await outbox.search_events(nothing, 5, impatient(4), oldest_first=False)
    oldest = await outbox.search_events(nothing, 5, impatient(4), oldest_first=True)
    assert (newest.further, newest.looked, oldest.further, oldest.looked) == ("7", 7, "4", 4)
    with_patience = await outbox.search_deliveries(nothing, 5, TimeBudget(lambda: 0.0, events=1))
    assert (with_patience.found, with_patience.further) == ([], None)


async def test_an_empty_log_is_searched(outbox: OutboxStore) -> None:
    assert (await outbox.search_deliveries(EVERYTHING, 5, impatient(4))).further is None
    for oldest_first in (False, True):
        page = await outbox.search_events(EventFilter(), 5, impatient(4), oldest_first=oldest_first)
        assert (page.found, page.further) == ([], None)


async def test_a_search_goes_on_from_a_delivery_that_there_is(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, *[event(number) for number in range(1, 6)])
    third = (await outbox.deliveries(DeliveryFilter(event_id="evt_3"), 1))[0].id
    page = await outbox.search_deliveries(EVERYTHING, 5, impatient(9), third)
    assert [view.event_id for view in page.found] == ["evt_2", "evt_1"]
    for unknown in ("dlv_99", "nonsense", "1.2.3"):
        with pytest.raises(UsageError, match="no delivery"):
            await outbox.search_deliveries(EVERYTHING, 5, impatient(9), unknown)
    with pytest.raises(UsageError, match="not an event pattern"):
        await outbox.search_deliveries(DeliveryFilter(event_pattern="a b"), 5, impatient(9))


async def test_nothing_is_skipped_or_seen_twice_while_rows_come_and_go(outbox: OutboxStore) -> None:
    """Between any two pages something is stored and delivered, and what is finished is removed, the last row of the
    page before too; what was there all the time is seen, once and in order."""
    await outbox.add_endpoint(endpoint("ep_a"))
    await outbox.add_endpoint(endpoint("ep_b"))
    await store(outbox, *[event(number) for number in range(1, 31)])
    stay = {view.id for view in await outbox.deliveries(EVERYTHING, 100) if int(view.event_id[4:]) % 3}
    seen: list[DeliveryView] = []
    before = None
    for number in itertools.count(31):
        page = await outbox.search_deliveries(EVERYTHING, 3, impatient(5), before)
        seen += page.found
        before = page.further
        if before is None:
            break
        await store(outbox, event(number), now=at(number))
        leased = await lease(outbox, at(number), limit=1000, worker=f"w{number}")
        ended = [each for each in leased if each.id not in stay]
        await finish(outbox, *ended, now=at(number), worker=f"w{number}")
        await outbox.release(f"w{number}", at(number))
        await outbox.retain(Retention(settled_before=at(99), finished_before=at(99)), 1000)
    ids = [view.id for view in seen]
    assert len(ids) == len(set(ids))
    assert stay <= set(ids)
    sequences = [int(view.event_id[4:]) for view in seen]
    assert sequences == sorted(sequences, reverse=True)
    assert max(sequences) == 30
    assert len(await outbox.deliveries(EVERYTHING, 100)) < 60
