"""Hears what other processes write to the PostgreSQL outbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import psycopg
import structlog

from cdc.model.clock import Backoff
from cdc.model.connection import ConnectionInfo
from cdc.outbox.postgres.database import Notice
from cdc.outbox.postgres.session import CHANNEL, connect, sentence

log = structlog.get_logger()


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
