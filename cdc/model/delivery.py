"""Deliveries and attempts: what dispatch works on.

What is made for each attempt is a named tuple: it costs a fifth of a frozen dataclass.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class DeliveryState(StrEnum):
    """``WAITING``: an earlier event of the same record is not finished.  ``PENDING``: may be sent once due.
    ``LEASED``: a dispatcher has it.  ``DELIVERED``, ``DEAD`` (dead letter), ``CANCELLED`` (its endpoint was removed)
    are final until someone retries by hand."""

    WAITING = "waiting"
    PENDING = "pending"
    LEASED = "leased"
    DELIVERED = "delivered"
    DEAD = "dead"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in _FINAL


_FINAL = (DeliveryState.DELIVERED, DeliveryState.DEAD, DeliveryState.CANCELLED)


class LeasedDelivery(NamedTuple):
    """A delivery that this dispatcher holds until ``lease_until``; ``attempt`` (from 1) is already counted.

    ``body_event`` is the stored event as JSON bytes in the default format: dispatch turns it into the endpoint's.
    """

    id: str
    endpoint_id: str
    event_id: str
    event_name: str
    record: str
    attempt: int
    lease_until: datetime
    body_event: bytes


class Attempt(NamedTuple):
    """One attempt as the log keeps it.

    ``duration``: seconds.  ``error``: one sentence, empty on success.  ``answer``: the first 1,000 bytes, decoded with
    replacement.
    """

    delivery_id: str
    number: int
    event_id: str
    event_name: str
    url: str
    status: int | None
    started_at: datetime
    duration: float
    error: str
    answer: str


class Outcome(NamedTuple):
    """What an attempt means for its delivery: the new state, when it is due again (``PENDING`` only), and whether the
    endpoint must be disabled (with the reason) in the same write.

    ``batch``: how many deliveries travelled in the request; their outcomes are handed on together, one behind the
    other, and differ by the delivery alone."""

    attempt: Attempt
    state: DeliveryState
    due_at: datetime | None = None
    disable_reason: str = ""
    batch: int = 1

    @property
    def failed(self) -> bool:
        """The endpoint did not accept it (nor was it removed)."""
        return self.state not in _NO_FAILURE


_NO_FAILURE = (DeliveryState.DELIVERED, DeliveryState.CANCELLED)


class Hold(StrEnum):
    """What holds an endpoint's due deliveries back: its ``RATE``, a ``PAUSE`` that it asked for, or its ``BREAKER``,
    which is open, for it does not work."""

    RATE = "rate"
    PAUSE = "pause"
    BREAKER = "breaker"


class Held(NamedTuple):
    """Due deliveries are held back ``until`` then, at least; with ``BREAKER`` it is when the next one is tried."""

    by: Hold
    until: datetime


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """A delivery as the log shows it.  ``expunged``: what it carried is gone, so that it cannot be sent again."""

    id: str
    endpoint_id: str
    event_id: str
    event_name: str
    record: str
    source: str
    state: DeliveryState
    attempts: int
    due_at: datetime | None
    created_at: datetime
    finished_at: datetime | None
    last_status: int | None
    last_error: str
    expunged: bool = False
