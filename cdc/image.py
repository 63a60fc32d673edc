"""An image of a row that is decoded when somebody asks for more of it than its key.

A transaction often changes a record several times, and of those images only the first and the last are looked at
(`cdc.mapping.merge`); a huge transaction is gone through once for its keys alone.  So sources that have images as text
hand on the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from cdc.change import Row, Value
from cdc.row_json import Reader, Unexpected


class Image(Mapping[str, Value]):
    """A `Row`.  ``key``: its columns of the primary key.  ``decode``: gives the whole row; whatever it raises about a
    text that is not the table's comes when the row is looked at."""

    __slots__ = ("_decode", "_row", "_text", "key")

    def __init__(self, text: str, key: Row, decode: Callable[[str], Row]) -> None:
        self.key = key
        self._text = text
        self._decode = decode
        self._row: Row | None = None

    @property
    def row(self) -> Row:
        """All of it."""
        if self._row is None:
            self._row = self._decode(self._text)
        return self._row

    def __getitem__(self, column: str) -> Value:
        key = self.key
        return key[column] if column in key else self.row[column]

    def __iter__(self) -> Iterator[str]:
        return iter(self.row)

    def __len__(self) -> int:
        return len(self.row)

    def __bool__(self) -> bool:
        return True  # it has a key

    def __repr__(self) -> str:
        return f"Image({self.key!r})"


def deferred(decode: Callable[[str], Row], read_key: Reader) -> Callable[[str], Row]:
    """A function from a text to its image, which is a decoded row already where its key cannot be read alone."""

    def image(text: str) -> Row:
        try:
            return Image(text, read_key(text), decode)
        except Unexpected:
            return decode(text)

    return image


def opened(row: Row) -> Row:
    """A row that costs nothing to look at."""
    return row.row if type(row) is Image else row


def key_of(row: Row, columns: tuple[str, ...]) -> Row | None:
    """The primary key, or None when the row has not all of these columns."""
    if type(row) is Image and tuple(row.key) == columns:
        return row.key
    try:
        return {column: row[column] for column in columns}
    except KeyError:
        return None
