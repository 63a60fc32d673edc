"""When a reader of the log says how far it has been read."""

from __future__ import annotations

from typing import cast

from cdc.capture.logical.replication import SlotReader
from cdc.capture.logical.transaction import SlotTables
from cdc.capture.postgres_lookup import PostgresLookup


class Stream:
    """Holds no message.  ``comes``: how far the log has been read once somebody has waited."""

    def __init__(self, progress: int, comes: int) -> None:
        self.progress = progress
        self.comes = comes
        self.waited = 0

    def take(self) -> bytes | None:
        return None

    async def wait(self, seconds: float) -> None:
        self.waited += 1
        self.progress = self.comes

    async def open(self, start: int) -> None: ...

    async def confirm(self, lsn: int) -> None: ...

    async def close(self) -> None: ...


def _reader(stream: Stream, seen: int) -> SlotReader:
    return SlotReader(stream, SlotTables(cast("PostgresLookup", None), {}, "public"), 10, 10, seen)


async def test_that_it_has_been_read_further_is_said_without_waiting() -> None:
    stream = Stream(progress=200, comes=200)
    chunk = await _reader(stream, seen=100).next(60)
    assert (chunk.progress, chunk.caught_up, stream.waited) == (200, True, 0)


async def test_it_is_said_once() -> None:
    stream = Stream(progress=200, comes=300)
    reader = _reader(stream, seen=100)
    await reader.next(60)
    assert (await reader.next(60)).progress == 300
    assert stream.waited == 1


async def test_what_is_known_already_is_nothing_new() -> None:
    stream = Stream(progress=100, comes=100)
    chunk = await _reader(stream, seen=100).next(60)
    assert (chunk.progress, stream.waited) == (100, 1)
