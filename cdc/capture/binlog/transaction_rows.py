"""The rows events of the transaction that is being read: in memory up to a bound, beyond it in a nameless file."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from struct import Struct
from weakref import finalize

from cdc.capture.binlog.item import LogRows
from cdc.capture.binlog.journal_rows import JournalRows
from cdc.capture.binlog.layout import LogLayout
from cdc.capture.binlog.unreadable import UnreadableTable
from cdc.model.errors import SourceUnavailable

_RECORD = Struct("<IBI")  # number of the layout, kind of event, bytes of its body
_BUFFER = 1 << 20


class SpilledRows(Collection[LogRows]):
    """On disk, in order.  The file goes when this does."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="cdc-", buffering=_BUFFER)  # noqa: SIM115 - closed by the line below
        finalize(self, self._file.close)
        self._layouts: list[LogLayout | UnreadableTable | JournalRows] = []
        self._numbers: dict[int, int] = {}
        self._offsets = array("Q")
        self._end = 0

    def __len__(self) -> int:
        return len(self._offsets)

    def __contains__(self, rows: object) -> bool:
        return any(each == rows for each in self)

    def __iter__(self) -> Iterator[LogRows]:
        """Memory holds one at a time; several iterations may go on at once."""
        for offset in self._offsets:
            self._file.seek(offset)
            number, kind, length = _RECORD.unpack(self._file.read(_RECORD.size))
            yield LogRows(self._layouts[number], kind, self._file.read(length))

    def append(self, rows: LogRows) -> None:
        layout = rows.layout
        number = self._numbers.get(id(layout))
        if number is None:
            number = self._numbers[id(layout)] = len(self._layouts)
            self._layouts.append(layout)
        self._file.write(_RECORD.pack(number, rows.event_type, len(rows.body)))
        self._file.write(rows.body)
        self._offsets.append(self._end)
        self._end += _RECORD.size + len(rows.body)

    def flush(self) -> None:
        self._file.flush()

    def cut(self, count: int) -> None:
        """Keep the first ``count``."""
        if count < len(self._offsets):
            self._end = self._offsets[count]
            self._file.seek(self._end)
            self._file.truncate()
            del self._offsets[count:]


class TransactionRows:
    """``limit``: bytes of bodies that stay in memory."""

    __slots__ = ("_bytes", "_limit", "_rows", "_savepoints", "_spilled")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rows: list[LogRows] = []
        self._bytes = 0
        self._spilled: SpilledRows | None = None
        self._savepoints: list[tuple[bytes, int]] = []

    def __len__(self) -> int:
        return len(self._rows) if self._spilled is None else len(self._spilled)

    def add(self, rows: LogRows) -> None:
        """Raises `SourceUnavailable` when the disk is full."""
        self._bytes += len(rows.body)
        if self._bytes <= self._limit:
            self._rows.append(rows)
            return
        with self._disk():
            self._spill(rows)

    def _spill(self, rows: LogRows) -> None:
        if self._spilled is None:
            self._spilled = SpilledRows()
            for each in self._rows:
                self._spilled.append(each)
            self._rows.clear()
        self._spilled.append(rows)

    def savepoint(self, name: bytes) -> None:
        self._savepoints.append((name, len(self)))

    def roll_back_to(self, name: bytes) -> None:
        """What came behind the savepoint did not happen.  A savepoint that is not known stood before all rows."""
        while self._savepoints and self._savepoints[-1][0] != name:
            self._savepoints.pop()
        count = self._savepoints[-1][1] if self._savepoints else 0
        if self._spilled is None:
            del self._rows[count:]
        else:
            self._spilled.cut(count)

    def taken(self) -> Collection[LogRows]:
        """All of them.  Raises as `add` does."""
        if self._spilled is None:
            return tuple(self._rows)
        with self._disk():
            self._spilled.flush()
        return self._spilled

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SourceUnavailable(
                f"A transaction of more than {self._bytes >> 20} MB cannot be kept in {tempfile.gettempdir()}: "
                f"{error.strerror or error}.",
                "Make room there, or set TMPDIR to a folder with more.",
            ) from error
