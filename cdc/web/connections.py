"""Bounds on the connections of the HTTP server, so that clients who send nothing cannot use up the file descriptors.

A new connection beyond a bound takes the place of the one that has waited longest for its next request; when all of
them are busy with a request, it is closed.  A connection is cut when the head of its request is late, or when its
client reads nothing of an answer.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

#: A client that reads nothing of its answer for so many seconds is cut off.
UNREAD_SECONDS = 30.0
#: A connection on which no request begins is closed after this.
QUIET_SECONDS = 30.0


def everybody(address: str) -> str:
    """Count every address by itself."""
    return address


@dataclass(frozen=True, slots=True)
class Limits:
    """``total``: open connections.  ``per_address``: those of one client, and its requests through a proxy.
    ``head_seconds``: from the first byte of a request until its head is complete.  ``group``: returns the name under
    which an address is counted; empty for one that speaks for many clients, such as a proxy."""

    total: int = 256
    per_address: int = 64
    head_seconds: float = 15.0
    group: Callable[[str], str] = everybody


@dataclass
class Connections:
    """The open connections of one server."""

    limits: Limits
    _open: dict[Connection, str] = field(default_factory=dict)  # the one that waits longest first
    _groups: Counter[str] = field(default_factory=Counter)
    _clients: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self._open)

    def make(self, server: web.Server, **options: Any) -> Connection:
        return Connection(self, server, **options)

    def enter(self, connection: Connection, address: str) -> bool:
        """Count a new connection; return False when it must be closed."""
        group = self.limits.group(address)
        if group and self._groups[group] >= self.limits.per_address and not self.displace(group):
            return False
        if len(self._open) >= self.limits.total and not self.displace():
            return False
        self._open[connection] = group
        self._groups[group] += 1
        return True

    def leave(self, connection: Connection) -> None:
        group = self._open.pop(connection, None)
        if group is not None:
            _less(self._groups, group)

    def waits(self, connection: Connection) -> None:
        """Put a connection that finished its request last in the order."""
        if connection in self._open:
            self._open[connection] = self._open.pop(connection)

    def displace(self, group: str | None = None) -> bool:
        """Cut the connection (of this group) that has waited longest for a request, if there is one."""
        for each, its in self._open.items():
            if not each.busy and group in (None, its):
                self.leave(each)
                each.cut()
                return True
        return False

    @contextmanager
    def request(self, client: str) -> Iterator[bool]:
        """A request that a proxy passed on for ``client``; False when that one has too many under way."""
        if self._clients[client] >= self.limits.per_address:
            yield False
            return
        self._clients[client] += 1
        try:
            yield True
        finally:
            _less(self._clients, client)


def _less(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]


class Connection(web.RequestHandler):
    """aiohttp's connection, counted and timed."""

    __slots__ = ("_connections", "_late", "_unread", "busy")

    def __init__(self, connections: Connections, server: web.Server, **options: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), keepalive_timeout=QUIET_SECONDS, **options)
        self._connections = connections
        self._late: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        #: Requests whose handler runs.
        self.busy = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        if self._connections.enter(self, peer[0] if peer else ""):
            super().connection_made(transport)
        else:
            cast(asyncio.Transport, transport).abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connections.leave(self)
        _stop(self._late)
        self._late = None
        _stop(self._unread)
        self._unread = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if data and not self.busy and self._late is None:
            seconds = self._connections.limits.head_seconds
            self._late = asyncio.get_running_loop().call_later(seconds, self.cut)
        super().data_received(data)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = asyncio.get_running_loop().call_later(UNREAD_SECONDS, self.cut)

    def resume_writing(self) -> None:
        super().resume_writing()
        _stop(self._unread)
        self._unread = None

    def cut(self) -> None:
        """Close the connection without waiting for the client to read."""
        if self.transport is not None:
            self.transport.abort()

    def began(self) -> None:
        """The head of a request is complete."""
        self.busy += 1
        _stop(self._late)
        self._late = None

    def ended(self) -> None:
        self.busy -= 1
        if not self.busy:
            self._connections.waits(self)


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def counting(connections: Connections, client: Callable[[web.Request], str]) -> Middleware:
    """Return a middleware that marks connections as busy, and bounds the requests of each client of a proxy.

    ``client``: the address of the client that a request is from; that of the connection when no proxy names another."""

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = request.protocol
        if not isinstance(connection, Connection):
            return await handler(request)
        connection.began()
        try:
            address = client(request)
            if address == (request.remote or ""):
                return await handler(request)
            with connections.request(connections.limits.group(address) or address) as admitted:
                return await handler(request) if admitted else _too_many()
        finally:
            connection.ended()

    return count


def _too_many() -> web.Response:
    return web.Response(
        status=HTTPStatus.TOO_MANY_REQUESTS,
        text="Too many requests of this address are under way.\n",
        headers={"Retry-After": "10"},
    )
