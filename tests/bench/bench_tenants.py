"""How long the events of a tenant wait while another one's million is being sent.  Prints figures; no test.

    python tests/bench/bench_tenants.py [--waiting 1000000] [--records 1000000] [--events 100] [--outbox sqlite]

One dispatcher, a receiver in memory that answers after 2 ms.  While the backlog is sent, the other tenant stores single
events, 50 ms apart; its time is from the return of the store to the request.  ``--records``: to which the backlog
belongs; of each one event is sent at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bench_outbox import endpoint, event
from measure import percentile

from cdc.dispatch.dispatcher import Dispatcher, DispatchSettings
from cdc.dispatch.request import WebhookRequest
from cdc.dispatch.retry import Answer
from cdc.dispatch.signing import new_secret
from cdc.logs import configure_logs
from cdc.model.change import Position
from cdc.model.clock import SystemClock
from cdc.model.connection import ConnectionInfo
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import OutboxStore
from support.backlog import fill
from support.server import postgres_server

CLOCK = SystemClock()
ANSWER, PAUSE = 0.002, 0.05


class Receiver:
    """Counts the requests of the busy tenant and times those of the small one."""

    def __init__(self) -> None:
        self.busy = 0
        self.small: asyncio.Queue[float] = asyncio.Queue()

    async def send(self, request: WebhookRequest) -> Answer:
        if request.url.endswith("small"):
            self.small.put_nowait(time.perf_counter())
        else:
            self.busy += 1
        await asyncio.sleep(ANSWER)
        return Answer(204, ANSWER)


@contextmanager
def new_outbox(kind: str) -> Iterator[tuple[OutboxStore, Path | ConnectionInfo]]:
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield SqliteOutbox(Path(folder) / "bench.db"), Path(folder) / "bench.db"
        return
    with postgres_server("max_wal_size=4GB") as info:
        yield PostgresOutbox(info), info


async def measure(outbox: OutboxStore, where: Path | ConnectionInfo, options: argparse.Namespace) -> str:
    await outbox.open()
    for number, source in enumerate(("busy", "small")):
        url = f"http://127.0.0.1:9/{source}"
        made = replace(endpoint(source), url=url, sources=(source,), secret=new_secret())
        await outbox.add_endpoint(made)
        if not number:
            await outbox.store(source, Position("1"), [event(1)._replace(source=source)], {}, CLOCK.now())
    await asyncio.to_thread(fill, where, options.waiting - 1, min(options.records, options.waiting - 1))
    receiver, times = Receiver(), list[float]()
    dispatcher = Dispatcher(outbox, receiver, CLOCK, DispatchSettings("bench"))
    begun, running = time.perf_counter(), asyncio.create_task(dispatcher.run())
    for number in range(2, options.events + 2):
        await asyncio.sleep(PAUSE)  # the pace
        one = event(number)._replace(source="small")
        await outbox.store("small", Position(str(number)), [one], {}, CLOCK.now())
        stored = time.perf_counter()
        dispatcher.notify()
        times.append(max(await receiver.small.get() - stored, 0.0))
    rate = receiver.busy / (time.perf_counter() - begun)
    dispatcher.stop()
    await running
    await outbox.close()
    first, p50, p99 = (each * 1e3 for each in (times[0], percentile(times, 50), percentile(times, 99)))
    return f"first {first:.0f} ms, p50 {p50:.1f} ms, p99 {p99:.0f} ms; the backlog at {rate:,.0f} requests/s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waiting", type=int, default=1_000_000)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=100)
    parser.add_argument("--outbox", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"])
    options = parser.parse_args()
    configure_logs("json", "error")
    for kind in options.outbox:
        with new_outbox(kind) as (outbox, where):
            print(f"{kind:10} {options.waiting:,} waiting: {asyncio.run(measure(outbox, where, options))}", flush=True)


if __name__ == "__main__":
    main()
