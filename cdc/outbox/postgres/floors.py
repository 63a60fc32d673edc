"""Searches for due deliveries while an old transaction is open in the server of a PostgreSQL outbox."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from cdc.model.delivery import DueEndpoints
from cdc.outbox.database import Database, Row

#: Seconds between two looks at how much searches for due deliveries read.
CHECK: Final = 1.0
#: Index entries that all searches between two looks read, and each of them, where an old transaction is open.
MANY_READS: Final = 10_000
LONG_SEARCH: Final = 1000
#: Seconds for which searches then continue, and at least between two whole ones.
CONTINUED: Final = 120.0
WHOLE: Final = 10.0
#: A whole search takes at most this part of the time.
PART: Final = 20
#: A search continues so long before the time at which the former one ended: what was just stored may be that old.
MARGIN: Final = timedelta(seconds=1)

_EVER: Final = datetime(1, 1, 1, tzinfo=UTC)


class DueFloors:
    """Due times from which searches for due deliveries continue, by endpoint, while an old transaction is open.

    Until it ends, PostgreSQL keeps the index entries of all that was leased and finished since, and a search would read
    them.  ``active``: searches read many.  What falls due with an earlier time (the next delivery of a record, a store
    that took long, an endpoint that was enabled) is found by a whole search.
    """

    def __init__(self) -> None:
        self.active = False
        self._check_at = self._whole_at = self._began = 0.0
        self._whole = False
        self._seen: tuple[int, int] | None = None
        self._base = _EVER  # of endpoints that are not in _floors
        self._floors: dict[str, datetime] = {}
        self._lowered: dict[str, datetime] = {}  # since the search began, which may not have seen it

    async def check(self, db: Database) -> None:
        """Look at how much searches read, if it is time to."""
        now = time.monotonic()
        if now < self._check_at:
            return
        ((searches, reads),) = await db.rows("due_reads")
        before, self._seen = self._seen or (searches, reads), (searches, reads)
        searches, reads = searches - before[0], reads - before[1]
        self.active = not self.active and reads >= max(MANY_READS, LONG_SEARCH * searches)
        self._check_at = now + (CONTINUED if self.active else CHECK)
        self._whole_at = 0.0

    def begin(self) -> dict[str, Any]:
        """Return the parameters of a search."""
        self._began = time.monotonic()
        self._whole = self._began >= self._whole_at
        self._lowered.clear()
        if self._whole:
            self._base = _EVER
            self._floors.clear()
        return self.present()

    def present(self) -> dict[str, Any]:
        """Return the parameters of a search that moves no floor."""
        return {"floors": orjson.dumps(self._floors).decode(), "base": self._base}

    def leased(self, rows: Sequence[Row], now: datetime, limit: int, room: Mapping[str, int], *, only: bool) -> None:
        """Continue behind what was leased.  Below the limit, endpoints with room left have nothing else due."""
        for row in rows:
            self._raise(row[1], row[-1] - MARGIN)
        if len(rows) < limit:
            got = Counter(row[1] for row in rows)
            for endpoint, most in room.items():
                self._raise(endpoint, now - MARGIN if got[endpoint] < most else _EVER)
            if not only:
                self._base = max(self._base, now - MARGIN)
        self._end()

    def found(self, found: DueEndpoints, now: datetime, without: Collection[str]) -> None:
        """Continue behind ``now`` where no other endpoints than these have something due."""
        if found.place == 0:
            for endpoint in (*found.ids, *without):
                self._raise(endpoint, _EVER)
            self._base = max(self._base, now - MARGIN)
        self._end()

    def promoted(self, promoted: Sequence[Row]) -> None:
        """Go back to the due times of what follows in its lane: it was stored with what it waited for, or later."""
        if self.active:
            for endpoint, due in promoted:
                self._lowered[endpoint] = min(self._lowered.get(endpoint, due), due)
            self._lower()

    def _lower(self) -> None:
        for endpoint, due in self._lowered.items():
            self._floors[endpoint] = min(self._floors.get(endpoint, self._base), due)

    def _raise(self, endpoint: str, floor: datetime) -> None:
        self._floors[endpoint] = max(self._floors.get(endpoint, self._base), floor)

    def _end(self) -> None:
        self._lower()
        if self._whole:
            ended = time.monotonic()
            self._whole_at = ended + max(WHOLE, PART * (ended - self._began))
