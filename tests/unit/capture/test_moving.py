"""From the journal to the log, without a database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from cdc.capture.base import Source
from cdc.capture.journal.database import JournalPosition
from cdc.capture.moving import Bridge, CaptureMode, MovingSource, Watermark
from cdc.model.change import Position


class _Journal:
    async def open(self, _position: Position | None) -> None: ...


class _Bridge:
    async def waiting(self, _most: int) -> list[str]:
        return ["0", "1", "2"]

    def journal_names(self, position: Position) -> Sequence[str]:
        return JournalPosition.load(position).done


async def _settled() -> bool:
    return True


async def test_what_is_being_deleted_is_not_waited_for() -> None:
    """It was told, and no batch that is still to come names it."""
    make: Any = {CaptureMode.JOURNAL: lambda: cast("Source", _Journal())}
    source = MovingSource("main", CaptureMode.LOG, make, lambda: cast("Bridge", _Bridge()))
    await source.open(JournalPosition(("0",)).dump())
    assert await source._left(Watermark(Position(""), _settled)) == {"1", "2"}
