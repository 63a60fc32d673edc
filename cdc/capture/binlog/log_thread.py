"""The log in a thread of its own, for a consumer that is a coroutine: sockets and decoding here are synchronous."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor

from cdc.capture.binlog.ahead import AlteredTablesAhead, Concerned
from cdc.capture.binlog.chunk import LogChunk
from cdc.capture.binlog.connection import LogConnection
from cdc.capture.binlog.log_position import LogPosition
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import SourceUnavailable

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
        """What a reading that was broken off holds is freed where it was made."""
        if self._chunks is not None:
            self._chunks.close()
        if self._connection is not None:
            self._connection.close()
