"""Consumers over the API: fetching, acknowledging, failing, giving back, waiting; and who may."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from cdc.access.model import Scope
from cdc.admin.base import LOOK_EVERY
from cdc.admin.consumers import Consumers
from cdc.admin.principal import Principal
from cdc.model.delivery import DeliveryState
from cdc.web.monitor import Monitor
from support.managing import API, Answered, Managed
from support.outboxes import event, state_of, store
from support.waiting import HANG_SECONDS

EVENTS, ACK = "/consumers/orders/events", "/consumers/orders/ack"


async def _consumer(api: Managed, **fields: Any) -> str:
    made = await api.ask("POST", "/endpoints", json={"url": "pull:orders", "events": ["*"], **fields})
    assert made.status == 201, made.text
    return str(made.json["id"])


async def _stored(api: Managed, *numbers: int, record: str = "") -> None:
    await store(api.store, *[event(number, record) for number in numbers], now=api.clock.now(), position=str(numbers))


async def _fetched(api: Managed, query: str = "") -> list[Mapping[str, Any]]:
    answer = await api.ask("GET", EVENTS + query, Scope.CONSUME)
    assert answer.status == 200, answer.text
    return list(answer.json["items"])


async def _answer(api: Managed, **answers: Sequence[Any]) -> Mapping[str, Any]:
    answer = await api.ask("POST", ACK, Scope.CONSUME, json=answers)
    assert answer.status == 200, answer.text
    return dict(answer.json)


async def _waits(api: Managed, *, ends: bool = False) -> None:
    """Return when a request waits; with ``ends`` when none does any more."""
    async with asyncio.timeout(HANG_SECONDS):
        while bool(api.service.writes._watchers) is ends:
            api.clock.advance(LOOK_EVERY if ends else 0)
            await asyncio.sleep(0.005)


async def _moving(api: Managed, asking: asyncio.Task[Answered]) -> Answered:
    async with asyncio.timeout(HANG_SECONDS):
        while not asking.done():
            await asyncio.wait([asking], timeout=0.005)
            if not asking.done():
                api.clock.advance(LOOK_EVERY)
    return await asking


async def test_a_fetched_event_is_acknowledged_once(api: Managed) -> None:
    await _consumer(api, fields=["total"])
    await _stored(api, 1)
    (got,) = await _fetched(api)
    assert (got["id"], got["event"], got["record"], got["attempt"]) == ("evt_1", "invoice.updated", "facturascli:1", 1)
    assert got["payload"]["data"] == {"total": 1.5}
    assert await _fetched(api) == []
    assert await _answer(api, acknowledged=[got["receipt"]]) == {
        "acknowledged": 1, "failed": 0, "released": 0, "late": []
    }  # fmt: skip
    assert await state_of(api.store, "evt_1") is DeliveryState.DELIVERED
    again = await _answer(api, acknowledged=[got["receipt"]])
    assert (again["acknowledged"], again["late"]) == (0, [got["receipt"]])
    shown = await api.ask("GET", f"/deliveries/{got['delivery']}")
    (attempt,) = shown.json["log"]
    assert (attempt["url"], attempt["status"], attempt["error"]) == ("pull:orders", 200, None)


async def test_a_late_acknowledgement_changes_nothing_for_the_client_that_has_the_event(api: Managed) -> None:
    await _consumer(api)
    await _stored(api, 1)
    (former,) = await _fetched(api, "?lease=60")
    api.clock.advance(61)
    (present,) = await _fetched(api)
    assert (present["id"], present["attempt"]) == ("evt_1", 2)
    late = await _answer(api, acknowledged=[former["receipt"]])
    assert (late["acknowledged"], late["late"]) == (0, [former["receipt"]])
    assert await state_of(api.store, "evt_1") is DeliveryState.LEASED
    assert (await _answer(api, acknowledged=[present["receipt"]]))["acknowledged"] == 1


async def test_an_expired_lease_that_nobody_else_has_is_acknowledged(api: Managed) -> None:
    await _consumer(api)
    await _stored(api, 1)
    (got,) = await _fetched(api)
    api.clock.advance(3600)
    assert (await _answer(api, acknowledged=[got["receipt"]]))["acknowledged"] == 1
    assert await state_of(api.store, "evt_1") is DeliveryState.DELIVERED


async def test_a_failure_is_retried_by_the_schedule_and_then_a_dead_letter(api: Managed) -> None:
    await _consumer(api, retries=[30])
    await _stored(api, 1, 2, record="facturascli:7")
    (got,) = await _fetched(api)
    assert (await _answer(api, failed=[{"receipt": got["receipt"], "reason": "no stock"}]))["failed"] == 1
    assert await _fetched(api) == []  # nor the later event of its record
    api.clock.advance(34)
    (again,) = await _fetched(api)
    assert (again["id"], again["attempt"]) == ("evt_1", 2)
    await _answer(api, failed=[{"receipt": again["receipt"]}])
    assert await state_of(api.store, "evt_1") is DeliveryState.DEAD
    log = (await api.ask("GET", f"/deliveries/{got['delivery']}")).json["log"]
    assert [(each["error"], each["answer"]) for each in log] == [
        ("The consumer reported a failure.", "no stock"),
        ("The consumer reported a failure.", ""),
    ]
    assert [each["id"] for each in await _fetched(api)] == ["evt_2"]


@pytest.mark.parametrize("reported", [False, True])
async def test_event_whose_leases_end_unanswered_is_a_dead_letter_by_the_retry_schedule(
    api: Managed, reported: bool
) -> None:
    """A failure that the program reports, and a lease that ends, count alike."""
    await _consumer(api, retries=[30])
    await _stored(api, 1, 2, record="facturascli:7")
    for attempt in (1, 2):
        (got,) = await _fetched(api, "?lease=60")
        assert (got["id"], got["attempt"]) == ("evt_1", attempt)
        if reported and attempt == 1:
            await _answer(api, failed=[{"receipt": got["receipt"]}])
        api.clock.advance(61)
    assert [each["id"] for each in await _fetched(api)] == ["evt_2"]
    assert await state_of(api.store, "evt_1") is DeliveryState.DEAD
    log = (await api.ask("GET", f"/deliveries/{got['delivery']}")).json["log"]
    assert log[-1]["error"] == "The consumer fetched it and did not answer before the lease ended."
    assert (await _answer(api, acknowledged=[got["receipt"]]))["late"] == [got["receipt"]]


async def test_a_released_event_comes_again_at_once_and_uncounted(api: Managed) -> None:
    await _consumer(api)
    await _stored(api, 1)
    (got,) = await _fetched(api)
    assert (await _answer(api, released=[got["receipt"]]))["released"] == 1
    (again,) = await _fetched(api)
    assert (again["id"], again["attempt"]) == ("evt_1", 1)
    assert (await _answer(api, acknowledged=[got["receipt"]]))["late"] == [got["receipt"]]


async def test_a_waiting_request_gets_an_event_as_it_is_stored(api: Managed) -> None:
    await _consumer(api)
    asking = asyncio.create_task(api.ask("GET", f"{EVENTS}?wait=30", Scope.CONSUME))
    await _waits(api)
    await _stored(api, 1)
    answer = await _moving(api, asking)
    assert [each["id"] for each in answer.json["items"]] == ["evt_1"]
    assert api.service.writes._task is None  # nobody waits: nothing is asked


async def test_a_waiting_request_ends_empty_after_its_time(api: Managed) -> None:
    await _consumer(api)
    began = api.clock.monotonic()
    answer = await _moving(api, asyncio.create_task(api.ask("GET", f"{EVENTS}?wait=5", Scope.CONSUME)))
    assert answer.json == {"items": []}
    assert api.clock.monotonic() - began >= 5


async def test_nothing_is_leased_for_a_client_that_is_gone(api: Managed) -> None:
    await _consumer(api)
    headers = {"Authorization": f"Bearer {api.tokens[Scope.CONSUME]}"}
    asking = asyncio.create_task(api.client.get(f"{API}{EVENTS}?wait=30", headers=headers))
    await _waits(api)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await _waits(api, ends=True)
    await _stored(api, 1)
    assert [each["attempt"] for each in await _fetched(api)] == [1]


@pytest.mark.parametrize("ends", ["cancelled", "gone"])
async def test_lease_that_nobody_gets_is_given_back(api: Managed, monkeypatch: pytest.MonkeyPatch, ends: str) -> None:
    """The request ends while its events are being leased."""
    await _consumer(api)
    await _stored(api, 1)
    leased, go_on, lease_of = asyncio.Event(), asyncio.Event(), api.store.lease_of

    async def slow(*arguments: Any) -> Any:
        found = await lease_of(*arguments)
        leased.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(api.store, "lease_of", slow)
    consumers = Consumers(api.service, Principal("cli:root", operator=True))
    consumer = await consumers.find("orders")
    gone = False
    fetching = asyncio.create_task(consumers.fetch(consumer, 10, timedelta(60), 0, lambda: gone))
    await leased.wait()
    if ends == "cancelled":
        fetching.cancel()
    gone = ends == "gone"
    go_on.set()
    (ended,) = await asyncio.gather(fetching, return_exceptions=True)
    assert ended == [] if ends == "gone" else isinstance(ended, asyncio.CancelledError)
    monkeypatch.undo()
    assert [each["attempt"] for each in await _fetched(api)] == [1]


async def test_waiting_without_leasing_ends_when_an_event_is_due(api: Managed) -> None:
    await _consumer(api)
    asking = asyncio.create_task(api.ask("GET", f"{EVENTS}?limit=0&wait=30", Scope.CONSUME))
    await _waits(api)
    await _stored(api, 1)
    assert (await _moving(api, asking)).json == {"items": []}
    assert [each["attempt"] for each in await _fetched(api)] == [1]


@pytest.mark.parametrize(("scope", "status"), [(Scope.READ, 403), (Scope.MANAGE, 200), (None, 401)])
async def test_fetching_needs_the_scope_consume_or_manage(api: Managed, scope: Scope | None, status: int) -> None:
    await _consumer(api)
    assert (await api.ask("GET", EVENTS, scope)).status == status


@pytest.mark.parametrize("path", ["/endpoints", "/events", "/deliveries", "/events/stream"])
async def test_the_scope_consume_does_nothing_else(api: Managed, path: str) -> None:
    assert (await api.ask("GET", path, Scope.CONSUME)).status == 403


async def test_a_head_request_leases_nothing(api: Managed) -> None:
    await _consumer(api)
    await _stored(api, 1)
    assert (await api.ask("HEAD", EVENTS, Scope.CONSUME)).status == 405
    assert len(await _fetched(api)) == 1


async def test_a_token_of_some_sources_fetches_only_from_its_consumers(api: Managed) -> None:
    await _consumer(api)
    await _stored(api, 1)
    api.tokens[Scope.CONSUME] = (await api.accounts.add_token("cli:root", "theirs", Scope.CONSUME, None, ("main",)))[1]
    assert (await api.ask("GET", EVENTS, Scope.CONSUME)).status == 404
    await api.ask("PATCH", f"/endpoints/{(await api.store.endpoints())[0].id}", json={"sources": ["main"]})
    assert [each["id"] for each in await _fetched(api)] == ["evt_1"]


async def test_receipts_of_another_consumer_have_no_effect(api: Managed) -> None:
    await _consumer(api)
    await api.ask("POST", "/endpoints", json={"url": "pull:other", "events": ["*"]})
    await _stored(api, 1)
    (got,) = await _fetched(api)
    answer = await api.ask("POST", "/consumers/other/ack", Scope.CONSUME, json={"acknowledged": [got["receipt"], "x"]})
    assert answer.json["late"] == [got["receipt"], "x"]
    assert (await _answer(api, acknowledged=[got["receipt"]]))["acknowledged"] == 1


async def test_a_name_of_several_consumers_is_refused_and_an_id_is_not(api: Managed) -> None:
    first, _ = await _consumer(api), await _consumer(api)
    assert (await api.ask("GET", EVENTS)).status == 422
    assert (await api.ask("GET", f"/consumers/{first}/events")).status == 200


@pytest.mark.parametrize(
    "change",
    [{"url": "https://shop.example.com"}, {"transform": "data"}, {"batch": 5}, {"rate": 2}, {"url": "pull:A b"}],
)
async def test_a_consumer_has_no_settings_of_sending(api: Managed, change: Mapping[str, Any]) -> None:
    made = await _consumer(api, concurrency=7)
    assert (await api.ask("PATCH", f"/endpoints/{made}", json=change)).status == 422
    assert (await api.ask("PATCH", f"/endpoints/{made}", json={"concurrency": 9})).json["concurrency"] == 0
    assert (await api.ask("PATCH", f"/endpoints/{made}", json={"url": "pull:renamed"})).status == 200


async def test_a_test_event_waits_for_the_consumer_and_a_failed_one_is_cancelled(api: Managed) -> None:
    made = await _consumer(api)
    assert (await api.ask("POST", f"/endpoints/{made}/test")).json["status"] == 202
    api.clock.advance(10 * 365 * 86_400)  # tests are due by the system's clock
    (got,) = await _fetched(api)
    assert got["payload"]["test"] is True
    await _answer(api, failed=[{"receipt": got["receipt"], "reason": "no"}])
    assert await state_of(api.store, got["id"]) is DeliveryState.CANCELLED


async def _ask_outbox(api: Managed) -> None:
    """Let the process's monitor know what waits in the outbox."""
    monitor = api.watch.monitor
    asking = Monitor(api.store, {}, monitor.reported, api.clock)
    monitor.queue.came(await asking._ask_outbox(), api.clock.now())


async def test_an_event_that_waits_to_be_fetched_is_not_overdue(api: Managed) -> None:
    await _consumer(api)
    await _stored(api, 1)
    api.clock.advance(100_000)
    for _ in range(2):
        await _ask_outbox(api)
    ready = await api.client.get("/health/ready")
    assert not any("overdue" in reason for reason in (await ready.json())["reasons"])


async def test_metrics_show_the_lag_and_what_was_fetched(api: Managed) -> None:
    made = await _consumer(api)
    await _stored(api, 1)
    api.clock.advance(50)
    (got,) = await _fetched(api)
    await _answer(api, acknowledged=[got["receipt"]])
    await _stored(api, 2)
    api.clock.advance(40)
    await _ask_outbox(api)
    metrics = await (await api.client.get("/metrics")).text()
    assert f'cdc_delivery_lag_seconds{{endpoint="{made}"}} 40.0' in metrics
    assert f'cdc_attempts_total{{endpoint="{made}",outcome="delivered",status="2xx"}} 1.0' in metrics
