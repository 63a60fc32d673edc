"""The normal form of a value: every source and engine writes the same value in the same way.

The functions take what the engines give (JSON values of triggers, driver values) and return a `Value`.  Decimals are
texts in events, so that no digit is lost, and numbers where rules and filters compare them.
"""

from __future__ import annotations

import base64
import math
import re
import struct
from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

from cdc.model.change import Row, Value
from cdc.model.column import ColumnKind


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


def boolean(value: Any) -> Value:
    """0/1, "0"/"1", true/false, PostgreSQL's t/f → bool; a tinyint(1) that holds another number stays a number."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if value in ("t", "true", "f", "false"):
            return value.startswith("t")
        value = int(value)
    return bool(value) if value in (0, 1) else int(value)


def integer(value: Any) -> Value:
    return None if value is None else int(value)


def double(value: Any) -> Value:
    """A 64-bit float.  JSON has no NaN and no infinities: they become their names as text.  Zero has no sign:
    triggers write both alike into a journal."""
    if value is None:
        return None
    number = float(value) + 0.0
    return number if math.isfinite(number) else str(number)


def real(value: Any) -> Value:
    """A 32-bit float as the 64-bit float whose shortest text reads back as the same 32-bit one."""
    if value is None:
        return None
    number = float(value) + 0.0
    if not math.isfinite(number):
        return str(number)
    single = struct.pack("<f", number)
    for digits in range(6, 10):
        short = float(f"{number:.{digits}g}")
        if struct.pack("<f", short) == single:
            return short
    return number


def decimal(value: Any) -> Value:
    if value is None:
        return None
    return DecimalText(format(value, "f") if isinstance(value, Decimal) else value)


def date_(value: Any) -> Value:
    """Zero dates, which MySQL and MariaDB can hold, become null."""
    if value is None:
        return None
    text = value.isoformat() if isinstance(value, date) else str(value)
    return None if text.startswith("0000-00-00") else text


def _without_empty_fraction(text: str) -> str:
    head, dot, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    return f"{head}.{fraction}" if dot and fraction else head


def time_(value: Any) -> Value:
    """``HH:MM:SS[.ffffff]``; MySQL's range goes beyond a day and below zero."""
    if value is None:
        return None
    if isinstance(value, timedelta):
        micros = value // timedelta(microseconds=1)
        sign, micros = ("-", -micros) if micros < 0 else ("", micros)
        seconds, micros = divmod(micros, 1_000_000)
        text = f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{micros:06}"
    else:
        text = value.isoformat() if isinstance(value, time) else str(value)
    return _without_empty_fraction(text)


def timestamp(value: Any) -> Value:
    if value is None:
        return None
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    if text.startswith("0000-00-00"):
        return None
    return _without_empty_fraction(text.replace(" ", "T", 1))


def text(value: Any) -> Value:
    return None if value is None else str(value)


def binary(value: Any) -> Value:
    """Bytes become base64 text; text is taken to be base64 already (triggers encode in the database)."""
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode("ascii")
    return None if value is None else "".join(str(value).split())


class Form(NamedTuple):
    """The notation of one kind's values.  ``normal``: from an engine's value to the normal form.  ``example``: of it.

    ``json``: the JSON of the normal form, as a type to read; whole numbers become floats where it is one.  `Any`: as
    JSON has it.  ``schema``: the types of JSON Schema that it may have besides null, and ``format``."""

    normal: Callable[[Any], Value]
    json: Any = Any
    schema: tuple[str, ...] = ("string",)
    example: Value = "texto"
    format: str = ""


_NUMBERS = ("number", "string")  # NaN and the infinities are texts
FORMS: Mapping[ColumnKind, Form] = {
    # a tinyint(1) may hold any small number
    ColumnKind.BOOLEAN: Form(boolean, bool | None, ("boolean", "integer"), example=True),
    ColumnKind.INTEGER: Form(integer, int | None, ("integer",), 1),
    ColumnKind.DOUBLE: Form(double, float | None, _NUMBERS, 1.5),
    ColumnKind.REAL: Form(real, Any, _NUMBERS, 1.5),
    ColumnKind.DECIMAL: Form(decimal, example=DecimalText("1.50")),
    ColumnKind.DATE: Form(date_, str | None, example="2026-11-24", format="date"),
    ColumnKind.TIME: Form(time_, str | None, example="21:48:00"),
    ColumnKind.TIMESTAMP: Form(timestamp, example="2026-11-24T21:48:00"),
    ColumnKind.TEXT: Form(text, str | None),
    ColumnKind.JSON: Form(text, example="{}"),
    ColumnKind.BINARY: Form(binary, example="AAE="),
    ColumnKind.OTHER: Form(text),
}
#: ColumnKind → function from an engine's value to the normal form.
NORMALISERS = {kind: form.normal for kind, form in FORMS.items()}
