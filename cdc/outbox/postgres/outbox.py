"""The outbox in a PostgreSQL database: any number of processes store, dispatch and look.

Six connections and a listening one for each process, made when they are first used: one stores and changes (durably),
one leases, one records outcomes, one reads the log, one removes what is too old, one says that the process lives, so
that a slow listing delays nobody and a lease does not wait for a record.

Workers, their leases and the locks of readers have a connection of their own.  However the process ends, the server
ends the session and with it the locks; the session of a process that hangs, or is cut off, it ends after a few seconds
of silence.  What such a process still stores is refused (`PositionMoved`).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson
import psycopg
import structlog
from psycopg import AsyncConnection

from cdc import __version__
from cdc.model.clock import Backoff
from cdc.model.connection import ConnectionInfo
from cdc.model.delivery import AdmissionRequest, Admitted, EndpointHold, Outcome
from cdc.model.errors import NotFound, OutboxError, OutboxLost, PositionMoved
from cdc.model.event import Event
from cdc.model.worker import Census, SourceLease, WorkerView
from cdc.outbox import endpoints, upkeep
from cdc.outbox.base import Replication, Stored
from cdc.outbox.postgres import dispatch
from cdc.outbox.postgres.database import (
    CALL_SECONDS,
    CHANNEL,
    Lock,
    Notice,
    PostgresDatabase,
    PostgresSession,
    Shared,
    connect,
    sentence,
)
from cdc.outbox.postgres.schema import is_installed, migrate_postgres, secret_rights
from cdc.outbox.postgres.store import plain, store_plain
from cdc.outbox.relay import StoreRequest
from cdc.outbox.secret_box import PLAIN, SecretBox
from cdc.outbox.shared import reader_lock, refusal_lock
from cdc.outbox.store import OutboxStore, StoreQueue, Via, method

#: Seconds that a call may take: less than a lease lasts.
_CALL: Final = 4.0
#: Seconds after a connection came back, in which other workers may come back too.
_SETTLING: Final = 3.0


class PostgresWorkers:
    """A `cdc.model.worker.WorkerStore`."""

    def __init__(self, info: ConnectionInfo, shared: Shared) -> None:
        self._session = PostgresSession(info, shared, durable=True, plain=True, seconds=_CALL)
        self._connection: AsyncConnection[Any] | None = None
        self._readers: set[str] = set()  # whose locks the connection holds
        self._joined = False
        self._settled_at = 0.0
        self._begun = False

    async def close(self) -> None:
        self._readers.clear()
        await self._session.close()

    # -- readers of sources that have no lock of their own -----------------------------------------------------------

    async def become_reader(self, source: str) -> bool:
        async def lock(db: PostgresDatabase) -> bool:
            self._meet(db)
            if source not in self._readers and await db.value("lock_reader", lock=reader_lock(source)):
                self._readers.add(source)
            return source in self._readers

        return await self._session.read(lock)

    async def stop_reading(self, source: str) -> None:
        if source in self._readers:
            self._readers.discard(source)
            with suppress(OutboxError):  # the connection is closed then, and holds nothing
                await self._session.read(PostgresDatabase.rows, "unlock_reader", lock=reader_lock(source))

    # -- workers -----------------------------------------------------------------------------------------------------

    async def sign(self, name: str, sources: Collection[str], lags: Mapping[str, float]) -> Census:
        return await self._session.read(self._sign, name, sources, lags)

    async def take(self, name: str, sources: Sequence[str]) -> dict[str, int]:
        taken = await self._session.read(PostgresDatabase.rows, "take_leases", name=name, sources=list(sources))
        return {str(source): int(epoch) for source, epoch in taken}

    async def want(self, name: str, sources: Sequence[str]) -> None:
        await self._session.read(PostgresDatabase.write, "want_leases", name=name, sources=list(sources))

    async def release(self, name: str, sources: Sequence[str]) -> None:
        await self._session.read(PostgresDatabase.write, "release_leases", name=name, sources=list(sources))

    async def leave(self, name: str) -> None:
        await self._session.read(PostgresDatabase.write, "release_leases", name=name, sources=None)
        await self._session.read(PostgresDatabase.write, "forget_worker", name=name)

    async def workers(self) -> list[WorkerView]:
        views = []
        for row in await self._session.read(PostgresDatabase.rows, "workers"):
            name, version, started_at, seen_at, alive, draining, sources, lags = row
            reads = {source: datetime.fromisoformat(since) for source, since in sources.items()}
            views.append(WorkerView(name, version, started_at, seen_at, alive, draining, reads, lags))
        return views

    async def drain(self, name: str, *, draining: bool) -> None:
        if not await self._session.read(PostgresDatabase.write, "drain_worker", name=name, draining=draining):
            raise NotFound(f"There is no worker {name}.", "`cdc worker list` shows the workers.")

    def _meet(self, db: PostgresDatabase) -> None:
        """A new connection holds no lock."""
        if db.connection is not self._connection:
            self._connection, self._joined = db.connection, False
            self._readers.clear()

    async def _sign(
        self, db: PostgresDatabase, name: str, sources: Collection[str], lags: Mapping[str, float]
    ) -> Census:
        self._meet(db)
        if not self._joined:
            await self._join(db, name)
        if not await db.write("worker_sign", name=name, lags=orjson.dumps(dict(lags)).decode()):
            self._joined = False
            raise OutboxError(f"The outbox does not know the worker {name} any more.", "It is made known again.")
        draining: dict[str, bool] = dict(await db.rows("live_workers"))
        rows = await db.rows("leases")
        if missing := set(sources) - {source for source, *_ in rows}:
            await db.write("add_leases", sources=sorted(missing))
            rows = await db.rows("leases")
        settled = time.monotonic() >= self._settled_at
        leases = {
            source: SourceLease(
                worker if worker in draining or not settled else None, epoch, wanted if wanted in draining else None
            )
            for source, worker, epoch, wanted in rows
        }
        return Census(draining, leases)

    async def _join(self, db: PostgresDatabase, name: str) -> None:
        number = await db.value("worker_number", name=name, version=__version__)
        ((locked, _),) = await db.rows("worker_lock", number=number)
        if not locked:
            raise OutboxError(
                f"Another process is the worker {name}.",
                "Give each process a [dispatch] worker of its own, or none; one that was cut off is gone in seconds.",
            )
        if not self._begun:
            await db.write("worker_begin", name=name)
        else:
            self._settled_at = time.monotonic() + _SETTLING
        self._joined = self._begun = True


log = structlog.get_logger()


#: Seconds that leasing and recording may take where another server may have taken over from one that hangs.
SOON_SECONDS: Final = 15.0
#: Seconds that a step of a source's move may take: the last one lets all its deliveries go.
ALTER_SECONDS: Final = 3600.0


class Listener:
    """A connection that LISTENs, made again whenever it breaks.

    ``writes`` grows with each write of another process, and whenever some may have been missed.  ``wake`` is called
    when something may be due.  What this process itself wrote (``token``) is not heard.
    """

    def __init__(self, info: ConnectionInfo, token: str) -> None:
        self._info = info
        self._token = token
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self.hearing = False
        self.writes = 0
        self.wake: Callable[[], None] | None = None

    async def start(self) -> None:
        """Return when it hears, or when the first try failed."""
        if self._task is None:
            self._task = asyncio.create_task(self._listen())
        await self._tried.wait()

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self._tried.clear()
        self.hearing = False

    async def _listen(self) -> None:
        backoff = Backoff(first=0.2, most=5.0)
        while True:
            try:
                await self._hear(backoff)
            except psycopg.Error as error:
                if self.hearing:
                    log.warning("outbox not listened to", error=str(sentence(error, self._info)))
            self.hearing = False
            self._tried.set()
            await asyncio.sleep(backoff.next())

    async def _hear(self, backoff: Backoff) -> None:
        connection = await connect(self._info, {"commit": "on", "plain": "on"})
        try:
            await connection.execute(f"LISTEN {CHANNEL}")
            backoff.reset()
            self._note(Notice.DUE)  # for writes while nobody listened
            self.hearing = True
            self._tried.set()
            async for notification in connection.notifies():
                token, _, notice = notification.payload.partition(" ")
                if token != self._token:
                    self._note(notice)
        finally:
            await connection.close()

    def _note(self, notice: str) -> None:
        self.writes += 1
        if notice == Notice.DUE and self.wake is not None:
            self.wake()


#: The name of the state that holds the refusals of an API; no source is called ``api …``.
_REFUSALS: Final = "refusals"


async def _refusal_text(db: PostgresDatabase, api: str) -> str:
    text = "SELECT value FROM cdc_outbox.source_state WHERE source = %(source)s AND name = %(name)s"
    rows = await db.query(text, {"source": f"api {api}", "name": _REFUSALS})
    return str(rows[0][0]) if rows else ""


async def _change_refusals(db: PostgresDatabase, api: str, change: Callable[[str], str]) -> None:
    async with db.connection.transaction():
        await db.query("SELECT pg_advisory_xact_lock(%(lock)s)", {"lock": refusal_lock(api)})
        value = change(await _refusal_text(db, api))
        await db.write_each("set_state", {"name": [_REFUSALS], "value": [value]}, source=f"api {api}")


async def _replication(db: PostgresDatabase) -> Replication:
    ((waits, standby),) = await db.rows("replication")
    if waits:
        return Replication.SYNCHRONOUS
    return Replication.ASYNCHRONOUS if standby else Replication.NONE


class PostgresLimits:
    """A `cdc.outbox.base.LimitStore`, on the connection that leases."""

    def __init__(self, session: PostgresSession) -> None:
        self._session = session

    async def holds(self) -> dict[str, EndpointHold]:
        return await self._session.read(dispatch.holds)

    async def publish(self, worker: str, holds: Mapping[str, EndpointHold]) -> None:
        await self._session.write(Lock.FINISH, dispatch.publish_holds, worker, holds)

    async def admit(self, worker: str, wanted: Mapping[str, AdmissionRequest]) -> dict[str, Admitted]:
        return await self._session.read(dispatch.admit, worker, wanted)


class PostgresOutbox(OutboxStore):
    """`OutboxStore` in the schema ``cdc_outbox`` of a database.  ``box``: seals the endpoints' secrets in it."""

    def __init__(self, info: ConnectionInfo, *, box: SecretBox = PLAIN) -> None:
        self._info = info
        self._shared = shared = Shared(secrets.token_hex(8), box)
        soon = SOON_SECONDS if info.others else CALL_SECONDS
        session = partial(PostgresSession, info, shared)
        self._durable = session(durable=True)
        self._leasing = session(durable=False, seconds=soon)
        self._recording = session(durable=True, seconds=soon)
        reading = session(durable=True, plain=True)
        self._upkeep = session(durable=False)
        altering = session(durable=True, seconds=ALTER_SECONDS)
        self._sessions = self._durable, self._leasing, self._recording, reading, self._upkeep, altering
        self.runs = {
            Via.OWN: self._durable.read,
            Via.SNAPSHOT: self._durable.read,
            Via.LOG: reading.read,
            Via.DUE: self._leasing.read,
            Via.CHANGE: partial(self._durable.write, Lock.EXCLUSIVE),
            Via.STORE: partial(self._durable.write, Lock.STORE),
            Via.ALTER: partial(altering.write, Lock.EXCLUSIVE),
            Via.ADD: partial(self._durable.write, Lock.SHARED),
            Via.STEP: self._durable.read,
            Via.DISPATCH: partial(self._recording.write, Lock.EXCLUSIVE),
            Via.TIDY: partial(self._upkeep.write, Lock.SHARED),
        }
        self._stores = StoreQueue(self._store)
        self.limits = PostgresLimits(self._leasing)
        self._listener = Listener(info, shared.token)
        self.workers = self._readers = PostgresWorkers(info, shared)
        self._seen: tuple[int, int] | None = None

    async def exists(self) -> bool:
        return await is_installed(self._info)

    async def check(self) -> None:
        if await self.runs[Via.LOG](PostgresDatabase.value, "main_table") is None:
            raise OutboxLost(
                f"The schema cdc_outbox in {self._info.describe()} was dropped while this process used it.",
                "Restore it from a backup: docs/operations.md.",
            )

    replication = method(Via.DUE, _replication)

    async def save(self, now: datetime) -> Path | None:  # noqa: ARG002 - for SQLite, which writes the content of a deleted file to a new one; of a dropped schema there is none
        return None

    async def open(self) -> None:
        await migrate_postgres(self._info)
        read = self.runs[Via.LOG]
        await read(upkeep.check_keys)
        rights = await read(secret_rights)
        self._endpoints_by = "endpoints" if rights.reads else "endpoints_outlined"
        if rights.writes and await read(endpoints.seal_secrets, former=False, dry_run=True) > 0:
            await self._durable.write(Lock.EXCLUSIVE, endpoints.seal_secrets, former=False)

    async def close(self) -> None:
        await self._stores.close()
        await self._listener.close()
        await self._readers.close()
        for session in self._sessions:
            await session.close()

    async def become_reader(self, source: str) -> bool:
        return await self._readers.become_reader(source)

    async def stop_reading(self, source: str) -> None:
        await self._readers.stop_reading(source)

    refusals = method(Via.OWN, _refusal_text)
    change_refusals = method(Via.OWN, _change_refusals)

    async def _store(self, requests: Sequence[StoreRequest]) -> Sequence[Stored | PositionMoved]:
        stored = await self._durable.read(store_plain, requests) if plain(requests) else None
        return await super()._store(requests) if stored is None else stored

    # -- dispatch: a crash of the server may undo the newest leases, so that something is sent once more ------------

    async def become_dispatcher(self) -> bool:
        return True  # any number of processes share the work

    def on_write(self, wake: Callable[[], None]) -> None:
        self._listener.wake = wake

    lease = method(Via.DUE, dispatch.lease)
    lease_of = method(Via.DUE, dispatch.lease_of)
    due_endpoints = method(Via.DUE, dispatch.due_endpoints)
    next_due = method(Via.DUE, dispatch.next_due)

    async def finish(
        self, worker: str, outcomes: Sequence[Outcome], now: datetime, announcements: Sequence[Event] = ()
    ) -> None:
        async def finish(lock: Lock, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
            work = partial(dispatch.finish, announcements=announcements, lock=lock)
            promoted, left = await self._recording.write(lock, work, worker, outcomes, now)
            self._shared.floors.promoted(promoted)
            return left

        try:
            if left := await finish(Lock.FINISH, outcomes):
                await finish(Lock.STORE, left)
        except dispatch.Crowded:
            await finish(Lock.EXCLUSIVE, outcomes)

    async def changed(self) -> bool:
        """Return whether this or, by its notices, another process changed something; leases of others do not count.
        True while notices cannot be received."""
        now = await self._versions()
        changed, self._seen = now != self._seen or not self._listener.hearing, now
        return changed

    async def version(self) -> object:
        now = await self._versions()
        return now if self._listener.hearing else object()

    async def _versions(self) -> tuple[int, int]:
        await self._listener.start()
        return self._listener.writes, self._shared.writes
