"""How fast an outbox stores, leases and finishes.  Prints figures; no test.

``python tests/bench/bench_outbox.py [--events N] [--delivered N] [--outbox sqlite|postgresql]``; the file lives in a
temporary folder of $TMPDIR, as does the PostgreSQL server, whose commits are durable.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cdc.model.change import Position
from cdc.model.delivery import Attempt, DeliveryState, LeasedDelivery, Outcome
from cdc.model.endpoint import Endpoint
from cdc.model.event import Event
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import OutboxStore
from support.server import postgres_server

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SECRET = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
DATA = {f"column{n}": n * 1.25 if n % 2 else f"value {n}" for n in range(30)}


def endpoint(name: str) -> Endpoint:
    return Endpoint(id=name, url="https://example.com/hook", events=("*",), secret=SECRET, created_at=NOW)


def event(number: int) -> Event:
    return Event(
        id=f"evt_{number * 2654435761 % 2**64:020x}",  # spread like hashes
        name="invoice.updated",
        source="main",
        table="facturascli",
        record=f"facturascli:{number}",
        key={"idfactura": number},
        data=DATA,
        previous={"column1": 0.5},
        time=NOW,
        transaction=str(number),
    )


def batches(first: int, last: int, size: int) -> Iterator[list[Event]]:
    for start in range(first, last, size):
        yield [event(number) for number in range(start, min(start + size, last))]


def delivered(delivery: LeasedDelivery) -> Outcome:
    attempt = Attempt(
        delivery.id, delivery.attempt, delivery.event_id, delivery.event_name, "https://example.com/hook",
        204, NOW, 0.01, "", "",
    )  # fmt: skip
    return Outcome(attempt, DeliveryState.DELIVERED, endpoint_id=delivery.endpoint_id, source=delivery.source)


async def store(outbox: OutboxStore, first: int, last: int, size: int) -> float:
    """Events per second; making the events does not count."""
    spent = 0.0
    for batch in batches(first, last, size):
        start = time.perf_counter()
        await outbox.store("main", Position(str(first)), batch, {}, NOW)
        spent += time.perf_counter() - start
    return (last - first) / spent


async def drain(outbox: OutboxStore, size: int) -> float:
    """Leased and finished deliveries per second."""
    done, start = 0, time.perf_counter()
    while leased := await outbox.lease("bench", NOW, NOW + timedelta(seconds=60), size):
        await outbox.finish("bench", [delivered(delivery) for delivery in leased], NOW)
        done += len(leased)
    return done / (time.perf_counter() - start)


async def median_lease(outbox: OutboxStore, room: dict[str, int]) -> float:
    """Seconds that a lease of 64 takes; every lease is given back."""
    times = []
    for _ in range(21):
        start = time.perf_counter()
        await outbox.lease("bench", NOW, NOW + timedelta(seconds=60), 64, room)
        times.append(time.perf_counter() - start)
        await outbox.release("bench", NOW)
    return sorted(times)[10]


async def rates(outbox: OutboxStore, events: int) -> None:
    """One endpoint, a young file."""
    await outbox.add_endpoint(endpoint("ep_1"))
    say("store, batches of 100", await store(outbox, 0, events, 100), "events/s")
    say("store, one at a time", await store(outbox, events, events + 2000, 1), "events/s")
    say("lease + finish, batches of 64", await drain(outbox, 64), "deliveries/s")


async def growth(outbox: OutboxStore, log: int) -> None:
    """What the finished log, and another endpoint's backlog, cost the hot statements."""
    await store(outbox, 1_000_000, 1_000_064, 64)
    say("lease of 64, small log", await median_lease(outbox, {}) * 1e3, "ms")
    await store(outbox, 10_000_000, 10_000_000 + log, 1000)
    say(f"lease of 64, {log:,} due", await median_lease(outbox, {}) * 1e3, "ms")
    await outbox.add_endpoint(endpoint("ep_2"))
    await store(outbox, 20_000_000, 20_000_064, 64)
    say(f"the same, {log:,} due at another endpoint", await median_lease(outbox, {"ep_1": 0}) * 1e3, "ms")
    await drain(outbox, 1000)
    start = time.perf_counter()
    await outbox.counts()
    say(f"counts, {log:,} delivered", (time.perf_counter() - start) * 1e3, "ms")
    await outbox.remove_endpoint("ep_2", NOW)
    say(f"store, {log:,} delivered", await store(outbox, 30_000_000, 30_020_000, 100), "events/s")
    say(f"lease of 64, {log:,} delivered", await median_lease(outbox, {}) * 1e3, "ms")
    say(f"lease + finish, {log:,} delivered", await drain(outbox, 64), "deliveries/s")


def say(what: str, figure: float, unit: str) -> None:
    print(f"{what:50} {figure:12,.2f} {unit}", flush=True)


@asynccontextmanager
async def opened(kind: str) -> AsyncIterator[OutboxStore]:
    with tempfile.TemporaryDirectory() as folder:
        if kind == "sqlite":
            outbox: OutboxStore = SqliteOutbox(Path(folder) / "bench.db")
            await outbox.open()
            yield outbox
            await outbox.close()
            return
        with postgres_server("max_wal_size=4GB") as info:
            outbox = PostgresOutbox(info)
            await outbox.open()
            yield outbox
            await outbox.close()


async def main(kind: str, events: int, log: int) -> None:
    async with opened(kind) as outbox:
        await rates(outbox, events)
        await growth(outbox, log)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--delivered", type=int, default=1_000_000)
    parser.add_argument("--outbox", choices=["sqlite", "postgresql"], default="sqlite")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.outbox, arguments.events, arguments.delivered))
