"""The moves by which workers share sources: fair, sticky, one at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

import pytest

from cdc.model.clock import SystemClock
from cdc.model.worker import Census, SourceLease
from cdc.runtime import placement
from cdc.runtime.placement import Moves, Placement, moves
from support.manual_clock import ManualClock
from support.waiting import HANG_SECONDS

SOURCES = [f"s{number}" for number in range(10)]


def census(holders: Mapping[str, str | None], draining: Mapping[str, bool], wanted: Mapping[str, str] = {}) -> Census:
    return Census(draining, {source: SourceLease(who, 1, wanted.get(source)) for source, who in holders.items()})


def played(workers: Mapping[str, bool], holders: dict[str, str | None]) -> tuple[dict[str, str | None], int]:
    """The leases once nothing moves any more, and how many moved from one live worker to another."""
    wanted: dict[str, str] = {}
    handed = 0
    while True:
        still = True
        for worker in workers:
            found = moves(worker, SOURCES, census(holders, workers, wanted))
            still = still and found == Moves()
            holders |= dict.fromkeys(found.take, worker)
            wanted |= dict.fromkeys(found.want, worker)
            for source in found.give:
                holders[source] = wanted.pop(source)
                handed += 1
        if still:
            return holders, handed


def test_a_single_worker_takes_everything() -> None:
    holders, _ = played({"a": False}, dict.fromkeys(SOURCES))
    assert set(holders.values()) == {"a"}


def test_three_workers_take_fair_shares_of_free_sources() -> None:
    holders, handed = played({"a": False, "b": False, "c": False}, dict.fromkeys(SOURCES))
    assert sorted(Counter(holders.values()).values()) == [3, 3, 4]
    assert handed <= 1


def test_a_new_worker_gets_the_surplus_and_no_more() -> None:
    holders, handed = played({"a": False, "b": False}, dict.fromkeys(SOURCES, "a"))
    assert Counter(holders.values()) == {"a": 5, "b": 5}
    assert handed == 5


def test_one_source_is_asked_for_at_a_time() -> None:
    found = moves("b", SOURCES, census(dict.fromkeys(SOURCES, "a"), {"a": False, "b": False}))
    assert len(found.want) == 1
    again = census(dict.fromkeys(SOURCES, "a"), {"a": False, "b": False}, dict.fromkeys(found.want, "b"))
    assert moves("b", SOURCES, again) == Moves(), "it waits for the one that it asked for"


def test_a_balance_that_cannot_be_better_stays() -> None:
    holders: dict[str, str | None] = {source: "ab"[number % 2] for number, source in enumerate(SOURCES[:9])}
    for worker in "ab":
        assert moves(worker, SOURCES[:9], census(holders, {"a": False, "b": False})) == Moves()


def test_a_draining_worker_loses_everything_and_takes_nothing() -> None:
    start: dict[str, str | None] = {source: "abc"[number % 3] for number, source in enumerate(SOURCES)}
    holders, _ = played({"a": True, "b": False, "c": False}, start)
    assert Counter(holders.values()) == {"b": 5, "c": 5}


def test_a_draining_worker_that_is_alone_keeps_its_sources() -> None:
    holders, _ = played({"a": True}, dict.fromkeys(SOURCES, "a"))
    assert set(holders.values()) == {"a"}


def test_a_worker_wants_only_what_it_can_read() -> None:
    found = moves("b", ["s9"], census(dict.fromkeys(SOURCES, "a"), {"a": False, "b": False}))
    assert found.want == ("s9",)


def test_a_source_that_no_other_worker_takes_is_taken_beyond_the_fair_share() -> None:
    holders: dict[str, str | None] = {"s0": "a", "s1": None, "s2": "b"}
    now = census(holders, {"a": False, "b": False})
    assert moves("a", ["s0", "s1"], census({"s0": "a", "s1": None}, {"a": False, "b": False})) == Moves()
    assert moves("a", ["s0", "s1"], now, neglected=["s1"]).take == ("s1",)


def test_a_worker_that_the_outbox_does_not_count_as_alive_does_nothing() -> None:
    assert moves("a", SOURCES, census(dict.fromkeys(SOURCES), {"b": False})) == Moves()


class OneCensus:
    """A `WorkerStore` that is out of reach while ``census`` is None."""

    def __init__(self) -> None:
        self.census: Census | None = None
        self.released: list[str] = []

    async def sign(self, _name: str, _sources: object, _lags: object) -> Census:
        while self.census is None:
            await asyncio.Event().wait()
        return self.census

    async def take(self, _name: str, _sources: object) -> dict[str, int]:
        return {}

    async def want(self, _name: str, _sources: object) -> None:
        pass

    async def release(self, _name: str, sources: list[str]) -> None:
        self.released += sources

    async def leave(self, _name: str) -> None:
        self.released.append("*")


class Reading:
    """Reads a source until it has to end."""

    def __init__(self) -> None:
        self.began, self.ended = asyncio.Event(), asyncio.Event()
        self.epochs: list[int] = []

    async def __call__(self, end: asyncio.Event, epoch: int) -> None:
        self.epochs.append(epoch)
        self.began.set()
        await end.wait()
        self.ended.set()


async def test_a_source_is_read_no_longer_when_the_lease_may_have_ended() -> None:
    """The outbox does not answer: another worker may read the source, and this one cannot know."""
    store, stop = OneCensus(), asyncio.Event()
    store.census = census({"s0": "a"}, {"a": False})
    one = Placement(store, "a", SystemClock(), dict)
    reading = Reading()

    async with asyncio.timeout(HANG_SECONDS), asyncio.TaskGroup() as group:
        group.create_task(one.run(stop))
        group.create_task(one.hold("s0", reading, stop))
        await reading.began.wait()
        assert one.reads("s0")
        store.census = None
        await reading.ended.wait()
        assert not stop.is_set()
        stop.set()
    assert reading.epochs == [1]
    assert store.released == ["*"], "the lease is its own still, if nobody took it"


async def test_a_source_with_another_holder_is_left_and_not_released() -> None:
    store, stop = OneCensus(), asyncio.Event()
    store.census = census({"s0": "a"}, {"a": False, "b": False})
    one = Placement(store, "a", SystemClock(), dict)
    reading = Reading()

    async with asyncio.timeout(HANG_SECONDS), asyncio.TaskGroup() as group:
        group.create_task(one.run(stop))
        group.create_task(one.hold("s0", reading, stop))
        await reading.began.wait()
        store.census = Census({"a": False, "b": False}, {"s0": SourceLease("b", 2, None)})
        await reading.ended.wait()
        stop.set()
    assert store.released == ["*"]


async def test_a_source_that_another_worker_wants_is_released_after_its_last_read() -> None:
    store, stop, began = OneCensus(), asyncio.Event(), asyncio.Event()
    store.census = census({"s0": "a"}, {"a": False, "b": False})
    one = Placement(store, "a", SystemClock(), dict)
    order: list[str] = []

    async def read(end: asyncio.Event, _epoch: int) -> None:
        began.set()
        await end.wait()
        order.append("ended")

    async def release(_name: str, sources: list[str]) -> None:
        order.extend(sources)
        store.census = Census({"a": False, "b": False}, {"s0": SourceLease("b", 2, None)})
        stop.set()

    store.release = release  # type: ignore[method-assign]  # a fake's own method
    async with asyncio.timeout(HANG_SECONDS), asyncio.TaskGroup() as group:
        group.create_task(one.run(stop))
        group.create_task(one.hold("s0", read, stop))
        await began.wait()
        store.census = census({"s0": "a"}, {"a": False, "b": False}, {"s0": "b"})
    assert order[:2] == ["ended", "s0"]


def test_a_lease_is_given_up_before_others_may_take_it() -> None:
    assert placement._VALID_SECONDS < placement.LEASE_SECONDS


class FreeSources(OneCensus):
    """Notes how many sources are taken at once."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: asyncio.Queue[int] = asyncio.Queue()

    async def take(self, _name: str, sources: object) -> dict[str, int]:
        assert isinstance(sources, tuple)
        self.taken.put_nowait(len(sources))
        return dict.fromkeys(sources, 1)


async def test_worker_that_starts_leaves_sources_to_others_that_start_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "SIGN_SECONDS", 0.01)
    store, stop, clock = FreeSources(), asyncio.Event(), ManualClock()
    sources = [f"s{number}" for number in range(1000)]
    store.census = census(dict.fromkeys(sources), {"a": False})
    one = Placement(store, "a", clock, dict)
    async with asyncio.timeout(HANG_SECONDS), asyncio.TaskGroup() as group:
        for source in sources:
            group.create_task(one.hold(source, Reading(), stop))
        await asyncio.sleep(0)
        group.create_task(one.run(stop))
        assert await store.taken.get() == len(sources) // 8
        clock.advance(60)
        while await store.taken.get() != len(sources):
            pass  # a look that had begun before
        stop.set()


async def test_source_is_neglected_after_two_signs_of_the_others() -> None:
    store, stop, clock = FreeSources(), asyncio.Event(), ManualClock()
    store.census = census({"s0": "a", "s1": None}, {"a": False, "b": False})
    one = Placement(store, "a", clock, dict)
    holding = [asyncio.create_task(one.hold(source, Reading(), stop)) for source in ("s0", "s1")]
    await asyncio.sleep(0)
    for seconds in (0.0, 2 * placement.SIGN_SECONDS):  # the second is not later than that
        clock.advance(seconds)
        await one._poll()
        assert store.taken.empty()
    clock.advance(0.1)
    await one._poll()
    assert store.taken.get_nowait() == 1
    stop.set()
    await asyncio.gather(*holding)
