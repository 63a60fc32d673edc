"""The log's tables in PostgreSQL against partitions by day: what retention costs, and what partitions would.

    python tests/bench/bench_partitions.py [--delivered 100000] [--days 90]

Retention removes the finished deliveries, with their events and attempts, in the product's steps; then everything is
vacuumed.  A table like that of the events, in so many partitions, is asked for ids, as each store does, and for a
record's events; so is the product's.  Printed is the server's CPU time.
"""

from __future__ import annotations

import argparse
import asyncio
from datetime import date, timedelta
from pathlib import Path
from statistics import mean

import psycopg
from bench_growth import SEED, fill_postgres, seed
from bench_outbox import NOW

from cdc.database.postgres_connection import conninfo
from cdc.model.connection import ConnectionInfo
from cdc.outbox.base import Retention
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.tidy import BATCH
from support.server import postgres_server

FIRST = date(2026, 1, 1)
ROUNDS = 50
EACH = 400  # events of a day
LOOKS = {
    "64 ids": "SELECT id FROM {table} WHERE id = ANY (ARRAY(SELECT 'evt_' || n FROM generate_series(1, 64) AS n))",
    "a record's events": "SELECT id FROM {table} WHERE record = 'facturascli:7' ORDER BY sequence DESC LIMIT 50",
}


def cpu(pid: int) -> float:
    """Millitaken."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6


async def retain(info: ConnectionInfo, deliveries: int) -> None:
    outbox = PostgresOutbox(info)
    await seed(outbox, SEED)
    await asyncio.to_thread(fill_postgres, info, deliveries)
    with psycopg.connect(conninfo(info, "bench"), autocommit=True) as db:
        what, after, removed = Retention(NOW + timedelta(days=90), NOW + timedelta(days=90)), 0, 0
        step = await outbox.retain(what, 1, 0)
        session = outbox._upkeep._connection
        assert session is not None
        before, place = cpu(session.info.backend_pid), db.execute("SELECT pg_current_wal_lsn()").fetchone()
        while step.after is not None:
            after = step.after
            step = await outbox.retain(what, BATCH, after)
            removed += step.deliveries
        spent = cpu(session.info.backend_pid) - before
        written = db.execute("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), %s)", place).fetchone()
        assert written is not None
        before = cpu(db.info.backend_pid)
        db.execute("VACUUM")
        vacuum = cpu(db.info.backend_pid) - before
    print(f"{removed:,} removed; of each {spent * 1e3 / removed:.1f} µs, {vacuum * 1e3 / removed:.1f} µs of vacuum,")
    print(f"    {written[0] / removed:.0f} bytes of WAL", flush=True)
    await outbox.close()


def look(info: ConnectionInfo, days: int) -> None:
    with psycopg.connect(conninfo(info, "bench"), autocommit=True) as db:
        db.execute("CREATE TABLE parted (LIKE cdc_outbox.event, day date NOT NULL) PARTITION BY RANGE (day)")
        for column in ("id", "sequence", "record, sequence"):
            db.execute(f"CREATE INDEX ON parted ({column})".encode())
        for number in range(days):
            day, after = FIRST + timedelta(number), FIRST + timedelta(number + 1)
            bounds = f"FOR VALUES FROM ('{day}') TO ('{after}')"
            db.execute(f"CREATE TABLE parted_{number} PARTITION OF parted {bounds}".encode())
        columns = "'invoice.updated', 'main', 'facturascli:' || n % 1000, now(), '', NULL, NULL"
        rows = f"SELECT n, 'evt_' || n, {columns}"
        numbers = f"FROM generate_series(1, {days * EACH}) AS n"
        db.execute(f"INSERT INTO parted {rows}, date '{FIRST}' + (n - 1) / {EACH} {numbers}".encode())
        db.execute("TRUNCATE cdc_outbox.event CASCADE")
        db.execute(f"INSERT INTO cdc_outbox.event {rows} {numbers}".encode())
        db.execute("ANALYZE")
        db.execute("SET enable_seqscan = off")
        for what, text in LOOKS.items():
            spent: dict[str, list[float]] = {"cdc_outbox.event": [], "parted": []}
            for turn in range(2 * ROUNDS):
                for table, taken in spent.items():
                    before = cpu(db.info.backend_pid)
                    db.execute(text.format(table=table).encode())
                    if turn >= ROUNDS:
                        taken.append(cpu(db.info.backend_pid) - before)
            one, many = (mean(each) for each in spent.values())
            print(f"{what}: {one:.3f} ms in one table, {many:.3f} ms in {days} partitions", flush=True)


async def main(given: argparse.Namespace) -> None:
    with postgres_server("max_wal_size=4GB", "shared_buffers=256MB", "fsync=off", "autovacuum=off") as info:
        await retain(info, given.delivered)
        await asyncio.to_thread(look, info, given.days)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delivered", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=90)
    asyncio.run(main(parser.parse_args()))
