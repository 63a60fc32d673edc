"""One consumer's connection to PostgreSQL: errors in our words, no statement that hangs for ever, waiting for input."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import psycopg
from psycopg import errors, generators
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

from cdc.database.postgres_connection import connect_async, login_refused, own_words, shut_down
from cdc.model.connection import LOGIN_HINT, ConnectionInfo
from cdc.model.errors import CdcError, JournalMissing, LogPurged, SourceError, SourceUnavailable

T = TypeVar("T")
#: Seconds that the server gives a statement, and that we then still wait for its answer.
STATEMENT_SECONDS = 60.0
GRACE_SECONDS = 5.0
#: Seconds for the server to take note that a statement is given up, and then to end it.
_CANCEL_SECONDS = 1.0
_IN_TRANSACTION = (TransactionStatus.INTRANS, TransactionStatus.INERROR)


class PostgresConnection:
    """Closed for good after any `SourceUnavailable`."""

    def __init__(self, info: ConnectionInfo) -> None:
        self._info = info
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._news = False
        #: Statements that belong together come one after the other.
        self._turn = asyncio.Lock()

    async def connect(self) -> None:
        with self._translated():
            self._connection = await connect_async(self._info, "cdc consumer")
            self._connection.add_notify_handler(self._hear)

    async def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    async def query(
        self, sql: str, parameters: Mapping[str, Any] | list[Any] | None = None, *, seconds: float = STATEMENT_SECONDS
    ) -> list[Any]:
        """Rows in binary form; types that psycopg does not know (xid8, pg_lsn) come as bytes."""
        async with self._turn:
            return await self._query(sql, parameters, seconds)

    async def read(
        self,
        begin: str,
        check: Callable[[list[Any]], None],
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        prepare: str = "",
    ) -> list[Any]:
        """Run `query` on a statement that reads tables of others, or has a part from outside: it can write nothing, and
        errors repeat no value of a row.  ``begin``: statements that begin such a transaction; ``check``: raises if the
        rows of the last of them are wrong; ``prepare``: statements to run at the end."""
        async with self._turn:
            try:
                check(await self._query(begin, binary=False))
                rows = await self._query(sql, parameters)
                if prepare:
                    await self._query(prepare, binary=False)
            except SourceError as error:
                cause = error.__cause__
                if isinstance(cause, psycopg.Error) and _may_quote_values(cause):
                    raise SourceError(
                        f"{self._info.describe()}: a value is not what the condition takes it for "
                        f"(SQLSTATE {cause.sqlstate})."
                    ) from None
                raise
            else:
                return rows
            finally:
                await self._roll_back()

    async def read_prepared(
        self, lock: str, executions: Sequence[tuple[str, Sequence[str | None]]]
    ) -> list[tuple[str]] | None:
        """Execute prepared statements in a transaction that can write nothing, in one round trip; the server runs none
        after one that fails.  ``lock``: a statement that the server parses, which locks what it names, and never plans.
        ``executions``: names and parameters.  Return the rows of the last one, which have one text each; None when one
        failed."""
        if any(text is not None and "\0" in text for _, texts in executions for text in texts):
            return None  # libpq would cut it off there
        encoded = [
            (name.encode(), [None if text is None else text.encode() for text in texts]) for name, texts in executions
        ]

        async def run() -> list[PGresult]:
            async with connection.lock:
                server.enter_pipeline_mode()
                server.send_query_params(b"BEGIN READ ONLY", None)
                server.send_prepare(b"", lock.encode())
                for name, texts in encoded:
                    server.send_query_prepared(name, texts)
                server.send_query_params(b"ROLLBACK", None)
                server.pipeline_sync()
                results = await connection.wait(_until_sync(server))
                server.exit_pipeline_mode()
                return results

        async with self._turn:
            with self._translated():
                connection = self._open()
                server = connection.pgconn
                try:
                    *_, last, _rollback, _sync = await self._answer(connection, run(), STATEMENT_SECONDS)
                    if last.status != ExecStatus.TUPLES_OK:
                        return None
                    return [((last.get_value(row, 0) or b"").decode(),) for row in range(last.ntuples)]
                finally:
                    await self._roll_back()

    async def _roll_back(self) -> None:
        """End a transaction past psycopg, which drops all that the session has prepared when it sees a ROLLBACK."""
        connection = self._connection
        if connection is None or connection.info.transaction_status not in _IN_TRANSACTION:
            return

        async def send() -> list[PGresult]:
            async with connection.lock:
                connection.pgconn.send_query(b"ROLLBACK")
                return await connection.wait(generators.execute(connection.pgconn))

        with self._translated():
            await self._answer(connection, send(), STATEMENT_SECONDS)

    async def _query(
        self,
        sql: str,
        parameters: Mapping[str, Any] | list[Any] | None = None,
        seconds: float = STATEMENT_SECONDS,
        *,
        binary: bool = True,
    ) -> list[Any]:
        """Execute; without parameters and ``binary``, several statements may be sent at once, and the rows are those of
        the last."""
        with self._translated():
            connection = self._open()
            execution = connection.execute(sql.encode(), parameters, binary=binary)
            cursor = await self._answer(connection, execution, seconds)
            while cursor.nextset():
                pass
            return [] if cursor.rownumber is None else await cursor.fetchall()

    async def _answer(
        self, connection: psycopg.AsyncConnection[Any], execution: Coroutine[Any, Any, T], seconds: float
    ) -> T:
        timer = asyncio.get_running_loop().call_later(seconds + GRACE_SECONDS, shut_down, connection.fileno())
        running = asyncio.ensure_future(execution)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            # cancel the statement; of a server that does not answer, close the connection (psycopg's own cancellation
            # waits for ten seconds)
            with suppress(psycopg.Error):  # the server does not answer
                await connection.cancel_safe(timeout=_CANCEL_SECONDS)
            await asyncio.wait({running}, timeout=_CANCEL_SECONDS)
            if not running.done():
                shut_down(connection.fileno())
            await asyncio.gather(running, return_exceptions=True)  # how it ended matters to nobody
            raise
        finally:
            timer.cancel()

    async def input(self, seconds: float) -> bool:
        """Wait until the server sends something by itself (a NOTIFY, or its end), or ``seconds`` at most; whether it
        did."""
        with self._translated():
            server = self._open().pgconn
            server.consume_input()
            while server.notifies():
                self._news = True
            if self._news:
                self._news = False
                return True
            return await readable(server.socket, seconds)

    def _open(self) -> psycopg.AsyncConnection[Any]:
        if self._connection is None:
            raise SourceUnavailable(f"Not connected to {self._info.describe()}.")
        return self._connection

    def _hear(self, _notify: psycopg.Notify) -> None:
        self._news = True

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise in_our_words(self._info, error) from error


def _until_sync(server: PGconn) -> Generator[Any, Any, list[PGresult]]:
    """Send what waits in a pipeline; return the results up to that of its end."""
    results: list[PGresult] = []
    while received := (yield from generators.execute(server)):
        results += received
        if received[-1].status == ExecStatus.PIPELINE_SYNC:
            return results
    raise psycopg.OperationalError("the connection is lost")


def _may_quote_values(error: psycopg.Error) -> bool:
    """Return whether the message may quote values.  An error in the text has a place in it; a session that ends, or may
    not, has met no value."""
    if isinstance(error, errors.InsufficientPrivilege | psycopg.OperationalError):
        return False
    return error.sqlstate is not None and error.diag.statement_position is None


def in_our_words(info: ConnectionInfo, error: psycopg.Error) -> CdcError:
    where = info.describe()
    reason = own_words(error)
    if isinstance(error, errors.InsufficientPrivilege):
        if error.diag.source_function == "check_enable_rls":
            hint = "Disable row level security of the table, or let a superuser give the account BYPASSRLS."
            return SourceError(f"{where}: {reason}.", hint)
        return SourceError(f"{where}: {reason}.", "cdc grants prints what the account needs.")
    if isinstance(error, errors.UndefinedTable | errors.InvalidSchemaName | errors.UndefinedColumn):
        return JournalMissing(f"{where}: {reason}.", "Run cdc install-triggers.")
    if isinstance(error, errors.UndefinedObject | errors.ObjectNotInPrerequisiteState | errors.UndefinedFile):
        # of a replication slot: it, its publication or its part of the log is gone
        return LogPurged(f"{where}: {reason}.", "cdc doctor says what is missing; cdc install-slot makes it again.")
    if login_refused(reason):
        return SourceUnavailable(f"The server refuses {where}: {reason}.", LOGIN_HINT)
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return SourceUnavailable(f"{where} does not answer: {reason}.", "Is the server up and reachable?")
    return SourceError(f"{where}: {reason}.")


async def readable(descriptor: int, seconds: float) -> bool:
    """Wait until the socket has something to read (True), or ``seconds`` at most (False)."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        async with asyncio.timeout(seconds):
            await ready.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)
    return True


#: Seconds that the server gets for an answer.
SECONDS = 5.0


class PostgresProbe:
    """A `cdc.capture.probe.Probe`, without its question: a connection that is made when it is first needed, and again
    after it failed."""

    def __init__(self, info: ConnectionInfo) -> None:
        self._info = info
        self._link: PostgresConnection | None = None
        self.server = ""

    async def query(self, sql: str, parameters: list[Any] | None = None) -> list[Any]:
        try:
            if self._link is None:
                self._link = PostgresConnection(self._info)
                await self._link.connect()
                ((version,),) = await self._link.query("SHOW server_version", seconds=SECONDS)
                self.server = f"PostgreSQL {version.partition(' ')[0]}"
            return await self._link.query(sql, parameters, seconds=SECONDS)
        except CdcError:
            await self.close()
            raise

    async def close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close()
