"""Replays over the API: counted, begun, seen going on, ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cdc.access.model import AuditFilter, Scope
from cdc.admin import deliveries
from cdc.dispatch import replay
from cdc.dispatch.replay import LEASE, RATE, Replaying
from cdc.model.delivery import DeliveryState
from cdc.model.errors import OutboxError
from support.managing import API, Managed
from support.memory_outbox import MemoryOutbox
from support.outboxes import EVERYTHING, endpoint, event, finish, lease, store
from support.waiting import HANG_SECONDS

SENT = 20


async def delivered(api: Managed, *endpoints: str) -> None:
    """`SENT` events, before now, to each."""
    for each in endpoints:
        await api.store.add_endpoint(endpoint(each))
    await store(api.store, *map(event, range(1, SENT + 1)))
    await finish(api.store, *await lease(api.store, limit=1000))


async def due(api: Managed) -> int:
    states = [view.state for view in await api.store.deliveries(EVERYTHING, 1000)]
    return states.count(DeliveryState.PENDING)


@asynccontextmanager
async def going_on(api: Managed, runner: Replaying | None = None) -> AsyncIterator[None]:
    stop = asyncio.Event()
    running = asyncio.create_task((runner or api.replaying).run(stop))
    try:
        yield
    finally:
        stop.set()
        await running


async def until(api: Managed, replay_id: str, **expected: Any) -> dict[str, Any]:
    """Time passes until the replay is so."""
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            shown = (await api.ask("GET", f"/replays/{replay_id}", Scope.READ)).json
            if shown.items() >= expected.items():
                return dict(shown)
            api.clock.advance(1)


async def begun(api: Managed, **body: Any) -> dict[str, Any]:
    answer = await api.ask("POST", "/replays", json=body)
    assert answer.status == 202, answer.text
    return dict(answer.json)


async def test_it_is_counted_first(api: Managed) -> None:
    await delivered(api, "ep_a", "ep_b")
    await api.store.expunge(["evt_1"], api.clock.now())
    answer = await api.ask("POST", "/replay-count", Scope.READ, json={"endpoint": "ep_a"})
    assert (answer.status, answer.json) == (200, {"deliveries": SENT - 1, "expunged": 1, "complete": True})
    assert await due(api) == 0


async def test_what_is_too_much_is_not_counted_to_the_end(api: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    await delivered(api, "ep_a")
    monkeypatch.setattr(deliveries, "COUNT_SECONDS", 0.0)
    monkeypatch.setattr(replay, "_COUNTED", 5)
    answer = await api.ask("POST", "/replay-count", json={"event": "*"})
    assert answer.json == {"deliveries": 5, "expunged": 0, "complete": False}
    assert (await begun(api, event="*"))["total"] is None


async def test_it_goes_on_by_itself_until_it_is_done(api: Managed) -> None:
    await delivered(api, "ep_a", "ep_b")
    shown = await begun(api, endpoint="ep_a", rate=5)
    assert shown["selection"]["endpoint"] == "ep_a"
    assert shown["selection"]["until"] == "2026-11-24T21:48:00.000000Z"  # what comes later is not part of it
    expected = {"state": "running", "waiting": True, "total": SENT, "deliveries": 0, "requested_by": "token:manage"}
    assert shown.items() >= expected.items()
    before = api.clock.monotonic()
    async with going_on(api):
        done = await until(api, shown["id"], state="done")
    assert done.items() >= {"deliveries": SENT, "expunged": 0, "waiting": False, "error": None}.items()
    assert done["finished_at"] is not None
    assert api.clock.monotonic() - before >= SENT / 5 - 1  # at its rate
    assert await due(api) == SENT
    assert [entry.entry.subject for entry in await api.access.audit(AuditFilter(action="delivery.replay"), 9)] == [
        shown["id"]
    ]


async def test_one_that_is_asked_for_begins_at_once(api: Managed) -> None:
    await delivered(api, "ep_a")
    async with going_on(api):
        shown = await begun(api, endpoint="ep_a", rate=1000)
        async with asyncio.timeout(HANG_SECONDS):
            while (await api.ask("GET", f"/replays/{shown['id']}")).json["state"] != "done":
                pass  # the clock stands still


async def test_it_is_ended(api: Managed) -> None:
    await delivered(api, "ep_a")
    shown = await begun(api, endpoint="ep_a", rate=2)
    async with going_on(api):
        await until(api, shown["id"], deliveries=4)
        ended = await api.ask("POST", f"/replays/{shown['id']}/cancel")
        assert (ended.status, ended.json["state"]) == (200, "cancelled")
        api.clock.advance(60)
        other = await begun(api, record="facturascli:1")  # it turns to the next one
        await until(api, other["id"], state="done")
    after = (await api.ask("GET", f"/replays/{shown['id']}")).json
    assert (after["state"], after["deliveries"]) == ("cancelled", 4)
    assert (await api.ask("POST", f"/replays/{shown['id']}/cancel")).json == after


async def test_a_process_that_dies_is_followed_by_another(api: Managed) -> None:
    await delivered(api, "ep_a")
    shown = await begun(api, endpoint="ep_a", rate=2)
    async with going_on(api):
        await until(api, shown["id"], deliveries=6)
    assert (await api.ask("GET", f"/replays/{shown['id']}")).json["waiting"] is False  # not yet
    api.clock.advance(LEASE.total_seconds())
    assert (await api.ask("GET", f"/replays/{shown['id']}")).json["waiting"] is True
    async with going_on(api, Replaying(api.store, api.clock, "another", lambda: None)):
        done = await until(api, shown["id"], state="done")
    assert done["deliveries"] == SENT
    assert await due(api) == SENT


async def test_an_endpoint_that_is_removed_ends_it(api: Managed) -> None:
    await delivered(api, "ep_a")
    shown = await begun(api, endpoint="ep_a", rate=2)
    await api.store.remove_endpoint("ep_a", api.clock.now())
    async with going_on(api):
        failed = await until(api, shown["id"], state="failed")
    assert failed["error"].startswith("There is no endpoint ep_a.")


async def test_an_outbox_that_fails_for_a_while_only_delays_it(api: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    await delivered(api, "ep_a")
    shown = await begun(api, endpoint="ep_a")
    replay, failures = MemoryOutbox.replay, [1, 2, 3]

    async def fail(*given: Any, **more: Any) -> Any:
        if failures:
            failures.pop()
            raise OutboxError("The disk is full.")
        return await replay(*given, **more)

    monkeypatch.setattr(MemoryOutbox, "replay", fail)
    async with going_on(api):
        assert (await until(api, shown["id"], state="done"))["deliveries"] == SENT
    assert failures == []


async def test_a_history_for_a_new_endpoint(api: Managed) -> None:
    await delivered(api, "ep_a")
    await api.store.add_endpoint(endpoint("ep_new"))
    shown = await begun(api, endpoint="ep_new")
    assert shown["total"] == SENT
    async with going_on(api):
        await until(api, shown["id"], state="done")
    assert (await api.store.counts())["ep_new"] == {DeliveryState.PENDING: SENT}


async def test_they_are_listed_in_pages(api: Managed) -> None:
    made = []
    for _ in range(5):
        made.append((await begun(api, event="*"))["id"])
        api.clock.advance(1)
    first = (await api.ask("GET", "/replays?limit=3", Scope.READ)).json
    second = (await api.ask("GET", f"/replays?limit=3&cursor={first['next']}", Scope.READ)).json
    assert [each["id"] for each in first["items"] + second["items"]] == made[::-1]
    assert second["next"] is None
    assert {each["rate"] for each in first["items"]} == {RATE}


@pytest.mark.parametrize(
    "body", [{}, {"rate": 5}, {"event": "*", "rate": 0}, {"event": "a!"}, {"endpoint": "ep_none"}, {"state": "odd"}]
)
async def test_what_cannot_be_replayed(api: Managed, body: dict[str, Any]) -> None:
    answer = await api.ask("POST", "/replays", json=body)
    assert answer.status == 422
    assert (await api.ask("GET", "/replays")).json == {"items": [], "next": None}


async def test_one_that_is_not_there(api: Managed) -> None:
    for method, path in (("GET", "/replays/rpl_none"), ("POST", "/replays/rpl_none/cancel")):
        assert (await api.ask(method, path)).status == 404


async def test_where_it_is_told(api: Managed) -> None:
    answer = await api.ask("POST", "/replays", json={"event": "*"})
    assert answer.headers["Location"] == f"{API}/replays/{answer.json['id']}"
