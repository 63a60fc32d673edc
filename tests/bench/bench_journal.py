"""Draining the journal: `JournalSource` (batches and acknowledgements, nothing behind it) against a bare loop that
selects and deletes 1,000 rows at a time with the same driver and looks at nothing.

    PYTHONPATH=tests python tests/bench/bench_journal.py [--servers postgresql …] [--rows 20000] [--rounds 5] [--parse]

With ``--parse`` the bare loop also calls `orjson.loads` for each image: the least that a reader of the images must do.

The journal is filled by the triggers before each run: updates of facturascli, the same for both sides.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import orjson
import psycopg
import uvloop
from measure import SERVERS, add_invoices, commits_unsynced, erp_database, paired

from cdc.capture.journal.database import MOVED, JournalPosition
from cdc.capture.journal.source import JournalSource
from cdc.database.mysql_connection import connect
from cdc.database.mysql_journal import Tokens
from cdc.database.postgres_connection import conninfo
from cdc.mapping.catalogue import load_catalogue
from cdc.runtime import capture
from cdc.runtime.components import settled
from support.database import Database
from support.pipeline import install

INVOICES = 1000
BATCH = 1000
_POSTGRES = (
    "SELECT xid, lsn, at, table_name, operation, secrets_changed, before, after"
    " FROM cdc.cdc_journal ORDER BY xid, lsn LIMIT %s"
)
_MYSQL = (
    "SELECT `id`, `txn`, `shape`, `op`, `gap`, `at`, `secrets`, `image_before`, `image_after`"
    " FROM `cdc_journal` ORDER BY `id` LIMIT %s"
)


class Fill:
    """Puts ``rows`` changes into the journal, ``size`` a transaction."""

    def __init__(self, database: Database, rows: int, size: int) -> None:
        self._database, self._rows, self._size = database, rows, size
        self._versioned = False
        if database.flavour != "postgresql":
            self._versioned = database.execute("SELECT `tokens` FROM `cdc_installation`") == [(Tokens.ROW_START.value,)]

    def __call__(self) -> None:
        if self._versioned:  # the bare loop leaves deleted rows behind; the other side shall not have to remove them
            self._database.execute("DELETE HISTORY FROM `cdc_journal`")
        update = "UPDATE facturascli SET total = total + 1, numdocs = numdocs + 1 WHERE idfactura BETWEEN %s AND %s"
        with commits_unsynced(self._database) as connection:
            cursor = connection.cursor()
            for first in range(0, self._rows, self._size):
                low = first % INVOICES + 1
                cursor.execute(update, [low, low + self._size - 1])
                connection.commit()
        if self._database.flavour == "postgresql":
            self._database.execute("VACUUM ANALYZE cdc.cdc_journal")


#: Rows that were read, and seconds from the open connection to the last row's deletion.
Drained = tuple[int, float]


async def bare_postgres(database: Database, *, parse: bool) -> Drained:
    connection = await psycopg.AsyncConnection.connect(conninfo(database.info, "bench"), autocommit=True)
    read, started = 0, time.perf_counter()
    while True:
        rows = await (await connection.execute(_POSTGRES, [BATCH], binary=True)).fetchall()
        if not rows:
            break
        read += len(rows)
        if parse:
            _parse(rows)
        xids = {str(int.from_bytes(row[0], "big")) for row in rows}
        await connection.execute("DELETE FROM cdc.cdc_journal WHERE xid = ANY (%s::text[]::xid8[])", [list(xids)])
    seconds = time.perf_counter() - started
    await connection.close()
    return read, seconds


def _parse(rows: Sequence[Sequence[Any]]) -> list[Any]:
    return [orjson.loads(image) for row in rows for image in row[-2:] if image is not None]


async def bare_mysql(database: Database, *, parse: bool) -> Drained:
    return await asyncio.to_thread(_bare_mysql, database, parse=parse)


def _bare_mysql(database: Database, *, parse: bool) -> Drained:
    connection = connect(database.info)
    read, started = 0, time.perf_counter()
    with connection.cursor() as cursor:
        while cursor.execute(_MYSQL, (BATCH,)):
            rows = cursor.fetchall()
            read += len(rows)
            if parse:
                _parse(rows)
            cursor.execute("DELETE FROM `cdc_journal` WHERE `id` IN %s", (tuple(row[0] for row in rows),))
    seconds = time.perf_counter() - started
    connection.close()
    return read, seconds


async def journal_source(database: Database, rows: int) -> Drained:
    async def no_repair(_tables: Sequence[str]) -> None:
        raise SystemExit("the journal has a gap")

    source = JournalSource("main", capture.journal_of(database.info, load_catalogue()), no_repair)
    await source.open(JournalPosition(marker=MOVED).dump())  # of this outbox is whatever was read before
    read, started = 0, time.perf_counter()
    async for batch in source.batches():
        read += sum(len(transaction.changes) for transaction in batch.transactions)
        await source.acknowledge(batch.position)
        if read >= rows:
            break
    seconds = time.perf_counter() - started
    await source.close()
    return read, seconds


def side(fill: Fill, rows: int, drain: Callable[[], Coroutine[Any, Any, Drained]]) -> Callable[[], float]:
    """Rows a second of one drain of a journal that is filled before."""

    def run() -> float:
        fill()
        settled()  # as `cdc run` collects garbage
        read, seconds = uvloop.run(drain())  # what it uses
        if read != rows:
            raise SystemExit(f"{read} rows were read instead of {rows}")
        return rows / seconds

    return run


def measure(name: str, rows: int, size: int, rounds: int, *, parse: bool) -> None:
    with erp_database(SERVERS[name]) as (database, server):
        add_invoices(database, INVOICES)
        install(database)
        bare = bare_postgres if database.flavour == "postgresql" else bare_mysql
        fill = Fill(database, rows, size)
        pair = paired(
            side(fill, rows, lambda: journal_source(database, rows)),
            side(fill, rows, lambda: bare(database, parse=parse)),
            rounds,
        )
        loop = "bare loop with parsing" if parse else "bare loop"
        print(
            f"{server.label:34} {size:4} rows a transaction: {loop} {pair.other:8,.0f} rows/s, journal source"
            f" {pair.ours:8,.0f} rows/s, {pair.ratio:.0%} (goal 70%)",
            flush=True,
        )


def profile(name: str, rows: int, size: int) -> None:
    with erp_database(SERVERS[name]) as (database, _):
        add_invoices(database, INVOICES)
        install(database)
        Fill(database, rows, size)()
        profiler = cProfile.Profile()
        run = side(lambda: None, rows, lambda: journal_source(database, rows))  # type: ignore[arg-type]  # filled above
        profiler.enable()
        run()
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", nargs="*", default=list(SERVERS), choices=list(SERVERS))
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--sizes", nargs="*", type=int, default=[10, 1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parse", action="store_true")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    for name in options.servers:
        for size in options.sizes:
            if options.profile:
                profile(name, options.rows, size)
            else:
                measure(name, options.rows, size, options.rounds, parse=options.parse)


if __name__ == "__main__":
    main()
