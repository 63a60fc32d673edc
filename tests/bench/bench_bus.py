"""Events a second of processor time that a cell reads from a stream of NATS, and that it reads and stores.

    PYTHONPATH=tests python tests/bench/bench_bus.py [--events 60000] [--subject facturascripts.0.>]

A server of its own has a stream with invoices' events of ten sources, as a capturing cell publishes them.  A
`cdc.capture.bus.BusSource` reads all of it: alone, then through a `cdc.relay.Relay` into an outbox in SQLite without
endpoints.  Counted is the time of this process alone: the server has its own.  Seconds on the clock are printed too.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
from bench_outbox import event
from nats.js.api import SubjectTransform

from cdc.capture.base import EventBatch
from cdc.config import SourceConfig
from cdc.logs import configure_logs
from cdc.model.broker import RECORD_HEADER, record_token
from cdc.model.event import event_payload
from cdc.model.observer import Observer
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.relay import nobody
from cdc.runtime.consumer import relay_of
from cdc.runtime.sharing import alone
from cdc.runtime.sources import bus_source
from support.broker_servers import PARTED, PARTITION, Nats

SOURCES = 10


async def fill(server: Nats, events: int) -> None:
    client = await nats.connect(f"nats://127.0.0.1:{server.port}")
    context = client.jetstream()
    transform = SubjectTransform(PARTED, PARTITION)
    await context.add_stream(name="events", subjects=["facturascripts.>"], subject_transform=transform)
    for number in range(events):
        each = event(number)._replace(source=f"shop{number % SOURCES}")
        headers = {
            "Content-Type": "application/json",
            "webhook-id": each.id,
            "webhook-timestamp": "1790000000",
            "webhook-signature": f"v1,{'x' * 44}",
            "X-Webhook-Event": each.name,
            "X-Webhook-Signature": f"sha256={'0' * 64}",
            RECORD_HEADER: record_token(each.record),
            "Nats-Msg-Id": each.id,
        }
        await client.publish(f"facturascripts.{each.source}.{each.name}", event_payload(each), headers=headers)
        if number % 500 == 0 or number == events - 1:
            await context.stream_info("events")  # wait for the server: it drops what it cannot store in time
    await client.close()


class Counter(Observer):
    """Ends when so many events are stored."""

    def __init__(self, events: int) -> None:
        self._left = events
        self.done = asyncio.Event()

    def stored(self, source: str, batch: Any, events: Sequence[Any], new: int) -> None:
        self._left -= new
        if self._left <= 0:
            self.done.set()


@asynccontextmanager
async def measured(what: str, events: int) -> AsyncIterator[None]:
    used, begun = time.process_time(), time.monotonic()
    yield
    used, took = time.process_time() - used, time.monotonic() - begun
    print(f"{what}: {events / used:,.0f} events/s of processor time, {events / took:,.0f} on the clock", flush=True)


async def main(events: int, subject: str) -> None:
    configure_logs("plain", "error")
    with tempfile.TemporaryDirectory() as folder:
        server = Nats(Path(folder, "nats"))
        server.sync = "2m"  # filling it is not measured
        server.start()
        store = SqliteOutbox(Path(folder, "cdc.db"))
        try:
            await fill(server, events)
            await store.open()
            await run(server, store, events, subject)
        finally:
            await store.close()
            server.end()


async def run(server: Nats, store: SqliteOutbox, events: int, subject: str) -> None:
    nats_options = {"url": f"nats://127.0.0.1:{server.port}/events", "subject": subject, "sources": ["*"]}
    source = SourceConfig.model_validate({"capture": "nats", "nats": nats_options})
    source.call("bus")
    wanted = events if not subject else await matching(server, subject)
    async with measured("read", wanted):
        reader, read = bus_source(source, store), 0
        await reader.open(None)
        async for batch in reader.batches():
            read += len(batch.events) if isinstance(batch, EventBatch) else 0
            if read >= wanted:
                break
        await reader.close()
    counter, stop = Counter(wanted), asyncio.Event()
    async with measured("read and stored", wanted):
        task = asyncio.create_task(relay_of(source, store, nobody, counter, alone()).run(stop))
        await counter.done.wait()
        stop.set()
        await task


async def matching(server: Nats, subject: str) -> int:
    client = await nats.connect(f"nats://127.0.0.1:{server.port}")
    info = await client.jetstream().stream_info("events", subjects_filter=subject)
    await client.close()
    return sum((info.state.subjects or {}).values())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--subject", default="")
    given = parser.parse_args()
    asyncio.run(main(given.events, given.subject))
