"""Which connection is closed when there are too many, and when one is late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from cdc.web import server as module
from cdc.web.server import Connections, Limits, Listener, counting, everybody, serve
from support.ports import free_port

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Served:
    """A server whose only page answers when it may."""

    def __init__(self, limits: Limits, client: Callable[[web.Request], str]) -> None:
        self.connections = Connections(limits)
        self.may_answer = asyncio.Event()
        self.asked = asyncio.Semaphore(0)
        self.port = free_port()
        self.clients: list[asyncio.StreamWriter] = []
        self.app = web.Application(middlewares=[counting(self.connections, client)])
        self.app.router.add_get("/", self._answer)
        self.app.router.add_get("/much", self._much)

    async def _answer(self, _request: web.Request) -> web.Response:
        self.asked.release()
        await self.may_answer.wait()
        return web.Response(text="answered")

    async def _much(self, _request: web.Request) -> web.Response:
        self.asked.release()
        return web.Response(body=b"x" * 50_000_000)

    async def connect(self, sent: bytes = b"", address: str = "127.0.0.1") -> Streams:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0))
        self.clients.append(writer)
        writer.write(sent)
        return reader, writer

    async def busy(self, address: str = "127.0.0.1") -> Streams:
        """A connection whose request is being handled."""
        streams = await self.connect(REQUEST, address)
        await self.asked.acquire()
        return streams

    async def counted(self, number: int) -> None:
        while len(self.connections) != number:  # noqa: ASYNC110 - connections are counted without a sign
            await asyncio.sleep(0)


@asynccontextmanager
async def serving(
    limits: Limits, client: Callable[[web.Request], str] = lambda each: each.remote or ""
) -> AsyncIterator[Served]:
    served = Served(limits, client)
    stop, listening, listener = asyncio.Event(), asyncio.Event(), Listener()
    task = asyncio.create_task(
        serve(served.app, f"127.0.0.1:{served.port}", served.connections, stop, listening.set, listener=listener)
    )
    await listening.wait()
    try:
        async with asyncio.timeout(60):
            yield served
    finally:
        for each in served.clients:
            each.transport.abort()
        served.may_answer.set()
        stop.set()
        await task
        listener.close()


async def closed(streams: Streams) -> bool:
    """Wait until the server closes the connection; return whether it did so without an answer."""
    try:
        return await streams[0].read() == b""
    except ConnectionError:
        return True


async def answered(streams: Streams) -> bytes:
    return await streams[0].readuntil(b"answered")


async def test_beyond_the_total_the_one_that_waits_longest_makes_room() -> None:
    async with serving(Limits(total=3)) as served:
        first = await served.busy()
        second = await served.connect(b"GET / HT")
        await served.counted(2)
        third = await served.connect()
        await served.counted(3)
        fourth = await served.busy()
        assert await closed(second), "the oldest without a whole request"
        fifth = await served.busy()
        assert await closed(third)
        assert await closed(await served.connect(REQUEST)), "all three are busy"
        served.may_answer.set()
        for each in (first, fourth, fifth):
            assert await answered(each)


async def test_an_address_has_its_own_bound() -> None:
    async with serving(Limits(total=100, per_address=2)) as served:
        mine = [await served.busy("127.0.0.2"), await served.busy("127.0.0.2")]
        assert await closed(await served.connect(REQUEST, "127.0.0.2"))
        others = await served.busy("127.0.0.3")
        served.may_answer.set()
        for each in (*mine, others):
            assert await answered(each)
        again = await served.busy("127.0.0.2")
        assert await closed(mine[0]), "it waited longest"
        assert await answered(again)


async def test_one_that_speaks_for_many_counts_in_all_only() -> None:
    limits = Limits(total=5, per_address=2, group=lambda address: "" if address == "127.0.0.9" else everybody(address))
    async with serving(limits) as served:
        proxied = [await served.busy("127.0.0.9") for _ in range(5)]
        assert await closed(await served.connect(REQUEST, "127.0.0.9"))
        served.may_answer.set()
        for each in proxied:
            assert await answered(each)


async def test_clients_behind_a_proxy_have_a_bound_of_requests() -> None:
    limits = Limits(per_address=2, group=lambda address: "" if address == "127.0.0.1" else everybody(address))

    def named(request: web.Request) -> str:
        return request.headers.get("X-Client", "127.0.0.1")

    def asking(client: str) -> bytes:
        return REQUEST.replace(b"\r\n\r\n", f"\r\nX-Client: {client}\r\n\r\n".encode())

    async with serving(limits, named) as served:
        for _ in range(2):
            await served.connect(asking("203.0.113.1"))
            await served.asked.acquire()
        reader, _ = await served.connect(asking("203.0.113.1"))
        assert (await reader.readline()).startswith(b"HTTP/1.1 429 ")
        await served.connect(asking("203.0.113.2"))
        await served.asked.acquire()


@pytest.mark.parametrize("sent", [b"GET / HT", REQUEST[:-2], b"\r\n"])
async def test_a_head_that_is_late_costs_the_connection(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUIET_SECONDS", 3_600.0)
    async with serving(Limits(head_seconds=0.05)) as served:
        assert await closed(await served.connect(sent))
        await served.counted(0)


async def test_a_request_in_time_keeps_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUIET_SECONDS", 3_600.0)
    async with serving(Limits(head_seconds=0.05)) as served:
        whole, late = await served.busy(), await served.connect(REQUEST[:-2])
        assert await closed(late), "it came later, and its time is over"
        served.may_answer.set()
        assert await answered(whole)


async def test_a_client_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNREAD_SECONDS", 0.05)
    async with serving(Limits()) as served:
        deaf = await served.connect(REQUEST.replace(b"/ ", b"/much ", 1))
        deaf[1].transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport
        await served.asked.acquire()
        await served.counted(0)
