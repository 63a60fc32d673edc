"""Rows that the API does not give any more: deleted, or only not to be had.

FacturaScripts answers 200 and no rows when a query fails: while a table is renamed or restored, answers look as if all
or many of its rows were deleted.  A few missing rows of a table that still has others are believed at once.  More are
suspects: they are believed after every answer has lacked them for minutes, while no suspect of any table came back and
another table still had its rows.  Pure but for the log.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

import structlog

#: Missing rows that are believed at once: so many, or one of so many that are known; always less than a third.
FEW: Final = 20
FEW_OF: Final = 100
#: Seconds without a suspect that comes back: of one table; of several at once, or of the only one that is read; of all
#: tables, where nothing shows that the API gives any rows.
ALONE: Final = 300.0
SEVERAL: Final = 900.0
ALL: Final = 3600.0
#: Seconds after which a gap is reported, and between two comparisons of a table with suspects.
GAP_AFTER: Final = 900.0
RECHECK: Final = 60.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class MissingVerdict:
    """``gone``: keys of deleted rows.  ``gap``: why it is to be reported that deletions may be missing; or empty."""

    gone: tuple[bytes, ...] = ()
    gap: str = ""


def few(missing: int, known: int) -> bool:
    return missing <= max(FEW, known // FEW_OF) and missing < known and (missing == 1 or 3 * missing < known)


class MissingRows:
    """The missing rows of one source.  ``tables``: how many are read.  ``now``: seconds of a monotonic clock."""

    def __init__(self, source: str, tables: int, now: Callable[[], float]) -> None:
        self._source = source
        self._tables = tables
        self._now = now
        self._since: dict[str, dict[bytes, float]] = {}
        self._sound: dict[str, float] = {}  # when a comparison of the table found its rows
        self._lookups: dict[str, float | None] = {}  # that had rows; since when they have none
        self._moved = now()
        self._reported: set[str] = set()

    def recheck(self, table: str) -> float | None:
        """Seconds until the next comparison of a table with suspects; None: it has none."""
        return RECHECK if table in self._since else None

    def disturb(self, table: str | None = None) -> None:
        """The API, or one table of it, failed: rows that it lacks are not believed for some time."""
        if table is None or table in self._since:
            self._moved = self._now()

    def looked_up(self, table: str, *, rows: bool) -> bool:
        """Return whether to believe a table of which events look rows up: that it has ``rows``, or none although it
        had."""
        if rows or table not in self._lookups:
            self._lookups.update({table: None} if rows else {})
            return True
        since = self._lookups[table]
        since = self._lookups[table] = self._now() if since is None else since
        return self._now() - since >= SEVERAL

    def settle(self, table: str, missing: Collection[bytes], known: int, *, plain: bool) -> MissingVerdict:
        """Judge a comparison of all rows.  ``known``: how many were known before it.  ``plain``: those that are missing
        are `few`, and the answers that lacked them had other rows."""
        now, before = self._now(), self._since.pop(table, {})
        if before.keys() - set(missing):
            self._moved = now
        if not missing or (plain and not before):
            return self._settled(table, missing, known, before)
        if not before:
            self._moved = now
            log.warning("rows are missing", source=self._source, table=table, missing=len(missing), of=known)
        since = self._since[table] = {key: before.get(key, now) for key in missing}
        gone = tuple(key for key, at in since.items() if now - max(at, self._moved) >= self._bound(table, at))
        for key in gone:
            del since[key]
        if not since:
            return self._settled(table, gone, known, before)
        return MissingVerdict(gone, self._gap(table, since, known))

    def _settled(self, table: str, gone: Collection[bytes], known: int, before: Collection[bytes]) -> MissingVerdict:
        self._since.pop(table, None)
        self._reported.discard(table)
        if known > len(gone):
            self._sound[table] = self._now()
        if before:
            log.info("missing rows settled", source=self._source, table=table, deleted=len(gone))
        return MissingVerdict(tuple(gone))

    def _bound(self, table: str, since: float) -> float:
        sound = any(at > since for other, at in self._sound.items() if other != table and other not in self._since)
        if not sound:
            return SEVERAL if self._tables == 1 else ALL
        return ALONE if len(self._since) == 1 else SEVERAL

    def _gap(self, table: str, since: dict[bytes, float], known: int) -> str:
        """Return the sentence that reports missing rows, once until the table is settled; else ""."""
        if table in self._reported or self._now() - min(since.values()) < GAP_AFTER:
            return ""
        self._reported.add(table)
        return (
            f"For {GAP_AFTER / 60:.0f} minutes the API has not given {len(since)} of {known} rows of the table {table} "
            f"of source {self._source}. They are not reported as deleted before that is certain; changes of these rows "
            "are not seen."
        )
