"""The service manager's side of sd_notify: a datagram socket that remembers its messages."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.waiting import HANG_SECONDS


@dataclass
class NotifySocket:
    address: str
    _socket: socket.socket

    def told(self) -> list[dict[str, str]]:
        """Return the messages since the last call."""
        found: list[dict[str, str]] = []
        while True:
            try:
                message = self._socket.recv(65_536)
            except BlockingIOError:
                return found
            found.append(dict(line.split("=", 1) for line in message.decode().split("\n")))

    async def until(
        self, enough: Callable[[dict[str, str]], bool], seconds: float = HANG_SECONDS
    ) -> list[dict[str, str]]:
        """Return all messages up to one that is ``enough``."""
        loop = asyncio.get_running_loop()
        found: list[dict[str, str]] = []
        async with asyncio.timeout(seconds):
            while True:
                message = await loop.sock_recv(self._socket, 65_536)
                found.append(dict(line.split("=", 1) for line in message.decode().split("\n")))
                if enough(found[-1]):
                    return found


@contextmanager
def notify_socket(folder: Path, name: str = "notify") -> Iterator[NotifySocket]:
    """``folder``: a short path, for such a socket; a ``name`` that begins with @ is an abstract one."""
    address = name if name.startswith("@") else str(folder / name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.setblocking(False)
        listening.bind(address.replace("@", "\0", 1) if name.startswith("@") else address)
        yield NotifySocket(address, listening)
