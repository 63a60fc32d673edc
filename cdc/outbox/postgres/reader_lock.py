"""Only one of the processes of a PostgreSQL outbox may read a source that has no lock of its own."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import AsyncConnection

from cdc.model.connection import ConnectionInfo
from cdc.model.errors import OutboxError
from cdc.outbox.postgres.errors import sentence
from cdc.outbox.postgres.session import connect_plainly
from cdc.outbox.shared import reader_lock


class ReaderLocks:
    """Advisory locks on a connection of their own.  However the process ends, the server lets them go.  A connection
    that breaks loses them: what is stored then beside another reader is refused (`PositionMoved`)."""

    def __init__(self, info: ConnectionInfo) -> None:
        self._info = info
        self._connection: AsyncConnection[Any] | None = None
        self._held: set[str] = set()
        self._alone = asyncio.Lock()

    async def take(self, source: str) -> bool:
        """Raises `OutboxError`."""
        async with self._alone:
            if self._connection is None or self._connection.closed:
                self._held.clear()
                self._connection = await connect_plainly(self._info)
            if source not in self._held and await self._ask("SELECT pg_try_advisory_lock(%s)", source):
                self._held.add(source)
            return source in self._held

    async def release(self, source: str) -> None:
        async with self._alone:
            if source in self._held:
                self._held.discard(source)
                with suppress(OutboxError):  # the connection is closed then, and holds nothing
                    await self._ask("SELECT pg_advisory_unlock(%s)", source)

    async def close(self) -> None:
        async with self._alone:
            connection, self._connection = self._connection, None
            self._held.clear()
            if connection is not None:
                await connection.close()

    async def _ask(self, query: str, source: str) -> bool:
        assert self._connection is not None, "made by `take`"
        try:
            cursor = await self._connection.execute(query.encode(), (reader_lock(source),))
            row = await cursor.fetchone()
        except psycopg.Error as error:
            await self._connection.close()  # whether it still holds what it held is not known
            raise sentence(error, self._info) from error
        return row is not None and bool(row[0])
