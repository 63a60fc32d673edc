"""Which transactions that the log told of can be seen in the database by now.  Pure.

The server writes a commit to its log first and shows it a moment later: with a synchronous standby that moment may be
long.  A page of a table that was read in between would show a row as it was before a change that was told already.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_LOWER: Final = (1 << 32) - 1
_HALF: Final = 1 << 31


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Of a transaction id only the lower 32 bits count, as in the log.  ``next``: those from here on had not begun.
    ``open``: those before it that had not ended."""

    next: int
    open: frozenset[int]

    @staticmethod
    def parse(text: str) -> Snapshot:
        """As ``pg_current_snapshot()`` writes it: ``xmin:xmax:xip,…``."""
        _, end, under_way = text.split(":")
        return Snapshot(int(end) & _LOWER, frozenset(int(xid) & _LOWER for xid in under_way.split(",") if xid))

    def shows(self, xid: int) -> bool:
        return xid not in self.open and (xid - self.next) & _LOWER >= _HALF


class Unseen:
    """Transactions that the log told of and that no snapshot has shown yet."""

    def __init__(self) -> None:
        self._xids: set[int] = set()

    def told(self, xids: Iterable[int]) -> None:
        self._xids.update(xids)

    def all_in(self, snapshot: Snapshot) -> bool:
        """Whether the snapshot shows all of them; what it shows is forgotten."""
        self._xids = {xid for xid in self._xids if not snapshot.shows(xid)}
        return not self._xids
