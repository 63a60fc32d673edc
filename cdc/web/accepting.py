"""Accepts connections, and continues after the process had no file descriptor for one.

The servers of both event loops do that badly: uvloop polls the socket without a pause, asyncio logs a hundred lines a
second.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import structlog

from cdc.web.connections import Connection, Connections

#: Connections that the system holds until they are accepted.
_BACKLOG = 128
#: Seconds until the next try after a failure: nothing tells when a descriptor is free.
_PAUSE = 1.0

log = structlog.get_logger()


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
