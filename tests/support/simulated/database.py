"""The ERP's database server: customers, the journal that triggers would write, and the consumer lock; and a session of
a consumer on it, under the product's own `cdc.capture.journal.source.JournalSource`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from cdc.capture.base import SILENT_SECONDS, LockHolder
from cdc.capture.journal.database import NO_MARKER, JournalPage, JournalRow, Marker, TransactionHead
from cdc.capture.pages import PageRequest, TablePage
from cdc.model.change import Row, Value
from cdc.model.column import Capture, Column, ColumnKind, Table
from cdc.model.errors import SourceUnavailable
from support.simulated.network import NOWHERE, Link

T = TypeVar("T")

CUSTOMERS = Table(
    "clientes",
    (Column("codcliente", ColumnKind.TEXT), Column("nombre", ColumnKind.TEXT)),
    ("codcliente",),
)


#: Seconds after which the server ends a silent session, at most.
SILENT = 8.0


def gone() -> SourceUnavailable:
    return SourceUnavailable("The simulated database does not answer.")


@dataclass(eq=False)
class Session:
    """A session as the server knows it, of the process of that name."""

    process: str


@dataclass
class Server:
    """``journal``: rows of committed transactions, by their numbers.  ``holder``: the session that has the consumer
    lock.  ``readers`` wait for rows, ``standbys`` for the lock."""

    journal: list[JournalRow] = field(default_factory=list)
    customers: dict[str, Row] = field(default_factory=dict)
    marker: Marker = NO_MARKER
    holder: Session | None = None
    sessions: list[Session] = field(default_factory=list)
    readers: list[asyncio.Future[None]] = field(default_factory=list)
    standbys: list[asyncio.Future[None]] = field(default_factory=list)

    def commit(self, rows: Sequence[JournalRow]) -> None:
        self.journal = sorted([*self.journal, *rows], key=lambda row: row.change.ordinal)
        _wake(self.readers)

    def end(self, session: Session) -> None:
        """Forget a session, and give up its lock."""
        if session in self.sessions:
            self.sessions.remove(session)
        if self.holder is session:
            self.holder = None
            _wake(self.standbys)


def _wake(waiting: list[asyncio.Future[None]]) -> None:
    for each in waiting:
        if not each.done():
            each.set_result(None)
    waiting.clear()


class JournalSession:
    """Implements `cdc.capture.journal.database.JournalDatabase`."""

    def __init__(self, server: Server, link: Link) -> None:
        self._server = server
        self._session: Session | None = None
        self.link = link
        self.noted = 0

    async def _ask(self, what: str, work: Callable[[], T]) -> T:
        """Have a server do that for a session that it still knows."""

        def known() -> T:
            if self._session not in self._server.sessions:
                raise gone()
            return work()

        return await self.link.ask(f"database.{what}", known)

    async def connect(self) -> None:
        session = Session(self.link.process.name)
        await self.link.ask("database.connect", lambda: self._server.sessions.append(session))
        self._session = session

    async def disconnect(self) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        try:
            await self.link.ask("database.disconnect", lambda: self._server.end(session))
        except SourceUnavailable:  # the server finds out by itself, later
            machine = self.link.machine
            delay = machine.random.uniform(0.5, SILENT)
            machine.loop.call_later(delay, self._server.end, session, context=NOWHERE)

    async def try_lock(self, seconds: float, silent: int = SILENT_SECONDS) -> bool:
        if await self._ask("lock", self._lock):
            return True
        if not seconds:
            return False
        await _wait(self._server.standbys, seconds)
        return await self._ask("lock", self._lock)

    async def lock_holder(self) -> LockHolder | None:
        def ask() -> LockHolder | None:
            holder = self._server.holder
            return None if holder is None else LockHolder(str(id(holder)), holder.process, "end it")

        return await self._ask("lock holder", ask)

    def _lock(self) -> bool:
        if self._server.holder is None:
            self._server.holder = self._session
        return self._server.holder is self._session

    # -- reading ----------------------------------------------------------------------------------------------------

    async def peek(self, limit: int) -> list[JournalRow]:
        return await self._ask("peek", lambda: self._server.journal[:limit])

    async def heads(self, limit: int) -> list[TransactionHead]:
        return await self._ask("heads", partial(self._heads, limit))

    def _heads(self, limit: int) -> list[TransactionHead]:
        counts: dict[str, int] = {}
        for row in self._server.journal:
            counts[row.token] = counts.pop(row.token, 0) + 1  # the place of its greatest ordinal
        return [TransactionHead(*each) for each in counts.items()][:limit]

    async def transaction_rows(self, tokens: Sequence[str]) -> list[JournalRow]:
        return await self._ask("rows", lambda: [row for row in self._server.journal if row.token in tokens])

    async def rows_after(self, token: str, ordinal: int, limit: int) -> list[JournalRow]:
        def behind(row: JournalRow) -> bool:
            return row.token == token and row.change.ordinal > ordinal

        return await self._ask("rows_after", lambda: list(filter(behind, self._server.journal))[:limit])

    async def rows_at(self, token: str, ordinals: Sequence[int]) -> list[JournalRow]:
        def wanted(row: JournalRow) -> bool:
            return row.token == token and row.change.ordinal in ordinals

        return await self._ask("rows_at", lambda: list(filter(wanted, self._server.journal)))

    async def marker(self) -> Marker | None:
        return await self._ask("marker", lambda: self._server.marker)

    async def delete(self, tokens: Sequence[str], marker: Marker = NO_MARKER) -> None:
        await self._ask("delete", partial(self._delete, tokens, marker))
        self.noted = marker.batch if marker.outbox else self.noted

    def _delete(self, tokens: Sequence[str], marker: Marker) -> None:
        server = self._server
        server.journal = [row for row in server.journal if row.token not in tokens]
        if marker.outbox:
            server.marker = marker

    async def page(self, wanted: PageRequest, most: int) -> JournalPage | None:
        def read() -> JournalPage | None:
            after = "" if wanted.after is None else str(wanted.after["codcliente"])
            keys = [key for key in sorted(self._server.customers) if key > after][: wanted.most]
            found = [self._server.customers[key] for key in keys]
            waiting = frozenset(row.token for row in self._server.journal)
            page = TablePage(found, found[-1] if found else None, len(found))
            return None if len(waiting) > most else JournalPage(page, waiting)

        return await self._ask("page", read)

    async def wait(self, seconds: float) -> None:
        if not await self._ask("look", lambda: bool(self._server.journal)):
            await _wait(self._server.readers, seconds)

    async def rows(self, table: str, column: str, values: Sequence[Value]) -> list[Row]:
        return [row for row in await self.all_rows(table) if row[column] in values]

    async def site_url(self) -> str:
        return ""

    async def all_rows(self, table: str) -> list[Row]:
        return await self._ask("all_rows", lambda: list(self._server.customers.values()))

    # -- the installation, which never changes ----------------------------------------------------------------------

    async def table_names(self) -> list[str]:
        return [CUSTOMERS.name]

    async def installed(self) -> list[str]:
        return [CUSTOMERS.name]

    def capture(self, captures: Sequence[Capture]) -> None: ...

    async def definitions(self) -> object:
        return 0

    async def tables(self) -> dict[str, Table]:
        return {CUSTOMERS.name: CUSTOMERS}


async def _wait(waiting: list[asyncio.Future[None]], seconds: float) -> None:
    """Wait until `_wake` is called for these, for so many seconds at most."""
    loop = asyncio.get_running_loop()
    woken: asyncio.Future[None] = loop.create_future()
    waiting.append(woken)
    timer = loop.call_later(seconds, woken.cancel)
    await asyncio.wait({woken})
    timer.cancel()
