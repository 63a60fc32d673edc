"""What capture costs an ERP write on MariaDB and MySQL, how fast the journal drains, how soon it wakes.  No test.

``PYTHONPATH=tests python tests/bench/bench_triggers_mysql.py [--rounds N] [--pause S] [--backlog N] [SERVER …]``;
servers of its own, whose data is in $TMPDIR: that must be a real disk, or a durable commit costs nothing and the ratios
say little.

Three of each of two FacturaScripts tables are written in turns of 20 single-row transactions: one without triggers, one
that is captured, and one whose triggers do nothing but insert both images, all columns, as JSON objects: without
comparing them, and without knowing the transaction.  Ratios are those of the medians.  Without ``--pause`` (seconds
before each write) one follows the other as no ERP's do: caches are warm and the disk does not come to rest.

The drain is compared with a loop that selects and deletes the same rows with the same driver and does nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import time
from statistics import median
from typing import Any

import psutil
import pymysql
from twins import BATCH, KEYS, ROWS, TwinRows

from cdc.capture.journal.mysql import MySQLJournal
from cdc.capture.triggers.mysql import MySQLInstaller
from cdc.demo import server as demo
from cdc.model.column import Capture
from cdc.model.connection import ConnectionInfo
from support.server import Spec, ask, owner_info, running_server

SERVERS = {
    "mariadb": Spec("mariadb", durable=True),
    "mariadb-binlog": Spec("mariadb", binlog=True, durable=True),
    "mysql": Spec("mysql", durable=True),
}
TWINS = ("plain", "captured", "bare")
Connection = Any


def execute(connection: Connection, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())


def open_connection(info: ConnectionInfo) -> Connection:
    return pymysql.connect(
        host=info.host,
        port=info.port,
        user=info.user,
        password=info.password,
        database=info.database,
        charset="utf8mb4",
        autocommit=True,
    )


class Twins(TwinRows):
    """``plain_…``, ``captured_…`` and ``bare_…`` of one table with the same rows, without its other keys."""

    def __init__(self, connection: Connection, table: str) -> None:
        self.connection = connection
        columns = "SELECT COLUMN_NAME, DATA_TYPE, CHARACTER_MAXIMUM_LENGTH FROM information_schema.COLUMNS "
        where = "WHERE TABLE_NAME = %s AND TABLE_SCHEMA = DATABASE() ORDER BY ORDINAL_POSITION"
        super().__init__(table, execute(connection, columns + where, (table,)))
        for twin in TWINS:
            execute(connection, f"CREATE TABLE {twin}_{table} AS SELECT * FROM {table} LIMIT 0")
            execute(connection, f"ALTER TABLE {twin}_{table} ADD PRIMARY KEY ({self.key})")
            execute(connection, f"INSERT INTO {twin}_{table} VALUES {self.listed()}")

    def add_bare_triggers(self) -> None:
        journal = f"bare_journal_{self.table}"
        layout = "(id BIGINT AUTO_INCREMENT PRIMARY KEY, image_before LONGTEXT, image_after LONGTEXT)"
        execute(self.connection, f"CREATE TABLE {journal} {layout}")
        for event, images in (("INSERT", ("NULL", self.image("NEW"))), ("UPDATE", map(self.image, ("OLD", "NEW")))):
            execute(
                self.connection,
                f"CREATE TRIGGER bare_{self.table}_{event} AFTER {event} ON bare_{self.table} FOR EACH ROW"
                f" INSERT INTO {journal} (image_before, image_after) VALUES ({', '.join(images)})",
            )

    def image(self, row: str) -> str:
        return "JSON_OBJECT(" + ", ".join(f"'{name}', {row}.{name}" for name, *_ in self.columns) + ")"

    def ratios(self, action: str, rounds: int, first_turn: int, pause: float) -> tuple[float, float, float]:
        """Median seconds without triggers, and the ratios of the medians: captured, and with bare triggers."""
        spent: dict[str, list[float]] = {twin: [] for twin in TWINS}
        for turn in range(first_turn, first_turn + rounds):
            statements = self.statements(action, turn)
            for twin in random.sample(TWINS, len(TWINS)):
                for statement in statements:
                    text = statement.format(twin=twin)
                    time.sleep(pause)
                    started = time.perf_counter()
                    self.connection.query(text)
                    spent[twin].append(time.perf_counter() - started)
        plain = median(spent["plain"])
        return plain, median(spent["captured"]) / plain, median(spent["bare"]) / plain


def overhead(info: ConnectionInfo, connection: Connection, rounds: int, pause: float) -> None:
    every = [Twins(connection, table) for table in KEYS]
    for twins in every:
        twins.add_bare_triggers()
    installer = MySQLInstaller(info)
    installer.apply(installer.plan_install([Capture(f"captured_{table}") for table in KEYS]), lambda _title: None)
    print(f"{'commit':<14}{'table':<18}{'update':>24}{'insert':>24}{'unchanged':>24}")
    print(f"{'':<32}" + f"{'captured   bare':>24}" * 3)
    for number, (label, flush, sync) in enumerate([("durable", 1, 1), ("asynchronous", 2, 0)]):
        execute(connection, f"SET GLOBAL innodb_flush_log_at_trx_commit = {flush}")
        execute(connection, f"SET GLOBAL sync_binlog = {sync}")
        for twins in every:
            actions = "update", "insert", "unchanged"
            figures = [twins.ratios(action, rounds, number * rounds, pause) for action in actions]
            cells = "".join(f"{plain * 1e6:7.0f} µs x{ours:5.2f}  x{bare:5.2f}" for plain, ours, bare in figures)
            print(f"{label:<14}{twins.table:<16}{cells}", flush=True)


def fill(connection: Connection, backlog: int) -> None:
    """Ten rows a transaction."""
    for first in range(0, backlog, 10):
        low = first % (ROWS - 10) + 1
        execute(
            connection, f"UPDATE captured_facturascli SET total = total + 1 WHERE idfactura BETWEEN {low} AND {low + 9}"
        )


def bare_loop(info: ConnectionInfo, backlog: int) -> float:
    read = 0
    connection = open_connection(info)
    execute(connection, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
    select = (
        "SELECT id, txn, shape, op, gap, at, secrets, image_before, image_after FROM cdc_journal ORDER BY id LIMIT %s"
    )
    started = time.perf_counter()
    while read < backlog:
        rows = execute(connection, select, (BATCH,))
        read += len(rows)
        execute(connection, "DELETE FROM cdc_journal WHERE id IN %s", (tuple(row[0] for row in rows),))
    seconds = time.perf_counter() - started
    connection.close()
    return backlog / seconds


async def our_loop(journal: MySQLJournal, backlog: int) -> float:
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


async def drain(info: ConnectionInfo, connection: Connection, backlog: int) -> None:
    """Three turns of each side; journal rows a second."""
    journal = MySQLJournal(info)
    await journal.connect()
    await journal.delete([head.token for head in await journal.heads(10**6)])
    bare, ours = [], []
    for _ in range(3):
        fill(connection, backlog)
        bare.append(bare_loop(info, backlog))
        fill(connection, backlog)
        ours.append(await our_loop(journal, backlog))
    await journal.disconnect()
    share = median(ours) / median(bare)
    print(f"drain: bare loop {median(bare):,.0f} rows/s, journal {median(ours):,.0f} rows/s ({share:.0%})")


async def wake(info: ConnectionInfo, connection: Connection, server: psutil.Process | None, seconds: float) -> None:
    """Idle: commit to the return of ``wait``, and the share of a core that waiting costs, server included."""
    journal = MySQLJournal(info)
    await journal.connect()
    await journal.delete([head.token for head in await journal.heads(10**6)])
    await journal.wait(3)  # until it no longer expects more
    processes = [psutil.Process(os.getpid()), *([server] if server else [])]
    used = [sum(process.cpu_times()[:2]) for process in processes]
    await journal.wait(seconds)
    costs = [(sum(p.cpu_times()[:2]) - before) / seconds for p, before in zip(processes, used, strict=True)]
    delays = []
    for number in range(100):
        waiting = asyncio.create_task(journal.wait(5))
        await asyncio.sleep(0.05 + random.random() / 50)
        await asyncio.to_thread(
            execute, connection, f"UPDATE captured_recibospagoscli SET importe = {number + 0.5} WHERE idrecibo = 5"
        )
        committed = time.perf_counter()
        await waiting
        rows = await journal.peek(10)
        delays.append(time.perf_counter() - committed)
        await journal.delete([row.token for row in rows])
    await journal.disconnect()
    p50, p99 = sorted(delays)[50] * 1000, sorted(delays)[98] * 1000
    print(f"wake: p50 {p50:.1f} ms, p99 {p99:.1f} ms; idle: {sum(costs):.1%} of a core ({costs[0]:.1%} ours)")


def measure(name: str, spec: Spec, rounds: int, pause: float, backlog: int) -> None:
    with running_server(spec) as server:
        version = ask(spec, server.port, "SELECT VERSION()")
        ask(spec, server.port, "CREATE DATABASE bench CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_520_ci")
        info = owner_info(spec, server.port, "bench")
        print(f"{name} {version}")
        connection = open_connection(info)
        for statement in demo.ddl("mysql" if spec.flavour == "mysql" else "mariadb").split(";\n"):
            execute(connection, statement)
        overhead(info, connection, rounds, pause)
        asyncio.run(drain(info, connection, backlog))
        found = [p for p in psutil.process_iter(["cmdline"]) if f"--port={server.port}" in (p.info["cmdline"] or [])]
        asyncio.run(wake(info, connection, found[-1] if found else None, 10))
        connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--backlog", type=int, default=20_000)
    parser.add_argument("servers", nargs="*", default=list(SERVERS), metavar="SERVER")
    arguments = parser.parse_args()
    random.seed(1)
    for name in arguments.servers:
        measure(name, SERVERS[name], arguments.rounds, arguments.pause, arguments.backlog)


if __name__ == "__main__":
    main()
