"""``cdc replay`` and the filters of the log, as their users see them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cdc.cli import output
from cdc.cli.delivery import moment, run_plan
from cdc.dispatch.replay import ReplayPlan
from cdc.model.delivery import DeliveryFilter, DeliveryState
from cdc.model.errors import UsageError
from support.cli_log import DAY, NOW, fill, on_outbox, states
from support.manual_clock import START, ManualClock
from support.memory_outbox import MemoryOutbox
from support.outboxes import endpoint, event, finish, lease, store
from support.waiting import HANG_SECONDS


def test_a_listing_by_time_and_in_pages(run_cdc: Callable, folder: Path) -> None:
    on_outbox(folder, fill)
    assert list(states(run_cdc, "--since", "60h")) == ["evt_4", "evt_3"]
    assert list(states(run_cdc, "--until", "60h", "--source", "main")) == ["evt_2", "evt_1"]
    assert list(states(run_cdc, "--since", (NOW - 3.5 * DAY).isoformat(), "--until", "2d")) == ["evt_3", "evt_2"]
    first = json.loads(run_cdc("delivery", "list", "--json", "--limit", "3").stdout)["deliveries"]
    assert list(states(run_cdc, "--before", first[-1]["id"])) == ["evt_1"]
    assert "no delivery dlv_99" in run_cdc("delivery", "list", "--before", "dlv_99", code=2).stderr
    assert "is not a time" in run_cdc("delivery", "list", "--since", "yesterday", code=2).stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", START - timedelta(seconds=90)),
        ("2h", START - timedelta(hours=2)),
        ("3d", START - 3 * DAY),
        ("1w", START - 7 * DAY),
        ("2026-11-24", datetime(2026, 11, 24, tzinfo=UTC)),
        ("2026-11-24T21:48", datetime(2026, 11, 24, 21, 48, tzinfo=UTC)),
        ("2026-11-24T21:48:00.5Z", datetime(2026, 11, 24, 21, 48, 0, 500_000, tzinfo=UTC)),
        ("2026-11-24T21:48+01:00", datetime(2026, 11, 24, 20, 48, tzinfo=UTC)),
    ],
)
def test_times(text: str, expected: datetime) -> None:
    assert moment(text, START) == expected


@pytest.mark.parametrize("text", ["", "h", "-2h", "2 hours", "24.11.2026", "999999w", "2026-13-01"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time"):
        moment(text, START)


def test_a_dry_run_counts(run_cdc: Callable, folder: Path) -> None:
    on_outbox(folder, fill)
    before = states(run_cdc)
    for options, count in (
        (["--dead"], 1),
        (["--event", "*"], 4),
        (["--endpoint", "ep_new"], 4),
        (["--endpoint", "ep_new", "--since", "60h"], 2),
        (["--endpoint", "ep_new", "--dead"], 0),
        (["--record", "facturascli:3"], 1),
        (["--event", "order.*"], 0),
    ):
        told = json.loads(run_cdc("replay", *options, "--dry-run", "--json").stdout)
        assert told == {"deliveries": count, "expunged": 0, "dry_run": True, "after": None}, options
        assert f"{count} deliveries would be sent again." in run_cdc("replay", *options, "--dry-run").stderr
    assert states(run_cdc) == before


def test_a_replay_makes_due(run_cdc: Callable, folder: Path) -> None:
    on_outbox(folder, fill)
    assert "nothing to send again" in run_cdc("replay", "--event", "order.*").stderr
    told = json.loads(run_cdc("replay", "--dead", "--yes", "--json").stdout)
    assert told == {"deliveries": 1, "expunged": 0, "dry_run": False, "after": None}
    assert states(run_cdc) == {"evt_1": "delivered", "evt_2": "pending", "evt_3": "delivered", "evt_4": "delivered"}
    assert "4 deliveries are queued" in run_cdc("replay", "--endpoint", "ep_new", "--yes").stderr
    assert set(states(run_cdc, "--endpoint", "ep_new").values()) == {"pending"}
    entries = json.loads(run_cdc("audit", "list", "--action", "delivery.replay", "--json").stdout)["entries"]
    assert [entry["subject"] for entry in entries] == ["ep_new", "deliveries"]


def test_a_replay_asks_first(run_cdc: Callable, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_outbox(folder, fill)
    refused = run_cdc("replay", "--event", "*", code=2).stderr
    assert "Send 4 deliveries again? There is no terminal to ask on." in refused
    assert "--yes" in refused
    monkeypatch.setattr(output, "_somebody_there", lambda: True)
    run_cdc("replay", "--event", "*", code=130, stdin="n\n")
    assert "pending" not in states(run_cdc).values()
    assert "4 deliveries are queued" in run_cdc("replay", "--event", "*", stdin="y\n").stderr


def test_replays_that_cannot_be(run_cdc: Callable, folder: Path) -> None:
    on_outbox(folder, fill)
    assert "Nothing selects what" in run_cdc("replay", code=2).stderr
    assert "no endpoint ep_none" in run_cdc("replay", "--endpoint", "ep_none", code=2).stderr
    assert "not an event pattern" in run_cdc("replay", "--event", "invoice.?", code=2).stderr
    assert "not a place" in run_cdc("replay", "--dead", "--after", "x", code=2).stderr
    run_cdc("replay", "--dead", "--rate", "-1", code=2)


def test_a_disabled_endpoint_is_told_of(run_cdc: Callable, folder: Path) -> None:
    on_outbox(folder, fill)
    run_cdc("endpoint", "disable", "ep_new")
    assert "ep_new is disabled" in run_cdc("replay", "--endpoint", "ep_new", "--dry-run").stderr


class Stepped(MemoryOutbox):
    """With events 1 to 10, delivered."""

    @classmethod
    async def filled(cls) -> Stepped:
        outbox = cls()
        await outbox.add_endpoint(endpoint())
        await store(outbox, *[event(number) for number in range(1, 11)])
        await finish(outbox, *await lease(outbox))
        return outbox

    async def pending(self) -> int:
        return len(await self.deliveries(DeliveryFilter(state=DeliveryState.PENDING), 100))


async def turned(until: Callable[[], bool]) -> None:
    for _ in range(1000):
        if until():
            return
        await asyncio.sleep(0)
    raise AssertionError("It does not come to that.")


async def test_no_more_a_second_than_the_rate_says() -> None:
    outbox, clock, told = await Stepped.filled(), ManualClock(), list[int]()
    plan = ReplayPlan(DeliveryFilter(endpoint_id="ep_a"), rate=4, after=None)
    running = asyncio.create_task(run_plan(outbox, plan, clock, asyncio.Event(), told.append))
    for due in (4, 8):
        await turned(lambda: clock.next_wake() is not None)
        assert clock.next_wake() == clock.now() + timedelta(seconds=1)
        assert await outbox.pending() == due
        clock.advance(1)
        await asyncio.sleep(0)
    done = await asyncio.wait_for(running, HANG_SECONDS)
    assert (done.deliveries, done.after, told) == (10, None, [4, 4, 2])


@pytest.mark.parametrize(("rate", "steps"), [(0.5, [1]), (0, [10])])
async def test_slow_and_unbounded_rates(rate: float, steps: Sequence[int]) -> None:
    outbox, clock, told = await Stepped.filled(), ManualClock(), list[int]()
    running = asyncio.create_task(
        run_plan(outbox, ReplayPlan(DeliveryFilter(), rate, None), clock, asyncio.Event(), told.append)
    )
    await turned(lambda: running.done() or clock.next_wake() is not None)
    assert told == steps
    if rate:
        assert clock.next_wake() == clock.now() + timedelta(seconds=2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_whoever_is_stopped_can_go_on() -> None:
    outbox, clock, stop = await Stepped.filled(), ManualClock(), asyncio.Event()
    plan = ReplayPlan(DeliveryFilter(), rate=3, after=None)
    running = asyncio.create_task(run_plan(outbox, plan, clock, stop, lambda _: None))
    await turned(lambda: clock.next_wake() is not None)
    stop.set()
    done = await asyncio.wait_for(running, HANG_SECONDS)
    assert (done.deliveries, await outbox.pending()) == (3, 3)
    assert done.after is not None
    rest = await run_plan(outbox, ReplayPlan(DeliveryFilter(), 0, done.after), clock, asyncio.Event(), lambda _: None)
    assert (rest.deliveries, rest.after, await outbox.pending()) == (7, None, 10)
