"""The product's SQLite outbox with its file in memory, shared by simulated processes as over a network or a disk."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from cdc.model.delivery import DeliveryState, LeasedDelivery, Outcome
from cdc.model.errors import OutboxError, OutboxUnavailable
from cdc.outbox.base import Stored
from cdc.outbox.shared import delivery_number
from cdc.outbox.sqlite.database import SqliteDatabase, SqliteThread, Work, finished
from cdc.outbox.sqlite.outbox import SqliteOutbox
from support.memory_outbox import empty_database
from support.simulated.history import History, Promise
from support.simulated.loop import Process
from support.simulated.network import Link

P = ParamSpec("P")
T = TypeVar("T")

#: The clocks' time when a run begins.
START = datetime(2026, 11, 24, 21, 48, tzinfo=UTC)
#: States that a power failure may return to, at most.
_UNSYNCED = 8


def unavailable() -> OutboxUnavailable:
    return OutboxUnavailable("The simulated outbox does not answer.")


def full() -> OutboxError:
    return OutboxError("The simulated disk is full.")


class Disk:
    """The simulated disk.  ``dispatcher``: the process that has the dispatcher's lock."""

    def __init__(self, history: History, *, unsafe: bool) -> None:
        """``unsafe``: the power may fail."""
        self.database = empty_database()
        self.history = history
        self.dispatcher: Process | None = None
        self._unsafe = unsafe
        self._unsynced: list[sqlite3.Connection] = []

    def wrote(self, *, durable: bool) -> None:
        """Note, before a transaction, whether it reaches the disk, with all before it."""
        if durable:
            self._forget()
        elif self._unsafe and len(self._unsynced) < _UNSYNCED:
            copy = sqlite3.connect(":memory:")
            self.database.backup(copy)
            self._unsynced.append(copy)

    def fail_power(self, choice: random.Random) -> None:
        """Undo some of the newest transactions that were not written through."""
        if self._unsynced:
            self._unsynced[choice.randrange(len(self._unsynced))].backup(self.database)
            self._forget()

    def _forget(self) -> None:
        for copy in self._unsynced:
            copy.close()
        self._unsynced.clear()

    def close(self) -> None:
        self._forget()
        self.database.close()


class SimulatedThread(SqliteThread):
    """The connection of one process.  It runs the product's transactions when the request arrives."""

    def __init__(self, disk: Disk, link: Link) -> None:
        super().__init__(Path("simulated"), 0.0)
        self._disk = disk
        self._connection = disk.database
        self.link = link

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def check_file(self) -> None: ...

    async def read(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        def done() -> T:
            return finished(work(SqliteDatabase(self._open_connection()), *args, **kwargs))

        return await self.link.ask(work.__name__, done)

    async def write(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._write("FULL", work, args, kwargs)

    async def write_relaxed(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._write("NORMAL", work, args, kwargs)

    write_bulk = write_relaxed

    async def _write(self, synchronous: str, work: Callable[..., Coroutine[Any, Any, T]], args: Any, kwargs: Any) -> T:
        def transaction() -> T:
            self._disk.wrote(durable=synchronous == "FULL")
            result = self._transaction(synchronous, lambda db: work(db, *args, **kwargs))
            self._tell(work.__name__, args, result)
            return result

        return await self.link.ask(work.__name__, transaction)

    # -- for the judge ----------------------------------------------------------------------------------------------

    def _tell(self, what: str, args: Any, result: Any) -> None:
        """Note what was committed."""
        history = self._disk.history
        if what == "store":
            for request, stored in zip(args, result, strict=True):
                if isinstance(stored, Stored):
                    history.note(f"position {request.source} {request.position}")
                    history.positions.append((history.clock(), self.link.process.name, request.position))
        elif what == "finish":
            self._tell_finished(args[1])
        elif what == "lease":
            leased: list[LeasedDelivery] = result
            history.note(" ".join(f"{each.id}.{each.attempt}" for each in leased))

    def _tell_finished(self, outcomes: list[Outcome]) -> None:
        history = self._disk.history
        for attempt, state, due_at, *_ in outcomes:
            history.note(f"{attempt.delivery_id}.{attempt.number} {state} {due_at}")
            endpoint, due, now, worker = self._disk.database.execute(
                "SELECT endpoint.id, due, delivery.state, worker FROM delivery "
                "JOIN endpoint ON endpoint.number = delivery.endpoint WHERE delivery.id = ?",
                (delivery_number(attempt.delivery_id),),
            ).fetchone()
            if state is DeliveryState.DELIVERED and now > 1:
                history.delivered.setdefault((endpoint, attempt.event_id), history.clock())
            elif state is DeliveryState.DEAD and now > 1:
                history.dead.setdefault((endpoint, attempt.event_id), history.clock())
            elif due_at is not None and now == 1 and worker is None and due == _micros(due_at):
                ended = (attempt.started_at - START) + timedelta(seconds=attempt.duration)
                history.promises.append(
                    Promise(
                        endpoint,
                        attempt.event_id,
                        attempt.number,
                        ended.total_seconds(),
                        (due_at - START).total_seconds(),
                        history.clock(),
                        attempt.status,
                    )
                )


def _micros(time: datetime) -> int:
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


class SimulatedOutbox(SqliteOutbox):
    """``shared``: as the PostgreSQL outbox: every process may dispatch."""

    def __init__(self, disk: Disk, link: Link, *, shared: bool) -> None:
        super().__init__(Path("simulated"))
        thread = SimulatedThread(disk, link)
        self._use(thread, thread)
        self.link = link
        self._disk = disk
        self._process = link.process
        self._shared = shared

    async def become_dispatcher(self) -> bool:
        if self._shared:
            return True
        if self._disk.dispatcher is None or self._disk.dispatcher.dead:
            self._disk.dispatcher = self._process
        return self._disk.dispatcher is self._process

    async def close(self) -> None:
        if self._disk.dispatcher is self._process:
            self._disk.dispatcher = None
