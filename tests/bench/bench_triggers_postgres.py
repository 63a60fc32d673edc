"""What capture costs an ERP write on PostgreSQL, and how fast the journal is drained.  Prints ratios; no test.

``PYTHONPATH=tests python tests/bench/bench_triggers_postgres.py [--rounds N] [--pause S] [--backlog N]``; a server of
its own, whose data is in $TMPDIR: that must be a real disk, or a durable commit costs nothing and the ratios say
little.

Twins of two FacturaScripts tables, one with triggers and one without, are written in turns of 20 single-row
transactions; the ratio is that of the medians.  "notified": while a consumer listens, each commit sends a NOTIFY, which
no longer happens once the consumer is busy: the worst case.  Without ``--pause`` (seconds before each write) one
follows the other as no ERP's do: caches are warm and the disk does not come to rest.

The drain is compared with a loop that selects and deletes the same rows with the same driver and does nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from statistics import median
from typing import Any, LiteralString, cast

import orjson
import psycopg
from twins import BATCH, KEYS, ROWS, TwinRows

from cdc.capture.journal.postgres import PostgresJournal
from cdc.capture.triggers.postgres import PostgresInstaller
from cdc.database.postgres_capture import LOCK_CLASS, LOCK_IDLE
from cdc.database.postgres_connection import conninfo
from cdc.demo import server as demo
from cdc.model.column import Capture
from cdc.model.connection import ConnectionInfo
from support.server import Spec, ask, owner_info, running_server

Connection = psycopg.Connection[Any]


def sql(text: str) -> LiteralString:
    """This file's own text."""
    return cast("LiteralString", text)


class Twins(TwinRows):
    """``plain_…`` and ``captured_…`` of one table with the same rows."""

    def __init__(self, connection: Connection, table: str) -> None:
        self.connection = connection
        columns = "SELECT column_name, data_type, character_maximum_length FROM information_schema.columns "
        where = "WHERE table_name = %s AND table_schema = 'public' ORDER BY ordinal_position"
        super().__init__(table, connection.execute(sql(columns + where), [table]).fetchall())
        for twin in ("plain", "captured"):
            # without the unique constraints over business columns, whose values are random here
            connection.execute(sql(f"CREATE TABLE {twin}_{table} (LIKE {table}, PRIMARY KEY ({self.key}))"))
            connection.execute(sql(f"INSERT INTO {twin}_{table} VALUES {self.listed()}"))

    def ratio(self, action: str, rounds: int, first_turn: int, pause: float) -> tuple[float, float]:
        """Median seconds without triggers, and the ratio of the medians."""
        spent: dict[str, list[float]] = {"plain": [], "captured": []}
        for turn in range(first_turn, first_turn + rounds):
            statements = self.statements(action, turn)
            for twin in random.sample(("plain", "captured"), 2):
                for statement in statements:
                    text = sql(statement.format(twin=twin))
                    time.sleep(pause)
                    started = time.perf_counter()
                    self.connection.execute(text)
                    spent[twin].append(time.perf_counter() - started)
        plain = median(spent["plain"])
        return plain, median(spent["captured"]) / plain


def overhead(info: ConnectionInfo, connection: Connection, rounds: int, pause: float) -> None:
    every = [Twins(connection, table) for table in KEYS]
    installer = PostgresInstaller(info)
    installer.apply(installer.plan_install([Capture(f"captured_{table}") for table in KEYS]), lambda _title: None)
    connection.execute("VACUUM ANALYZE")
    print(f"{'commit':<14}{'table':<18}{'update':>16}{'insert':>16}{'unchanged':>16}")
    for number, (label, commit, listening) in enumerate(
        [("durable", "on", False), ("durable, notified", "on", True), ("asynchronous", "off", False)]
    ):
        with psycopg.connect(conninfo(info, "bench"), autocommit=True) as consumer:
            if listening:
                consumer.execute("LISTEN cdc")
                consumer.execute("SELECT pg_advisory_lock(%s, %s)", [LOCK_CLASS, LOCK_IDLE])
            connection.execute(sql(f"SET synchronous_commit = {commit}"))
            for twins in every:
                actions = "update", "insert", "unchanged"
                figures = [twins.ratio(action, rounds, number * rounds, pause) for action in actions]
                cells = "".join(f"{plain * 1e6:7.0f} µs x{ratio:5.2f}" for plain, ratio in figures)
                print(f"{label:<18}{twins.table:<16}{cells}")
    connection.execute("SET synchronous_commit = on")


async def drain(info: ConnectionInfo, connection: Connection, backlog: int) -> None:
    """Three turns of each side; journal rows a second."""
    journal = PostgresJournal(info, [Capture(f"captured_{table}") for table in KEYS])
    await journal.connect()
    bare, parsed, ours = [], [], []
    for _ in range(3):
        fill(connection, backlog)
        bare.append(await bare_loop(info, backlog, parse=False))
        fill(connection, backlog)
        parsed.append(await bare_loop(info, backlog, parse=True))
        fill(connection, backlog)
        ours.append(await our_loop(journal, backlog))
    await journal.disconnect()
    print(
        f"drain of {backlog} updates of facturascli: bare loop {median(bare):,.0f} rows/s, "
        f"with orjson.loads of the images {median(parsed):,.0f} rows/s, journal {median(ours):,.0f} rows/s "
        f"({median(ours) / median(bare):.0%} and {median(ours) / median(parsed):.0%})"
    )


def fill(connection: Connection, backlog: int) -> None:
    """Ten rows a transaction."""
    connection.execute("TRUNCATE cdc.cdc_journal")
    for first in range(0, backlog, 10):
        low = first % (ROWS - 10) + 1
        update = f"UPDATE captured_facturascli SET total = total + 1 WHERE idfactura BETWEEN {low} AND {low + 9}"
        connection.execute(sql(update))
    connection.execute("VACUUM ANALYZE cdc.cdc_journal")


async def bare_loop(info: ConnectionInfo, backlog: int, *, parse: bool) -> float:
    read = 0
    select = "SELECT xid, lsn, at, table_name, operation, secrets_changed, before, after FROM cdc.cdc_journal "
    connection = await psycopg.AsyncConnection.connect(conninfo(info, "bench"), autocommit=True)
    started = time.perf_counter()
    while read < backlog:
        cursor = await connection.execute(sql(f"{select} ORDER BY xid, lsn LIMIT {BATCH}"), binary=True)
        rows = await cursor.fetchall()
        read += len(rows)
        if parse:
            images = [orjson.loads(image) for row in rows for image in row[6:8] if image is not None]
            assert images
        xids = sorted({int.from_bytes(row[0], "big") for row in rows})
        await connection.execute(
            "DELETE FROM cdc.cdc_journal WHERE xid = ANY (%s::text[]::xid8[])", [[str(x) for x in xids]]
        )
    seconds = time.perf_counter() - started
    await connection.close()
    return backlog / seconds


async def our_loop(journal: PostgresJournal, backlog: int) -> float:
    """As `cdc.capture.journal.source` reads a backlog: heads, then whole transactions."""
    read = 0
    started = time.perf_counter()
    while read < backlog:
        tokens = [head.token for head in await journal.heads(5000)]
        for first in range(0, len(tokens), BATCH // 10):
            some = tokens[first : first + BATCH // 10]
            read += len(await journal.transaction_rows(some))
            await journal.delete(some)
    return backlog / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--backlog", type=int, default=20_000)
    arguments = parser.parse_args()
    random.seed(1)
    spec = Spec("postgresql", options=("max_prepared_transactions=0",), durable=True)
    with running_server(spec) as server:
        info = owner_info(spec, server.port, "postgres")
        print(f"PostgreSQL {ask(spec, server.port, 'SHOW server_version')}")
        with psycopg.connect(conninfo(info, "bench"), autocommit=True) as connection:
            connection.execute(sql(demo.ddl("postgresql")))
            overhead(info, connection, arguments.rounds, arguments.pause)
            asyncio.run(drain(info, connection, arguments.backlog))


if __name__ == "__main__":
    main()
