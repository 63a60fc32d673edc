"""`cdc endpoint test`: one event is sent, nothing else, and nothing is tried again behind the user's back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import orjson
import pytest

from cdc.admin.endpoint_checks import send_test
from cdc.admin.findings import endpoint_findings
from cdc.config import Config
from cdc.config.rules import event_types
from cdc.demo.receiver import Received, receiver_app
from cdc.dispatch.request import batch_id, build_request
from cdc.dispatch.retry import Answer, Verdict
from cdc.dispatch.sender import outcomes
from cdc.dispatch.signing import new_secret
from cdc.facturascripts.schema import tables
from cdc.model.change import Position
from cdc.model.delivery import Attempt, DeliveryFilter, DeliveryState, DeliveryView, LeasedDelivery
from cdc.model.endpoint import PayloadFormat
from cdc.model.errors import UsageError
from cdc.model.event import Event, event_payload
from cdc.model.finding import Severity
from cdc.outbox.store import OutboxStore
from cdc.runtime.outboxes import open_outbox
from support.dispatching import endpoint, event
from support.http_faults import answer, receiver, refusing, resets
from support.http_servers import served
from support.waiting import HANG_SECONDS


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config.model_validate(
        {"outbox": {"url": f"sqlite:///{tmp_path / 'cdc.db'}"}, "dispatch": {"allow_private": True}}
    )


@asynccontextmanager
async def outbox(config: Config) -> AsyncIterator[OutboxStore]:
    store = open_outbox(config)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def add(config: Config, port: int, *, enabled: bool = True) -> None:
    """An endpoint that retries for hours, and for which an event is due."""
    async with outbox(config) as store:
        url = f"http://127.0.0.1:{port}/hook?token=t"
        await store.add_endpoint(endpoint(url, retry_schedule=(3600.0,) * 3, enabled=enabled))
        await store.store("main", Position("1"), [event(1)], {}, datetime.now(UTC))


async def send(config: Config, endpoint_id: str, event_name: str) -> Attempt:
    async with outbox(config) as store:
        return await send_test(config, store, endpoint_id, event_name)


def lease_of(made: Event) -> LeasedDelivery:
    """The event's delivery, under way."""
    parts = made.id, made.name, made.record, 1, datetime.now(UTC), event_payload(made)
    return LeasedDelivery("dlv_1", "ep_1", *parts)


async def deliveries(config: Config) -> list[DeliveryView]:
    """Newest first."""
    async with outbox(config) as store:
        return await store.deliveries(DeliveryFilter(), 10)


async def test_a_receiver_of_batches_is_tested_with_an_array(config: Config) -> None:
    got: list[Received] = []

    async def take(received: Received) -> None:
        got.append(received)

    secret = new_secret()
    async with served(receiver_app(secret, take)) as url:
        async with outbox(config) as store:
            await store.add_endpoint(endpoint(url, secret=secret, batch_size=100, batch_wait=60.0))
        attempt = await send(config, "ep_1", "endpoint.test")
    assert (attempt.status, attempt.event_name) == (204, "endpoint.test")
    (received,) = got
    assert received.verified
    assert [(each["id"], each["event"]) for each in received.batch] == [(attempt.event_id, "endpoint.test")]
    assert received.headers["webhook-id"] == batch_id([attempt.event_id])


@pytest.mark.parametrize("wanted", list(PayloadFormat))
async def test_an_example_has_every_column_and_is_marked_as_a_test(config: Config, wanted: PayloadFormat) -> None:
    got: list[Received] = []

    async def take(received: Received) -> None:
        got.append(received)

    kind = next(each for each in event_types(config) if each.name == "invoice.paid")
    secret = new_secret()
    async with served(receiver_app(secret, take)) as url, outbox(config) as store:
        await store.add_endpoint(endpoint(url, secret=secret, format=wanted))
        attempt = await send_test(config, store, "ep_1", "invoice.paid", example=kind.example)
        stored = await store.event(attempt.event_id)
    (received,) = got
    assert (attempt.status, received.verified, received.headers["X-Webhook-Test"]) == (204, True, "true")
    body = orjson.loads(received.body)
    assert body["test"] is True
    assert body["data"].keys() == {column.name for column in tables()["facturascli"].columns}
    assert (body["data"]["codigo"], body["data"]["pagada"]) == ("FAC2026A12", True)
    assert stored is not None
    jsonschema.validate(stored.payload, kind.schema)


async def test_a_real_event_is_not_marked_as_a_test() -> None:
    leased = lease_of(event(1, "test:1"))
    request = build_request(leased, endpoint("https://shop.example.com"), datetime.now(UTC))
    assert "X-Webhook-Test" not in request.headers
    assert "test" not in orjson.loads(request.body)


def test_a_test_among_other_deliveries_of_a_failed_batch_ends_alone() -> None:
    batch = [lease_of(event(1)), lease_of(event(2, "test:2")._replace(source="test"))]
    due = datetime.now(UTC)
    verdict = Verdict(DeliveryState.PENDING, "no", due)
    made = outcomes(batch, endpoint("https://shop.example.com"), Answer(500, 0.1), verdict, due)
    assert [(each.state, each.due_at, each.batch) for each in made] == [
        (DeliveryState.PENDING, due, 1),
        (DeliveryState.CANCELLED, None, 1),
    ]


async def test_one_event_is_sent_and_nothing_else(config: Config) -> None:
    async with receiver(answer("204 No Content")) as port:
        await add(config, port)
        attempt = await send(config, "ep_1", "endpoint.test")
    assert (attempt.status, attempt.number, attempt.error) == (204, 1, "")
    assert attempt.url == f"http://127.0.0.1:{port}/…ep_1"
    test, other = await deliveries(config)
    assert (test.id, test.event_name, test.state) == (attempt.delivery_id, "endpoint.test", DeliveryState.DELIVERED)
    assert (other.event_id, other.state, other.attempts) == ("evt_1", DeliveryState.PENDING, 0)
    async with outbox(config) as store:
        assert await store.attempts(test.id) == [attempt]


@pytest.mark.parametrize("status", ["500 Internal Server Error", "429 Too Many Requests", "302 Found"])
async def test_a_refused_test_ends_without_a_dead_letter(config: Config, status: str) -> None:
    async with receiver(answer(status, "Retry-After: 60", body=b"no\0")) as port:
        await add(config, port)
        attempt = await send(config, "ep_1", "endpoint.test")
    assert attempt.error.startswith(f"The endpoint answered {status}")
    assert attempt.answer == "no\ufffd"
    test, _ = await deliveries(config)
    assert (test.state, test.last_error, test.is_test) == (DeliveryState.CANCELLED, attempt.error, True)
    async with outbox(config) as store:
        (found,) = await store.endpoints()
        counts = (await store.counts())["ep_1"]
    assert found.failing_since is None
    assert DeliveryState.DEAD not in counts
    assert [each.severity for each in endpoint_findings(found, counts, datetime.now(UTC))] == [Severity.OK]


async def test_a_test_without_an_answer_ends_without_a_dead_letter(config: Config) -> None:
    async with receiver(resets()) as port:
        await add(config, port)
        assert (await send(config, "ep_1", "endpoint.test")).status is None
    assert (await deliveries(config))[0].state is DeliveryState.CANCELLED


async def test_gone_disables_the_endpoint_as_in_dispatch(config: Config) -> None:
    async with receiver(answer("410 Gone")) as port:
        await add(config, port)
        await send(config, "ep_1", "endpoint.test")
    test, other = await deliveries(config)
    assert (test.state, other.state) == (DeliveryState.CANCELLED, DeliveryState.PENDING)
    async with outbox(config) as store:
        (found,) = await store.endpoints()
        (told,) = await store.events(10, pattern="endpoint.disabled")
    assert not found.enabled
    assert told.record == "endpoint:ep_1"


async def test_an_interrupted_test_is_left_to_the_consumer(config: Config) -> None:
    arrived = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()

    async with receiver(hang) as port:
        await add(config, port)
        task = asyncio.create_task(send(config, "ep_1", "endpoint.test"))
        async with asyncio.timeout(HANG_SECONDS):
            await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    test, _ = await deliveries(config)
    assert test.state is DeliveryState.LEASED
    now = datetime.now(UTC) + timedelta(seconds=60)
    async with outbox(config) as store:
        leased = await store.lease("consumer", now, now + timedelta(seconds=60), 10)
    assert [(each.event_name, each.attempt) for each in leased] == [("invoice.paid", 1), ("endpoint.test", 2)]


async def test_nothing_is_stored_for_an_endpoint_that_cannot_be_tested(config: Config) -> None:
    async with refusing() as port:
        await add(config, port, enabled=False)
        with pytest.raises(UsageError, match="ep_1 is disabled"):
            await send(config, "ep_1", "endpoint.test")
        with pytest.raises(UsageError, match="no endpoint ep_none"):
            await send(config, "ep_none", "endpoint.test")
    assert len(await deliveries(config)) == 1
