"""Which way to capture wrote a position, and the position where two ways overlap."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import orjson

from cdc.model.errors import SourceError
from cdc.model.position import Position


class CaptureMode(Enum):
    """How changes are captured: by triggers that fill a journal, or out of the server's own log."""

    JOURNAL = "journal"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class Overlap:
    """The log is read from ``log`` on; up to ``until`` it may tell of transactions that the journal told of already:
    those are the ``seen``, by name."""

    log: Position
    seen: tuple[str, ...]
    until: Position

    def dump(self) -> Position:
        return Position(orjson.dumps({"overlap": [self.log, self.seen, self.until]}).decode())


def captured(position: Position | None) -> Position | None:
    """None for one that was written by a source which only compares: it names no place that these ways know."""
    return None if position is not None and position.startswith('{"rest":') else position


def read_position(position: Position) -> CaptureMode | Overlap:
    """The way that wrote it.  Raises `SourceError` when none did."""
    try:
        fields: dict[str, Any] = orjson.loads(position)
        if "overlap" in fields:
            log, seen, until = fields["overlap"]
            return Overlap(log, tuple(seen), until)
    except (ValueError, TypeError) as error:
        raise SourceError("The position in the outbox was not written by a source of this program.") from error
    if "done" in fields:
        return CaptureMode.JOURNAL
    return CaptureMode.LOG


def log_part(position: Position | None) -> Position | None:
    """The position of the log; None when it is the journal that is read."""
    stands = CaptureMode.JOURNAL if position is None else read_position(position)
    if isinstance(stands, Overlap):
        return stands.log
    return position if stands is CaptureMode.LOG else None
