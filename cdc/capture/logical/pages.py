"""Pages of tables beside PostgreSQL's log: where a page's snapshot is in the log, and when it is emitted.

A page is emitted once the log was read up to its end at the snapshot: every commit that the snapshot shows is before
it.  It is read only when it shows everything that was emitted before: the server writes a commit to its log first and
shows it a moment later, with a synchronous standby much later.  A page that was read in between would show a row as it
was before a change that was emitted already.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cdc.capture.logical.transaction import SlotTransaction
from cdc.capture.pages import SOON, PageRequest, TablePage
from cdc.capture.postgres_lookup import PostgresLookup
from cdc.database.postgres_capture import lsn_number
from cdc.database.sqlfile import load
from cdc.model.clock import Clock

#: Seconds that a page waits for others to have the log written to the disk.
_PATIENCE = 0.01
#: Bytes of a page of the log, and of the header of most of them.
_LOG_PAGE, _LOG_HEADER = 8192, 24
#: Of transaction ids, of which the log has the lower 32 bits.
_LOWER: Final = (1 << 32) - 1
_HALF: Final = 1 << 31


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot; only the lower 32 bits of a transaction id count, as in the log.  ``next``: those from here on had
    not begun.  ``open``: those before it that had not ended."""

    next: int
    open: frozenset[int]

    @staticmethod
    def parse(text: str) -> Snapshot:
        """Return the snapshot that ``pg_current_snapshot()`` writes as ``xmin:xmax:xip,…``."""
        _, end, under_way = text.split(":")
        return Snapshot(int(end) & _LOWER, frozenset(int(xid) & _LOWER for xid in under_way.split(",") if xid))

    def shows(self, xid: int) -> bool:
        return xid not in self.open and (xid - self.next) & _LOWER >= _HALF


class Unseen:
    """Transactions that were read from the log and that no snapshot has shown yet."""

    def __init__(self) -> None:
        self._xids: set[int] = set()

    def add(self, xids: Iterable[int]) -> None:
        self._xids.update(xids)

    def all_in(self, snapshot: Snapshot) -> bool:
        """Return whether the snapshot shows all of them; what it shows is forgotten."""
        self._xids = {xid for xid in self._xids if not snapshot.shows(xid)}
        return not self._xids


class SlotPages:
    """Reads pages with their places, and knows how far the log was read."""

    def __init__(self, lookup: PostgresLookup, clock: Clock) -> None:
        self._lookup = lookup
        self._clock = clock
        self._unseen = Unseen()
        self._mark = self._reached = 0
        self._hurry_at = math.inf

    def begin(self, reached: int) -> None:
        """The log is read from there on."""
        self._mark, self._reached = 0, reached

    def patience(self, idle: float) -> float:
        """Seconds to wait for changes at most while a page waits: until the log is to be written out."""
        return min(idle, max(SOON, self._hurry_at - self._clock.monotonic()))

    def add(self, committed: Sequence[SlotTransaction]) -> None:
        """Note transactions of the log, before any batch of them."""
        self._unseen.add(int(each.token.partition(".")[0]) for each in committed)

    def shown(self, snapshot: str) -> None:
        """Note that the database shows this by now."""
        self._unseen.all_in(Snapshot.parse(snapshot))

    async def read(self, wanted: PageRequest) -> TablePage | None:
        """Return the page; None while it does not show everything that was emitted."""
        page, ((snapshot, end),) = await self._lookup.page(wanted, "slot/page_marks.sql", {})
        if not self._unseen.all_in(Snapshot.parse(snapshot)):
            return None
        self._mark = _end_of_record(lsn_number(end))
        self._hurry_at = self._clock.monotonic() + _PATIENCE
        return page

    async def hurry(self) -> None:
        """A slot is sent only what is on the server's disk.  A commit has the log written there; without one it takes
        its time: then the server is asked for it, once for a page that waits."""
        if not self.emitted() and self._clock.monotonic() >= self._hurry_at:
            self._hurry_at = math.inf
            await self._lookup.link.query(load("postgres/slot/flush.sql"))

    def reach(self, reached: int) -> None:
        """The log was read up to ``reached``."""
        self._reached = max(self._reached, reached)

    def emitted(self) -> bool:
        """Return whether everything that the last page shows was emitted."""
        return self._reached >= self._mark


def _end_of_record(insert: int) -> int:
    """Return the end of a record: the next one may begin after the header of a page that is not written yet."""
    return insert - _LOG_HEADER if insert % _LOG_PAGE == _LOG_HEADER else insert
