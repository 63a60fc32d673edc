"""Quarantine: a change that repeatedly cannot be processed is skipped and reported."""

from __future__ import annotations

from cdc.change import Gap, Row, RowChange
from cdc.errors import CdcError, RowUnreadable, reportable_error
from cdc.position import Position

#: Attempts of a batch before the failing change is searched for.
TRIES = 3


class Defects:
    """Counts failures at one position that a change may cause: no errors of the database or the outbox."""

    def __init__(self) -> None:
        self._position: Position | None = None
        self._count = 0

    def at(self, position: Position | None) -> None:
        """Reset the count when the position changes."""
        if position != self._position:
            self._position, self._count = position, 0

    def met(self, error: Exception) -> None:
        """Count an exception."""
        if isinstance(error, RowUnreadable) or not isinstance(error, CdcError):
            self._count += 1

    @property
    def many(self) -> bool:
        return self._count >= TRIES


def quarantined(change: RowChange, error: Exception) -> Gap:
    """Return the gap that reports a skipped change."""
    record = ", ".join(f"{column} {value}" for column, value in _key(change).items())
    reason = (
        f"A change ({change.operation}) of the table {change.table}{f', {record},' if record else ''} was skipped, "
        f"because it cannot be processed. {reportable_error(error).message} "
        f"After a fix, `cdc backfill {change.table} --where …` sends the row as it is then."
    )
    return Gap(change.table, change.operation, change.time, reason, _key(change) or None)


def _key(change: RowChange) -> Row:
    try:
        return dict(change.key)
    except Exception:  # noqa: BLE001 - the key itself cannot be read
        return {}
