"""The row changes of one huge transaction on disk, grouped by record, for sources that read it once only.

A log is read forwards and a huge transaction fits no memory, while merging needs all changes of a record together: so
they are written down, and read back in parts of whole records.  The file has no name and goes with its process.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import orjson

from cdc.capture.record_index import RecordIndex, record_names
from cdc.model.change import Operation, RowChange

#: Written changes of more bytes than this count as several, so that a part's memory is bounded whatever the rows hold.
_WEIGHT_BYTES = 8192
#: Bytes written at a time.
_BUFFER = 1 << 20


@dataclass(frozen=True, slots=True)
class SpoolPart:
    """``changes`` of whole records, in order.  ``records``: the number of the last one, behind which reading goes on.
    ``final``: no other part follows."""

    records: int
    changes: tuple[RowChange, ...]
    final: bool


class Spool:
    """Write with `add`, all of it, then read with `parts`.  The same changes give the same records and parts again."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="cdc-", buffering=_BUFFER)  # noqa: SIM115 - closed by __exit__
        self._index = RecordIndex()
        self._end = 0
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._index.close()
        self._file.close()

    def add(self, change: RowChange) -> None:
        """Changes come in the order of their ordinals."""
        line = _dump(change)
        former = None if change.before is None else [change.before[column] for column in change.key]
        names = record_names(change.table, list(change.key.values()), former)
        self._index.add(self._end, *names, weight=1 + len(line) // _WEIGHT_BYTES)
        self._file.write(line)
        self._end += len(line)
        self.count += 1

    def parts(self, size: int, behind: int = 0) -> Iterator[SpoolPart]:
        """About ``size`` changes each (fewer when they are long, more only when a single record has more), of the
        records numbered above ``behind``; at least one part, which may be empty."""
        self._file.flush()
        waiting: tuple[int, list[int]] = (behind, [])
        for part in self._index.parts(behind, size):
            if waiting[1]:
                yield SpoolPart(waiting[0], self._changes(waiting[1]), final=False)
            waiting = part
        yield SpoolPart(waiting[0], self._changes(waiting[1]), final=True)

    def _changes(self, offsets: list[int]) -> tuple[RowChange, ...]:
        changes = []
        for offset in offsets:
            self._file.seek(offset)
            changes.append(_load(self._file.readline()))
        return tuple(changes)


def _dump(change: RowChange) -> bytes:
    """One line, whatever the values hold: JSON escapes line ends."""
    fields = (
        change.operation,
        change.table,
        change.key,
        change.before,
        change.after,
        change.time.isoformat(),
        change.ordinal,
        list(change.secrets_changed),
    )
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


def _load(line: bytes) -> RowChange:
    fields: list[Any] = orjson.loads(line)
    operation, table, key, before, after, time, ordinal, secrets = fields
    return RowChange(
        Operation(operation),
        table,
        key,
        before,
        after,
        datetime.fromisoformat(time),
        ordinal,
        frozenset(secrets),
    )
