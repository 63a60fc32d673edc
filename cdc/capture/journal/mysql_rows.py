"""Rows of the journal in a MariaDB or MySQL database, decoded with the shapes that wrote them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pymysql
from pymysql.connections import Connection

from cdc.capture.journal.database import JournalRow, unreadable
from cdc.database import sqlfile
from cdc.database.mysql_connection import BAD_COLUMN, MISSING_TABLE, NO_PRIVILEGE, code_of, rows
from cdc.database.mysql_journal import CASCADES_ROW, OPERATIONS, JournalShape, image_reader
from cdc.model.change import Operation, Row, RowChange
from cdc.model.errors import SourceError
from cdc.model.image import Image, ImageReader, key_in

_NEEDS_BEFORE = (Operation.UPDATE, Operation.DELETE)
_NEEDS_AFTER = (Operation.CREATE, Operation.UPDATE)
_NOTHING: frozenset[str] = frozenset()
#: A row as the statement selects it: its short columns, the image before, the image after.
Record = tuple[list[str], str | None, str | None]


class KnownShape(NamedTuple):
    """The reader of journal rows that name this shape.  ``keys``: the keys in gaps."""

    shape: JournalShape
    images: ImageReader
    keys: ImageReader


def journals_cascades(connection: Connection[Any]) -> bool:
    """Return whether triggers journal cascades and nothing else, as far as this account may know."""
    try:
        return bool(
            rows(
                connection,
                "SELECT 1 FROM `cdc_installation` FORCE INDEX (PRIMARY) WHERE `id` = %s",
                (CASCADES_ROW,),
            )
        )
    except (pymysql.err.OperationalError, pymysql.err.ProgrammingError) as error:
        if code_of(error) != MISSING_TABLE and code_of(error) not in NO_PRIVILEGE:
            raise
        return False


def read_shapes(connection: Connection[Any]) -> dict[int, KnownShape]:
    """Return shapes by number.  They never change."""
    found = {}
    for number, table, layout in rows(
        connection, "SELECT `id`, `table_name`, `layout` FROM `cdc_shape` FORCE INDEX (PRIMARY)"
    ):
        shape = JournalShape.from_json(table, layout)
        columns = {column.name: column for column in shape.columns}
        keys = JournalShape(table, tuple(columns[name] for name in shape.key), shape.key)
        found[number] = KnownShape(shape, image_reader(shape), image_reader(keys))
    return found


class JournalOrigin(NamedTuple):
    """The beginning of a journal that MariaDB versions by transaction: when it was created, and the transaction that
    wrote the probe, which otherwise precedes every journal row.  ``latest``: the greatest row and transaction deleted
    before that time changed.

    A dump that is restored puts rows back under the name of the transaction that restores them: their events would have
    other ids than before.  They are older than the journal and than the probe; until the dump has put back the probe,
    too, they come `late`.  An ALTER TABLE changes the time alone, a probe that an installation creates again the
    transaction alone."""

    created: datetime
    probe: int
    latest: tuple[int, int] = (0, 0)

    def precedes(self, record: Record) -> bool:
        """Return whether a dump put this row back."""
        renamed = int(record[0][1]) < self.probe or late(record, self.latest)
        return (
            renamed and _moment(record[0][5]) < self.created
        )  # a whole second: what an installation sees at once is not


def _moment(at: str) -> datetime:
    return datetime.fromisoformat(f"{at}+00:00")


def late(record: Record, latest: tuple[int, int]) -> bool:
    """Return whether the row has a lesser number, and the name of a later transaction, than those deleted before."""
    return int(record[0][0]) <= latest[0] and int(record[0][1]) > latest[1]


def read_origin(connection: Connection[Any]) -> JournalOrigin | None:
    """None: the journal is not there at this moment."""
    created = [made for (made,) in rows(connection, sqlfile.load("mysql/journal_created.sql")) if made is not None]
    try:
        probe = rows(connection, "SELECT `txn` FROM `cdc_probe` FORCE INDEX (PRIMARY) WHERE `id` = 0")
    except pymysql.err.MySQLError as error:
        if code_of(error) not in (BAD_COLUMN, MISSING_TABLE, *NO_PRIVILEGE):  # an earlier installation, or account
            raise
        probe = []
    return JournalOrigin(created[0], probe[0][0] if probe else 0) if created else None


class Images(NamedTuple):
    """``gap``: the trigger could not record the change.  Then there are no images, unless a record is gone by the key
    that it had: its row was deleted, or has another key now."""

    operation: Operation
    key: Row
    before: Image | None
    after: Image | None
    gap: bool


def images_of(known: KnownShape, operation: Operation, before: str | None, after: str | None, *, gap: bool) -> Images:
    """An image that the server could not build (longer than max_allowed_packet) is null: a gap like the others."""
    if gap and before is not None and before != after:
        key = Image(before, known.keys)
        return Images(Operation.DELETE, key_in(key, known.keys), key, None, gap=True)
    lost = (before is None and operation in _NEEDS_BEFORE) or (after is None and operation in _NEEDS_AFTER)
    if gap or lost:
        return Images(operation, {}, None, None, gap=True)
    old = None if before is None else Image(before, known.images)
    new = None if after is None else Image(after, known.images)
    return Images(operation, key_in(old if new is None else new, known.images), old, new, gap=False)


def secrets_of(shape: JournalShape, indexes: str | None) -> frozenset[str]:
    return frozenset(shape.secrets[int(index)] for index in indexes.split(",")) if indexes else _NOTHING


class RowReader:
    """Shapes are read when a row names one that is not known yet: they never change.

    ``latest``: the greatest id read so far.  ``read_at``: when rows were read last (monotonic).  ``complete``: token →
    ids of transactions that an answer held entirely, which spares looking for them when they are forgotten.
    ``origin``: rows that precede it become gaps, so that their tables are read again.
    """

    def __init__(self) -> None:
        self.origin: JournalOrigin | None = None
        self.latest = 0
        self.read_at = float("-inf")
        self.complete: dict[str, list[int]] = {}
        self._shapes: dict[int, KnownShape] = {}

    def read(self, connection: Connection[Any], which: str, parameters: Sequence[Any], most: int = 0) -> list[Record]:
        """Read rows, in the connection's thread.  ``which``: of the journal's rows.  ``most``: the statement's limit;
        fewer rows (or no limit) are whole transactions."""
        sql = sqlfile.render("mysql/journal_rows.sql", which=which)
        found = [(short.split("|"), before, after) for short, before, after in rows(connection, sql, parameters)]
        if not {int(short[2]) for short, _, _ in found} <= self._shapes.keys():
            self._shapes = read_shapes(connection)
        if found:
            self.latest = max(self.latest, *(int(short[0]) for short, _, _ in found))
            self.read_at = time.monotonic()
            if not most or len(found) < most:
                self.complete.update(_ids_of(found))
        return found

    def rows(self, found: list[Record]) -> Iterator[JournalRow]:
        for record in found:
            (number, token, shape_id, op, gap, at, *secrets), before, after = record
            known = self._shapes.get(int(shape_id))
            if known is None:
                yield from self._of_unknown_shape(token, int(number), int(shape_id))
                continue
            try:
                operation, key, old, new, lost = images_of(known, OPERATIONS[int(op)], before, after, gap=gap != "0")
                changed = secrets_of(known.shape, secrets[0]) if secrets else _NOTHING
                moment = _moment(at)
                if self.origin is not None and self.origin.precedes(record):
                    key, old, new, lost = {}, None, None, True
                change = RowChange(operation, known.shape.table, key, old, new, moment, int(number), changed)
                row = JournalRow(token, change, lost)
            except Exception as error:  # noqa: BLE001 - the row may be forged and fail in any way; the error is logged and the row becomes a gap, so that no change is lost
                row = unreadable(token, known.shape.table, datetime.now(UTC), int(number), error)
            yield row

    def _of_unknown_shape(self, token: str, number: int, shape: int) -> Iterator[JournalRow]:
        """Yield an unreadable row for each table: whose it is, is not known."""
        error = SourceError(f"A row of the journal names shape {shape}, which is not in cdc_shape.")
        for table in sorted({known.shape.table for known in self._shapes.values()}) or ["?"]:
            yield unreadable(token, table, datetime.now(UTC), number, error)


def _ids_of(found: Iterable[Record]) -> dict[str, list[int]]:
    ids: dict[str, list[int]] = {}
    for (number, token, *_), _, _ in found:
        ids.setdefault(token, []).append(int(number))
    return ids
