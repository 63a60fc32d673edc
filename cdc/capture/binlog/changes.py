"""Decoded rows → row changes: keys, operations, secret columns left out, unchanged rows dropped.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from cdc.capture.binlog.layout import LogLayout
from cdc.capture.binlog.rows import Image
from cdc.model.change import Operation, RowChange, Value

_Pair = tuple[Image | None, Image | None]
#: (before and after images, ordinal of the first, time) → the changes among them.
Build = Callable[[Iterable[_Pair], int, datetime], list[RowChange]]


def builder(layout: LogLayout, secrets: frozenset[str]) -> Build:
    """``secrets``: columns whose values go no further; that one changed is said of updates, as triggers do."""
    table = layout.table
    key = tuple((name, layout.names.index(name)) for name in layout.key)
    hidden = tuple((name, index) for index, name in enumerate(layout.names) if name in secrets)
    row = _plain_row(layout.names) if not hidden else _stripped_row(layout.names, secrets)

    def build(pairs: Iterable[_Pair], ordinal: int, time: datetime) -> list[RowChange]:
        changes = []
        for before, after in pairs:
            if before is None:
                assert after is not None, "a row has an image"
                change = RowChange(
                    Operation.CREATE, table, {n: after[i] for n, i in key}, None, row(after), time, ordinal
                )
            elif after is None:
                change = RowChange(
                    Operation.DELETE, table, {n: before[i] for n, i in key}, row(before), None, time, ordinal
                )
            elif before == after:
                ordinal += 1
                continue
            else:
                change = RowChange(
                    Operation.UPDATE,
                    table,
                    {n: after[i] for n, i in key},
                    row(before),
                    row(after),
                    time,
                    ordinal,
                    frozenset([n for n, i in hidden if before[i] != after[i]]) if hidden else _NONE,
                )
            ordinal += 1
            changes.append(change)
        return changes

    return build


_NONE: frozenset[str] = frozenset()
_Row = dict[str, Value]


def _plain_row(names: tuple[str, ...]) -> Callable[[Image], _Row]:
    def row(image: Image) -> _Row:
        return dict(zip(names, image, strict=True))

    return row


def _stripped_row(names: tuple[str, ...], secrets: frozenset[str]) -> Callable[[Image], _Row]:
    shown = tuple((name, index) for index, name in enumerate(names) if name not in secrets)

    def row(image: Image) -> _Row:
        return {name: image[index] for name, index in shown}

    return row
