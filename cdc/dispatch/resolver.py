"""Looks up the names that deliveries go to."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from cdc.dispatch.address import AddressInfo, AddressRefused, EgressPolicy

LookUp = Callable[..., list[Any]]  # as socket.getaddrinfo


class CheckedResolver(AbstractResolver):
    """Looks names up in daemon threads, leaves inside addresses out, and refuses names that have no other ones.

    A name service that hangs holds neither the event loop's thread pool nor the end of the process.  aiohttp looks a
    name up once for all that wait for it, so there is at most one thread for each name.
    """

    def __init__(self, reach: EgressPolicy, look_up: LookUp = socket.getaddrinfo) -> None:
        self._reach = reach
        self._look_up = look_up

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await _in_daemon_thread(lambda: self._look_up(host, port, family=family, type=socket.SOCK_STREAM))
        allowed = [info for info in found if self._reach.refusal(info[4][0]) is None]
        if found and not allowed:
            raise AddressRefused.behind(host)
        return [_resolved(host, info) for info in allowed]

    async def close(self) -> None:
        """Nothing is held."""


def _resolved(host: str, info: AddressInfo) -> ResolveResult:
    family, _, protocol, _, address = info
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=address[0], port=address[1], family=family, proto=protocol, flags=flags)


async def _in_daemon_thread(call: Callable[[], list[Any]]) -> list[Any]:
    loop = asyncio.get_running_loop()
    result: asyncio.Future[list[Any]] = loop.create_future()

    def settle(value: list[Any] | None, error: Exception | None) -> None:
        if result.done():  # whoever waited was cancelled
            return
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(value or [])

    def run() -> None:
        value, error = None, None
        try:
            value = call()
        except Exception as failure:  # noqa: BLE001 - re-raised in the waiting task
            error = failure
        try:
            loop.call_soon_threadsafe(settle, value, error)
        except RuntimeError:
            if not loop.is_closed():
                raise

    threading.Thread(target=run, name="cdc-name-lookup", daemon=True).start()
    return await result
