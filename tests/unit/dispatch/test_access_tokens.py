"""OAuth2 access tokens of deliveries, with a real token server and a receiver that asks for one of its tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import quote_plus

import pytest
from aiohttp import web

from cdc.dispatch.request import WebhookRequest, build_request
from cdc.dispatch.sender import HttpSender, ask
from cdc.model.delivery import DeliveryState
from cdc.model.endpoint import Endpoint, settings_text
from cdc.model.errors import EndpointRefused
from support.dispatching import WatchedOutbox, dispatching, endpoint, event, store_events
from support.manual_clock import START, ManualClock
from support.signed import leased
from support.token_server import CLIENT, SECRET, Gateway, gateway


@pytest.fixture
async def server() -> AsyncIterator[Gateway]:
    async with gateway() as made:
        yield made


@pytest.fixture
async def sender() -> AsyncIterator[HttpSender]:
    async with HttpSender(allow_private=True) as made:
        yield made


def protected(server: Gateway, **more: Any) -> Endpoint:
    fields = {name: more.pop(name) for name in ("timeout", "concurrency", "retry_schedule") if name in more}
    settings = {"type": "oauth2", "token_url": server.token_url, "client_id": CLIENT, **more}
    return endpoint(server.url, authentication=settings_text(settings), credential=SECRET, timeout=30.0, **fields)


def request(to: Endpoint, number: int = 1, at: datetime = START) -> WebhookRequest:
    return build_request(leased(number), to, at)


async def test_one_token_serves_parallel_requests_until_it_expires(server: Gateway, sender: HttpSender) -> None:
    server.gate.clear()
    to = protected(server, scope="orders:write", audience="https://shop", parameters={"resource": "urn:x"})
    sending = [asyncio.create_task(sender.send(request(to, number))) for number in range(1, 6)]
    await server.arrived.wait()
    server.gate.set()
    assert [answer.status for answer in await asyncio.gather(*sending)] == [204] * 5
    assert (await sender.send(request(to, 6))).status == 204
    assert server.asked == [
        {
            "grant_type": "client_credentials",
            "scope": "orders:write",
            "audience": "https://shop",
            "resource": "urn:x",
            "basic": quote_plus(CLIENT),
        }
    ]
    assert {head["Authorization"] for head in server.delivered} == {"Bearer token-1"}
    assert {head["webhook-id"] for head in server.delivered} == {f"evt_{number}" for number in range(1, 7)}


async def test_client_in_the_body(server: Gateway, sender: HttpSender) -> None:
    assert (await sender.send(request(protected(server, client_authentication="body")))).status == 204
    assert server.asked == [{"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": SECRET}]


async def test_refused_token_is_renewed_once_for_all_requests(server: Gateway, sender: HttpSender) -> None:
    to = protected(server)
    await sender.send(request(to))
    server.expire()
    answers = await asyncio.gather(*(sender.send(request(to, number)) for number in range(2, 5)))
    assert [answer.status for answer in answers] == [204] * 3
    assert len(server.asked) == 2


async def test_receiver_that_refuses_each_token_fails_the_attempt(server: Gateway, sender: HttpSender) -> None:
    async def worthless(_: web.Request) -> web.Response:
        return web.json_response({"access_token": "worthless"})

    server.answer = worthless
    answer = await sender.send(request(protected(server)))
    assert (answer.status, server.refused, len(server.asked)) == (401, 2, 2)


async def test_token_is_renewed_before_it_expires(server: Gateway, sender: HttpSender) -> None:
    now = asyncio.get_running_loop().time
    server.expires_in = "600"
    to = protected(server)
    await sender.send(request(to))
    (kept,) = sender._tokens._kept.values()
    assert 500 < kept.until - now() <= 570, "30 s before its end"
    sender._tokens._kept = {grant: each._replace(until=now()) for grant, each in sender._tokens._kept.items()}
    await sender.send(request(to, 2))
    assert [head["Authorization"] for head in server.delivered] == ["Bearer token-1", "Bearer token-2"]


async def test_deliveries_wait_for_the_token_server_and_are_retried(server: Gateway, sender: HttpSender) -> None:
    """Through the dispatcher: the attempt without a token fails with its reason, the next one is delivered."""

    async def unavailable(_: web.Request) -> web.Response:
        return web.json_response({"error": "invalid_client", "error_description": SECRET}, status=401)

    outbox, clock = WatchedOutbox(), ManualClock()
    await outbox.open()
    await outbox.add_endpoint(protected(server, retry_schedule=(5.0,)))
    server.answer = unavailable
    async with dispatching(outbox, sender, clock):
        await store_events(outbox, [event(1)])
        failed = await outbox.next_recorded()
        server.answer = None
        assert failed.state is DeliveryState.PENDING
        host = server.token_url.split("/")[2]
        assert failed.attempt.error == f"No access token: {host} answered 401 invalid_client."
        assert failed.attempt.status is None
        while outbox.recorded.empty():
            clock.advance(10)
            await asyncio.sleep(0.01)
        assert (await outbox.next_recorded()).state is DeliveryState.DELIVERED


async def test_changed_secret_gets_a_token_of_its_own(server: Gateway, sender: HttpSender) -> None:
    to = protected(server)
    await sender.send(request(to))
    await sender.send(request(replace(to, credential="another")))
    assert len(server.asked) == 2


async def test_consent_is_asked_with_a_token(server: Gateway, sender: HttpSender) -> None:
    with pytest.raises(EndpointRefused, match="does not agree"):
        await ask(sender, protected(server), "erp.example.com")
    assert (server.refused, len(server.delivered)) == (0, 1)


async def test_stop_ends_a_fetch(server: Gateway) -> None:
    server.gate.clear()
    async with HttpSender(allow_private=True) as own:
        sending = asyncio.create_task(own.send(request(protected(server))))
        await server.arrived.wait()
        sending.cancel()
    assert not own._tokens._fetching
    server.gate.set()
