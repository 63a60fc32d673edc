"""What becomes of a change that breaks the program off again and again: it is left out and told of."""

from __future__ import annotations

from cdc.change import Gap, Row, RowChange
from cdc.errors import CdcError, as_told
from cdc.position import Position

#: Times that a batch is tried before the change that breaks it off is looked for.
TRIES = 3


class Defects:
    """Counts how often the work behind one position broke off for no reason of the source or the outbox."""

    def __init__(self) -> None:
        self._position: Position | None = None
        self._count = 0

    def at(self, position: Position | None) -> None:
        """The work behind this position begins."""
        if position != self._position:
            self._position, self._count = position, 0

    def met(self, error: Exception) -> None:
        """It broke off."""
        if not isinstance(error, CdcError):
            self._count += 1

    @property
    def many(self) -> bool:
        return self._count >= TRIES


def quarantined(change: RowChange, error: Exception) -> Gap:
    """Return the gap that tells of a change that was left out."""
    record = ", ".join(f"{column} {value}" for column, value in _key(change).items())
    reason = (
        f"A change ({change.operation}) of the table {change.table}{f', {record},' if record else ''} was left out: it "
        f"breaks the program off. {as_told(error).message} `cdc backfill {change.table} --where …` sends the row as it "
        "is now, once the program or the row is mended."
    )
    return Gap(change.table, change.operation, change.time, reason, _key(change) or None)


def _key(change: RowChange) -> Row:
    try:
        return dict(change.key)
    except Exception:  # noqa: BLE001 - it is the key that breaks the program off
        return {}
