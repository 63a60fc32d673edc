"""A replay that goes on by itself: what it sends again, how far it is, who is at it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cdc.model.log_filter import DeliveryFilter


class ReplayState(StrEnum):
    """``RUNNING`` until it is one of the others, also while no process is at it."""

    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Replay:
    """``actor``: who wants it, as in the audit log.  ``which``: what is sent again.  ``rate``: deliveries made due a
    second.  ``total``: how many there were when it was asked for; None: too many to be counted then.  ``deliveries``
    were made due so far, ``expunged`` passed over, and it goes on behind ``after`` (`Replayed.after`).  ``worker``: the
    process that is, or was, at it, until ``leased_until`` unless it says more.  ``error``: why it failed."""

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
        """Whether this process may go on with it."""
        return self.waiting(now) or (self.state is ReplayState.RUNNING and self.worker == worker)

    def waiting(self, now: datetime) -> bool:
        """Whether it is to go on, and no process is at it."""
        leased = self.leased_until is not None and self.leased_until > now
        return self.state is ReplayState.RUNNING and not leased
