"""What a long log costs the hot statements of an outbox: one with many finished deliveries and an empty one, in turns.

    python tests/bench/bench_growth.py [--delivered 5000000] [--rounds 6000] [--outbox sqlite|postgresql]

Each finished delivery has its event and an attempt.  In a round both outboxes store ten events (synced to the disk),
are asked when something is due, lease it and record it as delivered.  Printed are the plans of the statements that look
for what is due, and p50 and p99 of each step (of ten stretches: the median).  A million deliveries take about 1.5 GB of
$TMPDIR.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import blake2b
from pathlib import Path
from statistics import median
from string import Template
from typing import Any, TypeVar

import psycopg
from bench_outbox import NOW, batches, delivered, endpoint
from measure import percentile

from cdc.database.postgres_connection import conninfo
from cdc.model.change import Position
from cdc.model.connection import ConnectionInfo
from cdc.outbox.database import postgres_statements, sqlite_statements
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import OutboxStore
from support.server import postgres_server

T = TypeVar("T")
SEED = 5000  # deliveries that are made as the product makes them; the others are copies of theirs
CHUNK = 20  # copies of all of the seed in one statement
WARM = 200  # rounds that do not count
BATCH = 10
#: Of a copy: column → expression, the values of the seed's row and {shift}, how far its numbers are moved.
COPY: Mapping[str, Mapping[str, str]] = {
    "event": {
        "sequence": "sequence + {shift}",
        "id": "{hash}",
        "record": "'facturascli:' || ((sequence + {shift}) * 7919 % 1000003)",
    },
    "delivery": {
        "id": "id + {shift}",
        "event": "event + {events}",
        "lane": "lane + {shift}",
    },
    "attempt": {"id": "id + {shift}", "delivery": "delivery + {shift}"},
}
NUMBER = {"event": "sequence", "delivery": "id", "attempt": "id"}
#: the statements that look for what is due, and parameters of theirs
PLANS: Mapping[str, Mapping[str, Any]] = {
    "sqlite": {"due": {"room": "{}", "only": False, "limit": 64, "now": 1}, "next_due": {"without": "[]"}},
    "postgres": {
        "lease": {"worker": "w", "now": NOW, "until": NOW, "limit": 64, "rooms": "{}"},
        "next_due": {"without": []},
    },
}


@dataclass
class Rival:
    """An outbox that is measured, and the seconds that each step took."""

    outbox: OutboxStore
    next_number: int
    seconds: dict[str, list[float]]


def copies(table: str, columns: list[str], numbers: str, hashed: str, each: int) -> str:
    """A statement that copies the seed's rows for each n of ``numbers``, a row source with that column; ``each``:
    deliveries of an event."""
    rows = SEED // each if table == "event" else SEED
    shifts = {"shift": f"n * {rows}", "events": f"n * {SEED // each}"}
    wanted = {name: text.format(**shifts, hash=hashed.format(**shifts)) for name, text in COPY[table].items()}
    values = ", ".join(wanted.get(name, f'"{name}"') for name in columns)
    names = ", ".join(f'"{name}"' for name in columns)
    seed = f"SELECT * FROM {{seed}}{table} WHERE {NUMBER[table]} <= {rows} ORDER BY {NUMBER[table]}{{inner}}"
    inserted = f"INSERT INTO {{prefix}}{table} ({names})"
    return f"{inserted} SELECT {values} FROM {numbers} CROSS JOIN {{lateral}}({seed}) AS seed"


def chunks(deliveries: int) -> Iterator[tuple[int, int]]:
    """First and last number of the copies that a statement makes."""
    for first in range(1, deliveries // SEED, CHUNK):
        yield first, min(first + CHUNK, deliveries // SEED) - 1


def fill_sqlite(path: Path, deliveries: int, each: int = 1) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.create_function("spread", 1, lambda n: blake2b(str(n).encode(), digest_size=16).hexdigest())
        for pragma in ("synchronous = OFF", "journal_mode = OFF", "cache_size = -2000000", "foreign_keys = OFF"):
            db.execute(f"PRAGMA {pragma}").fetchall()
        indexes = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL").fetchall()
        for name, _ in indexes:
            db.execute(f"DROP INDEX {name}")
        for table in COPY:
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            numbers = "(SELECT value AS n FROM json_each(?))"
            text = copies(table, columns, numbers, "'evt_' || spread(sequence + {shift})", each)
            text = text.format(prefix="", seed="", lateral="", inner="")
            for first, last in chunks(deliveries):
                db.execute(text, (str(list(range(first, last + 1))),))
        for _, statement in indexes:
            db.execute(statement)
        db.execute("DELETE FROM finished_count")
        db.execute(sqlite_statements()["count_finished"])
        db.execute("PRAGMA journal_mode = WAL").fetchall()


def fill_postgres(info: ConnectionInfo, deliveries: int, each: int = 1) -> None:
    """Copy the seed in its order, which the log's tables have, and index it afterwards.  Tables that were emptied in
    the same transaction need no WAL where the server has ``wal_level=minimal``."""
    indexes = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'cdc_outbox' AND indexdef !~ 'UNIQUE'"
    columns = "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
    with psycopg.connect(conninfo(info, "bench"), autocommit=True) as db:
        db.execute("SET synchronous_commit = off; SET session_replication_role = replica")  # no look at foreign keys
        db.execute("SET maintenance_work_mem = '256MB'; SET max_parallel_maintenance_workers = 0")
        with db.transaction():
            dropped = db.execute(indexes.encode()).fetchall()
            for name, _ in dropped:
                db.execute(f"DROP INDEX cdc_outbox.{name}".encode())
            db.execute("ALTER TABLE cdc_outbox.event DROP CONSTRAINT event_id_key")
            for table in COPY:
                db.execute(f"CREATE TEMPORARY TABLE seed_{table} AS SELECT * FROM cdc_outbox.{table}".encode())
            db.execute(f"TRUNCATE {', '.join(f'cdc_outbox.{table}' for table in COPY)}".encode())
            texts = []
            for table in COPY:
                db.execute(f"INSERT INTO cdc_outbox.{table} SELECT * FROM seed_{table}".encode())
                names = [name for (name,) in db.execute(columns.encode(), (f"cdc_outbox.{table}",))]
                numbers, hashed = "generate_series(%s::bigint, %s) AS n", "'evt_' || md5((sequence + {shift})::text)"
                text = copies(table, names, numbers, hashed, each)
                text = text.format(prefix="cdc_outbox.", seed="seed_", lateral="LATERAL ", inner=" OFFSET n * 0")
                texts.append(text.replace("% 1", "%% 1"))
            for first, last in chunks(deliveries):
                for text in texts:
                    db.execute(text.encode(), (first, last))
            db.execute("ALTER TABLE cdc_outbox.event ADD CONSTRAINT event_id_key UNIQUE (id)")
            for _, statement in dropped:
                db.execute(statement.encode())
        db.execute("DELETE FROM cdc_outbox.finished_count")
        for statement in postgres_statements()["complete"].split(";\n"):
            db.execute(statement.encode())
        db.execute("VACUUM ANALYZE")
        db.execute("CHECKPOINT")


async def seed(outbox: OutboxStore, deliveries: int) -> None:
    """One endpoint, and so many events that were delivered to it."""
    await outbox.open()
    await outbox.add_endpoint(endpoint("ep_1"))
    for batch in batches(1, deliveries + 1, 500):
        await outbox.store("main", Position("1"), batch, {}, NOW)
        leased = await outbox.lease("bench", NOW, NOW + timedelta(seconds=60), len(batch))
        await outbox.finish("bench", [delivered(each) for each in leased], NOW)


async def timed(rival: Rival, step: str, work: Callable[[], Awaitable[T]]) -> T:
    start = time.perf_counter()
    result = await work()
    rival.seconds[step].append(time.perf_counter() - start)
    return result


async def run(rival: Rival) -> None:
    outbox, now = rival.outbox, NOW
    (events,) = batches(rival.next_number, rival.next_number + BATCH, BATCH)
    rival.next_number += BATCH
    until = now + timedelta(seconds=60)
    await timed(rival, "lease, nothing due", lambda: outbox.lease("bench", now, until, 64, {"ep_1": 64}))
    await timed(rival, "store, 10 events", lambda: outbox.store("main", Position("1"), events, {}, now))
    await timed(rival, "next_due", lambda: outbox.next_due(now))
    leased = await timed(rival, "lease, 10 due", lambda: outbox.lease("bench", now, until, 64, {"ep_1": 64}))
    if len(leased) != BATCH:
        raise SystemExit(f"{len(leased)} leased")
    await timed(rival, "finish, 10 delivered", lambda: outbox.finish("bench", [delivered(one) for one in leased], now))


async def measure(full: OutboxStore, empty: OutboxStore, rounds: int, first: int) -> None:
    rivals = [Rival(full, first, defaultdict(list)), Rival(empty, first, defaultdict(list))]
    for number in range(WARM + rounds):
        for rival in rivals if number % 2 else reversed(rivals):
            await run(rival)
    print(f"{'ms':22} {'p50 full':>9} {'empty':>8} {'ratio':>6} {'p99 full':>9} {'empty':>8} {'ratio':>6}")
    for step in rivals[0].seconds:
        figures = []
        for percent in (50, 99):
            ours, other = (usual(rival.seconds[step][WARM:], percent) * 1e3 for rival in rivals)
            figures += [f"{ours:9.3f} {other:8.3f} {ours / other:6.2f}"]
        print(f"{step:22} {' '.join(figures)}", flush=True)


def usual(seconds: list[float], percent: float) -> float:
    """The median of the percentiles of ten stretches: what else the machine does for a moment spoils one of them."""
    size = len(seconds) // 10
    return median(percentile(seconds[start : start + size], percent) for start in range(0, size * 10, size))


@asynccontextmanager
async def sqlite_pair(deliveries: int) -> AsyncIterator[tuple[OutboxStore, OutboxStore]]:
    with tempfile.TemporaryDirectory() as folder:
        full, empty = (SqliteOutbox(Path(folder) / f"{name}.db") for name in ("full", "empty"))
        await seed(full, SEED)
        await full.close()
        await asyncio.to_thread(fill_sqlite, Path(folder) / "full.db", deliveries)
        print(f"{(Path(folder) / 'full.db').stat().st_size / 1e9:.1f} GB", flush=True)
        await full.open()
        await seed(empty, 0)
        with closing(sqlite3.connect(Path(folder) / "full.db")) as db:
            for name, parameters in PLANS["sqlite"].items():
                say(
                    name,
                    [step for *_, step in db.execute(f"EXPLAIN QUERY PLAN {sqlite_statements()[name]}", parameters)],
                )
        yield full, empty
        await full.close()
        await empty.close()


@asynccontextmanager
async def postgres_pair(deliveries: int) -> AsyncIterator[tuple[OutboxStore, OutboxStore]]:
    """Two databases of one server."""
    with postgres_server("max_wal_size=4GB", "shared_buffers=256MB") as info:
        with psycopg.connect(conninfo(info, "bench"), autocommit=True) as db:
            db.execute("CREATE DATABASE log_full")
        filled = replace(info, database="log_full")
        full, empty = PostgresOutbox(filled), PostgresOutbox(info)
        await seed(full, SEED)
        await asyncio.to_thread(fill_postgres, filled, deliveries)
        await seed(empty, 0)
        with psycopg.connect(conninfo(filled, "bench"), autocommit=True) as db:
            ((size,),) = db.execute("SELECT pg_database_size(current_database())").fetchall()
            print(f"{size / 1e9:.1f} GB", flush=True)
            db.execute(Template(postgres_statements()["session"]).substitute(commit="on", plain="off").encode())
            for name, parameters in PLANS["postgres"].items():
                text = f"EXPLAIN (COSTS OFF) {Template(postgres_statements()[name]).safe_substitute(which='true')}"
                say(name, [step for (step,) in db.execute(text.encode(), parameters)])
        yield full, empty
        await full.close()
        await empty.close()


def say(name: str, steps: list[Any]) -> None:
    print(f"{name}:", *steps, sep="\n    ", flush=True)


async def main(kind: str, deliveries: int, rounds: int) -> None:
    start = time.monotonic()
    async with (sqlite_pair if kind == "sqlite" else postgres_pair)(deliveries) as (full, empty):
        counts = await full.counts()
        print(
            f"{sum(counts['ep_1'].values()):,} finished deliveries, made in {time.monotonic() - start:.0f} s",
            flush=True,
        )
        await measure(full, empty, rounds, deliveries * 2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delivered", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=6000)
    parser.add_argument("--outbox", choices=["sqlite", "postgresql"], default="sqlite")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.outbox, arguments.delivered, arguments.rounds))
