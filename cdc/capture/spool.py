"""The row changes of one huge transaction on disk, grouped by record, for sources that read it once only.

A log is read forwards and a huge transaction fits no memory, while merging needs all changes of a record together: so
they are written down, and read back in parts of whole records.  The file has no name and goes with its process.  The
`RecordIndex` finds the parts, also of a journal, which can be read twice.

A failure of such a file is one sentence: which folder, why, and what to do.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

import orjson

from cdc.database import sqlfile
from cdc.model.change import Operation, RowChange, Value
from cdc.model.errors import DISK_FULL, SourceUnavailable
from cdc.model.normal import decimal_columns, with_decimals

#: SQLite's codes of a file that it cannot write.
_UNWRITABLE: Final = {
    sqlite3.SQLITE_FULL: "no space left, or a limit of it is reached",
    sqlite3.SQLITE_IOERR: "the disk failed",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_READONLY: "it is read-only",
}
#: The system's folders for temporary files, in SQLite's order.
_TEMPORARY: Final = ("/var/tmp", "/usr/tmp", "/tmp")  # noqa: S108 - named in errors; nothing is written there


def not_written(error: OSError | sqlite3.OperationalError) -> Exception:
    """Return the error to raise where a temporary file failed: ``error`` itself if the disk is not its cause."""
    if isinstance(error, sqlite3.OperationalError):
        code = error.sqlite_errorcode & 0xFF
        if code not in _UNWRITABLE:
            return error
        # as SQLite chooses: https://www.sqlite.org/tempfiles.html, section 5
        named = [os.environ.get(name, "") for name in ("SQLITE_TMPDIR", "TMPDIR")]
        folders = [each for each in (*named, *_TEMPORARY) if each]
        usable = (each for each in folders if Path(each).is_dir() and os.access(each, os.W_OK | os.X_OK))
        folder, reason, full = next(usable, folders[0]), _UNWRITABLE[code], code == sqlite3.SQLITE_FULL
    else:
        try:
            folder = tempfile.gettempdir()
        except OSError:  # none is usable
            folder = os.environ.get("TMPDIR", _TEMPORARY[-1])
        reason, full = error.strerror or str(error), error.errno in DISK_FULL
    fix = "Make room there" if full else "Let this user write there"
    return SourceUnavailable(
        f"A large transaction cannot be stored in the temporary folder {folder}: {reason}.",
        f"{fix}, or set TMPDIR to another folder.",
    )


class RecordIndex:
    """The ordinals of each record, in a temporary SQLite file that its connection owns and the system removes: rows
    cost disk, not memory.  An ordinal orders the changes and finds them again: a row's number in the journal, an
    offset in a file.

    Records are numbered from 1 in the order of their first change: the numbers are the same on every reading.  Records
    that may share a key for a moment, or that take each other's, count as one: their changes say which is which only
    together."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        try:
            self._database.executescript(sqlfile.load("sqlite/record_index.sql"))
        except sqlite3.OperationalError as error:
            raise not_written(error) from error
        self._database.execute("BEGIN")
        self._last = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    def add(
        self, ordinal: int, name: str, former_name: str | None = None, weight: int = 1, *, deleted: bool = False
    ) -> None:
        """Note a change of the record called ``name`` (``former_name`` before this very change renamed it), which
        counts as ``weight`` changes."""
        try:
            record = self._number(former_name or name, left=former_name is not None)
            if former_name is not None:
                record = self._renamed(record, name)
            if deleted:
                self._database.execute("INSERT OR IGNORE INTO deleted VALUES (?)", (record,))
            self._database.execute("INSERT INTO change VALUES (?, ?, ?)", (record, ordinal, weight))
        except sqlite3.OperationalError as error:
            raise not_written(error) from error

    def _number(self, name: str, *, left: bool) -> int:
        """Return the number of the record with this name.  ``left``: the change gives it another name."""
        found = self._database.execute("SELECT number, free FROM record WHERE name = ?", (name,)).fetchone()
        if found is not None:
            if found[1]:
                self._database.execute("UPDATE record SET free = 0 WHERE name = ?", (name,))
            return self._root(int(found[0]))
        self._last += 1
        self._database.execute("INSERT INTO record VALUES (?, ?, ?)", (name, self._last, left))
        return self._last

    def _renamed(self, record: int, name: str) -> int:
        """Give the record the name.  It is one with the record that has it, unless that one is known to have left it,
        comes earlier, and is not deleted in the end: a row that takes the key of a deleted one continues it."""
        found = self._database.execute("SELECT number, free FROM record WHERE name = ?", (name,)).fetchone()
        owner = record if found is None else self._root(int(found[0]))
        if owner != record and found[1] and owner < record:
            self._database.execute("INSERT INTO successor VALUES (?, ?)", (owner, record))
        elif owner != record:
            record = self._join(owner, record)
        self._database.execute("INSERT OR REPLACE INTO record VALUES (?, ?, FALSE)", (name, record))
        return record

    def _join(self, one: int, other: int) -> int:
        """Count two records as one from here on; return its number."""
        record, joined = sorted((one, other))
        self._database.execute("INSERT INTO joined VALUES (?, ?)", (joined, record))
        self._database.execute("INSERT OR IGNORE INTO deleted SELECT ? FROM deleted WHERE number = ?", (record, joined))
        return record

    def _join_successors(self) -> None:
        """Count records and those that took their keys as one where the first was deleted, and so on."""
        some = self._database.execute("SELECT EXISTS (SELECT 1 FROM deleted) AND EXISTS (SELECT 1 FROM successor)")
        again = bool(some.fetchone()[0])
        while again:
            again = False
            for one, other in self._database.execute("SELECT owner, record FROM successor"):
                owner, record = self._root(one), self._root(other)
                gone = self._database.execute("SELECT 1 FROM deleted WHERE number = ?", (owner,)).fetchone()
                if gone and owner != record:
                    self._join(owner, record)
                    again = True

    def _root(self, number: int) -> int:
        """Return the number of the record that this one was joined with."""
        while found := self._database.execute("SELECT root FROM joined WHERE number = ?", (number,)).fetchone():
            (root,) = found
            self._database.execute(
                "UPDATE joined SET root = coalesce((SELECT root FROM joined WHERE number = ?), root) WHERE number = ?",
                (root, number),
            )
            number = int(root)
        return number

    def parts(self, after: int, size: int) -> Iterator[tuple[int, list[int], bool]]:
        """Yield successive parts: whole records numbered above ``after``, about ``size`` changes each (more only when a
        single record has more).  Of each the number of the last record, the ordinals in order, and whether it is the
        last part."""
        try:
            self._join_successors()
            for (number,) in self._database.execute("SELECT number FROM joined ORDER BY number").fetchall():
                root = self._root(number)
                self._database.execute("UPDATE change SET record = ? WHERE record = ?", (root, number))
            ordinals: list[int] = []
            last = total = 0
            for record, ordinal, weight in self._database.execute(
                "SELECT record, ordinal, weight FROM change WHERE record > ? ORDER BY record, ordinal", (after,)
            ):
                if record != last and total >= size:
                    yield last, sorted(ordinals), False
                    ordinals, total = [], 0
                ordinals.append(ordinal)
                total += weight
                last = record
            if ordinals:
                yield last, sorted(ordinals), True
        except sqlite3.OperationalError as error:
            raise not_written(error) from error


def record_names(table: str, key: Sequence[Value], former_key: Sequence[Value] | None) -> tuple[str, str | None]:
    """Return the name by which `RecordIndex.add` knows the record with this key, and its former name when this very
    change renames it (``former_key``: of the before image, if there is one).  A change of no record (truncate) is its
    table's."""
    if not key:
        return table, None
    name = f"{table}:{list(key)!r}"
    former = name if former_key is None else f"{table}:{list(former_key)!r}"
    return name, None if former == name else former


#: Written changes of more bytes than this count as several, so that a part's memory is bounded whatever the rows hold.
_WEIGHT_BYTES = 8192
#: Bytes written at a time.
_BUFFER = 1 << 20


@dataclass(frozen=True, slots=True)
class SpoolPart:
    """A part of a huge transaction.  ``changes`` of whole records, in order.  ``records``: the number of the last
    one, after which reading continues.  ``final``: no other part follows."""

    records: int
    changes: tuple[RowChange, ...]
    final: bool


class Spool:
    """Write with `add`, all of it, then read with `parts`.  The same changes give the same records and parts again."""

    def __init__(self) -> None:
        try:
            self._file = tempfile.TemporaryFile(prefix="cdc-", buffering=_BUFFER)  # noqa: SIM115 - the file lives as long as this object, whose method `close` closes it
        except OSError as error:
            raise not_written(error) from error
        self._index = RecordIndex()
        self._end = 0
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the changes from the disk."""
        self._index.close()
        self._file.close()

    def add(self, change: RowChange) -> None:
        """Changes come in the order of their ordinals."""
        line = _dump(change)
        former = None if change.before is None else [change.before[column] for column in change.key]
        names = record_names(change.table, list(change.key.values()), former)
        deleted = change.operation is Operation.DELETE
        self._index.add(self._end, *names, weight=1 + len(line) // _WEIGHT_BYTES, deleted=deleted)
        try:
            self._file.write(line)
        except OSError as error:
            raise not_written(error) from error
        self._end += len(line)
        self.count += 1

    def parts(self, size: int, behind: int = 0) -> Iterator[SpoolPart]:
        """Yield parts of about ``size`` changes (fewer when they are long, more only when a single record has more), of
        the records numbered above ``behind``; at least one part, which may be empty."""
        try:
            self._file.flush()
        except OSError as error:
            raise not_written(error) from error
        final = False
        for last, offsets, final in self._index.parts(behind, size):
            changes = []
            for offset in offsets:
                self._file.seek(offset)
                changes.append(_load(self._file.readline()))
            yield SpoolPart(last, tuple(changes), final)
        if not final:
            yield SpoolPart(behind, (), final=True)


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
        decimal_columns(change.image or {}),
    )
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


def _load(line: bytes) -> RowChange:
    fields: list[Any] = orjson.loads(line)
    operation, table, key, before, after, time, ordinal, secrets, decimals = fields
    return RowChange(
        Operation(operation),
        table,
        key,
        None if before is None else with_decimals(before, decimals),
        None if after is None else with_decimals(after, decimals),
        datetime.fromisoformat(time),
        ordinal,
        frozenset(secrets),
    )
