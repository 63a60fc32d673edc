"""Endpoints at message brokers, on real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cdc.dispatch.address import EgressPolicy
from cdc.dispatch.broker import sender as broker_sender
from cdc.dispatch.broker.base import BrokerConnection
from cdc.dispatch.broker.sender import BrokerSender
from cdc.dispatch.dispatcher import Dispatcher, DispatchSettings
from cdc.dispatch.request import build_request
from cdc.dispatch.retry import is_trouble
from cdc.model.clock import SystemClock
from cdc.model.delivery import DeliveryState
from support.broker_servers import INSIDE, BrokerServer, Nats, RabbitMQ, Valkey, leased, send
from support.dispatching import WatchedOutbox, endpoint, event, store_events
from support.http_faults import receiver, refusing
from support.kafka_mock import Kafka
from support.manual_clock import START
from support.waiting import HANG_SECONDS

SERVERS: dict[str, type[BrokerServer]] = {"redis": Valkey, "nats": Nats, "amqp": RabbitMQ, "kafka": Kafka}


@pytest.fixture(scope="module", params=list(SERVERS))
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerServer]:
    """Start each once: RabbitMQ takes seconds."""
    made = SERVERS[request.param](tmp_path_factory.mktemp("broker"))
    yield made
    made.end()


@pytest.fixture
def server(kept: BrokerServer) -> BrokerServer:
    if not kept.runs:
        kept.start()
    kept.empty()
    return kept


async def test_event_arrives_with_headers_and_signature(server: BrokerServer) -> None:
    to = endpoint(server.url, headers=(("X-Tenant", "42"),))
    async with BrokerSender(INSIDE, {}) as sender:
        first, second = await send(sender, to), await send(sender, to, 2)
    assert (first.status, first.error) == (200, "")
    assert first.body
    assert second.status == 200
    one, other = sorted(await asyncio.to_thread(server.got), key=lambda message: message.headers["webhook-id"])
    assert "main" in one.place
    request = build_request(leased(1), to, START)
    expected = {name: request.headers[name] for name in request.headers if not name.startswith(("Accept", "User"))}
    own = {"Nats-Msg-Id": "evt_1", "X-Webhook-Record": "facturascli:1"} if server.name == "nats" else {}
    assert one.headers == expected | own
    assert expected["webhook-id"] == "evt_1"
    assert expected["X-Tenant"] == "42"
    assert one.body == request.body
    assert other.headers["webhook-id"] == "evt_2"


@pytest.mark.timeout(900)  # RabbitMQ starts slowly on a busy machine
async def test_kill_and_restart_under_load_loses_and_reorders_nothing(
    server: BrokerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.dispatch.flow_control.FIRST_PROBE", 0.2)
    records, each = 10, 30
    store = WatchedOutbox()
    await store.add_endpoint(endpoint(server.url, retry_schedule=(0.05,) * 50, timeout=2.0))
    events = [event(number, f"facturascli:{number % records}") for number in range(records * each)]
    delivered = 0
    async with BrokerSender(INSIDE, {}) as sender, running(store, sender):
        await store_events(store, events, SystemClock().now())
        killed = failed = False
        while delivered < len(events):
            outcome = await store.next_recorded()
            delivered += outcome.state is DeliveryState.DELIVERED
            if delivered >= len(events) // 3 and not killed:
                killed = True
                await asyncio.to_thread(server.kill)
            if killed and outcome.attempt.error and not failed:
                failed = True
                await asyncio.to_thread(server.start)
        assert failed
    got = [int(message.headers["webhook-id"].removeprefix("evt_")) for message in await asyncio.to_thread(server.got)]
    assert set(got) == set(range(len(events)))
    for record in range(records):
        first = list(dict.fromkeys(number for number in got if number % records == record))
        assert first == sorted(first)


async def test_a_server_that_answers_is_found_among_several(server: BrokerServer) -> None:
    """Of three servers one refuses connections and one takes them and says nothing."""
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ended.wait()

    scheme, _, rest = server.url.partition("://")
    async with refusing() as dead, receiver(silent) as mute, BrokerSender(INSIDE, {}) as sender:
        to = endpoint(f"{scheme}://127.0.0.1:{dead},127.0.0.1:{mute},{rest}", timeout=15.0)
        answers = [await send(sender, to, number) for number in (1, 2)]
        await asyncio.to_thread(server.kill)
        gone = await send(sender, replace(to, timeout=3.0), 3)
        ended.set()
    assert [(each.status, each.error) for each in answers] == [(200, "")] * 2
    assert gone.status is None


@asynccontextmanager
async def running(store: WatchedOutbox, sender: BrokerSender) -> AsyncIterator[None]:
    dispatcher = Dispatcher(store, sender, SystemClock(), DispatchSettings("worker-1"))
    task = asyncio.create_task(dispatcher.run())
    try:
        yield
    finally:
        dispatcher.stop()
        await task


@pytest.mark.parametrize("kept", ["redis", "nats", "kafka"], indirect=True)  # that of RabbitMQ is, in the test before
async def test_broken_connection_is_replaced(server: BrokerServer) -> None:
    to = endpoint(server.url)
    async with BrokerSender(INSIDE, {}) as sender:
        assert (await send(sender, to)).status == 200
        await asyncio.to_thread(server.kill)
        down = await send(sender, to, 2)
        again = await send(sender, to, 2)
        await asyncio.to_thread(server.start)
        up = await send(sender, to, 2)
    assert down.status is None
    assert again.error == f"127.0.0.1:{server.port} refused the connection."
    assert up.status == 200


@pytest.mark.parametrize("scheme", list(SERVERS))
async def test_server_that_hangs_or_is_not_there(scheme: str, tmp_path: Path) -> None:
    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    path = SERVERS[scheme](tmp_path).url.partition(":")[2].split("/", 3)[3]
    async with BrokerSender(INSIDE, {}) as sender:
        async with receiver(hang) as port:
            answer = await send(sender, endpoint(f"{scheme}://127.0.0.1:{port}/{path}", timeout=0.2))
            assert (answer.status, answer.error) == (None, f"127.0.0.1:{port} did not answer within 0.2 s.")
        async with refusing() as port:
            answer = await send(sender, endpoint(f"{scheme}://127.0.0.1:{port}/{path}"))
            assert (answer.status, answer.error) == (None, f"127.0.0.1:{port} refused the connection.")
            assert is_trouble(answer)


@pytest.mark.parametrize("scheme", list(SERVERS))
async def test_inside_address_is_refused_before_connecting(scheme: str, tmp_path: Path) -> None:
    connected = asyncio.Event()

    async def connect(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        writer.close()

    path = SERVERS[scheme](tmp_path).url.partition(":")[2].split("/", 3)[3]
    async with receiver(connect) as port, BrokerSender(EgressPolicy(plain=True), {}) as sender:
        named = await send(sender, endpoint(f"{scheme}://localhost:{port}/{path}"))
        literal = await send(sender, endpoint(f"{scheme}://127.0.0.1:{port}/{path}"))
    assert "is a loopback address" in named.error
    assert "is a loopback address" in literal.error
    assert not connected.is_set()


async def test_idle_connection_is_closed(server: BrokerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = asyncio.Event()
    close = broker_sender.close_connection

    async def closing(connection: BrokerConnection) -> None:
        await close(connection)
        closed.set()

    monkeypatch.setattr(broker_sender, "IDLE", 0.05)
    monkeypatch.setattr(broker_sender, "close_connection", closing)
    to = endpoint(server.url)
    async with BrokerSender(INSIDE, {}) as sender:
        assert (await send(sender, to)).status == 200
        async with asyncio.timeout(HANG_SECONDS):
            await closed.wait()
        assert (await send(sender, to, 2)).status == 200
