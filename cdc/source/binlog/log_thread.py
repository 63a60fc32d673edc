"""The log in a thread of its own, for a consumer that is a coroutine: sockets and decoding here are synchronous."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor

from cdc.connection import ConnectionInfo
from cdc.errors import SourceUnavailable
from cdc.source.binlog.ahead import Ahead, Concerned
from cdc.source.binlog.connection import LogConnection
from cdc.source.binlog.log_position import LogPosition
from cdc.source.binlog.stretch import Stretch

#: An open connection → what is read over it, lazily.
Read = Callable[[LogConnection], Generator[Stretch]]


class LogThread:
    """Used once: opened, read, closed."""

    def __init__(self, info: ConnectionInfo, concerned: Concerned, log: type[LogConnection] = LogConnection) -> None:
        self._info = info
        self._log = log
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cdc-log")
        self._ahead = Ahead(info, concerned, log)
        self._connection: LogConnection | None = None
        self._stretches: Generator[Stretch] | None = None
        self._fetch: asyncio.Future[Stretch | None] | None = None
        self._closed = self._finished = False

    async def open(self, start: LogPosition, heartbeat: float, read: Read) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._open, start, heartbeat, read)

    def _open(self, start: LogPosition, heartbeat: float, read: Read) -> None:
        self._connection = connection = self._log.open(self._info, start, heartbeat)
        if self._closed:
            connection.close()
        self._stretches = read(connection)

    async def next(self, seconds: float) -> Stretch | None:
        """The next stretch, or None when there is none within ``seconds``.

        The one behind it begins to be read at once, unless the schema may change in between.
        """
        fetch = self._fetch or self._next()
        self._fetch = fetch
        done, _ = await asyncio.wait({fetch}, timeout=seconds)
        if not done:
            return None
        self._fetch = None
        stretch = fetch.result()
        if stretch is None:
            raise SourceUnavailable(f"The log of {self._info.describe()} ended.", "Was the server shut down?")
        if not stretch.altered:
            self._fetch = self._next()
        return stretch

    def _next(self) -> asyncio.Future[Stretch | None]:
        assert self._stretches is not None, "opened"
        return asyncio.get_running_loop().run_in_executor(self._thread, next, self._stretches, None)

    async def altered(self, behind: LogPosition, head: LogPosition) -> frozenset[str]:
        """`Ahead.altered`; not while a stretch is being read."""
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
        if self._stretches is not None:
            self._stretches.close()
        if self._connection is not None:
            self._connection.close()
