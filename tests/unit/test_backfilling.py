"""Which backfill goes on, how much of it at once, and when it rests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cdc.backfilling import LOOK_EVERY, BackfilledSources, Backfilling
from cdc.model.backfill import Backfill, BackfillState
from cdc.model.change import BackfillStep, Position
from cdc.model.endpoint import Endpoint
from support.manual_clock import ManualClock
from support.memory_outbox import MemoryOutbox
from support.outboxes import at, endpoint, event


def job(number: int = 1, **fields: Any) -> Backfill:
    return Backfill(f"bf_{number}", "main", "facturascli", "cli:root", at(number), **fields)


async def rows(outbox: MemoryOutbox, count: int, first: int = 1) -> None:
    """So many are stored."""
    events = [event(number)._replace(name="invoice.existing") for number in range(first, first + count)]
    await outbox.store("main", Position("p"), events, {}, at(9), step=BackfillStep("bf_1", count, {"id": 1}, False))


async def made(*endpoints: Endpoint, backlog: int = 5) -> tuple[MemoryOutbox, ManualClock, Backfilling]:
    outbox, clock = MemoryOutbox(), ManualClock()
    for each in endpoints:
        await outbox.add_endpoint(each)
    return outbox, clock, Backfilling(outbox, "main", clock, backlog)


async def test_a_new_one_is_seen_within_a_second_and_the_oldest_goes_first() -> None:
    outbox, clock, backfills = await made()
    assert await backfills.next() is None
    assert backfills.rest() == LOOK_EVERY
    for number in (2, 1):
        await outbox.add_backfill(job(number))
    assert await backfills.next() is None
    clock.advance(LOOK_EVERY)
    found = await backfills.next()
    assert found is not None
    assert found[0] == job(1)
    await outbox.set_backfill("bf_1", BackfillState.CANCELLED, "", at(5))
    found = await backfills.next()
    assert found is not None
    assert found[0] == job(2)


async def test_it_keeps_to_its_rate() -> None:
    outbox, clock, backfills = await made()
    await outbox.add_backfill(job(rate=100.0))
    clock.advance(100)
    stored = 0
    began = clock.monotonic()
    while stored < 500:
        found = await backfills.next()
        if found is None:
            clock.advance(backfills.rest())
            continue
        assert found[1] == 10  # a tenth of a second's
        await rows(outbox, found[1], stored + 1)
        stored += found[1]
    assert 3.5 <= clock.monotonic() - began <= 5.5


async def test_it_rests_while_an_endpoint_that_gets_the_rows_has_too_many() -> None:
    slow = endpoint("ep_slow", events=("*.existing",))
    outbox, clock, backfills = await made(slow)
    await outbox.add_backfill(job())
    await rows(outbox, 5)
    clock.advance(10)
    assert await backfills.next() is not None
    await rows(outbox, 1, 6)
    clock.advance(LOOK_EVERY)
    assert await backfills.next() is None
    await outbox.lease("w", at(20), at(90), 1)
    await outbox.remove_endpoint("ep_slow", at(20))
    clock.advance(LOOK_EVERY)
    assert await backfills.next() is not None


async def test_nobody_waits_for_endpoints_that_are_disabled_or_get_nothing_of_it() -> None:
    disabled = endpoint("ep_off", events=("*.existing",), enabled=False)
    others = endpoint("ep_live", events=("*", "invoice.*"))
    outbox, clock, backfills = await made(disabled, others)
    await outbox.add_backfill(job())
    await rows(outbox, 50)
    await outbox.store("main", Position("q"), [event(number) for number in range(100, 150)], {}, at(9))
    clock.advance(10)
    assert await backfills.next() is not None


async def test_of_one_for_an_endpoint_only_that_one_counts() -> None:
    busy = endpoint("ep_busy", events=("*.existing",))
    wanted = endpoint("ep_wanted", events=("order.paid",))
    outbox, clock, backfills = await made(busy, wanted)
    await rows(outbox, 50)
    await outbox.add_backfill(job(endpoint="ep_wanted"))
    clock.advance(10)
    assert await backfills.next() is not None


async def test_one_that_cannot_go_on_fails_with_a_sentence() -> None:
    outbox, _, backfills = await made()
    await outbox.add_backfill(job())
    await backfills.fail("bf_1", "The table is gone.")
    failed = await outbox.find_backfill("bf_1")
    assert failed is not None
    assert replace(failed, finished_at=None) == job(state=BackfillState.FAILED, error="The table is gone.")


async def test_many_sources_ask_the_outbox_together() -> None:
    asked: list[str] = []

    class Asked(MemoryOutbox):
        async def next_backfill(self, source: str) -> Backfill | None:
            asked.append(source)
            return await super().next_backfill(source)

        async def backfilled_sources(self) -> set[str]:
            asked.append("all")
            return await super().backfilled_sources()

    outbox, clock = Asked(), ManualClock()
    together = BackfilledSources(outbox, clock)
    names = ["main", *(f"tenant{number}" for number in range(99))]
    every = [Backfilling(outbox, name, clock, look=5.0, backfilled=together) for name in names]
    assert [await each.next() for each in every] == [None] * 100
    assert asked == ["all"]
    await outbox.add_backfill(job(1))
    clock.advance(5.0)
    found = [await each.next() for each in every]
    assert found[0] is not None
    assert found[1:] == [None] * 99
    assert asked == ["all", "all", "main"]
    assert await every[0].next() is not None
    assert asked[3:] == ["main"], "while it runs, nothing else is asked"
