"""JSON images of rows, read by what their columns hold: each value is made once, as it must be.

A reader takes only what it expects.  Whatever else there is (a number where the column has texts, a column more or
less) it refuses as a whole, and the caller reads that image with care: reading is fast where it can be, exact always.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from cdc.change import Value
from cdc.column import Column, ColumnKind

#: What a reader raises about an image that is not what its columns say.
Unexpected = msgspec.DecodeError
#: From the text to column → value, in column order; raises `Unexpected`.
Reader = Callable[[str], dict[str, Value]]
#: A kind's JSON in normal form: whole numbers become floats in columns of these.  Of the kinds that are not named the
#: values come as JSON has them.
TYPES: Mapping[ColumnKind, Any] = {
    ColumnKind.BOOLEAN: bool | None,
    ColumnKind.INTEGER: int | None,
    ColumnKind.DOUBLE: float | None,
    ColumnKind.DATE: str | None,
    ColumnKind.TIME: str | None,
    ColumnKind.TEXT: str | None,
}


def object_reader(columns: Sequence[Column], types: Mapping[ColumnKind, Any] = TYPES) -> Reader:
    """Of objects: column → value, in whatever order."""
    return _reader(columns, types, array=False)


def array_reader(columns: Sequence[Column], types: Mapping[ColumnKind, Any] = TYPES) -> Reader:
    """Of arrays: the values of these columns."""
    return _reader(columns, types, array=True)


def _reader(columns: Sequence[Column], types: Mapping[ColumnKind, Any], *, array: bool) -> Reader:
    if not all(map(_is_field, columns)):
        return _refuse
    fields = [(column.name, types.get(column.kind, Any)) for column in columns]
    layout = msgspec.defstruct("Image", fields, array_like=array, forbid_unknown_fields=True, gc=False)
    decode, as_dict = msgspec.json.Decoder(layout).decode, msgspec.structs.asdict
    return lambda text: as_dict(decode(text))


def _is_field(column: Column) -> bool:
    """Whether a structure may have a field of that name."""
    return column.name.isidentifier() and not column.name.startswith("__")


def _refuse(_text: str) -> dict[str, Value]:
    raise Unexpected
