"""Backfills: rows that were there before anybody looked, told of as ``<entity>.existing`` events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from cdc.change import Existing, Row

#: The last part of the names of these events.
EXISTING: Final = "existing"


def backfill_token(existing: Existing) -> str:
    """What stands for the transaction of its events."""
    return f"backfill/{existing.job}"


class BackfillState(StrEnum):
    """``RUNNING`` and ``PAUSED`` until it is one of the others, also while no process captures its source."""

    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        return self not in (BackfillState.RUNNING, BackfillState.PAUSED)


@dataclass(frozen=True, slots=True)
class Backfill:
    """One table of one source.  ``actor``: who wants it, as in the audit log.  ``where``: a condition in the database's
    SQL; empty: all rows.  ``endpoint``: the id of the only one that gets them; empty: all that name such events.
    ``rate``: rows a second, 0 for any.  ``estimate``: how many rows there were, about; None: not known.

    ``rows`` are stored as events so far, up to the primary key ``after``; it goes on behind.  ``error``: why it failed.
    """

    id: str
    source: str
    table: str
    actor: str
    created_at: datetime
    where: str = ""
    endpoint: str = ""
    rate: float = 0.0
    estimate: int | None = None
    state: BackfillState = BackfillState.RUNNING
    rows: int = 0
    after: Row | None = None
    finished_at: datetime | None = None
    error: str = ""
