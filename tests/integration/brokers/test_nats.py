"""What only endpoints of NATS do, on a real server."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import DiscardPolicy

from cdc.admin.endpoint_checks import basic, bearer
from cdc.dispatch.broker.sender import BrokerSender
from cdc.dispatch.request import build_request
from cdc.dispatch.retry import Answer, is_trouble
from cdc.model.delivery import Attempt, DeliveryFilter, DeliveryState, Outcome
from support.broker_servers import INSIDE, Nats, NatsCluster, send
from support.dispatching import endpoint, event, store_events
from support.http_faults import receiver
from support.manual_clock import START
from support.memory_outbox import MemoryOutbox
from support.waiting import HANG_SECONDS

LEASE = timedelta(minutes=1)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Nats]:
    made = Nats(tmp_path / "broker")
    made.start()
    made.empty()
    yield made
    made.end()


async def test_repetition_is_stored_once(server: Nats) -> None:
    async with BrokerSender(INSIDE, {}) as sender:
        first, again = await send(sender, endpoint(server.url)), await send(sender, endpoint(server.url))
    assert (first.body, again.body) == (b"1 in events", b"1 in events, stored before")
    assert len(await asyncio.to_thread(server.got)) == 1


async def test_replay_within_duplicate_window_arrives_and_its_retry_is_dropped(server: Nats) -> None:
    store = MemoryOutbox()
    await store.add_endpoint(endpoint(server.url))
    await store_events(store, [event(1)], START)

    async def attempt() -> None:
        """Send what is due, as a process that is killed before it has recorded the outcome, and then as another."""
        for worker in ("killed", "worker"):
            (delivery,) = await store.lease(worker, now, now + LEASE, 1)
            answers.append(await sender.send(build_request(delivery, to, now)))
            await store.release("killed", now)
        sent = Attempt(
            delivery.id, delivery.attempt, delivery.event_id, delivery.event_name, to.url, 200, now, 0, "", ""
        )
        await store.finish("worker", [Outcome(sent, DeliveryState.DELIVERED)], now)

    to, now, answers = endpoint(server.url), START, list[Answer]()
    async with BrokerSender(INSIDE, {}, attempts=store.attempts) as sender:
        await attempt()
        (delivery,) = await store.deliveries(DeliveryFilter(), 1)
        for _ in range(2):
            await store.retry(delivery.id, now)
            await attempt()
    assert [answer.body for answer in answers] == [
        b"1 in events", b"1 in events, stored before",
        b"2 in events", b"2 in events, stored before",
        b"3 in events", b"3 in events, stored before",
    ]  # fmt: skip
    got = await asyncio.to_thread(server.got)
    assert [(each.headers["Nats-Msg-Id"], each.headers["webhook-id"]) for each in got] == [
        ("evt_1", "evt_1"), ("evt_1.1", "evt_1"), ("evt_1.2", "evt_1"),
    ]  # fmt: skip


async def test_subject_without_stream_is_trouble_and_large_event_is_not(server: Nats) -> None:
    large = endpoint(server.url, headers=(("X-Large", "x" * 2_000_000),))
    async with BrokerSender(INSIDE, {}) as sender:
        unheard = await send(sender, endpoint(server.url.replace("facturascripts", "others")))
        refused = await send(sender, large)
        assert (await send(sender, endpoint(server.url))).status == 200
        await asyncio.to_thread(server.change, max_msg_size=1000)
        larger = await send(sender, endpoint(server.url, headers=(("X-Large", "x" * 1000),)), 2)
    assert (unheard.status, unheard.final) == (503, False)
    assert unheard.error == "NATS refused the event: no stream listens to others.main.invoice.paid."
    assert is_trouble(unheard)
    assert (refused.status, refused.final) == (larger.status, larger.final) == (413, True)
    assert larger.error == "NATS refused the event: its stream takes no message of this size (max_msg_size)."
    assert "are more than its max_payload, 1048576" in refused.error


async def test_user_and_password_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    server = Nats(tmp_path / "broker")
    publish = '{ publish: ["facturascripts.>"], subscribe: ["_INBOX.>"] }'
    server.settings = f"""
        tls {{ cert_file: "{certificate}", key_file: "{key}" }}
        authorization {{ users: [{{ user: cdc, password: planted, permissions: {publish} }}] }}
    """
    server.start()
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    url = f"tls://localhost:{server.port}/facturascripts.{{source}}"
    account = (basic("cdc:planted"),)
    try:
        async with BrokerSender(INSIDE, {}, tls=lambda: trusted) as sender:
            good = await send(sender, endpoint(url, headers=account))
            wrong = await send(sender, endpoint(url, headers=(basic("cdc:wrong"),)))
            forbidden = await send(sender, endpoint(url.replace("facturascripts", "others"), headers=account))
            other_name = await send(sender, endpoint(url.replace("localhost", "127.0.0.1"), headers=account))
        async with BrokerSender(INSIDE, {}) as sender:
            unknown = await send(sender, endpoint(url, headers=account))
    finally:
        server.kill()
    assert good.error == "NATS refused the event: no stream listens to facturascripts.main."  # it was heard
    assert wrong.error == "NATS refused the event: Authorization Violation."
    assert forbidden.error.startswith("NATS refused the event: permissions violation for publish")
    assert other_name.error.startswith(f"The TLS certificate of 127.0.0.1:{server.port} is not valid: ")
    assert unknown.error.startswith(f"The TLS certificate of localhost:{server.port} is not valid: ")


async def test_server_without_tls_never_gets_the_token(tmp_path: Path) -> None:
    """A server, or somebody on the way, that offers no TLS would be sent user and password in plain text."""
    heard: list[bytes] = []
    ended = asyncio.Event()

    async def offer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.10.0","headers":true,"max_payload":1048576}\r\n')
        try:
            while data := await reader.read(1000):
                heard.append(data)
        finally:
            ended.set()

    async with receiver(offer) as port, BrokerSender(INSIDE, {}) as sender:
        answer = await send(sender, endpoint(f"tls://127.0.0.1:{port}/x", headers=(bearer("planted"),)))
        async with asyncio.timeout(HANG_SECONDS):
            await ended.wait()
    assert answer.error == "NATS refused the event: secure connection required."
    assert heard == []


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[NatsCluster]:
    made = NatsCluster(tmp_path / "cells")
    made.start()
    yield made
    made.end()


@pytest.mark.parametrize(
    "limits",
    [
        {"max_msgs": 5},
        {"max_bytes": 5_000},
        {"max_msgs_per_subject": 5, "discard_new_per_subject": True, "max_msgs": 1_000},
    ],
    ids=["messages", "bytes", "of a subject"],
)
async def test_what_a_full_stream_refused_is_stored_when_it_has_room(
    cluster: NatsCluster, limits: dict[str, Any]
) -> None:
    """In a stream of several servers the id of a message is known before the message is refused."""
    server, numbers = cluster.nodes[0], range(1, 21)
    await asyncio.to_thread(server.change, discard=DiscardPolicy.NEW, duplicate_window=120.0, **limits)
    async with BrokerSender(INSIDE, {}) as sender:
        confirmed = set[int]()
        for _ in range(3):
            for number in numbers:
                if number not in confirmed and (await send(sender, endpoint(server.url), number)).status == 200:
                    confirmed.add(number)
        assert 0 < len(confirmed) < len(numbers)
        held = await asyncio.to_thread(server.got)
        assert {each.headers["webhook-id"] for each in held} == {f"evt_{number}" for number in confirmed}

        unlimited = {name: -1 for name in limits if name.startswith("max_")}
        await asyncio.to_thread(server.change, discard_new_per_subject=False, **unlimited)
        answers = [await send(sender, endpoint(server.url), number) for number in numbers]
    assert {answer.status for answer in answers} == {200}
    held = await asyncio.to_thread(server.got)
    assert sorted(each.headers["webhook-id"] for each in held) == sorted(f"evt_{number}" for number in numbers)


async def test_a_repetition_is_stored_again_when_the_first_one_is_gone(server: Nats) -> None:
    async with BrokerSender(INSIDE, {}) as sender:
        await send(sender, endpoint(server.url))
        await asyncio.to_thread(server.forget, 1)
        again = await send(sender, endpoint(server.url))
    assert again.body == b"2 in events"
    assert [each.headers["webhook-id"] for each in await asyncio.to_thread(server.got)] == ["evt_1"]


async def test_an_account_that_may_only_publish_is_told_of_a_repetition(tmp_path: Path) -> None:
    server = Nats(tmp_path / "broker")
    server.start()
    await asyncio.to_thread(server.empty)
    server.kill()
    publish = '{ publish: ["facturascripts.>"], subscribe: ["_INBOX.>"] }'
    server.settings = f"authorization {{ users: [{{ user: cdc, password: planted, permissions: {publish} }}] }}"
    server.start()
    to = endpoint(server.url, headers=(basic("cdc:planted"),))
    try:
        async with BrokerSender(INSIDE, {}) as sender:
            answers = [await send(sender, to, number) for number in (1, 1, 1, 2)]
    finally:
        server.kill()
    assert [each.body for each in answers] == [
        b"1 in events", b"1 in events, stored before", b"1 in events, stored before", b"2 in events"
    ]  # fmt: skip


async def test_the_other_servers_of_a_cluster_take_over(cluster: NatsCluster) -> None:
    hosts = ",".join(f"127.0.0.1:{node.port}" for node in cluster.nodes)
    to = endpoint(f"nats://{hosts}/facturascripts.{{source}}.{{event}}", timeout=20.0)
    async with BrokerSender(INSIDE, {}) as sender:
        first = await send(sender, to, 1)
        await asyncio.to_thread(cluster.nodes[0].kill)
        async with asyncio.timeout(HANG_SECONDS):
            while (second := await send(sender, to, 2)).status != 200:  # until the stream has another leader
                pass
    assert (first.status, second.status) == (200, 200)
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            try:
                held = await asyncio.to_thread(cluster.nodes[1].got)
                break
            except NatsTimeoutError:  # until the cluster has another leader, too
                pass
    assert {each.headers["webhook-id"] for each in held} == {"evt_1", "evt_2"}
