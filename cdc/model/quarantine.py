"""Quarantine: a change that repeatedly cannot be processed is skipped and reported."""

from __future__ import annotations

from hashlib import blake2b
from typing import Protocol

import orjson

from cdc.model.audit import Note
from cdc.model.change import Gap, Position, Quarantined, Row, RowChange, Transaction
from cdc.model.errors import CdcError, RowUnreadable, reportable_error
from cdc.model.image import Image

#: Attempts of a batch before the failing change is searched for.
TRIES = 3
#: Characters that are kept of each image of the row.
LARGEST = 64 * 1024


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


class QuarantineStore(Protocol):
    """The store of skipped changes: a part of the outbox."""

    async def quarantined(self, limit: int, before: str | None = None, source: str | None = None) -> list[Quarantined]:
        """Changes that were skipped (of a source), newest first.  ``before``: the last id of the page before."""
        ...

    async def find_quarantined(self, quarantined_id: str) -> Quarantined | None: ...

    async def count_quarantined(self) -> dict[str, int]:
        """Source → how many of its changes are in quarantine; absent when none is."""
        ...

    async def remove_quarantined(self, quarantined_id: str, note: Note = ()) -> bool:
        """Return whether there was such a change."""
        ...


def quarantined(source: str, transaction: Transaction, change: RowChange, error: Exception) -> Quarantined:
    """Return what is kept of a change that is skipped."""
    identity = "\0".join((source, transaction.token, change.table, str(change.ordinal)))
    key = _key(change)
    return Quarantined(
        id=f"qr_{blake2b(identity.encode(errors='replace'), digest_size=8).hexdigest()}",
        table=change.table,
        operation=change.operation,
        key=key or None,
        token=transaction.token,
        changed_at=change.time,
        reason=reportable_error(error).message,
        before=_kept(change.before),
        after=_kept(change.after),
    )


def gap_of(skipped: Quarantined) -> Gap:
    """Return the gap that reports a skipped change."""
    record = ", ".join(f"{column} {value}" for column, value in (skipped.key or {}).items())
    reason = (
        f"A change ({skipped.operation}) of the table {skipped.table}{f', {record},' if record else ''} was skipped, "
        f"because it cannot be processed. {skipped.reason} "
        "`cdc quarantine list` shows what was skipped; after a fix, "
        f"`cdc quarantine reread {skipped.id}` sends the row as it is then."
    )
    return Gap(skipped.table, skipped.operation, skipped.changed_at, reason, skipped.key)


def _key(change: RowChange) -> Row:
    try:
        key = dict(change.key)
        orjson.dumps(key)
    except Exception:  # noqa: BLE001 - the key itself cannot be read, or not be written
        return {}
    return key


def _kept(row: Row | None) -> str:
    """Return the row as JSON, or the text that it came as; no more than `LARGEST` characters."""
    if row is None:
        return ""
    try:
        text = orjson.dumps(dict(row)).decode()
    except Exception:  # noqa: BLE001 - the row cannot be read
        text = row.text if isinstance(row, Image) else ""
    return text[:LARGEST].encode("utf-8", "replace").decode().replace("\0", "\ufffd")
