"""Writers that insert, change, delete and rename the rows of one table, and the check that the events of each row are
its history: each begins where the one before it ended, and the last one is what the table holds."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import psycopg
import pymysql

from support.database import Database

WRITERS = 8
CONFLICTS = (psycopg.errors.UniqueViolation, psycopg.errors.DeadlockDetected, pymysql.err.Error)


def fill(database: Database, rows: int) -> None:
    """Rows 0 … of the table ``contadores``, which exists."""
    connection = database.connect()
    cursor = connection.cursor()
    cursor.executemany("INSERT INTO contadores VALUES (%s, 0, NULL)", [(number,) for number in range(rows)])
    connection.commit()
    connection.close()


class Rhythm(NamedTuple):
    """Seconds: between two transactions of a writer; how long all are at work; how long none is, then."""

    pause: float
    work: float = 1.0
    rest: float = 0.0

    def wait(self) -> float:
        """Return the seconds until the next transaction may begin."""
        into = time.monotonic() % (self.work + self.rest)
        return self.pause if into < self.work else self.work + self.rest - into


@contextmanager
def changing(database: Database, rows: int, dice: random.Random, rhythm: Rhythm) -> Iterator[threading.Event]:
    """Eight writers at work inside the block, as long as the event that it gives is set."""
    stop, go = threading.Event(), threading.Event()
    go.set()
    pool = ThreadPoolExecutor(WRITERS)
    seeds = [random.Random(dice.randrange(2**32)) for _ in range(WRITERS)]
    writers = [pool.submit(_write, database, rows, each, (stop, go), rhythm) for each in seeds]
    try:
        yield go
    finally:
        stop.set()
        go.set()
        pool.shutdown()
    for writer in writers:
        writer.result()


def _write(
    database: Database, rows: int, dice: random.Random, signs: tuple[threading.Event, threading.Event], rhythm: Rhythm
) -> None:
    stop, go = signs
    connection = database.connect()
    while not stop.wait(rhythm.wait()) and go.wait():
        try:
            cursor = connection.cursor()
            cursor.execute("BEGIN")
            for statement, parameters in _statements(rows, dice):
                cursor.execute(statement, parameters)
            if dice.random() < 0.1:
                stop.wait(dice.uniform(0, 0.05))  # commits late, so that pages are read in between
            connection.rollback() if dice.random() < 0.1 else connection.commit()
        except CONFLICTS:
            connection.rollback()
    connection.close()


def _statements(rows: int, dice: random.Random) -> Iterator[tuple[str, list[Any]]]:
    for _ in range(dice.choice((1, 1, 1, 2, 5))):
        number, kind = dice.randrange(rows), dice.random()
        if kind < 0.75:
            yield "UPDATE contadores SET valor = valor + 1 WHERE id = %s", [number]
        elif kind < 0.85:
            yield "DELETE FROM contadores WHERE id = %s", [number]
        elif kind < 0.95:
            yield "INSERT INTO contadores VALUES (%s, %s, 'nuevo')", [number, dice.randrange(10**6)]
        else:
            yield "UPDATE contadores SET id = %s, valor = valor + 1 WHERE id = %s", [dice.randrange(rows * 2), number]


@dataclass
class Histories:
    """Histories of records.  ``state``: the last one emitted; None: the record is deleted.  ``existing``: how often an
    existing row was emitted."""

    state: dict[int, Mapping[str, Any] | None] = field(default_factory=dict)
    existing: dict[int, int] = field(default_factory=dict)

    def take(self, payloads: Iterable[Mapping[str, Any]]) -> None:
        """Take payloads in the order stored."""
        for payload in payloads:
            self._take(payload, payload["key"]["id"], payload["data"])

    def _take(self, payload: Mapping[str, Any], record: int, data: Mapping[str, Any]) -> None:
        kind = payload["event"].rpartition(".")[2]
        if kind == "existing":
            self.existing[record] = self.existing.get(record, 0) + 1
            self._expect(record, data, payload)
            self.state[record] = data
        elif kind == "created":
            assert self.state.get(record) is None, payload
            self.state[record] = data
        elif kind == "deleted":
            self._expect(record, data, payload)
            self.state[record] = None
        else:
            before = {**data, **payload["previous"]}
            self._expect(before["id"], before, payload)
            self.state[before["id"]] = None
            self.state[record] = data

    def _expect(self, record: int, before: Mapping[str, Any], payload: Mapping[str, Any]) -> None:
        """Assert that the event begins with the record's last known state."""
        assert self.state.get(record, before) == before, f"{self.state[record]} then {payload}"

    def check(self, database: Database, rows: int) -> None:
        """Compare with the table.  ``rows``: the number that existed before."""
        there = {number: {"id": number, "valor": valor, "nota": nota} for number, valor, nota in _all(database)}
        known = {record: data for record, data in self.state.items() if data is not None}
        missing = [number for number in range(rows) if number in there and number not in known]
        assert not missing, f"{len(missing)} rows have no event, such as {missing[:5]}"
        assert known == {number: row for number, row in there.items() if number in known}
        assert max(self.existing.values()) == 1


def _all(database: Database) -> list[tuple[Any, ...]]:
    return list(database.execute("SELECT id, valor, nota FROM contadores"))
