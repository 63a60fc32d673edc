"""The cost of sealing payloads: the same events through two outboxes in turn, one with `[outbox] seal_payloads`.

    python tests/bench/bench_sealing.py [--events 20000] [--rounds 7] [--outbox sqlite postgresql]

Each round stores the events (1.5 kB, batches of 100), then leases and finishes them (64 at once, answers of 60 bytes),
in a new outbox of each kind; the one that begins changes.  Printed are medians of events a second, of CPU time of this
process for each event, of bytes of the outbox for each event, and the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg
from bench_dispatch import make_events
from bench_outbox import NOW, delivered, endpoint

from cdc.model.change import Position
from cdc.model.connection import ConnectionInfo
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.secret_box import SecretBox, new_key
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import OutboxStore
from support.server import postgres_server

KEY = new_key()
ANSWER = '{"accepted": true, "id": "0123456789abcdef0123456789abcdef"}'


class Cost(NamedTuple):
    """Events a second, microseconds of CPU and bytes of the outbox for each."""

    stored: float
    sent: float
    cpu: float
    size: float


@asynccontextmanager
async def outbox_of(info: ConnectionInfo | None, *, sealed: bool) -> AsyncIterator[tuple[OutboxStore, Path]]:
    box = SecretBox([KEY], seal_payloads=sealed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "outbox.db")
        if info is not None:
            with psycopg.connect(_url(info), autocommit=True) as connection:
                connection.execute("DROP SCHEMA IF EXISTS cdc_outbox CASCADE")
        outbox = SqliteOutbox(path, box=box) if info is None else PostgresOutbox(info, box=box)
        await outbox.open()
        try:
            yield outbox, path
        finally:
            await outbox.close()


def _url(info: ConnectionInfo) -> str:
    return psycopg.conninfo.make_conninfo(
        host=info.host, port=info.port, user=info.user, password=info.password, dbname=info.database
    )


async def measure(info: ConnectionInfo | None, events: int, *, sealed: bool) -> Cost:
    made = make_events(events, 1)
    async with outbox_of(info, sealed=sealed) as (outbox, path):
        await outbox.add_endpoint(endpoint("ep_1"))
        begin, cpu = time.perf_counter(), time.process_time()
        for at in range(0, events, 100):
            await outbox.store("main", Position(str(at)), made[at : at + 100], {}, NOW)
        between, sent = time.perf_counter(), 0
        while leased := await outbox.lease("bench", NOW, NOW.replace(hour=13), 64):
            outcomes = [delivered(each) for each in leased]
            answered = [each._replace(attempt=each.attempt._replace(answer=ANSWER)) for each in outcomes]
            await outbox.finish("bench", answered, NOW)
            sent += len(leased)
        end, used = time.perf_counter(), time.process_time() - cpu
        assert sent == events
        size = await asyncio.to_thread(_size, path, info)
    return Cost(events / (between - begin), events / (end - between), used / events * 1e6, size / events)


def _size(path: Path, info: ConnectionInfo | None) -> int:
    if info is None:
        return sum(file.stat().st_size for file in path.parent.iterdir())
    tables = "'cdc_outbox.event', 'cdc_outbox.attempt', 'cdc_outbox.delivery'"
    with psycopg.connect(_url(info), autocommit=True) as connection:
        connection.execute("VACUUM FULL cdc_outbox.delivery")
        row = connection.execute(f"SELECT sum(pg_total_relation_size(name)) FROM unnest(ARRAY[{tables}]) AS name")
        return int((row.fetchone() or (0,))[0])


async def run(kind: str, events: int, rounds: int, info: ConnectionInfo | None) -> None:
    costs: dict[bool, list[Cost]] = {False: [], True: []}
    for number in range(rounds):
        for sealed in (False, True) if number % 2 else (True, False):
            costs[sealed].append(await measure(info, events, sealed=sealed))
    for place, name in enumerate(Cost._fields):
        plain, sealed = ([each[place] for each in costs[one]] for one in (False, True))
        ratio = statistics.median(two / one for one, two in zip(plain, sealed, strict=True))
        medians = f"{statistics.median(plain):10,.0f} {statistics.median(sealed):10,.0f}"
        print(f"{kind:11} {name:7} {medians} {(ratio - 1) * 100:+6.1f} %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--outbox", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"])
    options = parser.parse_args()
    print(f"{'outbox':11} {'':7} {'plain':>10} {'sealed':>10}")
    if "sqlite" in options.outbox:
        asyncio.run(run("sqlite", options.events, options.rounds, None))
    if "postgresql" in options.outbox:
        with postgres_server("max_wal_size=4GB") as info:
            asyncio.run(run("postgresql", options.events, options.rounds, info))


if __name__ == "__main__":
    main()
