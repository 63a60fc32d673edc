"""Rows of the journal in a MariaDB or MySQL database, decoded with the shapes that wrote them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import pymysql
from pymysql.connections import Connection

from cdc.change import Operation, Row
from cdc.database.mysql_connection import MISSING_TABLE, NO_PRIVILEGE, code_of, rows
from cdc.database.mysql_journal import CASCADES_ROW, OPERATIONS, Decoder, Shape, image_decoder
from cdc.errors import SourceError
from cdc.source.journal_database import JournalRow

_NEEDS_BEFORE = (Operation.UPDATE, Operation.DELETE)
_NEEDS_AFTER = (Operation.CREATE, Operation.UPDATE)


#: A shape, and how images of it are decoded.
KnownShape = tuple[Shape, Decoder]


def journals_cascades(connection: Connection[Any]) -> bool:
    """Whether triggers journal cascades and nothing else, as far as this account may know."""
    try:
        return bool(rows(connection, "SELECT 1 FROM `cdc_installation` WHERE `id` = %s", (CASCADES_ROW,)))
    except (pymysql.err.OperationalError, pymysql.err.ProgrammingError) as error:
        if code_of(error) != MISSING_TABLE and code_of(error) not in NO_PRIVILEGE:
            raise
        return False


def read_shapes(connection: Connection[Any]) -> dict[int, KnownShape]:
    """By number.  They never change."""
    found = {}
    for number, table, layout in rows(connection, "SELECT `id`, `table_name`, `layout` FROM `cdc_shape`"):
        shape = Shape.from_json(table, layout)
        found[number] = (shape, image_decoder(shape))
    return found


def known_shape(shapes: Mapping[int, KnownShape], number: int) -> KnownShape:
    known = shapes.get(number)
    if known is None:
        raise SourceError(
            f"A row of the journal names shape {number}, which is not in cdc_shape.",
            "Was cdc_shape changed by hand?  Run `cdc uninstall-triggers` and `cdc install-triggers`.",
        )
    return known


def image_rows(
    decode: Decoder, operation: Operation, before: str | None, after: str | None, *, gap: bool
) -> tuple[Row | None, Row | None] | None:
    """The images decoded; None for a gap.  An image that the server could not build (longer than max_allowed_packet) is
    null: a gap like the others."""
    lost = (before is None and operation in _NEEDS_BEFORE) or (after is None and operation in _NEEDS_AFTER)
    if gap or lost:
        return None
    return None if before is None else decode(before), None if after is None else decode(after)


def secrets_of(shape: Shape, indexes: str | None) -> frozenset[str]:
    return frozenset(shape.secrets[int(index)] for index in indexes.split(",")) if indexes else frozenset()


class RowReader:
    """Shapes are read when a row names one that is not known yet: they never change.

    ``latest``: the greatest id read so far.  ``read_at``: when rows were read last (monotonic).  ``complete``: token →
    ids of transactions that an answer held entirely, which spares looking for them when they are forgotten.
    """

    def __init__(self) -> None:
        self.latest = 0
        self.read_at = float("-inf")
        self.complete: dict[int, list[int]] = {}
        self._shapes: dict[int, KnownShape] = {}

    def read(self, connection: Connection[Any], sql: str, parameters: Sequence[Any], most: int = 0) -> list[JournalRow]:
        """``most``: the statement's limit; fewer rows (or no limit) are whole transactions."""
        found = rows(connection, sql, parameters)
        if not most or len(found) < most:
            whole: dict[int, list[int]] = {}
            for row in found:
                whole.setdefault(row[1], []).append(row[0])
            self.complete.update(whole)
        if any(row[2] not in self._shapes for row in found):
            self._shapes = read_shapes(connection)
        if found:
            self.latest = max(self.latest, *(row[0] for row in found))
            self.read_at = time.monotonic()
        return [self._row(row) for row in found]

    def _row(self, row: tuple[Any, ...]) -> JournalRow:
        number, token, shape_id, op, gap, at, secrets, image_before, image_after = row
        shape, decode = known_shape(self._shapes, shape_id)
        operation = OPERATIONS[op]
        images = image_rows(decode, operation, image_before, image_after, gap=bool(gap))
        before, after = images or (None, None)
        return JournalRow(
            token=str(token),
            ordinal=number,
            order=number,
            table=shape.table,
            operation=operation,
            time=at,
            before=before,
            after=after,
            secrets_changed=secrets_of(shape, secrets),
            gap=images is None,
        )
