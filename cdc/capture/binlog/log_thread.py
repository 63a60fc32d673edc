"""The log in a thread of its own, for a consumer that is a coroutine: sockets and decoding here are synchronous.

A second connection finds out which tables are altered further on in the log: only of the others does what they are like
now hold for what is read next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from cdc.capture.binlog.chunk import LogChunk
from cdc.capture.binlog.connection import HEARTBEAT, LogConnection
from cdc.capture.binlog.item import Idle, SchemaChange
from cdc.capture.binlog.log_position import LogPosition
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import SourceUnavailable

#: A statement → our tables whose columns it may have changed.
Concerned = Callable[[SchemaChange], frozenset[str]]
_Place = tuple[int, int]


class AlteredTablesAhead:
    """Reads the log over a second connection, rows skipped; what was read once is remembered, so that a series of
    alterations costs one reading."""

    def __init__(self, info: ConnectionInfo, concerned: Concerned, log: type[LogConnection] = LogConnection) -> None:
        self._info = info
        self._log = log
        self._concerned = concerned
        self._found: list[tuple[_Place, frozenset[str]]] = []
        self._read_to: LogPosition | None = None
        self._connection: LogConnection | None = None
        self._closed = False

    def altered(self, behind: LogPosition, head: LogPosition) -> frozenset[str]:
        """The tables that statements between the two concern.  Successive calls come in the order of the log."""
        start = behind
        if self._read_to is not None and self._read_to.place() > behind.place():
            start = self._read_to
        if head.place() > start.place():
            self._read(start, head)
        self._found = [(place, tables) for place, tables in self._found if place > behind.place()]
        return frozenset().union(*(tables for _, tables in self._found))

    def close(self) -> None:
        """End reading, from any thread; it fails there with an error."""
        self._closed = True
        if self._connection is not None:
            self._connection.close()

    def _read(self, start: LogPosition, head: LogPosition) -> None:
        with closing(self._log.open(self._info, start, HEARTBEAT, follow=False)) as connection:
            self._connection = connection
            if self._closed:
                connection.close()
            for item in connection.items(lambda _: None):
                if isinstance(item, SchemaChange) and (tables := self._concerned(item)):
                    self._found.append((item.reached.place(), tables))
                if isinstance(item, Idle | SchemaChange) and item.reached.place() >= head.place():
                    break
        self._connection = None
        self._read_to = head


#: An open connection → what is read over it, lazily.
Read = Callable[[LogConnection], Generator[LogChunk]]


class LogThread:
    """Used once: opened, read, closed."""

    def __init__(self, info: ConnectionInfo, concerned: Concerned, log: type[LogConnection] = LogConnection) -> None:
        self._info = info
        self._log = log
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cdc-log")
        self._ahead = AlteredTablesAhead(info, concerned, log)
        self._connection: LogConnection | None = None
        self._chunks: Generator[LogChunk] | None = None
        self._fetch: asyncio.Future[LogChunk | None] | None = None
        self._closed = self._finished = False

    async def open(self, start: LogPosition, heartbeat: float, read: Read) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._open, start, heartbeat, read)

    def _open(self, start: LogPosition, heartbeat: float, read: Read) -> None:
        self._connection = connection = self._log.open(self._info, start, heartbeat)
        if self._closed:
            connection.close()
        self._chunks = read(connection)

    async def next(self, seconds: float) -> LogChunk | None:
        """The next chunk, or None when there is none within ``seconds``.

        The one behind it begins to be read at once, unless the schema may change in between.
        """
        fetch = self._fetch or self._next()
        self._fetch = fetch
        done, _ = await asyncio.wait({fetch}, timeout=seconds)
        if not done:
            return None
        self._fetch = None
        chunk = fetch.result()
        if chunk is None:
            raise SourceUnavailable(f"The log of {self._info.describe()} ended.", "Was the server shut down?")
        if not chunk.altered:
            self._fetch = self._next()
        return chunk

    def _next(self) -> asyncio.Future[LogChunk | None]:
        assert self._chunks is not None, "opened"
        return asyncio.get_running_loop().run_in_executor(self._thread, next, self._chunks, None)

    async def altered(self, behind: LogPosition, head: LogPosition) -> frozenset[str]:
        """`AlteredTablesAhead.altered`; not while a chunk is being read."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._ahead.altered, behind, head)

    @property
    def closed(self) -> bool:
        return self._closed

    async def close(self) -> None:
        """Ends whatever is being read.  As often as wanted."""
        self._closed = True
        self._ahead.close()
        if self._connection is not None:
            self._connection.close()
        fetch, self._fetch = self._fetch, None
        if fetch is not None:
            await asyncio.gather(fetch, return_exceptions=True)  # how it ended matters to nobody
        if not self._finished:
            self._finished = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._finish)
            self._thread.shutdown(wait=False)

    def _finish(self) -> None:
        """Close the resources of an interrupted read, in the thread that created them."""
        if self._chunks is not None:
            self._chunks.close()
        if self._connection is not None:
            self._connection.close()
