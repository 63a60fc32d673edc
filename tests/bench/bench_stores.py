"""How many one-event transactions several sources store in a second, and how long each waits.  Prints figures; no test.

    python tests/bench/bench_stores.py [--sources 20] [--seconds 5] [--outbox sqlite] [--delay 0.01]

Each source stores its next event as soon as the former one is stored, for one endpoint of its own.  ``--delay``:
seconds by which PostgreSQL's answers are late, as over a network.  CPU is that of this process.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count

from bench_outbox import endpoint, event
from bench_tenants import new_outbox
from measure import percentile

from cdc.logs import configure_logs
from cdc.model.change import Position
from cdc.model.clock import SystemClock
from cdc.model.connection import ConnectionInfo
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.store import OutboxStore

CLOCK = SystemClock()


@asynccontextmanager
async def late(info: ConnectionInfo, delay: float) -> AsyncIterator[ConnectionInfo]:
    """A way to a server whose answers are late."""

    async def passed(source: asyncio.StreamReader, target: asyncio.StreamWriter, delay: float) -> None:
        while data := await source.read(2**16):
            await asyncio.sleep(delay)
            target.write(data)
        target.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(info.host, info.port)
        await asyncio.gather(passed(reader, server_writer, 0), passed(server_reader, writer, delay))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield replace(info, host="127.0.0.1", port=server.sockets[0].getsockname()[1])


async def measure(outbox: OutboxStore, sources: int, seconds: float) -> str:
    await outbox.open()
    names = [f"source{number}" for number in range(sources)]
    for name in names:
        await outbox.add_endpoint(replace(endpoint(name), sources=(name,)))
    numbers, waits = count(1), list[float]()

    async def relay(source: str, end: float) -> None:
        while (begun := time.perf_counter()) < end:
            one = event(next(numbers))._replace(source=source)
            await outbox.store(source, Position(one.id), [one], {}, CLOCK.now())
            waits.append(time.perf_counter() - begun)

    await asyncio.gather(*(relay(name, 0.0) for name in names))  # connects
    cpu, begun = time.process_time(), time.perf_counter()
    await asyncio.gather(*(relay(name, begun + seconds) for name in names))
    cpu, took = time.process_time() - cpu, time.perf_counter() - begun
    await outbox.close()
    p50, p99 = percentile(waits, 50) * 1e3, percentile(waits, 99) * 1e3
    stores, cpu = len(waits) / took, cpu / len(waits) * 1e6
    return f"{stores:,.0f} stores/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms, {cpu:,.0f} µs of CPU"


async def measured(kind: str, sources: int, options: argparse.Namespace) -> str:
    with new_outbox(kind) as (outbox, where):
        if not isinstance(where, ConnectionInfo) or not options.delay:
            return await measure(outbox, sources, options.seconds)
        async with late(where, options.delay) as slow:
            return await measure(PostgresOutbox(slow), sources, options.seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=int, nargs="+", default=[1, 20])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--outbox", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"])
    options = parser.parse_args()
    configure_logs("json", "error")
    for kind in options.outbox:
        for sources in options.sources:
            print(f"{kind:10} {sources:3} sources: {asyncio.run(measured(kind, sources, options))}", flush=True)


if __name__ == "__main__":
    main()
