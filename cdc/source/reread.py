"""Tables that are read again because changes of theirs could not be captured: what every source does about a gap."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from cdc.change import Operation, Row, RowChange, Transaction
from cdc.clock import Clock
from cdc.column import Table

#: The next rows of a table in primary key order behind a key: (table, key or None, how many at most).
ReadPage = Callable[[str, Row | None, int], Awaitable[list[Row]]]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Reread:
    """A table that is being read again; part of a source's position.

    ``token``: the transaction of the gap.  ``after``: the last key read (None: not begun).  ``count``: rows read.
    """

    table: str
    token: str
    after: Row | None = None
    count: int = 0

    def to_json(self) -> list[Any]:
        return [self.table, self.token, self.after, self.count]


def with_gaps(rereads: Sequence[Reread], gaps: Mapping[str, str]) -> tuple[Reread, ...]:
    """Also read these tables again (table → token of the gap).  A re-read that has not begun already covers its
    table; one that has begun starts over, since it may have passed the row."""
    kept = tuple(reread for reread in rereads if reread.table not in gaps or reread.after is None)
    covered = {reread.table for reread in kept}
    return kept + tuple(Reread(table, token) for table, token in gaps.items() if table not in covered)


class Rereader:
    """Reads page by page, so that changes captured meanwhile come between the pages.

    ``batch``: rows of a page.  ``pause``: between the end of a re-read and the next one of the same table, unless
    `soon` says that what made the gap was mended.
    """

    def __init__(self, source: str, page: ReadPage, batch: int, pause: timedelta, clock: Clock) -> None:
        self._source = source
        self._page = page
        self._batch = batch
        self._pause = pause
        self._clock = clock
        self._not_before: dict[str, datetime] = {}

    def soon(self, tables: Sequence[str]) -> None:
        for table in tables:
            self._not_before.pop(table, None)

    def due(self, rereads: Sequence[Reread]) -> Reread | None:
        """The one to go on with; one that was begun is finished first."""
        now = self._clock.now()
        return next(
            (each for each in rereads if each.after is not None or self._not_before.get(each.table, now) <= now), None
        )

    async def read(
        self, reread: Reread, rereads: Sequence[Reread], tables: Mapping[str, Table]
    ) -> tuple[tuple[Transaction, ...], tuple[Reread, ...]]:
        """The next page of ``reread`` as ``READ`` changes, and what is still to be read behind it.  A table that is
        not in ``tables`` any more is given up."""
        others = tuple(each for each in rereads if each is not reread)
        if reread.table not in tables:
            log.error(
                "lost", source=self._source, table=reread.table, reason="the table is gone; it cannot be read again"
            )
            return (), others
        key = tables[reread.table].key
        after = reread.after if reread.after is not None and reread.after.keys() == set(key) else None  # key renamed
        rows = await self._page(reread.table, after, self._batch)
        now = self._clock.now()
        changes = tuple(
            RowChange(
                Operation.READ,
                reread.table,
                {column: row[column] for column in key},
                None,
                row,
                now,
                reread.count + number,
            )
            for number, row in enumerate(rows)
        )
        if len(rows) == self._batch:
            others = (replace(reread, after=changes[-1].key, count=reread.count + len(rows)), *others)
        else:
            self._not_before[reread.table] = now + self._pause
            log.info("read again", source=self._source, table=reread.table, rows=reread.count + len(rows))
        return ((Transaction(f"reread/{reread.token}", changes),) if changes else ()), others
