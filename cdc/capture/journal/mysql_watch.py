"""One wait for the journals of many databases of one MariaDB or MySQL server, on one connection.

A poll by a connection of each database costs the server 60 to 100 µs of CPU, most of them to wake its thread; a poll
of one of fifty journals in one statement costs 6 to 12 µs.  The connection has the account of one source, and polls
the journals that this account reads.  For those of other accounts, which it may not read, it asks whether anything at
all was written on the server (its log's sequence number, which every account may read): then they poll by themselves.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
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
LATE: Final = 1000
#: Seconds between two polls of a journal by its own connection, for each that is waited for so: 250 a second cost the
#: server 2 % of a core.  Those that had rows lately are polled more often: after this part of the time since then.
_OWN: Final = 0.004
_IDLE_PART: Final = 0.05
#: Polls by its own connection after a write: the log's number may move just before the rows can be seen.
_POLLS: Final = 2
#: Variables of status that move with each write of InnoDB, the best first.
_WRITTEN: Final = ("Innodb_lsn_current", "Innodb_redo_log_current_lsn", "Innodb_os_log_written")
#: Journals in one statement: a failure is searched for among so many.
_TOGETHER: Final = 50
#: Seconds for which a journal that the account may not read, or that is locked, is left to its own connection.
_REFUSED: Final = 300.0
#: Seconds that the server has to answer.
_ANSWER: Final = 10.0


class Awaited(Enum):
    """The end of a wait.  ``OVER``: the journal has rows, or the time is over.  ``WRITTEN``: something was written on
    the server, maybe rows of the journal.  ``UNWATCHED``: wait in another way."""

    OVER = "over"
    WRITTEN = "written"
    UNWATCHED = "unwatched"


@dataclass(eq=False)
class Watched:
    """One journal.  ``seen``: the number of the last row that was read.  ``waiting``: the present wait.
    ``refused``: monotonic time until which it is not watched.  ``versioned``: its server must have MariaDB's registry
    of transactions open.  ``polls``: by its own connection, that are due, not before the monotonic time ``due``.
    ``active``: when it had rows."""

    info: ConnectionInfo
    versioned: bool
    seen: int = 0
    waiting: asyncio.Future[Awaited] | None = None
    refused: float = 0.0
    polls: int = _POLLS
    due: float = 0.0
    active: float = 0.0

    def end(self, how: Awaited) -> None:
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(how)

    @property
    def account(self) -> tuple[str, str]:
        return self.info.user, self.info.password


class JournalWatch:
    """One connection that waits for the journals of many databases of a server.  ``connected``: journals are
    watched.  ``_leader``: the member whose account the connection has."""

    def __init__(self) -> None:
        self._members: dict[Watched, None] = {}
        self._leader: Watched | None = None
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._one = asyncio.Lock()  # of the session: who joins at once after the last has left waits until it is closed
        self.connected = False

    def join(self, info: ConnectionInfo, *, versioned: bool) -> Watched:
        member = Watched(info, versioned, active=time.monotonic())
        self._members[member] = None
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return member

    async def leave(self, member: Watched) -> None:
        """End the member's wait, and the connection after the last member."""
        self._members.pop(member, None)
        member.end(Awaited.UNWATCHED)
        self._wanted.set()
        if not self._members and self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.wait({task})

    async def wait(self, member: Watched, seen: int, seconds: float) -> Awaited:
        """Wait until the journal has rows, or ``seconds`` at most.  Rows far before ``seen`` do not end the wait."""
        if not self.connected or member.refused > time.monotonic():
            return Awaited.UNWATCHED
        loop = asyncio.get_running_loop()
        if seen != member.seen:
            member.seen, member.active = seen, time.monotonic()
        member.waiting = loop.create_future()
        timer = loop.call_later(seconds, partial(member.end, Awaited.OVER))
        self._wanted.set()
        try:
            return await member.waiting
        finally:
            timer.cancel()
            member.waiting = None

    async def _run(self) -> None:
        backoff = Backoff(first=1.0, most=30.0)
        # one database whose journal is locked must not hold up the others for longer than a second, once
        prepare = partial(rows, sql="SET SESSION lock_wait_timeout = 1")
        async with self._one:
            while True:
                leader = self._leader = next(iter(self._members))
                session = MySQLSession(leader.info, read_timeout=_ANSWER)
                delay = 0.0
                try:
                    await session.connect(prepare)
                    self.connected = True
                    backoff.reset()
                    await self._watch(session, leader)
                except SourceError as error:
                    delay = backoff.next()
                    log.warning("journals not watched together", error=str(error), retry_in=round(delay, 1))
                    if leader in self._members:  # the next one's account may work
                        self._members[leader] = self._members.pop(leader)
                finally:
                    self.connected = False
                    for member in self._members:
                        member.end(Awaited.UNWATCHED)
                    await session.disconnect()
                await asyncio.sleep(delay)

    async def _watch(self, session: MySQLSession, leader: Watched) -> None:
        """Watch until the leader leaves."""
        opened = -math.inf
        written: object = None
        while leader in self._members:
            self._wanted.clear()
            waiting = [member for member in self._members if member.waiting is not None]
            if not waiting:
                await self._wanted.wait()
                continue
            same = [member for member in waiting if member.account == leader.account]
            others = [member for member in waiting if member.account != leader.account]
            found, refused = await session.run(partial(_look, members=same)) if same else ([], [])
            if leader.versioned and time.monotonic() - opened >= REGISTRY_SECONDS:
                opened = time.monotonic()
                await session.run(partial(open_registry, database=leader.info.database))
            for member in refused:
                log.info("journal watched alone", database=member.info.database, reason="the common look failed there")
                member.refused = time.monotonic() + _REFUSED
                member.end(Awaited.UNWATCHED)
            for member in found:
                member.end(Awaited.OVER)
            if others:
                before, written = written, await session.run(_written)
                self._wake(others, changed=written != before)
            await asyncio.sleep(max(_LEAST, len(same) * _EACH))

    def _wake(self, others: Sequence[Watched], *, changed: bool) -> None:
        """Have those poll that are due; ``changed``: something was written on the server."""
        now = time.monotonic()
        if changed:  # also for those that do not wait at this moment
            for member in self._members:
                member.polls = _POLLS
        for member in others:
            if member.polls and member.due <= now:
                member.polls -= 1
                member.due = now + min((now - member.active) * _IDLE_PART, len(others) * _OWN)
                member.end(Awaited.WRITTEN)


def _written(connection: Connection[Any]) -> object:
    """Return a value that is another one after each write of InnoDB on this server."""
    for name in _WRITTEN:
        if found := rows(connection, "SHOW GLOBAL STATUS LIKE %s", (name.replace("_", r"\_"),)):
            return found
    return object()  # unknown: polled always


def _look(connection: Connection[Any], members: Sequence[Watched]) -> tuple[list[Watched], list[Watched]]:
    """Return the members whose journals have rows, and those whose journals cannot be read."""
    found: list[Watched] = []
    refused: list[Watched] = []
    for start in range(0, len(members), _TOGETHER):
        some = members[start : start + _TOGETHER]
        try:
            each = "(SELECT {} FROM {}.`cdc_journal` FORCE INDEX (PRIMARY) WHERE `id` > {} LIMIT 1)"
            terms = (
                each.format(number, quote(member.info.database), max(member.seen - LATE, 0))
                for number, member in enumerate(some)
            )
            found += [some[number] for (number,) in rows(connection, " UNION ALL ".join(terms))]
        except pymysql.err.MySQLError as error:
            if code_of(error) in UNAVAILABLE:
                raise
            if len(some) == 1:
                refused += some
                continue
            for member in some:
                more = _look(connection, [member])
                found += more[0]
                refused += more[1]
    return found, refused
