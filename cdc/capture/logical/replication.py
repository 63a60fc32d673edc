"""The messages of a slot, in chunks of whole transactions: pushed over a replication connection as transactions commit,
or read by SQL functions.

The stream of a replication connection is a COPY in both directions, which psycopg offers in its libpq layer only.  The
server ends a connection that is silent for a while (wal_sender_timeout), also while nobody reads because the outbox is
at work: so it gets the stored position every second in any case.

Where the server grants no replication connection (a pooler in between, a host's rules), `PeekStream` reads the slot by
SQL functions.  They do not move the slot; it is moved only to the stored position.  Each call makes the server decode
its log from there again, so this costs more and is slower by the pause between two calls.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import psycopg
import structlog
from psycopg import generators
from psycopg.pq import ExecStatus

from cdc.capture.logical.position import StoredCommit
from cdc.capture.logical.transaction import Assembler, Begin, Commit, SlotTables, SlotTransaction, decode
from cdc.capture.postgres_connection import PostgresConnection, in_our_words, readable
from cdc.database.postgres_capture import APPLICATION, lsn_number, lsn_text, options
from cdc.database.postgres_connection import connect_async
from cdc.database.sqlfile import load, render
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import LogPurged, MalformedEvent, SourceError, SourceUnavailable


class LogStream(Protocol):
    """A stream of a slot's messages.  All methods raise `SourceUnavailable` when the connection is gone; then only
    ``close`` may be called."""

    async def open(self, start: int) -> None:
        """Ask for the messages of transactions that commit after the LSN ``start``.  Raises `LogPurged` when they
        are not there."""
        ...

    def take(self) -> bytes | None:
        """The next message, if it is here already."""
        ...

    async def wait(self, seconds: float) -> None:
        """Wait until `take` may have something again, or ``seconds`` at most."""
        ...

    @property
    def progress(self) -> int:
        """Return the LSN before which every commit was taken, while `take` has nothing and no transaction is under way;
        0 when it is not known yet."""
        ...

    async def confirm(self, lsn: int) -> None:
        """Confirm that everything that committed before ``lsn`` is stored: the server may forget it."""
        ...

    async def close(self) -> None: ...


#: Messages read before others get a turn.
_SLICE = 100
#: Bytes of the messages of one chunk: rows may be long.
_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class SlotChunk:
    """Whole transactions.  ``transactions``: small ones in commit order; ``huge`` comes after them.  ``progress``:
    without either, everything that committed before this LSN has been read.  ``caught_up``: there is no more for
    now."""

    transactions: Sequence[SlotTransaction]
    huge: SlotTransaction | None
    progress: int
    caught_up: bool


class SlotReader:
    """Reads chunks from a stream.  ``batch``: changes of a chunk; ``huge``: changes that one transaction may have in
    memory; ``seen``: what committed before this LSN is stored already."""

    def __init__(self, stream: LogStream, tables: SlotTables, batch: int, huge: int, seen: int) -> None:
        self._stream = stream
        self._batch = batch
        self._assembler = Assembler(tables.layout, huge, seen)
        self._reached = self._reported = seen

    def close(self) -> None:
        self._assembler.close()

    async def holds(self, last: StoredCommit, seconds: float) -> bool:
        """Return whether the slot sends the transaction ``last``; all messages up to it count as read."""
        return await holds(self._stream, last, seconds, self._add)

    async def next(self, seconds: float) -> SlotChunk:
        """Return as soon as there is something, if only that the log has been read further; else after ``seconds``."""
        found: list[SlotTransaction] = []
        huge: SlotTransaction | None = None
        rows = size = taken = 0
        caught_up = waited = False
        while rows < self._batch and size < _BYTES:
            data = self._stream.take()
            if data is None:
                caught_up = bool(found) or waited or self._progress() > self._reported
                if caught_up:
                    break
                await self._stream.wait(seconds)
                waited = True
                continue
            waited = False
            taken += 1
            if taken % _SLICE == 0:
                await asyncio.sleep(0)
            size += len(data)
            done = await self._add(data)
            if done is not None and done.spool is not None:
                huge = done
                break
            if done is not None and (done.changes or done.gaps):
                found.append(done)
                rows += done.rows
        progress = 0 if huge is not None else self._progress()
        self._reported = max(self._reported, progress)
        return SlotChunk(found, huge, progress, caught_up)

    async def _add(self, data: bytes) -> SlotTransaction | None:
        message = decode(data)
        if message is None:
            return None
        done = await self._assembler.add(message, len(data))
        if done is not None:
            self._reached = max(self._reached, done.end)
        return done

    def _progress(self) -> int:
        if self._assembler.under_way:
            return 0
        return max(self._reached, self._stream.progress)


async def holds(
    stream: LogStream, last: StoredCommit, seconds: float, add: Callable[[bytes], Awaitable[object]] | None = None
) -> bool:
    """Return whether the slot sends the transaction ``last`` where it was: no other one commits there, or after it
    without it.  ``seconds``: how long to wait at a time.  ``add``: receives each message."""
    under_way = False
    while True:
        data = stream.take()
        if data is None:
            if not under_way and stream.progress > last.lsn:
                return False
            await stream.wait(seconds)
            continue
        if add is not None:
            await add(data)
        message = decode(data)
        if isinstance(message, Begin) and message.lsn >= last.lsn:
            return message.commit == last
        under_way = isinstance(message, Begin) or (under_way and not isinstance(message, Commit))


#: Seconds between two looks at a log that does not grow: doubled from the one to the other.
_SHORTEST, _LONGEST = 0.02, 0.25
#: Bytes of log that are decoded at a time.
_DECODED_BYTES = 256 << 20
#: Messages fetched at a time.
_PAGE = 500
#: Seconds that decoding one chunk may take.
_DECODE_SECONDS = 3600.0


class PeekStream:
    """A `cdc.capture.logical.replication.LogStream`."""

    def __init__(self, info: ConnectionInfo, slot: str, publication: str) -> None:
        self._link = PostgresConnection(info)
        self._slot = slot
        self._publication = publication
        self._fetched: list[bytes] = []
        self._peeking = False
        self._upto = 0
        self._confirmed = 0
        self._pause = _SHORTEST
        self.progress = 0

    async def open(self, start: int) -> None:
        await self._link.connect()
        for statement in load("postgres/slot/session.sql").split(";"):
            await self._link.query(statement)
        self._fetched, self._peeking, self._pause = [], False, _SHORTEST
        self._upto = self.progress = 0
        await self._ends()
        await self.confirm(start)

    def take(self) -> bytes | None:
        return self._fetched.pop() if self._fetched else None

    async def wait(self, seconds: float) -> None:
        if not self._peeking:
            end = await self._ends()
            if end <= self._upto:
                await asyncio.sleep(min(seconds, self._pause))  # functions give no sign of anything new
                self._pause = min(self._pause * 2, _LONGEST)
                return
            self._pause = _SHORTEST
            self._upto = min(end, max(self._upto, self._confirmed) + _DECODED_BYTES)
            slot, upto, publication = f"'{self._slot}'", f"'{lsn_text(self._upto)}'", f"'\"{self._publication}\"'"
            sql = render("postgres/slot/peek.sql", slot=slot, upto=upto, publication=publication)
            await self._link.query(sql, seconds=_DECODE_SECONDS)
            self._peeking = True
        records = await self._link.query(f"FETCH {_PAGE} FROM cdc_peek")
        self._fetched = [data for (data,) in reversed(records)]
        if not records:
            await self._link.query("CLOSE cdc_peek")
            self._peeking = False
            self.progress = self._upto

    async def _ends(self) -> int:
        end, confirmed = (await self._link.query(load("postgres/slot/ends.sql"), [self._slot]))[0]
        if confirmed is None:
            raise LogPurged(f"There is no replication slot {self._slot} any more.", "Run cdc install-slot.")
        self._confirmed = lsn_number(confirmed)
        return lsn_number(end)

    async def confirm(self, lsn: int) -> None:
        if lsn > self._confirmed:
            sql = "SELECT pg_replication_slot_advance(%s, %s::pg_lsn)"
            await self._link.query(sql, [self._slot, lsn_text(lsn)], seconds=_DECODE_SECONDS)
            self._confirmed = lsn

    async def close(self) -> None:
        await self._link.close()


#: Seconds between two words to the server that ask for an answer.
STATUS_SECONDS = 10.0
#: Seconds between two words at most, and from a confirmation to the word behind it.  From version 16 on a server that
#: is about to sleep may miss that a transaction was written to its log (it looks, and only then asks to be woken): a
#: word of ours makes it look again.
NUDGE_SECONDS, _SOON = 1.0, 0.05
#: Seconds of waiting without a word from the server, after which it is taken for dead.
SILENCE_SECONDS = 60.0
#: Seconds in all, and between two tries, to wait until the server has noticed that the slot's last reader is gone.
_BUSY_SECONDS, _BUSY_PAUSE = 5.0, 0.05

_DATA = struct.Struct("!BQQq")
_KEEPALIVE = struct.Struct("!BQqB")
_STATUS = struct.Struct("!BQQQqB")
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC).timestamp()


class ReplicationStream:
    """A `cdc.capture.logical.replication.LogStream`."""

    def __init__(self, info: ConnectionInfo, slot: str, publication: str) -> None:
        self._info = info
        self._slot = slot
        self._publication = publication
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._status: asyncio.Task[None] | None = None
        self._stored = 0
        self._silent = 0.0
        self._confirmed = asyncio.Event()
        self.progress = 0

    async def connect(self) -> None:
        """Connect only; `open` comes apart, so that it is known whether the server allows such a connection at all."""
        with self._translated():
            self._connection = await connect_async(self._info, APPLICATION, replication="database")
            # without parameters: a replication connection knows the simple protocol only
            await self._connection.execute(load("postgres/slot/session.sql").encode())

    async def open(self, start: int) -> None:
        self._stored, self.progress, self._silent = start, 0, 0.0
        command = f'START_REPLICATION SLOT "{self._slot}" LOGICAL {lsn_text(start)} ({options(self._publication)})'
        deadline = time.monotonic() + _BUSY_SECONDS
        with self._translated():
            while True:
                connection, last = self._open(), time.monotonic() > deadline
                connection.pgconn.send_query(command.encode())
                (result,) = await connection.wait(generators.execute(connection.pgconn))
                if result.status == ExecStatus.COPY_BOTH:
                    break
                error = psycopg.errors.error_from_result(result)
                if last or not isinstance(error, psycopg.errors.ObjectInUse):
                    raise error
                await asyncio.sleep(_BUSY_PAUSE)  # a former reader still holds the slot, and the server does not notify
        self._status = asyncio.create_task(self._keep_alive())

    def take(self) -> bytes | None:
        with self._translated():
            server = self._open().pgconn
            consumed = False
            while True:
                size, data = server.get_copy_data(1)
                if size == 0:
                    if consumed:
                        return None
                    consumed = True
                    server.consume_input()
                    continue
                if size < 0:
                    result = None if server.is_busy() else server.get_result()
                    if result is not None and result.status == ExecStatus.FATAL_ERROR:
                        raise psycopg.errors.error_from_result(result)
                    raise SourceUnavailable(
                        f"{self._info.describe()} ended the replication.", "Was the server stopped?"
                    )
                self._silent = 0.0
                message = bytes(data)
                if message[:1] == b"w" and len(message) > _DATA.size:
                    return message[_DATA.size :]
                if message[:1] != b"k" or len(message) != _KEEPALIVE.size:
                    raise MalformedEvent("The replication connection says something that is not in its protocol.")
                _, end, _, asked = _KEEPALIVE.unpack(message)
                self.progress = max(self.progress, end)
                if asked:
                    self._send_status(answer=False)

    async def wait(self, seconds: float) -> None:
        with self._translated():
            server = self._open().pgconn
            begun = time.monotonic()
            await readable(server.socket, seconds)
            self._silent += time.monotonic() - begun
            server.consume_input()
        if self._silent > SILENCE_SECONDS:
            raise SourceUnavailable(
                f"{self._info.describe()} has not said anything for {self._silent:.0f} s.", "Does the network work?"
            )

    async def confirm(self, lsn: int) -> None:
        self._stored = max(self._stored, lsn)
        with self._translated():
            self._open()
            self._send_status(answer=False)
        self._confirmed.set()

    async def close(self) -> None:
        status, self._status = self._status, None
        if status is not None:
            status.cancel()
            await asyncio.gather(status, return_exceptions=True)  # how it ended matters to nobody
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _keep_alive(self) -> None:
        asked = time.monotonic()
        while True:
            try:
                async with asyncio.timeout(NUDGE_SECONDS):
                    await self._confirmed.wait()
                self._confirmed.clear()
                await asyncio.sleep(_SOON)
            except TimeoutError:
                pass  # nothing was confirmed
            now = time.monotonic()
            answer = now - asked >= STATUS_SECONDS
            asked = now if answer else asked
            try:
                self._send_status(answer=answer)
            except psycopg.Error:
                return  # the next read meets the same error and raises it

    def _send_status(self, *, answer: bool) -> None:
        """Report the stored position: messages that are not stored count as not received, so that the server keeps
        them."""
        if self._connection is None:
            return
        server = self._connection.pgconn
        now = int((time.time() - _EPOCH) * 1e6)
        words = _STATUS.pack(ord("r"), self._stored, self._stored, self._stored, now, answer)
        server.put_copy_data(words)  # when there is no room, the next ones say it
        server.flush()

    def _open(self) -> psycopg.AsyncConnection[Any]:
        if self._connection is None:
            raise SourceUnavailable(f"Not connected to {self._info.describe()}.")
        return self._connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise in_our_words(self._info, error) from error


log = structlog.get_logger()


async def connected(name: str, info: ConnectionInfo, slot: str, publication: str) -> LogStream:
    """Return a stream that is connected, by replication or else by peeking.  ``name``: of the source.  Raises
    `SourceError` when neither works."""
    stream = ReplicationStream(info, slot, publication)
    try:
        await stream.connect()
    except SourceError as error:
        await stream.close()
        log.warning("no replication connection", source=name, error=str(error), action="reading by SQL functions")
        return PeekStream(info, slot, publication)
    return stream
