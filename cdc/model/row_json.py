"""JSON images of rows, read by what their columns hold: each value is made once, as it must be.

A reader takes only what it expects.  Whatever else there is (a number where the column has texts, a column more or
less) it refuses as a whole, and the caller reads that image with care: reading is fast where it can be, exact always.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from cdc.model.change import Value
from cdc.model.column import Column, ColumnKind
from cdc.model.normal import FORMS

#: What a reader raises about an image that is not what its columns say.
Unexpected = msgspec.DecodeError
#: From the text to column → value, in column order; raises `Unexpected`.
Reader = Callable[[str], dict[str, Value]]
#: A kind's JSON in normal form: whole numbers become floats in columns of these.  Of the kinds that are not named the
#: values come as JSON has them.
TYPES: Mapping[ColumnKind, Any] = {kind: form.json for kind, form in FORMS.items() if form.json is not Any}
_KEY_KINDS = frozenset({ColumnKind.INTEGER, ColumnKind.TEXT})


def object_reader(columns: Sequence[Column], types: Mapping[ColumnKind, Any] = TYPES) -> Reader:
    """Of objects: column → value, in whatever order."""
    return _reader(columns, types, array=False)


def array_reader(columns: Sequence[Column], types: Mapping[ColumnKind, Any] = TYPES) -> Reader:
    """Of arrays: the values of these columns."""
    return _reader(columns, types, array=True)


def object_key_reader(columns: Sequence[Column], key: Sequence[str]) -> Reader:
    """Of objects that may have more columns: those of the key alone."""
    return _key_reader([column for name in key for column in columns if column.name == name], key, array=False)


def array_key_reader(columns: Sequence[Column], key: Sequence[str]) -> Reader:
    """The same of arrays of the values of ``columns``."""
    last = max((number for number, column in enumerate(columns) if column.name in key), default=-1)
    return _key_reader(columns[: last + 1], key, array=True)


def _key_reader(columns: Sequence[Column], key: Sequence[str], *, array: bool) -> Reader:
    """Only of kinds that no engine writes in a way of its own."""
    kinds = {column.name: column.kind for column in columns}
    if not key or not all(kinds.get(name) in _KEY_KINDS for name in key) or not all(map(_is_field, columns)):
        return refuse
    fields = [(column.name, TYPES[column.kind] if column.name in key else Any) for column in columns]
    layout = msgspec.defstruct("Key", fields, array_like=array, gc=False)
    decode = msgspec.json.Decoder(layout).decode
    if len(key) == 1:
        name, value = key[0], attrgetter(key[0])
        return lambda text: {name: value(decode(text))}
    values = attrgetter(*key)
    return lambda text: dict(zip(key, values(decode(text)), strict=True))


def _reader(columns: Sequence[Column], types: Mapping[ColumnKind, Any], *, array: bool) -> Reader:
    if not all(map(_is_field, columns)):
        return refuse
    fields = [(column.name, types.get(column.kind, Any)) for column in columns]
    layout = msgspec.defstruct("Image", fields, array_like=array, forbid_unknown_fields=True, gc=False)
    decode, as_dict = msgspec.json.Decoder(layout).decode, msgspec.structs.asdict
    return lambda text: as_dict(decode(text))


def _is_field(column: Column) -> bool:
    """Whether a structure may have a field of that name."""
    return column.name.isidentifier() and not column.name.startswith("__")


def refuse(_text: str) -> dict[str, Value]:
    """A reader that reads nothing."""
    raise Unexpected
