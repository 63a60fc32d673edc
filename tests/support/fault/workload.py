"""Writers that do what the ERP does, for as much work as they are given, and note in the ledger what they committed.

A transaction inserts its own name into a table, so that a commit whose answer was lost is decided by reading it.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pymysql

from support.fault.actions import ACTIONS, update_all, update_bulk
from support.fault.ledger import BASELINE, SILENT, Entry, Ledger
from support.fault.session import DRIVER_ERRORS, Connect, EndedInSilence, Session, is_conflict, is_lost
from support.fault.tables import TABLES

WRITERS = 6
PAUSE_SECONDS = 0.05
ENDURED_SECONDS = 120.0

Statements = Callable[[Session, str], None]


@dataclass
class Work:
    """Transactions that are still to be written, shared by the writers."""

    left: int = 0
    busy: int = 0
    pauses: int = 0
    ended: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)

    def give(self, count: int) -> None:
        with self.changed:
            self.left += count
            self.changed.notify_all()

    def take(self) -> bool:
        """Return whether there is a transaction to write, and wait for one.  False: there will be none."""
        with self.changed:
            self.changed.wait_for(lambda: not self.pauses and (self.left or self.ended))
            if not self.left:
                return False
            self.left -= 1
            self.busy += 1
            return True

    def done(self) -> None:
        with self.changed:
            self.busy -= 1
            self.changed.notify_all()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No transaction is open inside the block."""
        with self.changed:
            self.pauses += 1
            self.changed.wait_for(lambda: not self.busy)
        try:
            yield
        finally:
            with self.changed:
                self.pauses -= 1
                self.changed.notify_all()

    def until_written(self) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.ended or not (self.left or self.busy))

    def end(self) -> None:
        with self.changed:
            self.ended = True
            self.changed.notify_all()


@dataclass
class Tally:
    """Counts of the writers; ``errors`` are those that no application would expect.  ``silent``: the conflicts that the
    server did not report."""

    commits: int = 0
    rollbacks: int = 0
    conflicts: int = 0
    silent: int = 0
    lost: int = 0
    errors: list[str] = field(default_factory=list)


class Writers:
    """Six threads; ``ledger`` holds what they committed, ``tally`` what they met."""

    def __init__(self, connect: Connect, flavour: str, ledger: Ledger, seed: int) -> None:
        self._connect = connect
        self._flavour = flavour
        self.ledger = ledger
        self.work = Work()
        self.tally = Tally()
        self._dice = random.Random(seed)
        self._numbers = iter(range(1, 1 << 60))
        self._statements: dict[str, list[str]] = {}  # of each transaction whose commit succeeded
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(WRITERS)
        self._running: list[Future[None]] = []

    def start(self) -> None:
        seeds = [self._dice.randrange(1 << 32) for _ in range(WRITERS)]
        self._running = [self._pool.submit(self._write, number, random.Random(s)) for number, s in enumerate(seeds)]

    def close(self) -> None:
        """Write what was given, then end.  Raises what a writer raised."""
        self.work.end()
        self._pool.shutdown()
        for each in self._running:
            each.result()

    def baseline(self) -> None:
        """Note the rows that exist as history that nobody has to be sent."""
        session = self._session()
        for name in TABLES:
            for key, row in session.rows(name, "1 = 1", [], lock=False).items():
                self.ledger.commit(BASELINE, [Entry(self.ledger.number(), name, None, key, None, row)])
        session.connection.close()

    def resync(self, table: str) -> None:
        """Note what a fault did to the rows of a table without a row change.  Writers are paused."""
        session = self._session()
        known, found = self.ledger.last(table), session.rows(table, "1 = 1", [], lock=False)
        session.connection.close()
        for key in known.keys() | found.keys():
            before, after = known.get(key), found.get(key)
            entry = Entry(self.ledger.number(), table, key if before else None, key if after else None, before, after)
            self.ledger.commit(SILENT, [entry])

    def revoke(self) -> None:
        """Note which committed transactions the database does not hold any more.  Writers are paused."""
        held = self._held()
        self.ledger.revoke(held)
        self._statements = {name: statements for name, statements in self._statements.items() if name in held}

    def vanished(self) -> list[str]:
        """Return the transactions whose commit the server confirmed and that it does not hold, though no fault took
        them, with their statements: the judge reports them as lost, and no consumer could have seen them."""
        missing = self._statements.keys() - self._held()
        return [f"the server does not hold {name}: {self._statements[name]}" for name in sorted(missing)]

    def _held(self) -> set[str]:
        session = self._session()
        cursor = session.connection.cursor()
        cursor.execute("SELECT id FROM fault_commits")
        found = {name for (name,) in cursor.fetchall()}
        session.connection.close()
        return found

    def bulk(self) -> None:
        """One transaction that updates all rows of a table."""
        self.apply(update_bulk)

    def touch(self, table: str) -> None:
        """One transaction that changes every row of a table."""
        self.apply(lambda session, mark: update_all(session, table, TABLES[table].mark, mark))

    def apply(self, statements: Callable[[Session, str], None]) -> None:
        """One transaction; after a conflict it is repeated.  The second argument is a mark."""
        session = self._session()
        while not self._transaction(session, random.Random(0), statements):
            session = self._again(session)
        session.connection.close()

    def _session(self) -> Session:
        """Open a session on a new connection, as soon as the server allows it."""
        deadline = time.monotonic() + ENDURED_SECONDS
        while True:
            try:
                return Session(self._connect(), self._flavour, self.ledger)
            except DRIVER_ERRORS as error:
                if not is_lost(error) or time.monotonic() > deadline:
                    raise
                threading.Event().wait(PAUSE_SECONDS)  # it is down: nothing announces its return

    def _write(self, number: int, dice: random.Random) -> None:
        session = self._session()
        while self.work.take():
            try:
                while not self._transaction(session, dice):
                    session = self._again(session)
            finally:
                self.work.done()
        session.connection.close()

    def _again(self, session: Session) -> Session:
        """The same session where its connection still works, with nothing open."""
        try:
            session.entries.clear()
            session.execute("ROLLBACK")
        except DRIVER_ERRORS:
            _close(session)
            return self._session()
        return session

    def _transaction(self, session: Session, dice: random.Random, statements: Statements | None = None) -> bool:
        """Return whether the transaction is done: committed, or rolled back on purpose.  False: to be repeated."""
        with self._lock:
            name = f"T{next(self._numbers)}"
        prepared = statements is None and dice.random() < 0.03
        try:
            self._fill(session, dice, name, statements, prepared=prepared)
            if statements is None and dice.random() < 0.08:
                self._roll_back(session, name, prepared=prepared)
                return True
        except DRIVER_ERRORS as error:
            return self._failed(session, error, name)
        return self._commit(session, name, prepared=prepared)

    def _fill(
        self, session: Session, dice: random.Random, name: str, statements: Statements | None, *, prepared: bool
    ) -> None:
        session.entries.clear()
        session.statements.clear()
        session.execute(f"XA START '{name}'" if prepared and session.flavour != "postgresql" else "BEGIN")
        session.execute("INSERT INTO fault_commits VALUES (%s)", [name])
        if statements is not None:
            statements(session, f"{name}.0")
            return
        parts = dice.choice((1, 1, 2, 2, 3, 5, 8))
        for step in range(parts):
            self._part(session, dice, f"{name}.{step}", savepoints=not prepared)
        if dice.random() < 0.05:
            threading.Event().wait(dice.uniform(0, 0.3))  # commits late: commit order is not the order of ids
        if prepared:
            self._prepare(session, name)

    def _part(self, session: Session, dice: random.Random, mark: str, *, savepoints: bool) -> None:
        actions, weights = list(ACTIONS), list(ACTIONS.values())
        if not savepoints or dice.random() > 0.15:
            dice.choices(actions, weights)[0](session, dice, mark)
            return
        session.execute("SAVEPOINT part")
        before = list(session.entries)
        for number, action in enumerate(dice.choices(actions, weights, k=2)):
            action(session, dice, f"{mark}{'ab'[number]}")
        if dice.random() < 0.5:
            session.execute("ROLLBACK TO SAVEPOINT part")
            session.entries[:] = before
        else:
            session.execute("RELEASE SAVEPOINT part")

    def _prepare(self, session: Session, name: str) -> None:
        if session.flavour == "postgresql":
            session.execute(f"PREPARE TRANSACTION '{name}'")
        else:
            session.execute(f"XA END '{name}'")
            session.execute(f"XA PREPARE '{name}'")

    def _roll_back(self, session: Session, name: str, *, prepared: bool) -> None:
        xa = f"ROLLBACK PREPARED '{name}'" if session.flavour == "postgresql" else f"XA ROLLBACK '{name}'"
        session.execute(xa if prepared else "ROLLBACK")
        self.tally.rollbacks += 1

    def _failed(self, session: Session, error: BaseException, name: str) -> bool:
        """The transaction did not reach its commit; a prepared one may have survived its connection."""
        if is_conflict(error):
            self.tally.conflicts += 1
            self.tally.silent += isinstance(error, EndedInSilence)
            self._end_xa(session, name)
        elif is_lost(error):
            self.tally.lost += 1
            if self._settle_prepared(name, commit=False):
                return True
        else:
            self.tally.errors.append(f"{type(error).__name__}: {error}, after {session.statements[-4:]}")
            self._end_xa(session, name)
        return False

    def _end_xa(self, session: Session, name: str) -> None:
        """Leave an XA transaction that failed within."""
        if session.flavour == "postgresql":
            return
        for statement in (f"XA END '{name}'", f"XA ROLLBACK '{name}'"):
            try:
                session.execute(statement)
            except DRIVER_ERRORS as error:
                if is_lost(error):
                    return  # a new connection follows

    def _commit(self, session: Session, name: str, *, prepared: bool) -> bool:
        statement = "COMMIT"
        if prepared:
            statement = f"COMMIT PREPARED '{name}'" if session.flavour == "postgresql" else f"XA COMMIT '{name}'"
        entries = list(session.entries)
        try:
            session.execute(statement)
        except DRIVER_ERRORS as error:
            if not is_lost(error):
                return self._failed(session, error, name)
            self.tally.lost += 1
            if not (prepared and self._settle_prepared(name, commit=True)) and not self._is_committed(name):
                return False
        self._committed(name, entries)
        self._statements[name] = list(session.statements)
        return True

    def _committed(self, name: str, entries: Sequence[Entry]) -> None:
        self.ledger.commit(name, entries)
        self.tally.commits += 1

    def _settle_prepared(self, name: str, *, commit: bool) -> bool:
        """End a prepared transaction; return whether it was found."""
        session = self._session()
        try:
            if session.flavour == "postgresql":
                found, end = "SELECT gid FROM pg_prepared_xacts", "PREPARED "
            else:
                found, end = "XA RECOVER", ""
            cursor = session.connection.cursor()
            cursor.execute(found)
            names = [row[0 if session.flavour == "postgresql" else 3] for row in cursor.fetchall()]
            if name not in names:
                return False
            verb = "COMMIT" if commit else "ROLLBACK"
            session.execute(f"{verb} {end}'{name}'" if end else f"XA {verb} '{name}'")
            return True
        finally:
            session.connection.close()

    def _is_committed(self, name: str) -> bool:
        session = self._session()
        try:
            cursor = session.connection.cursor()
            cursor.execute("SELECT 1 FROM fault_commits WHERE id = %s", [name])
            return cursor.fetchone() is not None
        finally:
            session.connection.close()


def connector(flavour: str, where: dict[str, Any]) -> Connect:
    """Plain drivers; transactions are begun by statements.  ``where``: host, port, user, password and database, read
    at each connection."""

    def connect_postgres() -> Any:
        names = {"dbname" if name == "database" else name: value for name, value in where.items()}
        return psycopg.connect(autocommit=True, **names)

    def connect_mysql() -> Any:
        return pymysql.connect(autocommit=True, charset="utf8mb4", ssl_disabled=True, **where)

    return connect_postgres if flavour == "postgresql" else connect_mysql


def _close(session: Session) -> None:
    """Close a connection that may be broken."""
    if session.flavour == "postgresql":
        session.connection.close()
    else:
        session.connection._force_close()
