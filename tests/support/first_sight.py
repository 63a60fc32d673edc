"""A fast receiver that remembers of each event only when it came first, and that it came again with the same bytes."""

from __future__ import annotations

import asyncio
import re
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast
from zlib import crc32

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_EVENT = re.compile(rb"\r\nwebhook-id: evt_(\d+)\r\n", re.IGNORECASE)
_PATH = re.compile(rb"POST /(\d+) ")
_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
_TOLD = 10  # faults that are kept as text


class FirstSight:
    """Events ``evt_0`` … sent to paths ``/0`` …; event n is of record ``n % records``, whose events must come at each
    path, at first sight, in order and without a hole."""

    def __init__(self, events: int, paths: int, records: int) -> None:
        self.events = events
        self.records = records
        self.first = 0  # requests that brought something new
        self.repeated: Counter[tuple[int, int]] = Counter()  # path and event of those that brought nothing new
        self.faults: list[str] = []
        self.complete = asyncio.Event()
        self.arrived = asyncio.Event()  # set by every request
        self._sums = [array("Q", bytes(8 * events)) for _ in range(paths)]  # of bodies; 0: not seen
        self._next = [list(range(records)) for _ in range(paths)]

    def take(self, path: int, number: int, body: bytes) -> None:
        self.arrived.set()
        checksum = crc32(body) + 1
        if known := self._sums[path][number]:
            if known != checksum:
                self._fault(f"evt_{number} came again at /{path} with other bytes")
            self.repeated[path, number] += 1
            return
        self._sums[path][number] = checksum
        self.first += 1
        record = number % self.records
        if self._next[path][record] != number:
            self._fault(f"evt_{number} came at /{path} before evt_{self._next[path][record]}")
        self._next[path][record] = number + self.records
        if self.first == self.events * len(self._sums):
            self.complete.set()

    def _fault(self, text: str) -> None:
        if len(self.faults) < _TOLD:
            self.faults.append(text)

    @property
    def again(self) -> int:
        """Requests that brought nothing new."""
        return self.repeated.total()

    async def until(self, first: int) -> None:
        """Wait until so many requests have brought something new, or all have."""
        while self.first < first and not self.complete.is_set():
            self.arrived.clear()
            await self.arrived.wait()


class _Connection(asyncio.Protocol):
    """The part of HTTP/1.1 that the sender speaks: a web framework would be the slowest part of the test."""

    def __init__(self, sight: FirstSight) -> None:
        self._sight = sight
        self._data = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has another base class

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._data[: end + 2])
            path, number, length = (int(value) for value in _found(head, (_PATH, _EVENT, _LENGTH)))
            if len(self._data) < end + 4 + length:
                return
            body = bytes(self._data[end + 4 : end + 4 + length])
            del self._data[: end + 4 + length]
            self._sight.take(path, number, body)
            assert self._transport is not None
            self._transport.write(_ANSWER)


def _found(head: bytes, patterns: Sequence[re.Pattern[bytes]]) -> list[bytes]:
    matches = [pattern.search(head) for pattern in patterns]
    assert all(matches), head
    return [match[1] for match in matches if match]


@asynccontextmanager
async def watching(sight: FirstSight) -> AsyncIterator[str]:
    """The URL of the receiver on loopback, without a path."""
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(sight), "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
