"""What each page of the management page, and each listing of the API, takes with a long delivery log behind it.

    python tests/bench/bench_pages.py [--deliveries 1000000] [--rounds 200] [--outbox sqlite|postgresql] [--live 20]
                                      [--only TEXT] [--endpoints 20000] [--sources 5000] [--each 1] [--columns 30]

Page, API, sessions and tokens are those of the product, served in this process.  The log is a year's, of three
sources: five endpoints, one that has been switched off (a twentieth of all deliveries waits for it) and one that was
removed; one of fifty deliveries is dead.  Printed of each path: the time from request to the end of the answer over
loopback, p50 and p95, marked when it misses the goal of 100 ms; the processor time that a request costs this process,
the visitor's part included, and what of it, or in PostgreSQL, the database takes; and how many statements it sends.
On a machine that does other work, judge by the processor time.  Then, for ``--live`` seconds, 500 events a second are
stored while a page follows the log: printed is how often it was told to look, what it was told, and what a look took.
A million deliveries take about 1.5 GB of $TMPDIR; with ``--each 5 --columns 2``, deliveries of an event and columns of
its row, 0.4 GB before indexes, in PostgreSQL.

``--endpoints``, ``--sources``: so many more, each endpoint with a source of its own name, a number of deliveries and
attempts in the last 24 hours; the first 200 had attempts in each hour of a month.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import bench_growth
import orjson
import psutil
from bench_growth import SEED, fill_postgres, fill_sqlite
from bench_outbox import DATA, NOW, endpoint, event
from measure import percentile, process_at

from cdc.access.base import AccessStore
from cdc.access.model import Scope
from cdc.access.postgres import PostgresAccess
from cdc.access.sqlite import SqliteAccess
from cdc.api import token_auth as gate
from cdc.database.postgres_connection import connect
from cdc.model.backfill import Backfill, BackfillState
from cdc.model.change import Position
from cdc.model.delivery import DeliveryFilter, DeliveryState, LeasedDelivery, Outcome, Replay, ReplayState
from cdc.model.endpoint import EndpointChange
from cdc.model.event import Event
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import OutboxStore
from support.browsing import Visitor, visiting
from support.log_paths import LISTINGS, PAGES, TIMED
from support.managing import API, CONFIGURATION, Managed, managing
from support.outboxes import outcome
from support.server import postgres_server
from support.statements_seen import SeenStatements, postgres_seen, sqlite_seen

GOAL = 0.1
ENDPOINTS = {"ep_1": "invoice.*", "ep_2": "stock.*", "ep_3": "customer.*", "ep_4": "order.*", "ep_5": "receipt.*"}
NAMES = [f"{pattern.removesuffix('.*')}.{what}" for pattern in ENDPOINTS.values() for what in ("created", "updated")]
SOURCES = ("main", "north", "south")
#: one name of which nothing is sent any more, and one whose endpoint is gone
DOWN, GONE = "product.updated", "supplier.updated"
EVERY = 31  # seconds between two events where there are a million
#: what a copy of an event has for its time: later by its number
LATER = {
    "sqlite": "time + ({{shift}}) * {micros}",
    "postgresql": "\"time\" + ({{shift}}) * interval '{micros} microseconds'",
}
CODE = "'fac2026a' || (sequence + {shift})"
#: Attempts in each hour of 400 days, for each endpoint and source, and in each minute of the last hours, as eight
#: processes have counted them in PostgreSQL.
ACTIVITY_SQLITE = """
WITH RECURSIVE hour (ago) AS (SELECT 3 UNION ALL SELECT ago + 1 FROM hour WHERE ago < 9600),
minute (ago) AS (SELECT 0 UNION ALL SELECT ago + 1 FROM minute WHERE ago < 170),
period (seconds) AS (
    SELECT strftime('%s', '2026-11-24 21:00') - 3600 * ago FROM hour
    UNION ALL SELECT strftime('%s', '2026-11-24 21:48') - 60 * ago FROM minute
)
INSERT INTO activity SELECT seconds * 1000000, number, source.value, 0, 100, 2, 5.0
FROM period CROSS JOIN endpoint CROSS JOIN json_each('["main", "north", "south"]') AS source
WHERE true ON CONFLICT DO NOTHING"""
ACTIVITY_POSTGRES = """
INSERT INTO cdc_outbox.activity
SELECT period.start, number, source, shard, 100, 2, 5.0
FROM (
    SELECT '2026-11-24 21:00Z'::timestamptz - ago * interval '1 hour', 0 FROM generate_series(3, 9600) AS ago
    UNION ALL
    SELECT '2026-11-24 21:48Z'::timestamptz - ago * interval '1 minute', shard
    FROM generate_series(0, 170) AS ago CROSS JOIN generate_series(0, 7) AS shard
) AS period (start, shard)
CROSS JOIN cdc_outbox.endpoint CROSS JOIN unnest(ARRAY['main', 'north', 'south']) AS source
ON CONFLICT DO NOTHING"""
#: More endpoints; and their attempts, in the last 24 hours for all of them, of 30 days for the first.
MORE_SQLITE = """
WITH RECURSIVE more (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM more WHERE n < :number)
INSERT INTO endpoint ({columns})
SELECT {values} FROM more CROSS JOIN endpoint AS model WHERE model.id = 'ep_1'"""
MORE_VALUES_SQLITE = {
    "id": "'ep_more' || n",
    "url": "'https://tenant' || n || '.example.com/hook'",
    "description": "'Tenant ' || n",
    "sources": "json_array('tenant' || n)",
    "enabled": "n % 100 <> 1",
    "failing_since": "iif(n % 100 = 2, model.created_at, NULL)",
}
MORE_COUNTS_SQLITE = (
    "INSERT INTO finished_count SELECT number, 2 + number % 50 / 49, 7 FROM endpoint WHERE id LIKE 'ep_more%'"
)
MORE_ACTIVITY_SQLITE = """
WITH RECURSIVE hour (ago) AS (SELECT 3 UNION ALL SELECT ago + 1 FROM hour WHERE ago < 720)
INSERT INTO activity
SELECT (strftime('%s', '2026-11-24 21:00') - 3600 * ago) * 1000000, number, replace(id, 'ep_more', 'tenant'),
       0, 9, 1, 0.5
FROM endpoint CROSS JOIN hour WHERE id LIKE 'ep_more%' AND (ago < 24 OR number < 210)"""
MORE_POSTGRES = """
INSERT INTO cdc_outbox.endpoint (id, events, sources, enabled, disabled_reason, secret, settings, created_at,
                                 delivery_order, condition, headers, failing_since)
SELECT 'ep_more' || n, events, ARRAY['tenant' || n], n % 100 <> 1, disabled_reason, secret,
       settings || jsonb_build_object(
           'url', 'https://tenant' || n || '.example.com/hook', 'description', 'Tenant ' || n),
       created_at, delivery_order, condition, headers, CASE WHEN n % 100 = 2 THEN created_at END
FROM generate_series(1, {number}) AS n CROSS JOIN cdc_outbox.endpoint AS model WHERE model.id = 'ep_1' ORDER BY n;
INSERT INTO cdc_outbox.finished_count (endpoint, state, shard, deliveries)
SELECT number, 2 + number % 50 / 49, 0, 7 FROM cdc_outbox.endpoint WHERE id LIKE 'ep_more%';
INSERT INTO cdc_outbox.activity
SELECT '2026-11-24 21:00Z'::timestamptz - ago * interval '1 hour', number, replace(id, 'ep_more', 'tenant'),
       0, 9, 1, 0.5
FROM cdc_outbox.endpoint CROSS JOIN generate_series(3, 720) AS ago
WHERE id LIKE 'ep_more%' AND (ago < 24 OR number < 210)"""
#: What is asked for besides `PAGES` and `LISTINGS` where there are many.
MANY_PAGES = [
    "/endpoints?after=10000",
    "/endpoints?search=tenant19999",
    "/endpoints?search=nothing",
    "/endpoints?state=disabled",
    "/endpoints?state=dead&after=10000",
    "/endpoints?source=tenant4000",
    "/endpoints/ep_more100",
    "/deliveries?endpoint=tenant199",
    "/sources?after=tenant2500",
    "/sources?search=tenant4999",
    "/sources?state=failed",
    "/sources/tenant77",
]
MANY_LISTINGS = [
    "/endpoints?limit=200",
    "/endpoints?limit=200&cursor=10000",
    "/endpoints?limit=50&search=tenant19999",
    "/endpoints/ep_more100",
    "/sources?limit=200&cursor=tenant2500",
    "/sources?limit=50&search=tenant4999",
]
RATE = 500
FIRST_LIVE = 10**9  # number of the first event that is stored while a page is open
WARM = 10
BATCH = 500

ROW = DATA | {"nombrecliente": "Talleres Ruiz e Hijos, S.L.", "total": 423.5, "coddivisa": "EUR"}
#: Placeholder → the time of the event with that number.
TIMES = {f"t{number}": f"{NOW + timedelta(seconds=EVERY * number):%Y-%m-%dT%H:%M:%SZ}" for number in TIMED}


@dataclass(frozen=True)
class Log:
    """``each``: deliveries of an event; ``columns``: of its row, besides the four that are searched."""

    deliveries: int
    each: int = 1
    columns: int = len(DATA)

    @property
    def every(self) -> timedelta:
        """The time between two events: all of them take a year."""
        return timedelta(seconds=EVERY * 1_000_000 * self.each / self.deliveries)


def made(number: int, log: Log) -> Event:
    name = NAMES[number % len(NAMES)]
    if number % 10 == 7:
        name = DOWN if number % 20 == 7 else GONE
    return event(number)._replace(
        name=name,
        source=SOURCES[(number - 1) // BATCH % len(SOURCES)],
        time=NOW + log.every * (number % FIRST_LIVE),
        data=dict(list(ROW.items())[-log.columns - 3 :]) | {"codigo": f"FAC2026A{number}"},
        labels=(f"fac2026a{number}", "talleres ruiz e hijos, s.l."),
    )


def sent(each: LeasedDelivery, number: int) -> Outcome:
    return outcome(each, DeliveryState.DEAD if number % 50 == 0 else DeliveryState.DELIVERED)


async def seed(outbox: OutboxStore, log: Log) -> None:
    """`SEED` deliveries, of each event to its endpoint and, if it has more, to others like that one."""
    await outbox.open()
    others = ["", *(f"_{number}" for number in range(2, log.each + 1))]
    for name, pattern in (ENDPOINTS | {"ep_down": DOWN, "ep_gone": GONE}).items():
        for other in others:
            added = replace(endpoint(name + other), events=(pattern,), enabled=name != "ep_down")
            await outbox.add_endpoint(added)
    size = BATCH // log.each
    firsts = range(1, SEED // log.each + 1, size)
    for first in firsts:
        events = [made(number, log) for number in range(first, first + size)]
        await outbox.store(events[0].source, Position(str(first)), events, {}, NOW)
        if first == firsts[len(firsts) // 2]:
            for other in others:
                await outbox.change_endpoint(f"ep_gone{other}", EndpointChange(enabled=False))
        leased = await outbox.lease("bench", NOW, NOW + timedelta(seconds=60), BATCH)
        await outbox.finish("bench", [sent(each, n) for n, each in enumerate(leased)], NOW)
    for other in others:
        await outbox.remove_endpoint(f"ep_gone{other}", NOW)
    for number in range(60):
        which = DeliveryFilter(record=f"facturascli:{number}", endpoint_id="ep_1")
        await outbox.add_replay(
            Replay(f"rpl_{number}", "user:ann", which, 50.0, 1, NOW, ReplayState.DONE, finished_at=NOW)
        )
        await outbox.add_backfill(
            Backfill(f"bfl_{number}", "main", "facturascli", "user:ann", NOW, state=BackfillState.DONE, finished_at=NOW)
        )


def more_sqlite(db: sqlite3.Connection, number: int) -> None:
    columns = [row[1] for row in db.execute("PRAGMA table_info(endpoint)") if row[1] != "number"]
    values = ", ".join(MORE_VALUES_SQLITE.get(each, f"model.{each}") for each in columns)
    db.execute(MORE_SQLITE.format(columns=", ".join(columns), values=values), {"number": number})
    db.execute(MORE_COUNTS_SQLITE)
    db.execute(MORE_ACTIVITY_SQLITE)


@asynccontextmanager
async def filled(kind: str, log: Log, endpoints: int) -> AsyncIterator[tuple[OutboxStore, AccessStore, Meter]]:
    later = LATER[kind].format(micros=log.every // timedelta(microseconds=1))
    event_copy = {**bench_growth.COPY["event"], "time": later, "label_code": CODE}
    bench_growth.COPY = {**bench_growth.COPY, "event": event_copy}
    outbox: OutboxStore
    seen = SeenStatements()
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder, sqlite_seen(seen):
            path = Path(folder) / "cdc.db"
            outbox = SqliteOutbox(path)
            await seed(outbox, log)
            await outbox.close()
            await asyncio.to_thread(fill_sqlite, path, log.deliveries, log.each)
            with closing(sqlite3.connect(path)) as db, db:
                db.execute(ACTIVITY_SQLITE)
                if endpoints:
                    more_sqlite(db, endpoints)
            await outbox.open()
            yield outbox, SqliteAccess(path), Meter(seen, threads_seconds)
            await outbox.close()
        return
    with postgres_server("max_wal_size=4GB", "shared_buffers=256MB") as info, postgres_seen(seen):
        outbox = PostgresOutbox(info)
        await seed(outbox, log)
        await asyncio.to_thread(fill_postgres, info, log.deliveries, log.each)
        with connect(info, "bench") as db:
            db.execute(ACTIVITY_POSTGRES)
            if endpoints:
                db.execute(MORE_POSTGRES.format(number=endpoints))
            db.execute("ANALYZE")
        server = process_at(info.port)
        yield outbox, PostgresAccess(info), Meter(seen, lambda: processes_seconds(server))
        await outbox.close()


def threads_seconds() -> float:
    """Processor time of the threads that hold SQLite's connections."""
    threads = [each for each in threading.enumerate() if each.name.startswith("outbox") and each.ident]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(each.ident or 0)) for each in threads)


def processes_seconds(server: psutil.Process) -> float:
    """Processor time of a server's processes, to the microsecond."""
    paths = [Path(f"/proc/{each.pid}/schedstat") for each in server.children()]
    return sum(int(path.read_text().split()[0]) for path in paths) / 1e9


@dataclass(frozen=True)
class Meter:
    """``database``: seconds of processor that it has taken so far."""

    seen: SeenStatements
    database: Callable[[], float]


@dataclass(frozen=True)
class Taken:
    """``seconds``: of each request.  ``cpu`` and ``database``: seconds of processor of one; ``statements``: of one."""

    seconds: Sequence[float]
    cpu: float
    database: float
    statements: float

    def line(self, path: str) -> str:
        p50, p95 = (percentile(self.seconds, each) for each in (50, 95))
        missed = "  MISSED" if p95 > GOAL else ""
        figures = " ".join(f"{each * 1e3:7.1f}" for each in (p50, p95, self.cpu, self.database))
        return f"{path:76} {figures} {self.statements:6.1f}{missed}"


HEADS = f"{'ms':76} {'p50':>7} {'p95':>7} {'CPU':>7} {'of DB':>7} {'SQL':>6}"


async def timed(visitor: Visitor, path: str, rounds: int, headers: dict[str, str], meter: Meter) -> Taken:
    seconds: list[float] = []
    for number in range(WARM + rounds):
        if number == WARM:
            cpu, database, before = time.process_time(), meter.database(), len(meter.seen.texts)
        start = time.perf_counter()
        shown = await visitor.get(path, headers=headers)
        seconds.append(time.perf_counter() - start)
        if shown.status not in (200, 303):
            raise SystemExit(f"{path}: {shown.status} {shown.text[:300]}")
    spent = time.process_time() - cpu, meter.database() - database, len(meter.seen.texts) - before
    return Taken(seconds[WARM:], spent[0] / rounds, spent[1] / rounds, spent[2] / rounds)


async def pages(managed: Managed, visitor: Visitor, rounds: int, only: str, meter: Meter) -> None:
    token = {"Authorization": f"Bearer {managed.tokens[Scope.READ]}"}
    (middle,) = await managed.store.events(1, after=(await managed.store.events(1))[0].sequence // 2)
    found = await managed.store.deliveries(DeliveryFilter(event_id=middle.id), 1)
    values = {"delivery": found[0].id, "event": middle.id, "record": middle.record, "sequence": str(middle.sequence)}
    print(HEADS)
    many = len(managed.service.config.source) > len(SOURCES)
    paths, listings = (PAGES + MANY_PAGES, LISTINGS + MANY_LISTINGS) if many else (PAGES, LISTINGS)
    wanted = [(path, {}) for path in paths] + [(API + path, token) for path in listings]
    for path, headers in wanted:
        if only in path:
            taken = await timed(visitor, path.format(**values, **TIMES), rounds, headers, meter)
            print(taken.line(path), flush=True)


async def live(managed: Managed, visitor: Visitor, seconds: float, log: Log) -> None:
    """As the page's script does it: told that there is something new, it asks for the page again."""
    stored, told, looks = 0, [], []
    ended = asyncio.Event()

    async def write() -> None:
        nonlocal stored
        begun = time.perf_counter()
        while (passed := time.perf_counter() - begun) < seconds:
            due = int(passed * RATE) - stored
            if due >= RATE // 20:
                batch = [made(FIRST_LIVE + stored + n, log)._replace(time=NOW) for n in range(due)]
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
        async with visitor.session.get(f"{visitor.root}/live/events") as answer:
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


async def main(given: argparse.Namespace) -> None:
    gate.TOKEN_BURST = 1e9  # how often one may ask is not measured
    start = time.monotonic()
    log = Log(given.deliveries, given.each, given.columns)
    async with filled(given.outbox, log, given.endpoints) as (outbox, access, meter):
        await access.open()
        names = [*SOURCES, *(f"tenant{number}" for number in range(1, given.sources + 1))]
        sources = dict.fromkeys(names, CONFIGURATION["source"]["main"])
        async with managing(outbox, access=access, source=sources) as managed, visiting(managed, "ann") as visitor:
            managed.watch.reported.set_sources(names)
            for name in names:
                managed.watch.reported.opening(name)
                managed.watch.reported.reading(name, Position("0"))
            managed.clock.monotonic = time.monotonic  # type: ignore[method-assign] # a search looks only so long
            total = sum(sum(each.values()) for each in (await outbox.counts()).values())
            print(f"{given.outbox}: {total:,} deliveries, made in {time.monotonic() - start:.0f} s", flush=True)
            await pages(managed, visitor, given.rounds, given.only, meter)
            if given.live:
                await live(managed, visitor, given.live, log)
        await access.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deliveries", type=int, default=1_000_000)
    parser.add_argument("--each", type=int, default=1)
    parser.add_argument("--columns", type=int, default=len(DATA))
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--outbox", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--live", type=float, default=20)
    parser.add_argument("--only", default="", help="paths that contain this")
    parser.add_argument("--endpoints", type=int, default=0)
    parser.add_argument("--sources", type=int, default=0)
    asyncio.run(main(parser.parse_args()))
