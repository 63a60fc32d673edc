"""A TCP proxy that cuts connections, or goes deaf: what networks do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from cdc.model.connection import ConnectionInfo

_CHUNK = 1 << 14


@dataclass
class Proxy:
    """``budget``: bytes that the server may say on the next connection until it is cut (None: all it wants).  While
    ``hears`` is cleared nothing is passed on, in either direction."""

    info: ConnectionInfo
    budget: Callable[[], int | None] = lambda: None
    hears: asyncio.Event = field(default_factory=asyncio.Event)
    cuts: int = 0
    port: int = 0
    _ends: set[asyncio.StreamWriter] = field(default_factory=set)
    _served: set[asyncio.Task[None]] = field(default_factory=set)

    def through(self) -> ConnectionInfo:
        return replace(self.info, host="127.0.0.1", port=self.port)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._served.add(asyncio.ensure_future(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(self.info.host, self.info.port)
        except OSError:
            writer.close()
            return
        ends = {writer, server_writer}
        self._ends |= ends
        ways = (
            asyncio.ensure_future(self._pass(reader, server_writer, None)),
            asyncio.ensure_future(self._pass(server_reader, writer, self.budget())),
        )
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for end in ends:
            end.transport.abort()
        self._ends -= ends

    async def close(self) -> None:
        self.hears.set()
        for end in self._ends:
            end.transport.abort()
        await asyncio.gather(*self._served)

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, left: int | None) -> None:
        while data := await source.read(_CHUNK):
            await self.hears.wait()
            if left is not None and len(data) >= left:
                target.write(data[:left])
                await target.drain()
                self.cuts += 1
                return
            left = None if left is None else left - len(data)
            target.write(data)
            await target.drain()


@asynccontextmanager
async def proxied(info: ConnectionInfo, budget: Callable[[], int | None] = lambda: None) -> AsyncIterator[Proxy]:
    proxy = Proxy(info, budget)
    proxy.hears.set()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
