"""Rows of the journal in a MariaDB or MySQL database, decoded with the shapes that wrote them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from pymysql.connections import Connection

from cdc.change import Operation
from cdc.database.mysql_connection import rows
from cdc.database.mysql_journal import OPERATIONS, Decoder, Shape, decoder
from cdc.errors import SourceError
from cdc.source.journal_database import JournalRow

_NEEDS_BEFORE = (Operation.UPDATE, Operation.DELETE)
_NEEDS_AFTER = (Operation.CREATE, Operation.UPDATE)


class RowReader:
    """Shapes are read when a row names one that is not known yet: they never change.

    ``latest``: the greatest id read so far.  ``read_at``: when rows were read last (monotonic).  ``complete``: token →
    ids of transactions that an answer held entirely, which spares looking for them when they are forgotten.
    """

    def __init__(self) -> None:
        self.latest = 0
        self.read_at = float("-inf")
        self.complete: dict[int, list[int]] = {}
        self._shapes: dict[int, tuple[Shape, Decoder]] = {}

    def read(self, connection: Connection[Any], sql: str, parameters: Sequence[Any], most: int = 0) -> list[JournalRow]:
        """``most``: the statement's limit; fewer rows (or no limit) are whole transactions."""
        found = rows(connection, sql, parameters)
        if not most or len(found) < most:
            whole: dict[int, list[int]] = {}
            for row in found:
                whole.setdefault(row[1], []).append(row[0])
            self.complete.update(whole)
        if any(row[2] not in self._shapes for row in found):
            self._load(connection)
        if found:
            self.latest = max(self.latest, *(row[0] for row in found))
            self.read_at = time.monotonic()
        return [self._row(row) for row in found]

    def _load(self, connection: Connection[Any]) -> None:
        for number, table, layout in rows(connection, "SELECT `id`, `table_name`, `layout` FROM `cdc_shape`"):
            shape = Shape.from_json(table, layout)
            self._shapes[number] = (shape, decoder(shape))

    def _row(self, row: tuple[Any, ...]) -> JournalRow:
        number, token, shape_id, op, gap, at, secrets, image_before, image_after = row
        known = self._shapes.get(shape_id)
        if known is None:
            raise SourceError(
                f"A row of the journal names shape {shape_id}, which is not in cdc_shape.",
                "Was cdc_shape changed by hand?  Run `cdc uninstall-triggers` and `cdc install-triggers`.",
            )
        shape, decode = known
        operation = OPERATIONS[op]
        # An image that the server could not build (longer than max_allowed_packet) is null: a gap like the others.
        lost = (image_before is None and operation in _NEEDS_BEFORE) or (
            image_after is None and operation in _NEEDS_AFTER
        )
        gap = bool(gap) or lost
        return JournalRow(
            token=str(token),
            ordinal=number,
            order=number,
            table=shape.table,
            operation=operation,
            time=at,
            before=None if gap else decode(image_before),
            after=None if gap else decode(image_after),
            secrets_changed=_secrets(shape, secrets),
            gap=gap,
        )


def _secrets(shape: Shape, indexes: str | None) -> frozenset[str]:
    return frozenset(shape.secrets[int(index)] for index in indexes.split(",")) if indexes else frozenset()
