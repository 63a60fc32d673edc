"""Bytes of a thing that is not yet complete."""

from __future__ import annotations


class UnreadBytes:
    """Kept in the pieces in which they come and joined once, so that a long thing in small pieces is not copied for
    each of them."""

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
        """What was kept and ``chunk``; nothing as long as that is not enough."""
        if not self._pieces:
            return chunk
        self._pieces.append(chunk)
        self._have += len(chunk)
        if self._have < self._need:
            return b""
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data
