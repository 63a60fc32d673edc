"""How often the API may refuse calls before nothing more is asked, by all processes together."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.capture.rest.client import BAN_SECONDS, BanGuard, GuardState, Withheld
from cdc.model.change import RefusalStore
from cdc.outbox.sqlite.outbox import SqliteOutbox
from support.manual_clock import START, ManualClock
from support.memory_outbox import MemoryOutbox
from support.polling import PassingClock

API = "https://erp.example.com"


def guard_of(store: RefusalStore, clock: ManualClock) -> BanGuard:
    return BanGuard(API, store, clock)


async def refuse(guard: BanGuard, resource: str = "clientes") -> bool:
    """Whether the call was made, which is refused then."""
    try:
        permit = await guard.enter(resource)
    except Withheld:
        return False
    await guard.leave(permit, resource, 403)
    return True


async def give(guard: BanGuard, *resources: str) -> None:
    for each in resources:
        await guard.leave(await guard.enter(each), each, 200)


async def test_after_two_refusals_only_what_was_given_is_asked_for_and_after_three_nothing() -> None:
    clock = ManualClock()
    guard = guard_of(MemoryOutbox(), clock)
    await give(guard, "", "stocks")
    assert await guard.free_at("clientes") is None
    await refuse(guard)
    clock.advance(100)
    await refuse(guard)
    clock.advance(100)
    assert await guard.free_at("stocks") is None
    assert await guard.free_at("clientes") == START + timedelta(seconds=BAN_SECONDS)
    assert await refuse(guard, "stocks")
    assert await guard.free_at("") == START + timedelta(seconds=BAN_SECONDS)
    clock.advance(BAN_SECONDS - 200)
    assert await guard.free_at("clientes") == START + timedelta(seconds=BAN_SECONDS + 100)


async def test_every_process_sees_the_refusals_of_the_others(tmp_path: Path) -> None:
    clock = ManualClock()
    made = [await refuse(guard_of(SqliteOutbox(tmp_path / "cdc.db"), clock)) for _ in range(5)]
    assert made == [True, True, False, False, False]
    assert not (tmp_path / "cdc.db").exists(), "there need not be an outbox"


async def test_calls_under_way_count_as_refused(tmp_path: Path) -> None:
    """Commands that begin together, and those that are killed before the answer."""
    clock = PassingClock()
    guards = [guard_of(SqliteOutbox(tmp_path / "cdc.db"), clock) for _ in range(8)]
    results = await asyncio.gather(*(each.enter("clientes") for each in guards), return_exceptions=True)
    permits = [each for each in results if isinstance(each, str)]
    assert len(permits) == 2
    assert all(isinstance(each, str | Withheld) for each in results)
    await guards[0].leave(permits[0], "clientes", 200)
    assert await refuse(guards[0])
    assert not await refuse(guards[0])


async def test_call_waits_for_the_answers_to_those_under_way() -> None:
    store, clock = MemoryOutbox(), PassingClock()
    one, other = guard_of(store, clock), guard_of(store, clock)
    permits = [await one.enter("clientes") for _ in range(2)]
    clock.until = 1.0
    waiting = asyncio.create_task(other.enter("stocks"))
    await clock.reached.wait()
    assert not waiting.done()
    await one.leave(permits[0], "clientes", 200)
    clock.go_on(5.0)
    assert await waiting


async def test_answers_that_do_not_count_leave_nothing() -> None:
    store = MemoryOutbox()
    guard = guard_of(store, ManualClock())
    for status in (200, 404, 409, 500, None):
        await guard.leave(await guard.enter("clientes"), "clientes", status)
    assert (await guard.memory()).calls == ()


async def test_resource_that_was_given_before_costs_no_write() -> None:
    store = MemoryOutbox()
    guard = guard_of(store, ManualClock())
    await give(guard, "clientes")
    before = await store.refusals(API)
    permit = await guard.enter("clientes")
    assert (permit, await store.refusals(API)) == ("", before)
    await guard.leave(permit, "clientes", 200)
    assert await store.refusals(API) == before


async def test_new_process_may_ask_for_what_others_were_given() -> None:
    store, clock = MemoryOutbox(), ManualClock()
    await give(guard_of(store, clock), "", "clientes")
    for _ in range(2):
        await refuse(guard_of(store, clock), "stocks")
    await give(guard_of(store, clock), "", "clientes")
    assert await guard_of(store, clock).free_at("productos") is not None


async def test_token_that_is_refused_is_given_nothing_more() -> None:
    guard = guard_of(MemoryOutbox(), ManualClock())
    await give(guard, "", "clientes")
    for _ in range(2):
        await guard.leave(await guard.enter("clientes"), "clientes", 401)
    with pytest.raises(Withheld, match="refused 2 calls"):
        await guard.enter("")


@pytest.mark.parametrize("hours", [1, 24, 24 * 365])
async def test_clock_that_is_set_back_prolongs_nothing(hours: int) -> None:
    store, ahead, now = MemoryOutbox(), ManualClock(START + timedelta(hours=hours)), ManualClock()
    await give(guard_of(store, ahead), "")
    for _ in range(2):
        await refuse(guard_of(store, ahead))
    permit = await guard_of(store, ahead).enter("")
    await guard_of(store, ahead).leave(permit, "", 429, banned=True)
    guard = guard_of(store, now)
    with pytest.raises(Withheld) as caught:
        await guard.enter("clientes")
    assert caught.value.until <= START + timedelta(seconds=60)
    now.advance(61)
    assert await guard.free_at("") is None
    now.advance(BAN_SECONDS - 61)
    assert await guard.free_at("clientes") is None


async def test_refusals_of_version_0_1_are_taken_over_once() -> None:
    store = MemoryOutbox()
    guard = guard_of(store, ManualClock())
    for _ in range(2):
        await guard.add((START.timestamp() - 700, START.timestamp() - 5))
    assert len(orjson.loads(await store.refusals(API))["calls"]) == 1


@given(st.lists(st.tuples(st.floats(0, 700), st.booleans()), max_size=40))
def test_three_calls_at_most_are_refused_within_any_window(calls: list[tuple[float, bool]]) -> None:
    clock, store = ManualClock(), MemoryOutbox()

    def given_clientes(text: str) -> str:
        return replace(GuardState.load(text, clock.now().timestamp()), given=frozenset({"clientes"})).dump()

    async def made() -> list[float]:
        times = []
        for pause, known in calls:
            clock.advance(pause)
            if known:
                await store.change_refusals(API, given_clientes)
            if await refuse(guard_of(store, clock)):
                times.append(clock.monotonic())
        return times

    times = asyncio.run(made())
    assert all(fourth - first >= BAN_SECONDS - 1e-3 for first, fourth in zip(times, times[3:], strict=False))
