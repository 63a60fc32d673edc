"""Backfills: rows from before the capture, emitted as ``<entity>.existing`` events."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from cdc.model.audit import Note
from cdc.model.change import DueDay, Existing, Row

#: The last part of the names of these events.
EXISTING: Final = "existing"


def backfill_token(existing: Existing) -> str:
    """Return the transaction token of its events."""
    return f"backfill/{existing.job}" if existing.due is None else existing.job


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


#: What is done to one → the state that it has then, and the entry in the audit log.
ACTIONS: Final[Mapping[str, tuple[BackfillState, str]]] = {
    "pause": (BackfillState.PAUSED, "backfill.pause"),
    "resume": (BackfillState.RUNNING, "backfill.resume"),
    "cancel": (BackfillState.CANCELLED, "backfill.cancel"),
}


class Asked(NamedTuple):
    """Backfills of one source, one for each table.  ``tables``: none means all that give events.  The others as of
    `Backfill`."""

    tables: Sequence[str]
    where: str = ""
    endpoint: str = ""
    rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Backfill:
    """A backfill of one table of one source.  ``actor``: who started it, as in the audit log.  ``where``: a condition
    in the database's SQL; empty: all rows.  ``endpoint``: the id of the only one that gets them; empty: all that name
    such events.  ``rate``: rows a second, 0 for any.  ``estimate``: how many rows there were, about; None: not known.

    ``rows`` are stored as events so far, up to the primary key ``after``; it continues after that.  ``error``: why it
    failed.  ``due``: it is no backfill, but reads what this says, and is stored nowhere.
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
    due: DueDay | None = None


class Planned(NamedTuple):
    """One that is not kept yet, and the ids of the endpoints that would get its events."""

    backfill: Backfill
    receivers: Sequence[str]


def seconds_left(backfill: Backfill, speed: float | None) -> float | None:
    """Return the seconds left at ``speed`` rows a second; None when speed or estimate is not known."""
    if not speed or backfill.estimate is None:
        return None
    return max(backfill.estimate - backfill.rows, 0) / speed


class BackfillStore(Protocol):
    """The part of the outbox that stores backfills."""

    async def add_backfill(self, backfill: Backfill, note: Note = (), *, rereads: str = "") -> None:
        """Store a backfill, which continues while its source is captured.  ``rereads``: the id of the skipped change
        whose row it reads again, which is noted there."""
        ...

    async def backfills(self, limit: int, before: str | None = None) -> list[Backfill]:
        """Newest first.  ``before``: the last id of the page before; nothing when there is no such backfill."""
        ...

    async def find_backfill(self, backfill_id: str) -> Backfill | None: ...

    async def next_backfill(self, source: str) -> Backfill | None:
        """The oldest of a source that runs."""
        ...

    async def backfilled_sources(self) -> Collection[str]:
        """Return the sources of which a backfill runs."""
        ...

    async def set_backfill(
        self, backfill_id: str, state: BackfillState, error: str, now: datetime, note: Note = ()
    ) -> Backfill:
        """Pause, resume or end a backfill; return it.  One that has ended stays as it is.  Raises `NotFound`."""
        ...
