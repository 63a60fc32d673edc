"""Serves over HTTP, in the process that captures and sends: health and metrics here, the rest by who adds it.

It never stops that: an address that cannot be had is one sentence in the log, and the consumer works without it.
It continues after the process had no file descriptor for a connection, which the servers of both event loops do badly:
uvloop polls the socket without a pause, asyncio logs a hundred lines a second.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from aiohttp import web
from aiohttp.http import HttpProcessingError
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from cdc.access.proxy import FORWARDED, is_local
from cdc.model.clock import Clock
from cdc.web.connections import Connection, Connections
from cdc.web.health import HealthLimits, reasons, state, warnings
from cdc.web.metrics import registry
from cdc.web.monitor import Monitor

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
            _listen(sockets[-1], address)
    except BaseException:
        for each in sockets:
            each.close()
        raise
    return sockets


def _listen(made: socket.socket, address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]) -> None:
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if made.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind(address)
    made.listen(_BACKLOG)


async def accept(listening: socket.socket, connections: Connections, make: Callable[[], Connection]) -> None:
    """Accept connections until cancelled; then close the socket."""
    loop = asyncio.get_running_loop()
    failed = False
    with listening:
        while True:
            try:
                made, _ = await loop.sock_accept(listening)
                await _connect(loop, made, make)
                failed = False
            except OSError as error:
                if not failed:
                    log.warning("connections cannot be accepted", error=str(error), retry_in=_PAUSE)
                failed = True
                connections.displace()
                await asyncio.sleep(_PAUSE)


async def _connect(loop: asyncio.AbstractEventLoop, made: socket.socket, make: Callable[[], Connection]) -> None:
    try:
        await loop.connect_accepted_socket(make, made)
    except BaseException:
        made.close()
        raise


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
            "sources": {name: state(monitor, name, now) for name in monitor.reported.sources},
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
) -> None:
    """Serve until ``stop``.  ``listen``: HOST:PORT.  ``listening``: called once that address is had."""
    runner = web.AppRunner(app, shutdown_timeout=0.5)
    await runner.setup()
    accepting: asyncio.Future[Any] | None = None
    try:
        try:
            sockets = await listening_sockets(listen)
        except OSError as error:
            log.error(
                "page, API, health and metrics are not served",
                listen=listen,
                error=f"The address cannot be had: {_reason(error)}.",
                fix="Give [web] listen another port, or stop what uses it; the consumer works without.",
            )
        else:
            log.info("serving the page, the API, health and metrics", url=f"http://{listen}/")
            make = _maker(runner, connections)
            accepting = asyncio.gather(*(accept(each, connections, make) for each in sockets))
            listening()
        await stop.wait()
    finally:
        if accepting is not None:
            accepting.cancel()
            await asyncio.gather(accepting, return_exceptions=True)
        await runner.cleanup()


def _maker(runner: web.AppRunner, connections: Connections) -> Callable[[], Connection]:
    handling = runner.server
    assert handling is not None, "set up"
    logger = logging.getLogger(__name__)
    logger.addFilter(_said_in_http)
    return lambda: connections.make(handling, access_log=None, logger=logger)


def _said_in_http(record: logging.LogRecord) -> bool:
    """Return whether a record belongs in the log.  Invalid HTTP is answered and not repeated there: anybody can send
    it, and it may hold a token."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def _reason(error: OSError) -> str:
    """The system's own words; asyncio's name the address once more."""
    number = error.errno or 0
    return os.strerror(number) if number > 0 else str(error.strerror or error)
