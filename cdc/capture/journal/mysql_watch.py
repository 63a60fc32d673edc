"""One wait for the journals of many databases of one MariaDB or MySQL server, on one connection.

A look by a connection of each database costs the server 60 to 100 µs of CPU, most of them to wake its thread; a
look at one of fifty journals in one statement costs 6 to 12 µs.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import pymysql
import structlog
from pymysql.connections import Connection

from cdc.capture.mysql_session import MySQLSession
from cdc.database.mysql_connection import REGISTRY_SECONDS, UNAVAILABLE, code_of, open_registry, quote, rows
from cdc.model.clock import Backoff
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import SourceError

log = structlog.get_logger()

#: Seconds between two looks at all journals: at least, and for each that is waited for.  So a process costs the server
#: 3 % of a core (7 % where other work empties the processor's caches), however many journals it waits for.
_LEAST, _EACH = 0.05, 0.0004
#: Rows before the last one that was read, among which those of transactions that committed late are searched for.
#: Deleted rows that InnoDB keeps for an old snapshot cost time at each look: not all of them are searched.
_LATE: Final = 1000
#: Journals in one statement: a failure is searched for among so many.
_TOGETHER: Final = 50
#: Seconds for which a journal that the account may not read, or that is locked, is left to its own connection.
_REFUSED: Final = 300.0
#: Seconds that the server has to answer.
_ANSWER: Final = 10.0


@dataclass(eq=False)
class Watched:
    """One journal.  ``seen``: the number of the last row that was read.  ``waiting``: set to True when it has rows or
    the time is over, to False when it is not watched.  ``refused``: monotonic time until which it is not.
    ``versioned``: its server must have MariaDB's registry of transactions open."""

    database: str
    versioned: bool
    seen: int = 0
    waiting: asyncio.Future[bool] | None = None
    refused: float = 0.0

    def end(self, watched: bool) -> None:
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(watched)


class JournalWatch:
    """``info``: of any of the databases; the account must be the same for all.  ``connected``: journals are watched."""

    def __init__(self, info: ConnectionInfo) -> None:
        self._info = info
        self._session = MySQLSession(info, read_timeout=_ANSWER)
        self._members: set[Watched] = set()
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._one = asyncio.Lock()  # of the session: who joins at once after the last has left waits until it is closed
        self.connected = False

    def join(self, database: str, *, versioned: bool) -> Watched:
        member = Watched(database, versioned)
        self._members.add(member)
        if self._task is None:
            self._task = asyncio.create_task(self._alone())
        return member

    async def leave(self, member: Watched) -> None:
        """End the member's wait, and the connection after the last member."""
        self._members.discard(member)
        member.end(watched=False)
        if not self._members and self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.wait({task})

    async def wait(self, member: Watched, seen: int, seconds: float) -> bool:
        """Wait until the journal has rows, or ``seconds`` at most.  Return False when it is not watched: wait for it in
        another way.  Late rows far before ``seen`` do not end the wait."""
        if not self.connected or member.refused > time.monotonic():
            return False
        loop = asyncio.get_running_loop()
        member.seen = seen
        member.waiting = loop.create_future()
        timer = loop.call_later(seconds, partial(member.end, watched=True))
        self._wanted.set()
        try:
            return await member.waiting
        finally:
            timer.cancel()
            member.waiting = None

    async def _alone(self) -> None:
        async with self._one:
            await self._run()

    async def _run(self) -> None:
        backoff = Backoff(first=1.0, most=30.0)
        while True:
            try:
                await self._session.connect(_prepare)
                self.connected = True
                backoff.reset()
                await self._watch()
            except SourceError as error:
                delay = backoff.next()
                log.warning("journals not watched together", error=str(error), retry_in=round(delay, 1))
            finally:
                self.connected = False
                for member in self._members:
                    member.end(watched=False)
                await self._session.disconnect()
            await asyncio.sleep(delay)

    async def _watch(self) -> None:
        opened = -math.inf
        while True:
            self._wanted.clear()
            waiting = [member for member in self._members if member.waiting is not None]
            if not waiting:
                await self._wanted.wait()
                continue
            found, refused = await self._session.run(partial(_look, members=waiting))
            versioned = [member.database for member in waiting if member.versioned]
            if versioned and time.monotonic() - opened >= REGISTRY_SECONDS:
                opened = time.monotonic()
                await self._session.run(partial(open_registry, database=versioned[0]))
            for member in refused:
                log.info("journal watched alone", database=member.database, reason="the common look failed there")
                member.refused = time.monotonic() + _REFUSED
                member.end(watched=False)
            for member in found:
                member.end(watched=True)
            await asyncio.sleep(max(_LEAST, len(waiting) * _EACH))


def _prepare(connection: Connection[Any]) -> None:
    """One database whose journal is locked must not hold up the others for longer than a second, once."""
    rows(connection, "SET SESSION lock_wait_timeout = 1")


def _look(connection: Connection[Any], members: Sequence[Watched]) -> tuple[list[Watched], list[Watched]]:
    """Return the members whose journals have rows, and those whose journals cannot be read."""
    found: list[Watched] = []
    refused: list[Watched] = []
    for start in range(0, len(members), _TOGETHER):
        some = members[start : start + _TOGETHER]
        try:
            found += _with_rows(connection, some)
        except pymysql.err.MySQLError as error:
            if code_of(error) in UNAVAILABLE:
                raise
            if len(some) == 1:
                refused += some
                continue
            for each in some:
                more = _look(connection, [each])
                found += more[0]
                refused += more[1]
    return found, refused


def _with_rows(connection: Connection[Any], members: Sequence[Watched]) -> list[Watched]:
    each = "(SELECT {} FROM {}.`cdc_journal` FORCE INDEX (PRIMARY) WHERE `id` > {} LIMIT 1)"
    terms = (
        each.format(number, quote(member.database), max(member.seen - _LATE, 0))
        for number, member in enumerate(members)
    )
    return [members[number] for (number,) in rows(connection, " UNION ALL ".join(terms))]
