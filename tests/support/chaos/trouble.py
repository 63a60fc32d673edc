"""Failures from outside the process under test, while there is chaos: killed connections, hostile rows and filters."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pymysql

from support.chaos.inject import note
from support.chaos.plan import HOSTILE, Plan
from support.chaos.workload import Writer
from support.hostile_rows import plant

#: Seconds between two failures of a kind.
KILLS, ROWS, FILTERS = (2.0, 10.0), (10.0, 40.0), (5.0, 20.0)
DEEP = 3000
#: Conditions that hold, or fail, for every event, and that take long or much: none of them keeps an event back.
HOSTILE_FILTERS = (
    'data.nota.matches("(\\\\pL{200}){20}") || true',
    " || ".join(['data.nota.matches("(a{1,90}){1,90}b")'] * 40) + " || true",
    "[1,2,3,4,5,6,7,8,9,10].map(a, [1,2,3,4,5,6,7,8,9,10].map(b, a * b)).size() >= 0",
    "[" + ",".join(map(str, range(300))) + "].all(a, [" + ",".join(map(str, range(150))) + "].all(b, a + b >= 0))",
    "data.nota + data.nota + data.nota != '' || data.valor / 0 == 1 || true",
    "data.nota > 5 || true",
)
_NO_SUCH_THREAD = 1094
#: Enables the endpoint again, which is disabled when its filter takes too long.
_STORE = "UPDATE endpoint SET condition = ?, enabled = 1, disabled_reason = '' WHERE id = ?"


@dataclass
class Trouble:
    """``writers``: of all sources; only sick ones are troubled.  ``endpoints``: ids of those with hostile filters."""

    plan: Plan
    writers: Sequence[Writer]
    outbox: Path
    endpoints: Sequence[str]
    log: Path

    def start(self) -> None:
        self._stop = threading.Event()
        sick = [writer for writer in self.writers if writer.source.sick]
        work: Mapping[str, Callable[[random.Random], None]] = {
            "kills": lambda dice: self._kill(dice.choice(sick), dice),
            "rows": lambda dice: self._hostile_rows(dice.choice(sick)),
            "filters": self._filter,
        }
        pauses = {"kills": KILLS, "rows": ROWS, "filters": FILTERS}
        self._pool = ThreadPoolExecutor(len(work))
        self._running: list[Future[None]] = [
            self._pool.submit(self._repeat, self.plan.dice(name), pauses[name], each) for name, each in work.items()
        ]

    def stop(self) -> None:
        """End, and take the filters away.  Raises what a thread raised."""
        self._stop.set()
        self._pool.shutdown()
        for each in self._running:
            each.result()
        for endpoint in self.endpoints:
            self._store(endpoint, "")

    def _repeat(self, dice: random.Random, pauses: tuple[float, float], work: Callable[[random.Random], None]) -> None:
        due = time.monotonic()
        while True:
            due += dice.uniform(*pauses)
            if self._stop.wait(max(due - time.monotonic(), 0.0)):
                return
            work(dice)

    def _kill(self, writer: Writer, dice: random.Random) -> None:
        """End some of the consumer's connections to a database."""
        for connection in self._connections(writer):
            if dice.random() < 0.6 and self._killed(writer, connection):
                note(self.log, writer.source.name, "killed connection")

    def _connections(self, writer: Writer) -> list[int]:
        if writer.source.flavour == "postgresql":
            sql = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
        else:
            sql = "SELECT id FROM information_schema.processlist WHERE db = %s AND id <> connection_id()"
        rows = writer.database.execute(sql, [writer.database.name])
        return sorted(int(number) for (number,) in rows if number != writer.connection_id)

    def _killed(self, writer: Writer, connection: int) -> bool:
        if writer.source.flavour == "postgresql":
            return bool(writer.database.execute("SELECT pg_terminate_backend(%s)", [connection])[0][0])
        try:
            writer.database.execute(f"KILL {connection}")
        except pymysql.err.OperationalError as error:
            if error.args[0] != _NO_SUCH_THREAD:
                raise
            return False
        return True

    def _hostile_rows(self, writer: Writer) -> None:
        database = writer.database
        if writer.source.capture == "triggers":
            plant(database, HOSTILE)
            note(self.log, writer.source.name, "hostile journal rows")
        deep = "[" * DEEP + "]" * DEEP
        try:
            database.execute(f"INSERT INTO {HOSTILE} (id, valor, nota, doc) VALUES (1, 1, '', %s)", [deep])
            database.execute(f"DELETE FROM {HOSTILE} WHERE id = 1")
        except (psycopg.Error, pymysql.err.Error) as error:
            note(self.log, writer.source.name, f"refused by the database: {type(error).__name__}")
        else:
            note(self.log, writer.source.name, "deep JSON")

    def _filter(self, dice: random.Random) -> None:
        """Store a filter as an older version may have left it, past the checks of today."""
        self._store(dice.choice(self.endpoints), dice.choice(HOSTILE_FILTERS))
        note(self.log, "filter", "hostile filter")

    def _store(self, endpoint: str, condition: str) -> None:
        with closing(sqlite3.connect(self.outbox, timeout=30)) as database, database:
            database.execute(_STORE, [condition, endpoint])
