"""An image of a row that is read when somebody looks at it: no more of it than its key, unless more is asked for.

A transaction often changes a record several times, and of those images only the first and the last are looked at
(`cdc.mapping.merge`); a huge transaction is gone through once for its keys alone.  So sources that have images as text
hand on the text.

A reader of JSON images takes only what the table's columns say.  Anything else (a number where the column has texts, a
column more or less) it refuses as a whole, and the caller reads that image with care: reading is fast where it can be,
exact always.

FacturaScripts stores text HTML-escaped (``O&#39;Brien &amp; Sons``); rules compare, and receivers get, what was typed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeVar

import msgspec

from cdc.model.change import Row, Value
from cdc.model.column import Column, ColumnKind
from cdc.model.normal import FORMS, DecimalText, decimal_columns

T = TypeVar("T")

#: What a reader raises about an image that is not what its columns say.
Unexpected = msgspec.DecodeError
#: From the text to column → value, in column order; raises `Unexpected`.
Reader = Callable[[str], dict[str, Value]]
#: A kind's JSON in normal form: whole numbers become floats in columns of these.  Of the kinds that are not named the
#: values come as JSON has them.
TYPES: Mapping[ColumnKind, Any] = {kind: form.json for kind, form in FORMS.items() if form.json is not Any}
_KEY_KINDS = frozenset({ColumnKind.INTEGER, ColumnKind.TEXT})


def object_reader(columns: Sequence[Column], types: Mapping[ColumnKind, Any] = TYPES) -> Reader:
    """Return a reader of objects: column → value, in any order."""
    return _reader(columns, types, array=False)


def tolerant_reader(
    read: Reader, converts: Sequence[tuple[str, Callable[[Any], Value]]], careful: Callable[[str], Row]
) -> Callable[[str], Row]:
    """Return a reader that converts these columns of what ``read`` gives; ``careful`` reads the images that it
    refuses."""

    def decode(text: str) -> Row:
        try:
            row = read(text)
        except Unexpected:
            return careful(text)
        for name, convert in converts:
            row[name] = convert(row[name])
        return row

    return decode


def array_reader(columns: Sequence[Column], types: Mapping[ColumnKind, Any] = TYPES) -> Reader:
    """Return a reader of arrays: the values of these columns."""
    return _reader(columns, types, array=True)


def object_key_reader(columns: Sequence[Column], key: Sequence[str]) -> Reader:
    """Return a reader of keys in objects that may have more columns."""
    return _key_reader([column for name in key for column in columns if column.name == name], key, array=False)


def array_key_reader(columns: Sequence[Column], key: Sequence[str]) -> Reader:
    """The same of arrays of the values of ``columns``."""
    last = max((number for number, column in enumerate(columns) if column.name in key), default=-1)
    return _key_reader(columns[: last + 1], key, array=True)


def _key_reader(columns: Sequence[Column], key: Sequence[str], *, array: bool) -> Reader:
    """Return a reader of the key only, for columns of kinds that all engines write alike; else `refuse`."""
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
    """Return whether a structure may have a field of that name."""
    return column.name.isidentifier() and not column.name.startswith("__")


def refuse(_text: str) -> dict[str, Value]:
    """A reader that reads nothing."""
    raise Unexpected


@dataclass(frozen=True, slots=True)
class ImageReader:
    """Reads the images of one table.  ``decode``: all of one; whatever it raises about a text that is not the table's
    comes when the row is looked at.  ``key``: the primary key's columns, which ``read_key`` reads alone if it can."""

    decode: Callable[[str], Row]
    key: tuple[str, ...]
    read_key: Reader


class Image(Mapping[str, Value]):
    """A `Row`."""

    __slots__ = ("_key", "_reader", "_row", "_text")

    def __init__(self, text: str, reader: ImageReader) -> None:
        self._text = text
        self._reader = reader
        self._key: Row | None = None
        self._row: Row | None = None

    @property
    def text(self) -> str:
        """The image as it came, also when it cannot be read."""
        return self._text

    @property
    def row(self) -> Row:
        """Return the whole row."""
        if self._row is None:
            self._row = self._reader.decode(self._text)
        return self._row

    def key_of(self, columns: tuple[str, ...]) -> Row | None:
        """The values of these columns, or None when it has not all of them."""
        if self._key is None and self._row is None and columns == self._reader.key:
            try:
                self._key = self._reader.read_key(self._text)
            except Unexpected:
                return _picked(self.row, columns)
        return self._key if self._key is not None and columns == self._reader.key else _picked(self.row, columns)

    def __getitem__(self, column: str) -> Value:
        reader = self._reader
        if column in reader.key and (key := self.key_of(reader.key)) is not None:
            return key[column]
        return self.row[column]

    def __iter__(self) -> Iterator[str]:
        return iter(self.row)

    def __len__(self) -> int:
        return len(self.row)

    def __bool__(self) -> bool:
        return True  # without being read

    def __repr__(self) -> str:
        return f"Image({self.key_of(self._reader.key)!r})"


def key_in(image: Image | None, reader: ImageReader) -> Row:
    """The key as the reader knows it; empty where there is none."""
    return {} if image is None else image.key_of(reader.key) or {}


def opened(row: Row) -> Row:
    """A row that costs nothing to look at."""
    return row.row if type(row) is Image else row


def key_of(row: Row, columns: tuple[str, ...]) -> Row | None:
    """The values of these columns, or None when the row has not all of them."""
    return row.key_of(columns) if type(row) is Image else _picked(row, columns)


def _picked(row: Row, columns: tuple[str, ...]) -> Row | None:
    try:
        return {column: row[column] for column in columns}
    except KeyError:
        return None


#: Exactly the entities that FacturaScripts writes; anything else in the text was typed by somebody.
_HTML = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'"}
_ESCAPED = re.compile("|".join(_HTML))


def _character(match: re.Match[str]) -> str:
    return _HTML[match.group()]


def decode_html(value: Value) -> Value:
    """The value with its entities decoded in one pass: ``&amp;lt;`` becomes ``&lt;``, not ``<``."""
    if value.__class__ is str and "&" in value:
        return _ESCAPED.sub(_character, value)
    return value


def decode_html_row(row: Row) -> Row:
    """Return the row as receivers get it; itself when there is nothing to decode."""
    decoded: dict[str, Value] | None = None
    for column, value in row.items():
        kind = value.__class__
        if (kind is str and "&" in value) or kind is DecimalText:  # type: ignore[operator]
            if decoded is None:
                decoded = dict(row)
            decoded[column] = str(value) if kind is DecimalText else _ESCAPED.sub(_character, value)  # type: ignore[arg-type]
    return row if decoded is None else decoded


def raw_row(row: Row) -> Row:
    """The same for ``html = "raw"``."""
    decimals = decimal_columns(row)
    return {**row, **{column: str(row[column]) for column in decimals}} if decimals else row


def as_is(found: T) -> T:
    """Return the value unchanged, for ``html = "raw"``."""
    return found
