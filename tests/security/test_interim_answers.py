"""A receiver that sends interim answers without an end is cut off after a few, and others get their events."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp.client_proto import ResponseHandler

from cdc.dispatch.sender import INTERIM_ANSWERS, RECEIVE_BUFFER, HttpSender, ask
from cdc.model.errors import EndpointRefused
from support.dispatching import WatchedOutbox, dispatching, endpoint, event, store_events
from support.http_faults import answer, read_request, receiver
from support.manual_clock import ManualClock

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
MANY = "sent many interim answers (1xx) and no answer."


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The status of each answer that was read out of what arrived."""
    codes: list[int] = []
    feed = ResponseHandler.feed_data

    def counted(self: ResponseHandler, data: Any, size: int = 0) -> None:
        codes.append(data[0].code)
        feed(self, data, size)

    monkeypatch.setattr(ResponseHandler, "feed_data", counted)
    return codes


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    while True:
        writer.write(CONTINUE * 10_000)
        await writer.drain()


async def test_an_endless_run_of_interim_answers_is_cut_off(parsed: list[int]) -> None:
    store, clock = WatchedOutbox(), ManualClock()
    async with receiver(endless) as bad, receiver(answer("200 OK")) as good, HttpSender(allow_private=True) as sender:
        await store.add_endpoint(endpoint(f"http://127.0.0.1:{bad}/", "ep_bad", timeout=3_600.0))
        await store.add_endpoint(endpoint(f"http://127.0.0.1:{good}/", "ep_good", timeout=3_600.0))
        await store_events(store, [event(1)])
        async with dispatching(store, sender, clock), asyncio.timeout(60):
            outcomes = [await store.next_recorded() for _ in range(2)]
    assert {each.attempt.error for each in outcomes} == {"", f"127.0.0.1:{bad} {MANY}"}
    most = 2 * 2 * RECEIVE_BUFFER // len(CONTINUE)  # two fillings of the doubled buffer
    assert INTERIM_ANSWERS < parsed.count(100) <= most


async def test_a_few_are_accepted() -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for more in (0, 1):
            await read_request(reader)
            writer.write(CONTINUE * (INTERIM_ANSWERS + more) + b"HTTP/1.1 204 No Content\r\n\r\n")

    async with receiver(behave) as port, HttpSender(allow_private=True) as sender:
        store, clock = WatchedOutbox(), ManualClock()
        await store.add_endpoint(endpoint(f"http://127.0.0.1:{port}/", timeout=60.0))
        await store_events(store, [event(n, record="facturascli:1") for n in range(2)])
        async with dispatching(store, sender, clock), asyncio.timeout(60):
            first, second = [await store.next_recorded() for _ in range(2)]
    assert (first.attempt.status, first.attempt.error) == (204, "")
    assert (second.attempt.status, second.attempt.error) == (None, f"127.0.0.1:{port} {MANY}")


async def test_a_validation_is_cut_off_too(parsed: list[int]) -> None:
    async with receiver(endless) as port, HttpSender(allow_private=True) as sender, asyncio.timeout(60):
        with pytest.raises(EndpointRefused, match="many interim answers"):
            await ask(sender, endpoint(f"http://127.0.0.1:{port}/", timeout=3_600.0), "events.example.com")
    assert parsed.count(100) <= 2 * 2 * RECEIVE_BUFFER // len(CONTINUE)
