"""Serves over HTTP, in the process that captures and sends: health and metrics here, the rest by its owner.

Connections are bounded, so that clients who send nothing cannot use up the file descriptors.  A new connection beyond a
bound takes the place of the one that has waited longest for its next request; when all of them are busy with a request,
it is closed.  A connection is cut when the head of its request is late, or when its client reads nothing of an answer.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, cast

import orjson
import structlog
from aiohttp import web
from aiohttp.http import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from cdc.access.proxy import FORWARDED, is_local
from cdc.model.clock import Clock
from cdc.web.health import HealthLimits, reasons, state, warnings
from cdc.web.metrics import registry
from cdc.web.monitor import Monitor

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
                if admitted:
                    return await handler(request)
                text, headers = "Too many requests of this address are under way.\n", {"Retry-After": "10"}
                return web.Response(status=HTTPStatus.TOO_MANY_REQUESTS, text=text, headers=headers)
        finally:
            connection.ended()

    return count


#: Connections that the system holds until they are accepted.
_BACKLOG = 128
#: Seconds until the next try after a failure: nothing announces a free descriptor.
_PAUSE = 1.0


async def listening_sockets(listen: str) -> list[socket.socket]:
    """Return a socket for each address of HOST:PORT.  Raises `OSError` when one of them cannot be had."""
    host, _, port = listen.rpartition(":")
    found = await asyncio.get_running_loop().getaddrinfo(
        host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
            sockets.append(socket.socket(family, socket.SOCK_STREAM))
            made = sockets[-1]
            made.setblocking(False)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if made.family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind(address)
            made.listen(_BACKLOG)
    except BaseException:
        for each in sockets:
            each.close()
        raise
    return sockets


@dataclass
class Listener:
    """The listening sockets of a process.  What serves them may be replaced by another: in between, new connections
    wait in the system's queue and none is refused."""

    _listen: str = ""
    _sockets: Sequence[socket.socket] = ()

    async def sockets(self, listen: str) -> Sequence[socket.socket]:
        """Return those of an address, the open ones if there are any.  Raises `OSError` as `listening_sockets` does."""
        if listen != self._listen:
            self.close()
            self._sockets, self._listen = await listening_sockets(listen), listen
        return self._sockets

    def close(self) -> None:
        for each in self._sockets:
            each.close()
        self._sockets, self._listen = (), ""


async def accept(listening: socket.socket, connections: Connections, make: Callable[[], Connection]) -> None:
    """Accept connections until cancelled."""
    loop = asyncio.get_running_loop()
    failed = False
    while True:
        try:
            made, _ = await loop.sock_accept(listening)
            try:
                await loop.connect_accepted_socket(make, made)
            except BaseException:
                made.close()
                raise
            failed = False
        except OSError as error:
            if not failed:
                log.warning("connections cannot be accepted", error=str(error), retry_in=_PAUSE)
            failed = True
            connections.displace()
            await asyncio.sleep(_PAUSE)


NOT_READY = 503

log = structlog.get_logger()


def add_health(
    app: web.Application, monitor: Monitor, bounds: HealthLimits, clock: Clock, *, outbox: str, metrics_token: str = ""
) -> None:
    """``outbox``: its fingerprint.  ``metrics_token``: a bearer token that requests for metrics must carry; empty: only
    those from this machine get them.  Details of health are for this machine and the token, too."""
    metrics = registry(monitor, bounds, clock)

    async def ready(request: web.Request) -> web.Response:
        now = clock.now()
        why = reasons(monitor, bounds, now)
        if not (_from_here(request) or (metrics_token and _bears(request, metrics_token))):
            return _json({"ready": not why}, NOT_READY if why else 200)
        report = {
            "ready": not why,
            "reasons": why,
            "warnings": warnings(monitor, bounds),
            "outbox": outbox,
            "sources": {name: state(monitor, name, bounds, now) for name in monitor.reported.sources},
            "dispatch": {None: "starting", True: "active", False: "standby"}[monitor.reported.active],
        }
        return _json(report, NOT_READY if why else 200)

    app.router.add_get("/health/live", _live)
    app.router.add_get("/health/ready", ready)
    app.router.add_get("/metrics", _metrics(metrics, metrics_token))


async def _live(_request: web.Request) -> web.Response:
    """Return an answer: that there is one is the information."""
    return _json({"live": True}, 200)


def _metrics(metrics: CollectorRegistry, token: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def serve(request: web.Request) -> web.Response:
        if not (_bears(request, token) if token else _from_here(request)):
            return web.Response(
                status=HTTPStatus.UNAUTHORIZED,
                text="This needs the token of [web] metrics_token_file.\n",
                headers={"WWW-Authenticate": "Bearer", "Cache-Control": "no-store"},
            )
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(metrics), headers={"Content-Type": content_type})

    return serve


def _from_here(request: web.Request) -> bool:
    """Return whether the request comes from this machine, by loopback or by the address that it was sent to."""
    if request.transport is None or any(name in request.headers for name in FORWARDED):
        return False
    peer, own = (request.transport.get_extra_info(name) or ("",) for name in ("peername", "sockname"))
    return is_local(peer[0], forwarded=False) or bool(peer[0] and peer[0] == own[0])


def _bears(request: web.Request, token: str) -> bool:
    """Return whether the request carries the token, in a time that says nothing of it."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    right = hmac.compare_digest(given.strip().encode(errors="surrogateescape"), token.encode())
    return right and scheme.lower() == "bearer"


def _json(value: object, status: int) -> web.Response:
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return web.Response(body=orjson.dumps(value) + b"\n", status=status, headers=headers)


async def serve(
    app: web.Application,
    listen: str,
    connections: Connections,
    stop: asyncio.Event,
    listening: Callable[[], None] = lambda: None,
    *,
    listener: Listener,
) -> None:
    """Serve until ``stop``.  ``listen``: HOST:PORT.  ``listening``: called once that address is had.  ``listener`` is
    its owner's to close."""
    runner = web.AppRunner(app, shutdown_timeout=0.5)
    await runner.setup()
    accepting: asyncio.Future[Any] | None = None
    try:
        try:
            sockets = await listener.sockets(listen)
        except OSError as error:
            # the system's own words: asyncio's name the address once more
            reason = os.strerror(number) if (number := error.errno or 0) > 0 else str(error.strerror or error)
            log.error(
                "page, API, health and metrics are not served",
                listen=listen,
                error=f"The address cannot be had: {reason}.",
                fix="Give [web] listen another port, or stop what uses it; the consumer works without.",
            )
        else:
            log.info("serving the page, the API, health and metrics", url=f"http://{listen}/")
            handling = runner.server
            assert handling is not None, "set up"
            logger = logging.getLogger(__name__)
            logger.addFilter(_said_in_http)
            make = partial(connections.make, handling, access_log=None, logger=logger)
            accepting = asyncio.gather(*(accept(each, connections, make) for each in sockets))
            listening()
        await stop.wait()
    finally:
        if accepting is not None:
            accepting.cancel()
            await asyncio.gather(accepting, return_exceptions=True)
        await runner.cleanup()


def _said_in_http(record: logging.LogRecord) -> bool:
    """Return whether a record belongs in the log.  Invalid HTTP is answered and not repeated there: anybody can send
    it, and it may hold a token."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
