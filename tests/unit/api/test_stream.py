"""The live stream: what is stored from now on, or behind what was read last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import ClientResponse

from cdc.access.model import Scope
from cdc.api.events import LOOK_EVERY, SILENCE
from cdc.config.section import LimitsConfig
from cdc.model.errors import OutboxError
from support.managing import API, Managed
from support.memory_outbox import MemoryOutbox
from support.outboxes import event, store
from support.waiting import HANG_SECONDS

BEAT = ""


class Reader:
    def __init__(self, api: Managed, answer: ClientResponse) -> None:
        self._api = api
        self.answer = answer

    async def next(self) -> str:
        """The next event's id, or `BEAT`; the clock goes on until it is there."""
        message = await self._moving(self.answer.content.readuntil(b"\n\n"))
        if message == b":\n\n":
            return BEAT
        fields = dict(line.split(": ", 1) for line in message.decode().strip().splitlines())
        told = orjson.loads(fields["data"])
        assert fields["event"] == "event"
        assert fields["id"] == str(told["sequence"])
        return str(told["id"])

    async def rest(self) -> bytes:
        return await self._moving(self.answer.content.read())

    async def _moving(self, reading: Any) -> bytes:
        task = asyncio.ensure_future(reading)
        async with asyncio.timeout(HANG_SECONDS):
            while not task.done():
                await asyncio.wait([task], timeout=0.005)
                if not task.done():
                    self._api.clock.advance(LOOK_EVERY)
        return bytes(await task)


@asynccontextmanager
async def reading(api: Managed, query: str = "", last: str = "", scope: Scope = Scope.READ) -> AsyncIterator[Reader]:
    headers = {"Authorization": f"Bearer {api.tokens[scope]}"} | ({"Last-Event-ID": last} if last else {})
    async with api.client.get(f"{API}/events/stream{query}", headers=headers) as answer:
        assert answer.status == 200
        reader = Reader(api, answer)
        assert await reader.next() == BEAT
        yield reader


async def test_events_come_as_they_are_stored(api: Managed) -> None:
    await store(api.store, event(1))
    async with reading(api) as reader:
        assert reader.answer.headers["Content-Type"] == "text/event-stream"
        assert "default-src 'none'" in reader.answer.headers["Content-Security-Policy"]
        await store(api.store, event(2))
        assert await reader.next() == "evt_2"
        await store(api.store, event(3), event(4))
        assert [await reader.next(), await reader.next()] == ["evt_3", "evt_4"]


async def test_who_comes_back_misses_nothing(api: Managed) -> None:
    await store(api.store, *map(event, range(1, 501)))
    async with reading(api, last="2") as reader:
        assert [await reader.next() for _ in range(498)] == [f"evt_{number}" for number in range(3, 501)]


async def test_a_pattern_narrows_it(api: Managed) -> None:
    async with reading(api, "?event=stock.*") as reader:
        await store(api.store, *map(event, range(1, 300)), event(300, name="stock.changed"), event(301))
        assert await reader.next() == "evt_300"
        await store(api.store, event(302, name="stock.changed"))
        assert await reader.next() == "evt_302"


async def test_what_does_not_fit_is_looked_at_once(api: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    await store(api.store, event(1))
    asked: list[int | None] = []
    events = MemoryOutbox.events

    async def watched(outbox: MemoryOutbox, limit: int, after: int | None = None, pattern: str | None = None) -> Any:
        if pattern:
            asked.append(after)
        return await events(outbox, limit, after, pattern)

    monkeypatch.setattr(MemoryOutbox, "events", watched)
    async with reading(api, "?event=stock.*") as reader:
        await store(api.store, event(2))
        assert await reader.next() == BEAT
    assert asked == [1]


async def test_a_quiet_stream_shows_that_it_lives(api: Managed) -> None:
    async with reading(api) as reader:
        before = api.clock.monotonic()
        assert await reader.next() == BEAT
        assert api.clock.monotonic() - before >= SILENCE - LOOK_EVERY


async def test_it_ends_when_its_token_is_removed(api: Managed) -> None:
    async with reading(api) as reader:
        await api.accounts.remove_token("cli:root", "read")
        assert (await reader.rest()).strip(b":\n") == b""


async def test_it_ends_when_the_outbox_fails(api: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise OutboxError("The disk is full.")

    async with reading(api) as reader:
        monkeypatch.setattr(MemoryOutbox, "events", fail)
        assert await reader.rest() == b""


@pytest.mark.parametrize("last", ["x", "-1", "1" * 19])
async def test_an_id_that_is_none_of_ours(api: Managed, last: str) -> None:
    assert (await api.ask("GET", "/events/stream", headers={"Last-Event-ID": last})).status == 422


async def test_a_pattern_that_is_none(api: Managed) -> None:
    assert (await api.ask("GET", "/events/stream?event=a!b")).status == 422


async def test_a_token_has_some_streams_and_gets_a_place_back(api: Managed) -> None:
    streams = [reading(api) for _ in range(LimitsConfig().streams_per_principal)]
    for stream in streams:
        await stream.__aenter__()
    refused = await api.ask("GET", "/events/stream", Scope.READ)
    assert (refused.status, refused.headers["Retry-After"]) == (429, "10")
    async with reading(api, scope=Scope.MANAGE):
        pass
    await streams.pop().__aexit__(None, None, None)
    async with asyncio.timeout(HANG_SECONDS):
        while True:  # the server notices when it writes
            api.clock.advance(SILENCE)
            headers = {"Authorization": f"Bearer {api.tokens[Scope.READ]}"}
            async with api.client.get(f"{API}/events/stream", headers=headers) as answer:
                if answer.status == 200:
                    break
    for stream in streams:
        await stream.__aexit__(None, None, None)
