"""Bytes of events: a cursor over one of which every step is checked, so that no input reads beyond its end, and what is
not complete yet."""

from __future__ import annotations

from cdc.model.errors import MalformedEvent

#: First byte of a length-encoded integer → bytes that follow it; smaller first bytes are the number itself.
_WIDTHS = {0xFC: 2, 0xFD: 3, 0xFE: 8}
_LARGEST_SINGLE = 0xFA


class EventCursor:
    def __init__(self, data: bytes, position: int = 0) -> None:
        self._data = data
        self.position = position

    @property
    def left(self) -> int:
        return len(self._data) - self.position

    def take(self, length: int) -> bytes:
        end = self.position + length
        if end > len(self._data):
            raise MalformedEvent("An event of the log ends before its content does.")
        taken = self._data[self.position : end]
        self.position = end
        return taken

    def integer(self, width: int) -> int:
        """Little-endian, unsigned."""
        return int.from_bytes(self.take(width), "little")

    def packed(self) -> int:
        """A length-encoded integer."""
        first = self.integer(1)
        if first <= _LARGEST_SINGLE:
            return first
        if first not in _WIDTHS:
            raise MalformedEvent("An event of the log holds an invalid length.")
        return self.integer(_WIDTHS[first])

    def text(self, length: int) -> str:
        """A name: the server writes them in UTF-8."""
        try:
            return self.take(length).decode()
        except UnicodeDecodeError as error:
            raise MalformedEvent("An event of the log holds a name that is not text.") from error


class UnreadBytes:
    """Received pieces that are joined once, so that a long event in small pieces is not copied for each of them."""

    __slots__ = ("_have", "_need", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._have = self._need = 0

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def keep(self, data: bytes, need: int) -> None:
        """``need``: bytes, with these, without which no more can be done."""
        if data:
            self._pieces.append(data)
        self._have, self._need = len(data), need

    def joined(self, chunk: bytes) -> bytes:
        """Return the stored bytes and ``chunk``; nothing as long as that is not enough."""
        if not self._pieces:
            return chunk
        self._pieces.append(chunk)
        self._have += len(chunk)
        if self._have < self._need:
            return b""
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data
