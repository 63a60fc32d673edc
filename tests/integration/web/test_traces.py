"""Traces of ``cdc run`` as a collector gets them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from support.consumer import Consumer, Inbox, receiving
from support.database import Database
from support.waiting import HANG_SECONDS


@asynccontextmanager
async def collecting(spans: list[Span]) -> AsyncIterator[str]:
    """The URL of a collector on loopback."""

    async def take(request: web.Request) -> web.Response:
        sent = ExportTraceServiceRequest.FromString(await request.read())
        spans.extend(span for of in sent.resource_spans for scope in of.scope_spans for span in scope.spans)
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
    finally:
        await runner.cleanup()


def traced(consumer: Consumer, url: str) -> None:
    path = consumer.folder / "cdc.toml"
    path.write_text(path.read_text(encoding="utf-8") + f'[tracing]\nendpoint = "{url}"\n', encoding="utf-8")


async def test_a_change_becomes_one_trace(postgres_db: Database, tmp_path: Path) -> None:
    consumer = Consumer.of_one_table(tmp_path, postgres_db)
    spans: list[Span] = []
    inbox = Inbox()
    async with collecting(spans) as collector, receiving(inbox) as url:
        traced(consumer, collector)
        await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            postgres_db.execute("INSERT INTO contadores VALUES (1, 0, NULL)")
            await inbox.until_count(1)
    capture, attempt = sorted(spans, key=lambda span: not span.name.startswith("capture"))
    assert (capture.name, attempt.name) == ("capture contadores.created", "attempt contadores.created")
    assert attempt.trace_id == capture.trace_id
    assert attempt.parent_span_id == capture.span_id
    assert not capture.parent_span_id
    assert capture.start_time_unix_nano <= capture.end_time_unix_nano <= attempt.end_time_unix_nano


async def test_a_collector_that_hangs_does_not_delay_the_end(postgres_db: Database, tmp_path: Path) -> None:
    consumer = Consumer.of_one_table(tmp_path, postgres_db)
    inbox = Inbox()
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        traced(consumer, f"http://127.0.0.1:{deaf.getsockname()[1]}/v1/traces")
        async with receiving(inbox) as url:
            await asyncio.to_thread(consumer.add_endpoint, url)
            async with consumer.running():
                postgres_db.execute("INSERT INTO contadores VALUES (1, 0, NULL)")
                await inbox.until_count(1)
                async with asyncio.timeout(HANG_SECONDS):
                    assert await consumer.stop() == 0


async def test_a_collector_that_is_away_stops_nothing(postgres_db: Database, tmp_path: Path) -> None:
    consumer = Consumer.of_one_table(tmp_path, postgres_db)
    async with collecting([]) as collector:
        traced(consumer, collector)
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            postgres_db.execute("INSERT INTO contadores VALUES (1, 0, NULL)")
            await inbox.until_count(1)
            async with asyncio.timeout(HANG_SECONDS):
                assert await consumer.stop() == 0
    for line in consumer.messages():  # each a JSON object, those of OpenTelemetry too
        assert "message" in line
