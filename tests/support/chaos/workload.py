"""A writer for each source: transactions at an even pace, each noted with the time of its commit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from support.chaos.plan import HOSTILE, ITEMS, Plan, Source
from support.database import Database
from support.fault.ledger import Key, Row, Version

#: Records that single transactions change, and the number of the first that large ones change.
RECORDS, FIRST_OF_BULK = 12, 1000
#: Share of the transactions that delete their record.
DELETED = 0.05

_DDL = {
    "mariadb": "(id integer PRIMARY KEY, valor integer NOT NULL, nota varchar(60){}) ENGINE=InnoDB",
    "postgresql": "(id integer PRIMARY KEY, valor integer NOT NULL, nota varchar(60){})",
}
#: MariaDB takes no JSON that is nested so deep that it troubles a reader.
_DOCUMENT = {"mariadb": ", doc longtext", "postgresql": ", doc json"}


@dataclass
class Book:
    """The commits of one source.  ``moments``: (operation, key, number of the transaction that wrote the row) → the
    time of the commit, by `time.monotonic`, which all processes of a machine share."""

    versions: list[Version] = field(default_factory=list)
    moments: dict[tuple[str, Key, int], float] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


def create_tables(database: Database) -> None:
    columns = _DDL[database.flavour]
    database.execute(f"CREATE TABLE {ITEMS} {columns.format('')}")
    database.execute(f"CREATE TABLE {HOSTILE} {columns.format(_DOCUMENT[database.flavour])}")


class Writer:
    """One source's.  ``connection_id``: of the server, so that the ERP's connection is not killed."""

    def __init__(self, source: Source, database: Database, plan: Plan) -> None:
        self.source = source
        self.database = database
        self.book = Book()
        self._plan = plan
        self._dice = plan.dice(f"writer {source.name}")
        self._rows: dict[Key, Row] = {}
        self._connection: Any = database.connect()
        self._last = 0
        postgres = database.flavour == "postgresql"
        self.connection_id: int = self._connection.info.backend_pid if postgres else self._connection.thread_id()

    def write(self, stop: threading.Event) -> None:
        """Write until ``stop``.  The pace does not depend on how long a transaction takes."""
        pause = 1.0 / self._plan.rate
        due = time.monotonic() + self._dice.uniform(0, pause)
        bulk_due = due + self._dice.uniform(0, self._plan.bulk_seconds) if self.source.sick else float("inf")
        while not stop.wait(max(due - time.monotonic(), 0.0)):
            self._transact(self._single)
            if time.monotonic() >= bulk_due:
                self._transact(self._bulk)
                bulk_due += self._plan.bulk_seconds
            due += self._dice.uniform(0.5, 1.5) * pause

    def _transact(self, change: Callable[[int], Sequence[Version]]) -> None:
        self._last += 1
        try:
            versions = change(self._last)
            before = time.monotonic()
            self._connection.commit()
        except Exception as error:  # noqa: BLE001 - a write of the ERP failed: the judge reports it
            self.book.errors.append(f"{self.source.name}: {type(error).__name__}: {error}")
            self._connection.rollback()
            return
        for version in versions:
            self._note(version, before)

    def _note(self, version: Version, moment: float) -> None:
        row = version.before if version.after is None else version.after
        key = version.old if version.new is None else version.new
        assert row is not None
        assert key is not None
        self.book.moments[version.operation, key, row["valor"]] = moment
        self.book.versions.append(version)
        if version.after is None:
            del self._rows[key]
        else:
            self._rows[key] = version.after

    def _single(self, number: int) -> Sequence[Version]:
        key = self._dice.randrange(RECORDS)
        before = self._rows.get(key)
        if before is not None and self._dice.random() < DELETED:
            self._execute(f"DELETE FROM {ITEMS} WHERE id = %s", [key])
            return [self._version(number, key, before, None)]
        return [self._put(number, key, f"{self.source.name} {self._dice.random():.6f}")]

    def _bulk(self, number: int) -> Sequence[Version]:
        """A transaction that is read in parts, over a temporary file."""
        return [self._put(number, FIRST_OF_BULK + place, "bulk") for place in range(self._plan.bulk)]

    def _put(self, number: int, key: int, note: str) -> Version:
        before = self._rows.get(key)
        after = {"id": key, "valor": number, "nota": note}
        if before is None:
            self._execute(f"INSERT INTO {ITEMS} (valor, nota, id) VALUES (%s, %s, %s)", [number, note, key])
        else:
            self._execute(f"UPDATE {ITEMS} SET valor = %s, nota = %s WHERE id = %s", [number, note, key])
        return self._version(number, key, before, after)

    def _version(self, number: int, key: int, before: Row | None, after: Row | None) -> Version:
        old, new = None if before is None else key, None if after is None else key
        return Version(number, f"T{number}", ITEMS, old, new, before, after)

    def _execute(self, sql: str, values: Sequence[Any]) -> None:
        cursor = self._connection.cursor()
        cursor.execute(sql, values)
        cursor.close()


class Writers:
    """All of them, each in a thread."""

    def __init__(self, writers: Sequence[Writer]) -> None:
        self.writers = writers
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(len(writers))
        self._running: list[Future[None]] = []

    def start(self) -> None:
        self._running = [self._pool.submit(each.write, self._stop) for each in self.writers]

    def stop(self) -> None:
        """Raises what a writer raised."""
        self._stop.set()
        self._pool.shutdown()
        for each in self._running:
            each.result()

    def books(self) -> dict[str, Book]:
        return {each.source.name: each.book for each in self.writers}
