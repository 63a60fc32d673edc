"""Columns of decimals: texts in events, so that no digit is lost, and numbers where rules and filters compare them."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Final

from cdc.model.change import Row, Value


class DecimalText(str):
    """The value of such a column in a row change: a text that says that it is a number."""

    __slots__ = ()


#: Not NaN or Infinity, which PostgreSQL has.
_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


def decimal_of(value: object) -> Decimal | None:
    """Return the number exactly; None for what is none.  A float means the shortest number that reads back as it."""
    if isinstance(value, DecimalText):
        return Decimal(value) if _NUMBER.fullmatch(value) else None
    if isinstance(value, float):
        return Decimal(repr(float(value))) if math.isfinite(value) else None
    if isinstance(value, int):
        return None if isinstance(value, bool) else Decimal(int(value))
    return value if isinstance(value, Decimal) else None


def decimal_columns(row: Mapping[str, object]) -> list[str]:
    """Return the columns of decimals, for `with_decimals`."""
    return [column for column, value in row.items() if type(value) is DecimalText]


def with_decimals(row: Mapping[str, Value], columns: Collection[str]) -> Row:
    """Return a row that was stored as JSON with what its columns of decimals had before."""
    if not columns:
        return row
    marked = {column: DecimalText(row[column]) for column in columns if isinstance(row.get(column), str)}
    return {**row, **marked}
