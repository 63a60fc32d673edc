"""Attacks below pages and operations: what is no HTTP, what is slow on purpose, what is too much."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from cdc.access.model import Scope
from cdc.api import events as stream
from cdc.config import Config, WebConfig
from cdc.config.section import LimitsConfig
from cdc.web import server
from cdc.web.server import Connections, Limits
from support.consumer import Consumer
from support.health import Health
from support.managing import API, Managed, managing
from support.memory_outbox import MemoryOutbox
from support.outboxes import event, store
from support.ports import free_port
from support.waiting import HANG_SECONDS

TOKEN = "cdct_" + "B" * 43


@asynccontextmanager
async def served(quiet: float = 30.0) -> AsyncIterator[tuple[Managed, int]]:
    """As `cdc run` serves it, and its port.  ``quiet``: seconds that a connection may be."""
    stop, listening, port = asyncio.Event(), asyncio.Event(), free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "QUIET_SECONDS", quiet)
        async with managing(MemoryOutbox()) as managed:
            app = managed.client.server.app  # type: ignore[attr-defined]  # of a TestServer
            counted, listener = Connections(Limits()), server.Listener()
            serving = asyncio.create_task(
                server.serve(app, f"127.0.0.1:{port}", counted, stop, listening.set, listener=listener)
            )
            await listening.wait()
            try:
                yield managed, port
            finally:
                stop.set()
                await serving
                listener.close()


async def said(port: int, sent: bytes) -> bytes:
    """All that comes back until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        async with asyncio.timeout(HANG_SECONDS):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: a",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HT",
    ],
)
async def test_who_sends_nothing_or_never_ends_loses_the_connection(sent: bytes) -> None:
    async with served(quiet=0.2) as (_, port):
        assert b"200 OK" not in await said(port, sent)


async def test_many_who_are_slow_hinder_nobody() -> None:
    async with served(quiet=10 * HANG_SECONDS) as (_, port):
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
        for number, (_, writer) in enumerate(slow):
            request = b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nname="
            writer.write(request[: 20 + number])
        answer = await said(port, b"GET /sign-in HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK")
        for _, writer in slow:
            writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"G<script>T / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nX<script>: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + TOKEN.encode() + b"\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\n\r\nGET /\r\n\r\n"
        ),
        b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: localhost\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused_and_not_repeated_in_the_log(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with served() as (_, port):
        with caplog.at_level(logging.DEBUG):
            answer = await said(port, sent)
    assert answer.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400")), answer[:200]
    assert answer.count(b"\r\nServer: ") == 1  # nothing behind it was taken for a request of its own
    assert b"text/html" not in answer.split(b"\r\n\r\n")[0]
    assert caplog.text == ""


async def test_headers_without_an_end() -> None:
    """The connection is closed while they come, with an answer or without."""
    async with served() as (_, port):
        try:
            answer = await said(port, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X-Many: 1\r\n" * 50_000)
        except ConnectionError:
            answer = b""
    assert b" 200 " not in answer[:20]


async def test_who_does_not_read_a_stream_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "SLOW_READER", 0.2)
    async with served() as (managed, port):
        asked = f"GET {API}/events/stream HTTP/1.1\r\nHost: localhost"
        head = f"{asked}\r\nAuthorization: Bearer {managed.tokens[Scope.READ]}\r\n\r\n"
        deaf = [
            await asyncio.open_connection("127.0.0.1", port, limit=1024)
            for _ in range(LimitsConfig().streams_per_principal)
        ]
        for reader, writer in deaf:
            writer.write(head.encode())
            await reader.readuntil(b":\n\n")
        for number in range(60):
            much = [event(number * 100 + each, data={"text": "x" * 3000}) for each in range(100)]
            await store(managed.store, *much)
        async with asyncio.timeout(HANG_SECONDS):
            while not await opens(managed):
                managed.clock.advance(1)
        for _, writer in deaf:
            writer.transport.abort()


async def opens(managed: Managed) -> bool:
    """Whether there is room for another stream."""
    headers = {"Authorization": f"Bearer {managed.tokens[Scope.READ]}"}
    async with managed.client.get(f"{API}/events/stream", headers=headers) as answer:
        return answer.status == 200


def test_only_this_machine_is_served_unless_told() -> None:
    assert WebConfig().listen == Config().web.listen == "127.0.0.1:8600"


async def test_cdc_run_listens_on_loopback_alone(tmp_path: Path) -> None:
    """With a configuration that says nothing of it but another port."""
    port = free_port()
    consumer = Consumer.with_sources(tmp_path, '[source.main]\nurl = "postgresql://cdc@127.0.0.1:1/none"')
    Health.of(consumer, port)
    consumer.start()
    try:
        await consumer.logged("serving the page, the API, health and metrics")
        assert consumer.process is not None
        connections = psutil.Process(consumer.process.pid).net_connections("tcp")
        assert {each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
    finally:
        await consumer.stop()
