"""Replays that run by themselves: their selection, their progress, and the process that works on them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from cdc.model.audit import Note
from cdc.model.delivery import DeliveryFilter


class ReplayState(StrEnum):
    """``RUNNING`` until it is one of the others, also while no process works on it."""

    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Replay:
    """A replay.  ``actor``: who started it, as in the audit log.  ``which``: the deliveries to send again.  ``rate``:
    deliveries made due a second.  ``total``: how many there were at its start; None: too many to be counted then.
    ``deliveries`` were made due so far, ``expunged`` passed over, and it continues after ``after`` (`Replayed.after`).
    ``worker``: the process that works on it, until ``leased_until`` unless it extends that.  ``error``: why it failed.
    """

    id: str
    actor: str
    which: DeliveryFilter
    rate: float
    total: int | None
    created_at: datetime
    state: ReplayState = ReplayState.RUNNING
    deliveries: int = 0
    expunged: int = 0
    after: str | None = None
    worker: str | None = None
    leased_until: datetime | None = None
    finished_at: datetime | None = None
    error: str = ""

    def free(self, worker: str, now: datetime) -> bool:
        """Return whether this process may continue it."""
        return self.waiting(now) or (self.state is ReplayState.RUNNING and self.worker == worker)

    def waiting(self, now: datetime) -> bool:
        """Return whether it is unfinished, and no process works on it."""
        leased = self.leased_until is not None and self.leased_until > now
        return self.state is ReplayState.RUNNING and not leased


@dataclass(frozen=True, slots=True)
class Replayed:
    """The result of one step of a replay: how many deliveries it made due; how many it passed over because their event
    was expunged; where to continue, None at the end."""

    deliveries: int
    expunged: int
    after: str | None

    def and_then(self, step: Replayed) -> Replayed:
        """Return the sum of this and the step after it."""
        return Replayed(self.deliveries + step.deliveries, self.expunged + step.expunged, step.after)


class ReplayStore(Protocol):
    """The part of the outbox that sends deliveries again."""

    async def retry(self, delivery_id: str, now: datetime, note: Note = ()) -> None:
        """Make a finished delivery due now, with its attempts counted from zero and its record's order respected; or
        one that waits for its next attempt.  Raises `UsageError` when there is no such delivery, it is on its way or
        waits for an earlier one of its record, its endpoint was removed, or its event was expunged."""
        ...

    async def replay(
        self,
        which: DeliveryFilter,
        limit: int,
        now: datetime,
        after: str | None = None,
        *,
        dry_run: bool = False,
        note: Note = (),
    ) -> Replayed:
        """`retry` up to ``limit`` finished deliveries, oldest events first, behind ``after`` (where the step before
        ended).  Unfinished ones and those of removed endpoints are left alone.  Where an endpoint is named, and no
        state, also make the deliveries that it never got of events that it wants now.  ``dry_run`` changes nothing, and
        returns what would be.  Raises `UsageError` when there is no such endpoint."""
        ...

    async def add_replay(self, replay: Replay, note: Note = ()) -> None:
        """Store a replay that is to run by itself."""
        ...

    async def replays(self, limit: int, before: str | None = None) -> list[Replay]:
        """Newest first.  ``before``: the last id of the page before; nothing when there is no such replay."""
        ...

    async def find_replay(self, replay_id: str) -> Replay | None: ...

    async def lease_replay(self, worker: str, now: datetime, until: datetime) -> Replay | None:
        """Lease the oldest running replay that no other process works on, until ``until``; None when there is none."""
        ...

    async def advance_replay(self, replay_id: str, worker: str, step: Replayed, now: datetime, until: datetime) -> bool:
        """Add the result of a step (`replay`); without a place to continue it is done.  Return False, and change
        nothing, when ``worker`` does not hold it, or it has ended."""
        ...

    async def end_replay(
        self, replay_id: str, state: ReplayState, error: str, now: datetime, note: Note = ()
    ) -> Replay:
        """End a running replay; return it as it is then.  Raises `NotFound`."""
        ...
