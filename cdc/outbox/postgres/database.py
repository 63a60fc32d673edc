"""A connection to a PostgreSQL outbox, as the subjects use it: made when it is needed, and again after it broke.

One caller at a time has it; the others wait.  PostgreSQL's errors come out as `OutboxError`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from string import Template
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg.types.json import Jsonb
from pydantic import TypeAdapter

from cdc.database.postgres_connection import connect_async, login_refused, own_words, shut_down
from cdc.model.connection import ConnectionInfo
from cdc.model.delivery import DeliveryFilter, EventFilter
from cdc.model.endpoint import Endpoint
from cdc.model.errors import OutboxError, OutboxRefused, OutboxUnavailable
from cdc.outbox.database import Database, EndpointCodec, Ledger, Row, postgres_statements
from cdc.outbox.postgres import search
from cdc.outbox.postgres.floors import DueFloors
from cdc.outbox.postgres.search import PostgresSearch
from cdc.outbox.secret_box import PLAIN, SecretBox
from cdc.outbox.shared import SubscriberCache, storable
from cdc.outbox.slices import LogSlice

CODEC: Final = EndpointCodec(
    (
        *("settings", "id", "events", "sources", "enabled", "disabled_reason", "secret", "former_secret", "created_at"),
        *("order", "condition", "headers", "failing_since"),
    ),
    ("headers",),
    Jsonb,
    partial(TypeAdapter(Endpoint).dump_python, mode="json"),
)

P = ParamSpec("P")
T = TypeVar("T")

#: One change of access or of the audit log at a time: what was read is still true when it is written, and entries are
#: numbered as they commit.
_ALONE: Final = "SELECT pg_catalog.pg_advisory_xact_lock(1667523328, 5)"


class Notice(StrEnum):
    """The notice to the other processes with a commit.  ``DUE``: something may be due.  ``WRITTEN``: see the
    log."""

    DUE = "due"
    WRITTEN = "written"


@dataclass(slots=True)
class Shared:
    """The state that all connections of an outbox in one process share.  ``token``: this process in notifications.
    ``writes``: grows with what this process wrote."""

    token: str = ""
    box: SecretBox = PLAIN
    subscribers: SubscriberCache = field(default_factory=SubscriberCache)
    floors: DueFloors = field(default_factory=DueFloors)
    writes: int = 0


class PostgresDatabase(Database):
    codec = CODEC

    def __init__(self, connection: AsyncConnection[Any], shared: Shared | None = None) -> None:
        self.connection = connection
        self.shared = shared or Shared()
        self.box = self.shared.box
        self.subscribers = self.shared.subscribers
        self.notice = Notice.WRITTEN  # sent by `PostgresSession.write`

    async def rows(self, name: str, /, **parameters: Any) -> list[Row]:
        return await self.query(postgres_statements()[name], _storable(parameters))

    async def rows_each(self, name: str, columns: Mapping[str, Sequence[Any]], /, **parameters: Any) -> list[Row]:
        return await self.rows(name, **columns, **parameters)

    async def query(self, text: str, parameters: Mapping[str, Any]) -> list[Row]:
        cursor = await self.connection.execute(text.encode(), parameters, binary=True)
        return [] if cursor.rownumber is None else await cursor.fetchall()

    async def planned(self, text: str, parameters: Mapping[str, Any]) -> list[Row]:
        """`query`, planned for these parameters each time: what they narrow to differs too much for one plan."""
        cursor = await self.connection.execute(text.encode(), parameters, prepare=False, binary=True)
        return await cursor.fetchall()

    async def write(self, name: str, /, **parameters: Any) -> int:
        statement = postgres_statements()[name].encode()
        return (await self.connection.execute(statement, _storable(parameters))).rowcount

    async def write_each(self, name: str, columns: Mapping[str, Sequence[Any]], /, **parameters: Any) -> None:
        await self.write(name, **columns, **parameters)

    async def script(self, text: str) -> None:
        """Run several statements, sent as one; no parameters."""
        await self.connection.execute(text.encode())

    async def ledger(self, ids: Sequence[str]) -> Ledger:
        ((last_event, last_delivery, known, version),) = await self.rows("store_begin", ids=ids)
        subscribers = await self.subscribers.at(version, self.read_subscribers)
        return Ledger(last_event, last_delivery, frozenset(known), subscribers)

    async def find_events(self, which: EventFilter, *, walked: bool = False) -> PostgresSearch:  # noqa: ARG002 - for SQLite's planner; PostgreSQL's needs no hint
        self.check_text(which)
        return await search.of_events(self, which)

    async def find_deliveries(
        self,
        which: DeliveryFilter,
        *,
        newest_first: bool = False,  # noqa: ARG002 - for SQLite's planner; PostgreSQL's needs no hint
        walked: bool = False,  # noqa: ARG002 - for SQLite's planner; PostgreSQL's needs no hint
    ) -> PostgresSearch:
        self.check_text(which)
        return await search.of_deliveries(self, which)

    def one_delivery(self, number: int | None) -> PostgresSearch:
        one = PostgresSearch(self)
        one.add("delivery.id = %(id)s", id=number)
        return one

    async def span(self, which: EventFilter, whole: LogSlice) -> LogSlice:
        return await search.span(self, which, whole)

    async def give_way(self) -> None:
        await asyncio.sleep(0)

    async def aside(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(work, *args, **kwargs)

    notifies = True

    def due(self) -> None:
        self.notice = Notice.DUE

    async def alone(self) -> None:
        await self.query(_ALONE, {})

    def text(self, text: str) -> str:
        return storable(text)


def _storable(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Texts, lists of texts too, as PostgreSQL can hold them."""
    return {
        name: storable(value)
        if isinstance(value, str)
        else [storable(each) if isinstance(each, str) else each for each in value]
        if isinstance(value, list) and value and isinstance(value[0], str)
        else value
        for name, value in parameters.items()
    }


_ROLE = "See the user and password in [outbox] url, and the server's pg_hba.conf."
#: SQLSTATE, or its class of two characters → the problem, and how to fix it
_SENTENCES: Final[dict[str, tuple[str, str]]] = {
    "53100": ("has no room: the server's disk is full", "Free space on that disk; nothing was half-written."),
    "53200": ("has no memory left", "See the server's log."),
    "53300": ("takes no more connections", "Raise max_connections on the server: each process of cdc needs six."),
    "55P03": ("is locked by another process", "It is tried again; pg_locks shows who holds the lock."),
    "42501": (
        "refuses this user a table or schema",
        "Let the user own the schema cdc_outbox (cdc outbox sql), or run what cdc outbox grants prints.",
    ),
    "25006": ("cannot be written: the server is a standby or read-only", "Name the primary server in [outbox] url."),
    "28": ("refuses the user", _ROLE),
    "3D": ("does not exist on this server", "Create the database (CREATE DATABASE), or name another in [outbox] url."),
    "3F": ("has no schema cdc_outbox any more", "Restore it from a backup, or start again: cdc makes it."),
    "42P01": ("lacks one of its tables", "Restore the schema cdc_outbox from a backup."),
    "XX001": ("is damaged", "See the server's log; restore the database from a backup."),
    "XX002": ("has a damaged index", "REINDEX SCHEMA cdc_outbox"),
    "58": ("cannot be read or written: the server's disk failed", "See the server's log about that disk."),
}
#: Classes and codes of a server that went away or is not there yet.
_AWAY: Final = ("08", "57P", "25P03")
#: Classes of an operation that is refused for its values or their size.
_CONTENT: Final = ("22", "54")
#: libpq's words for a server that takes no writes.
_READ_ONLY: Final = ("session is read-only", "server is in hot standby mode")


def sentence(error: psycopg.Error, info: ConnectionInfo) -> OutboxError:
    """The error to raise from ``error``.  The server's primary message names the operation, never a value."""
    where = f"The outbox in {info.describe()}"
    state = error.sqlstate or ""
    what = _SENTENCES.get(state) or _SENTENCES.get(state[:2])
    if what is not None:
        return OutboxError(f"{where} {what[0]}.", what[1])
    reason = own_words(error)
    if state.startswith(_AWAY) or (not state and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)):
        if refused := _refusal(reason):
            return OutboxError(f"{where} {refused[0]}.", refused[1])
        if reason in _READ_ONLY:
            return OutboxUnavailable(
                f"{where} cannot be written: no server takes writes.", "Promote a standby, or name the primary server."
            )
        return OutboxUnavailable(f"{where} does not answer: {reason}.", "Is the server up and reachable?")
    if state.startswith(_CONTENT):
        return OutboxRefused(f"{where} refused an operation: {reason}.")
    return OutboxError(f"{where} refused an operation: {reason}.")


def _refusal(reason: str) -> tuple[str, str] | None:
    if login_refused(reason):
        return _SENTENCES["28"]
    return _SENTENCES["3D"] if reason.endswith("does not exist") and "database" in reason else None


Work = Callable[Concatenate[PostgresDatabase, P], Coroutine[Any, Any, T]]

#: Seconds that a call may take.
CALL_SECONDS = 90.0
CHANNEL = "cdc_outbox"


class Lock(StrEnum):
    """The right of a transaction to change ordering keys (`cdc.outbox.dispatch`), as the locks that it takes.

    ``EXCLUSIVE``: change which delivery of any key is active; alone.  ``STORE``: number and add deliveries; one at a
    time.  ``FINISH``: end deliveries that its worker leased and activate the next of their keys; many at once, beside a
    store.  ``SHARED``: change none; many at once, but not beside a store.  Leasing needs no lock."""

    EXCLUSIVE = "pg_advisory_xact_lock(1667523328, 4)"
    STORE = "pg_advisory_xact_lock_shared(1667523328, 4), pg_advisory_xact_lock(1667523328, 6)"
    FINISH = "pg_advisory_xact_lock_shared(1667523328, 4)"
    SHARED = "pg_advisory_xact_lock_shared(1667523328, 4), pg_advisory_xact_lock_shared(1667523328, 6)"


class PostgresSession:
    """``durable``: a commit waits for the server's disk; otherwise a crash of the server may undo the newest ones (each
    as a whole).  ``plain``: statements are planned as PostgreSQL sees fit.
    ``seconds``: that a call may take; then the connection is cut: the server is deaf, or lost.
    """

    def __init__(
        self,
        info: ConnectionInfo,
        shared: Shared,
        *,
        durable: bool,
        plain: bool = False,
        seconds: float = CALL_SECONDS,
    ) -> None:
        self._info = info
        self._shared = shared
        self._seconds = seconds
        self._settings = {"commit": "on" if durable else "off", "plain": "on" if plain else "off"}
        self._connection: AsyncConnection[Any] | None = None
        self._free = asyncio.Lock()

    async def close(self) -> None:
        async with self._free:
            await self._drop()

    async def read(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` outside a transaction: for single statements."""
        return await self._alone(lambda db: work(db, *args, **kwargs))

    async def write(self, lock: Lock, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` in a transaction, and notify the other processes."""
        begin = Template(postgres_statements()["begin"]).substitute(locks=lock.value, commit=self._settings["commit"])

        async def transaction(db: PostgresDatabase) -> T:
            await db.script(begin)
            result = await work(db, *args, **kwargs)
            # a notice in the transaction would let one commit at a time wait for the disk: the server locks its queue
            await db.script(f"COMMIT; NOTIFY {CHANNEL}, '{self._shared.token} {db.notice}'")
            return result

        try:
            return await self._alone(transaction)
        finally:
            self._shared.writes += 1

    async def _alone(self, work: Callable[[PostgresDatabase], Awaitable[T]]) -> T:
        async with self._free:
            running = asyncio.ensure_future(self._attempt(work))
            timer = asyncio.get_running_loop().call_later(self._seconds, self._cut)
            try:
                return await asyncio.shield(running)
            except asyncio.CancelledError:
                # a stop must not wait for the server, which rolls the transaction back
                if not self._cut():
                    running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                await self._drop()
                raise
            finally:
                timer.cancel()

    async def _attempt(self, work: Callable[[PostgresDatabase], Awaitable[T]]) -> T:
        """Work, if need be on a new connection.  What a lost connection left undone is not tried again here."""
        try:
            if self._connection is None or self._connection.closed:
                self._connection = await connect(self._info, self._settings)
            return await work(PostgresDatabase(self._connection, self._shared))
        except psycopg.Error as error:
            await self._tidy()
            raise sentence(error, self._info) from error
        except BaseException:
            await self._tidy()
            raise

    async def _tidy(self) -> None:
        """Undo an open transaction; without a sound connection the server does."""
        connection = self._connection
        if connection is None:
            return
        try:
            if not connection.closed and connection.info.transaction_status is not TransactionStatus.IDLE:
                await connection.rollback()
        except psycopg.Error:
            await self._drop()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def _cut(self) -> bool:
        """Return whether there was a connection to cut."""
        if self._connection is None or self._connection.closed:
            return False
        shut_down(self._connection.fileno())
        return True


async def connect(info: ConnectionInfo, settings: Mapping[str, str]) -> AsyncConnection[Any]:
    """Raises `psycopg.Error`."""
    connection = await connect_async(info, "cdc outbox")
    try:
        await PostgresDatabase(connection).script(Template(postgres_statements()["session"]).substitute(**settings))
    except BaseException:
        await connection.close()
        raise
    return connection


@asynccontextmanager
async def plain_connection(info: ConnectionInfo) -> AsyncIterator[PostgresDatabase]:
    """Connect for migrations and questions about the schema.  Raises `OutboxError`."""
    try:
        async with await connect(info, {"commit": "on", "plain": "on"}) as connection:
            yield PostgresDatabase(connection)
    except psycopg.Error as error:
        raise sentence(error, info) from error
