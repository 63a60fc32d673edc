"""What each page of the management page, and each listing of the API, takes with a long delivery log behind it.

    python tests/bench/bench_pages.py [--deliveries 1000000] [--rounds 200] [--outbox sqlite|postgresql] [--live 20]

Page, API, sessions and tokens are those of the product, served in this process; five endpoints, ten names, one
of fifty deliveries dead.  Printed is the time from request to the end of the answer over loopback, p50 and p95,
with the slowest marked when it misses the goal of 100 ms.  Then, for ``--live`` seconds, 500 events a second are stored
while a page follows the log: printed is how often it was told to look, what it was told, and what a look took.  A
million deliveries take about 1.5 GB of $TMPDIR.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import bench_growth
import orjson
from bench_growth import SEED, fill_postgres, fill_sqlite
from bench_outbox import NOW, endpoint, event
from measure import percentile

from cdc.access.base import AccessStore
from cdc.access.model import Scope
from cdc.access.postgres import PostgresAccess
from cdc.access.sqlite import SqliteAccess
from cdc.api import token_auth as gate
from cdc.database.postgres_connection import connect
from cdc.model.delivery import DeliveryState, LeasedDelivery, Outcome
from cdc.model.event import Event
from cdc.model.log_filter import DeliveryFilter
from cdc.model.position import Position
from cdc.outbox.base import OutboxStore
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.sqlite.outbox import SqliteOutbox
from support.browsing import Visitor, visiting
from support.managing import API, Managed, managing
from support.outboxes import outcome
from support.server import postgres_server

GOAL = 0.1
ENDPOINTS = {"ep_1": "invoice.*", "ep_2": "stock.*", "ep_3": "customer.*", "ep_4": "order.*", "ep_5": "receipt.*"}
NAMES = [f"{pattern.removesuffix('.*')}.{what}" for pattern in ENDPOINTS.values() for what in ("created", "updated")]
#: what a copy of an event has for its time: as many seconds later as it has a greater number
LATER = {"sqlite": "time + ({shift}) * 1000000", "postgresql": "\"time\" + ({shift}) * interval '1 second'"}
#: Attempts in each hour of 400 days, for each endpoint, as eight processes have counted them in PostgreSQL.
ACTIVITY_SQLITE = """
WITH RECURSIVE hour (ago) AS (SELECT 0 UNION ALL SELECT ago + 1 FROM hour WHERE ago < 9600)
INSERT INTO activity SELECT (strftime('%s', '2026-11-24 21:00') - 3600 * ago) * 1000000, number, 'main', 0, 100, 2, 5.0
FROM hour CROSS JOIN endpoint WHERE true ON CONFLICT DO NOTHING"""
ACTIVITY_POSTGRES = """
INSERT INTO cdc_outbox.activity
SELECT '2026-11-24 21:00Z'::timestamptz - ago * interval '1 hour', number, 'main', shard, 100, 2, 5.0
FROM generate_series(0, 9600) AS ago CROSS JOIN generate_series(0, 7) AS shard CROSS JOIN cdc_outbox.endpoint
ON CONFLICT DO NOTHING"""
RATE = 500
WARM = 10

PAGES = [
    "/",
    "/?period=hour",
    "/?period=week",
    "/?period=month",
    "/endpoints/ep_1?period=month",
    "/endpoints",
    "/endpoints/ep_1",
    "/endpoints/ep_1/edit",
    "/deliveries",
    "/deliveries?before={delivery}",
    "/deliveries?endpoint=ep_2",
    "/deliveries?state=dead",
    "/deliveries?state=pending",
    "/deliveries?endpoint=ep_2&state=dead",
    "/deliveries?event=stock.*",
    "/deliveries?event=stock.*&endpoint=ep_2&state=delivered",
    "/deliveries?event=stock.*&endpoint=ep_1",
    "/deliveries?event=stock.*&endpoint=ep_1&before={delivery}",
    "/deliveries?event=stock.created&endpoint=ep_1&state=dead",
    "/deliveries?event=stock.*&state=dead",
    "/deliveries?event=stock.*&state=cancelled",
    "/deliveries?event=stock.*&state=pending",
    "/deliveries?event=nothing.*&endpoint=ep_1",
    "/deliveries?endpoint=nothing",
    "/deliveries?record={record}",
    "/deliveries?record={record}&endpoint=ep_1",
    "/deliveries?record={record}&event=receipt.*",
    "/deliveries?record=nothing:1",
    "/deliveries?text=nothing",
    "/deliveries?event=stock.*&endpoint=ep_1&since=2026-11-27T10:00",
    "/deliveries?event=stock.*&state=delivered&since=2026-11-27T10:00",
    "/deliveries?event=stock.*&endpoint=ep_1&until=2026-11-27T10:00",
    "/deliveries?until=2026-11-27T10:00",
    "/deliveries?until=2026-11-24T13:00",
    "/deliveries?since=2026-11-26T10:00&until=2026-11-27T10:00&endpoint=ep_2",
    "/deliveries?since=2026-11-26T10:00&until=2026-11-27T10:00&event=stock.*&endpoint=ep_1",
    "/deliveries?since=2026-11-27T10:00&until=2026-11-27T12:00",
    "/deliveries?since=2026-11-27T10:00&until=2026-11-27T12:00&state=dead",
    "/deliveries?since=2026-11-25T10:00",
    "/deliveries/{delivery}",
    "/events",
    "/events?event=stock.*",
    "/events?event=nothing.*",
    "/events?event=stock.*&before={sequence}",
    "/events/{event}",
    "/catalogue",
    "/sources",
    "/people",
    "/audit",
]
LISTINGS = [
    "/deliveries?limit=200",
    "/deliveries?limit=200&cursor={delivery}",
    "/deliveries?endpoint=ep_5&state=dead&limit=200",
    "/deliveries?source=main&limit=200",
    "/deliveries?source=nothing&limit=200",
    "/deliveries?source=nothing&state=delivered",
    "/deliveries?source=nothing&endpoint=ep_1&event=invoice.*",
    "/deliveries?source=nothing&state=dead",
    "/deliveries?source=nothing&since=2026-11-27T10:00:00Z",
    "/events?limit=200",
    "/events?limit=200&cursor={sequence}",
    "/events?event=stock.*&limit=200",
    "/events?since=2026-11-27T10:00:00Z&until=2026-11-27T12:00:00Z",
    "/events?source=nothing",
    "/events?event=stock.*&source=nothing",
    "/events?event=stock.*&since=2026-12-05T10:00:00Z",
    "/events?record={record}",
    "/endpoints",
    "/event-types",
    "/sources",
    "/replays",
    "/backfills",
]


def made(number: int) -> Event:
    at = NOW + timedelta(seconds=number)
    return event(number)._replace(name=NAMES[number % len(NAMES)], time=at)


def sent(each: LeasedDelivery, number: int) -> Outcome:
    return outcome(each, DeliveryState.DEAD if number % 50 == 0 else DeliveryState.DELIVERED)


async def seed(outbox: OutboxStore) -> None:
    """`SEED` deliveries, one for each event."""
    await outbox.open()
    for name, pattern in ENDPOINTS.items():
        await outbox.add_endpoint(replace(endpoint(name), events=(pattern,)))
    for first in range(1, SEED + 1, 500):
        await outbox.store("main", Position("1"), [made(number) for number in range(first, first + 500)], {}, NOW)
        leased = await outbox.lease("bench", NOW, NOW + timedelta(seconds=60), 500)
        await outbox.finish("bench", [sent(each, n) for n, each in enumerate(leased)], NOW)


@asynccontextmanager
async def filled(kind: str, deliveries: int) -> AsyncIterator[tuple[OutboxStore, AccessStore]]:
    event_copy = {**bench_growth.COPY["event"], "time": LATER[kind]}
    bench_growth.COPY = {**bench_growth.COPY, "event": event_copy}
    outbox: OutboxStore
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "cdc.db"
            outbox = SqliteOutbox(path)
            await seed(outbox)
            await outbox.close()
            await asyncio.to_thread(fill_sqlite, path, deliveries)
            with closing(sqlite3.connect(path)) as db, db:
                db.execute(ACTIVITY_SQLITE)
            await outbox.open()
            yield outbox, SqliteAccess(path)
            await outbox.close()
        return
    with postgres_server("max_wal_size=4GB", "shared_buffers=256MB") as info:
        outbox = PostgresOutbox(info)
        await seed(outbox)
        await asyncio.to_thread(fill_postgres, info, deliveries)
        with connect(info, "bench") as db:
            db.execute(ACTIVITY_POSTGRES)
        yield outbox, PostgresAccess(info)
        await outbox.close()


async def timed(visitor: Visitor, path: str, rounds: int, headers: dict[str, str]) -> list[float]:
    seconds = []
    for _ in range(WARM + rounds):
        start = time.perf_counter()
        shown = await visitor.get(path, headers=headers)
        seconds.append(time.perf_counter() - start)
        if shown.status != 200:
            raise SystemExit(f"{path}: {shown.status} {shown.text[:300]}")
    return seconds[WARM:]


async def pages(managed: Managed, visitor: Visitor, rounds: int) -> None:
    token = {"Authorization": f"Bearer {managed.tokens[Scope.READ]}"}
    (middle,) = await managed.store.events(1, after=(await managed.store.events(1))[0].sequence // 2)
    found = await managed.store.deliveries(DeliveryFilter(event_id=middle.id), 1)
    values = {"delivery": found[0].id, "event": middle.id, "record": middle.record, "sequence": str(middle.sequence)}
    print(f"{'ms':76} {'p50':>7} {'p95':>7}")
    wanted = [(path, {}) for path in PAGES] + [(API + path, token) for path in LISTINGS]
    for path, headers in wanted:
        seconds = await timed(visitor, path.format(**values), rounds, headers)
        p95 = percentile(seconds, 95)
        missed = "  MISSED" if p95 > GOAL else ""
        print(f"{path:76} {percentile(seconds, 50) * 1e3:7.1f} {p95 * 1e3:7.1f}{missed}", flush=True)


async def live(managed: Managed, visitor: Visitor, seconds: float) -> None:
    """As the page's script does it: told that there is something new, it asks for the page again."""
    stored, told, looks = 0, [], []
    ended = asyncio.Event()

    async def write() -> None:
        nonlocal stored
        begun = time.perf_counter()
        while (passed := time.perf_counter() - begun) < seconds:
            due = int(passed * RATE) - stored
            if due >= RATE // 20:
                batch = [made(10**7 + stored + n)._replace(time=NOW) for n in range(due)]
                await managed.store.store("main", Position("1"), batch, {}, NOW)
                managed.watch.reported.sources["main"].events += due
                stored += due
            await asyncio.sleep(0.01)
        ended.set()

    async def tick() -> None:
        while not ended.is_set():
            await asyncio.sleep(0.05)
            managed.clock.advance(0.05)

    async def follow() -> None:
        async with visitor._session.get(f"{visitor.root}/live/events") as answer:
            async for line in answer.content:
                if line.startswith(b"data: "):
                    told.append(orjson.loads(line[6:])["number"])
                    start = time.perf_counter()
                    await visitor.get("/events")
                    looks.append(time.perf_counter() - start)

    following = asyncio.create_task(follow())
    await asyncio.gather(write(), tick())
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    print(
        f"live: {stored / seconds:.0f} events/s stored for {seconds:.0f} s; told {len(told)} times, at most "
        f"{max(told)} a second; a look p50 {percentile(looks, 50) * 1e3:.1f}, p95 {percentile(looks, 95) * 1e3:.1f} ms"
    )


async def main(kind: str, deliveries: int, rounds: int, live_seconds: float) -> None:
    gate.TOKEN_BURST = 1e9  # how often one may ask is not measured
    start = time.monotonic()
    async with filled(kind, deliveries) as (outbox, access):
        await access.open()
        async with managing(outbox, access=access) as managed, visiting(managed, "ann") as visitor:
            managed.clock.monotonic = time.monotonic  # type: ignore[method-assign] # a search looks only so long
            total = sum(sum(each.values()) for each in (await outbox.counts()).values())
            print(f"{kind}: {total:,} deliveries, made in {time.monotonic() - start:.0f} s", flush=True)
            await pages(managed, visitor, rounds)
            if live_seconds:
                await live(managed, visitor, live_seconds)
        await access.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deliveries", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--outbox", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--live", type=float, default=20)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.outbox, arguments.deliveries, arguments.rounds, arguments.live))
