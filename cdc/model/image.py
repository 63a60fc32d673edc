"""An image of a row that is read when somebody looks at it: no more of it than its key, unless more is asked for.

A transaction often changes a record several times, and of those images only the first and the last are looked at
(`cdc.mapping.merge`); a huge transaction is gone through once for its keys alone.  So sources that have images as text
hand on the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from cdc.model.change import Row, Value
from cdc.model.row_json import Reader, Unexpected


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
        """All of it."""
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
