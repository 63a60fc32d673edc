"""Workers and their leases in PostgreSQL, and the locks of readers: on a connection of their own.

However the process ends, the server ends the session and with it the locks; the session of a process that hangs, or is
cut off, it ends after a few seconds of silence.  What such a process still stores is refused (`PositionMoved`).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import orjson
from psycopg import AsyncConnection

from cdc import __version__
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import NotFound, OutboxError
from cdc.model.worker import Census, SourceLease, WorkerView
from cdc.outbox.postgres.database import PostgresDatabase
from cdc.outbox.postgres.session import PostgresSession
from cdc.outbox.shared import reader_lock

#: Seconds that a call may take: less than a lease lasts.
_CALL: Final = 4.0
#: Seconds after a connection came back, in which other workers may come back too.
_SETTLING: Final = 3.0


class PostgresWorkers:
    """A `cdc.model.worker.WorkerStore`."""

    def __init__(self, info: ConnectionInfo, token: str) -> None:
        self._session = PostgresSession(info, token, durable=True, plain=True, seconds=_CALL)
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
        return await self._session.read(self._become_reader, source)

    async def stop_reading(self, source: str) -> None:
        if source in self._readers:
            self._readers.discard(source)
            with suppress(OutboxError):  # the connection is closed then, and holds nothing
                await self._session.read(_unlock, source)

    async def _become_reader(self, db: PostgresDatabase, source: str) -> bool:
        self._meet(db)
        if source not in self._readers and await db.value("lock_reader", lock=reader_lock(source)):
            self._readers.add(source)
        return source in self._readers

    # -- workers -----------------------------------------------------------------------------------------------------

    async def sign(self, name: str, sources: Collection[str], lags: Mapping[str, float]) -> Census:
        return await self._session.read(self._sign, name, sources, lags)

    async def take(self, name: str, sources: Sequence[str]) -> dict[str, int]:
        taken = await self._session.read(_rows, "take_leases", name=name, sources=list(sources))
        return {str(source): int(epoch) for source, epoch in taken}

    async def want(self, name: str, sources: Sequence[str]) -> None:
        await self._session.read(_write, "want_leases", name=name, sources=list(sources))

    async def release(self, name: str, sources: Sequence[str]) -> None:
        await self._session.read(_write, "release_leases", name=name, sources=list(sources))

    async def leave(self, name: str) -> None:
        await self._session.read(_write, "release_leases", name=name, sources=None)
        await self._session.read(_write, "forget_worker", name=name)

    async def workers(self) -> list[WorkerView]:
        return [_view(row) for row in await self._session.read(_rows, "workers")]

    async def drain(self, name: str, *, draining: bool) -> None:
        if not await self._session.read(_write, "drain_worker", name=name, draining=draining):
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


def _view(row: tuple[Any, ...]) -> WorkerView:
    name, version, started_at, seen_at, alive, draining, sources, lags = row
    reads = {source: datetime.fromisoformat(since) for source, since in sources.items()}
    return WorkerView(name, version, started_at, seen_at, alive, draining, reads, lags)


async def _unlock(db: PostgresDatabase, source: str) -> None:
    await db.rows("unlock_reader", lock=reader_lock(source))


async def _rows(db: PostgresDatabase, statement: str, /, **parameters: Any) -> list[tuple[Any, ...]]:
    return await db.rows(statement, **parameters)


async def _write(db: PostgresDatabase, statement: str, /, **parameters: Any) -> int:
    return await db.write(statement, **parameters)
