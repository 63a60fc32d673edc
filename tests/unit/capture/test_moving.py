"""From the journal to the log, without a database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from cdc.capture.base import NO_BACKFILLS, HugePart, Source, SourceBackfills
from cdc.capture.journal.database import JournalPosition
from cdc.capture.moving import Bridge, CaptureMode, MovingSource, Overlap, Watermark, read_position
from cdc.model.change import Batch, Position, Transaction

LOG = Position('{"log": 1}')


class _Source:
    """Yields these batches, then nothing more."""

    def __init__(self, *batches: Batch) -> None:
        self._batches = batches

    async def open(self, _position: Position | None) -> None: ...

    async def close(self) -> None: ...

    async def acknowledge(self, _position: Position) -> None: ...

    async def begin(self) -> Batch | None:
        return Batch((), LOG)

    async def batches(self, _backfills: SourceBackfills = NO_BACKFILLS) -> AsyncIterator[Batch]:
        for batch in self._batches:
            yield batch


@dataclass
class _Bridge:
    """``visible``: names in the journal when they are queried.  Every place of the log is the same one."""

    visible: Sequence[str] = ("0", "1", "2")

    async def mark(self) -> Watermark:
        return Watermark(LOG, _settled)

    async def waiting(self, _most: int) -> Sequence[str]:
        return self.visible

    def journal_names(self, position: Position) -> Sequence[str]:
        return JournalPosition.load(position).done

    def log_names(self, transaction: Transaction) -> Sequence[str]:
        return transaction.journalled

    async def forget(self, _transactions: Sequence[Transaction]) -> None: ...

    def passed(self, _position: Position, _mark: Position) -> bool:
        return True

    def begin_log(self, _mark: Position, _journal: Position) -> Position:
        return LOG


async def _settled() -> bool:
    return True


def _moving(bridge: _Bridge, journal: _Source, log: _Source | None = None) -> MovingSource:
    make: Any = {CaptureMode.JOURNAL: lambda: cast("Source", journal), CaptureMode.LOG: lambda: cast("Source", log)}
    return MovingSource("main", CaptureMode.LOG, make, lambda: cast("Bridge", bridge))


def _batch(*names: str, huge: HugePart | None = None) -> Batch:
    transactions = tuple(Transaction(name, ()) for name in names or [huge.token if huge else ""])
    return Batch(transactions, JournalPosition(names, huge=huge).dump())


async def test_what_is_being_deleted_is_not_waited_for() -> None:
    """It was told, and no batch that is still to come names it."""
    source = _moving(_Bridge(), _Source())
    await source.open(JournalPosition(("0",)).dump())
    assert await source._left(Watermark(Position(""), _settled)) == {"1", "2"}


async def test_journal_is_read_up_to_one_moment() -> None:
    """A transaction whose rows have several names is read from the journal as a whole, or from the log: what became
    visible after that moment is left to the log, also where a batch has only a part of it."""
    bridge = _Bridge(visible=("0", "1", "2", "big"))
    later = HugePart("later", 5)
    journal = _Source(
        _batch("0"),
        _batch(huge=later),
        _batch("3a"),
        _batch("1", "3a"),
        _batch(huge=HugePart("big", 5)),
        _batch("big"),
        _batch("3b", "2", "4"),
    )
    source = _moving(bridge, journal, _Source())
    await source.open(JournalPosition().dump())
    read: list[tuple[str, ...]] = []
    async for batch in source.batches():
        await source.acknowledge(batch.position)
        stored = read_position(batch.position)
        if isinstance(stored, Overlap):
            assert set(stored.seen) == {"0", "1", "2", "big"}
            break
        assert {"3a", "3b", "4"}.isdisjoint(JournalPosition.load(batch.position).done)
        read.append(tuple(each.token for each in batch.transactions))
    assert read == [("0",), ("1",), ("big",), ("big",), ("2",)]


async def test_overlap_lasts_until_the_log_was_read_past_it() -> None:
    """Where reading begins may be where the overlap ends, and the server sends a transaction of before once more."""
    again = Transaction("uuid:7", (), ("7",))
    source = _moving(_Bridge(), _Source(), _Source(Batch((again,), LOG)))
    await source.open(Overlap(LOG, ("7",), LOG).dump())
    first = await source.begin()
    assert first is not None
    await source.acknowledge(first.position)
    batch = await anext(source.batches())
    assert batch.transactions == ()
    assert batch.position == LOG
