"""CPU time of an event with many endpoints: of this process and of the outbox's server.  Prints figures; no test.

    python tests/bench/bench_endpoints.py [--endpoints 10 1000 10000] [--events 200] [--outbox sqlite|postgresql]

Each endpoint has a source of its own.  Events are stored one by one: at first alone, then with a dispatcher, which
leases each, sends it to a receiver in memory, and records it, before the next is stored.  CPU time hardly depends on
what else the machine does: compare two versions by turns.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bench_outbox import endpoint, event
from measure import cpu_seconds, process_at

from cdc.dispatch.dispatcher import Dispatcher, DispatchSettings
from cdc.dispatch.request import WebhookRequest
from cdc.dispatch.retry import Answer
from cdc.logs import configure_logs
from cdc.model.change import Position
from cdc.model.clock import SystemClock
from cdc.model.delivery import Outcome
from cdc.model.observer import Observer
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import OutboxStore
from support.server import postgres_server

CLOCK = SystemClock()
WARM = 20  # events that do not count


class Recording(Observer):
    """Tells when an attempt was recorded."""

    def __init__(self) -> None:
        self.recorded = asyncio.Event()
        self._attempted = False

    def attempted(self, finished: Sequence[tuple[Outcome, str]]) -> None:
        self._attempted = bool(finished)

    def outbox_worked(self, user: str) -> None:
        if user == "recording" and self._attempted:
            self._attempted = False
            self.recorded.set()


class Receiver:
    """Takes everything."""

    async def send(self, _request: WebhookRequest) -> Answer:
        return Answer(204, 0.001)


async def store(outbox: OutboxStore, number: int, endpoints: int) -> None:
    source = f"s{number * 7919 % endpoints}"
    made = event(number)._replace(source=source, record=f"facturascli:{number}")
    await outbox.store(source, Position(str(number)), [made], {}, CLOCK.now())


async def measured(outbox: OutboxStore, endpoints: int, events: int, cpu: Callable[[], float]) -> tuple[float, float]:
    """Milliseconds of CPU for each event: stored; stored, leased, sent and recorded."""
    for number in range(endpoints):
        await outbox.add_endpoint(replace(endpoint(f"ep_{number}"), sources=(f"s{number}",)))
    begun = 0.0
    for number in range(-WARM, events):
        begun = begun if number else cpu()
        await store(outbox, WARM + number, endpoints)
    stored = cpu() - begun
    observer = Recording()
    dispatcher = Dispatcher(outbox, Receiver(), CLOCK, DispatchSettings("bench"), observer=observer)
    running = asyncio.create_task(dispatcher.run())
    while await outbox.next_due(CLOCK.now()) is not None:  # noqa: ASYNC110 - nothing announces it
        await asyncio.sleep(0.5)
    for number in range(-WARM, events):
        begun = begun if number else cpu()
        observer.recorded.clear()
        await store(outbox, events + 2 * WARM + number, endpoints)
        dispatcher.notify()
        await observer.recorded.wait()
    delivered = cpu() - begun
    dispatcher.stop()
    await running
    return stored / events * 1e3, delivered / events * 1e3


@contextmanager
def new_outbox(kind: str) -> Iterator[tuple[OutboxStore, Callable[[], float]]]:
    """An outbox, and how much CPU this process and the outbox's server have used."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield SqliteOutbox(Path(folder) / "bench.db"), time.process_time
        return
    with postgres_server() as info:
        server = process_at(info.port)
        yield PostgresOutbox(info), lambda: time.process_time() + cpu_seconds(server)


async def main(kind: str, sizes: Sequence[int], events: int) -> None:
    for endpoints in sizes:
        with new_outbox(kind) as (outbox, cpu):
            await outbox.open()
            stored, delivered = await measured(outbox, endpoints, events, cpu)
            await outbox.close()
        print(
            f"{kind:10} {endpoints:6,} endpoints: store {stored:6.2f} ms, lease to record {delivered - stored:6.2f} ms",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoints", type=int, nargs="+", default=[10, 1000, 10_000])
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--outbox", choices=["sqlite", "postgresql"], default="sqlite")
    arguments = parser.parse_args()
    configure_logs("json", "error")
    asyncio.run(main(arguments.outbox, arguments.endpoints, arguments.events))
