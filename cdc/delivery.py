"""Endpoints, deliveries and attempts: what dispatch works on.

What is made for each attempt is a named tuple: it costs a fifth of a frozen dataclass.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
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
        return self in (DeliveryState.DELIVERED, DeliveryState.DEAD, DeliveryState.CANCELLED)


class PayloadFormat(StrEnum):
    FACTURASCRIPTS = "facturascripts"
    STANDARD = "standard"
    CLOUDEVENTS = "cloudevents"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A URL that wants events.

    ``events``: patterns such as ``invoice.*``; ``sources``: names, empty for all.  ``secret``: ``whsec_…``, which signs
    ``v1``, or ``whsk_…``, which signs ``v1a``; never shown after creation.  ``former_secret`` still signs until
    ``former_secret_until``.  ``timeout``: seconds.  ``retry_schedule``: seconds to wait before each retry.  ``origin``:
    the name that the endpoint agreed to get events from, and that each request carries; empty: it was not asked.
    """

    id: str
    url: str
    events: tuple[str, ...]
    secret: str = field(repr=False)
    created_at: datetime
    enabled: bool = True
    description: str = ""
    sources: tuple[str, ...] = ()
    format: PayloadFormat = PayloadFormat.FACTURASCRIPTS
    timeout: float = 10.0
    retry_schedule: tuple[float, ...] = (5, 25, 125, 625, 3125)
    concurrency: int = 16
    disabled_reason: str = ""
    former_secret: str | None = field(default=None, repr=False)
    former_secret_until: datetime | None = None
    origin: str = ""


@dataclass(frozen=True, slots=True)
class EndpointChange:
    """New values of some fields of an endpoint; None leaves a field as it is.

    ``secret``: the present one becomes the former one, until ``former_secret_until``, which goes with it.
    """

    url: str | None = None
    events: tuple[str, ...] | None = None
    secret: str | None = field(default=None, repr=False)
    former_secret_until: datetime | None = None
    enabled: bool | None = None
    disabled_reason: str | None = None
    description: str | None = None
    sources: tuple[str, ...] | None = None
    format: PayloadFormat | None = None
    timeout: float | None = None
    retry_schedule: tuple[float, ...] | None = None
    concurrency: int | None = None
    origin: str | None = None

    def applied_to(self, endpoint: Endpoint) -> Endpoint:
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        if self.secret is not None:
            given["former_secret"] = endpoint.secret
        return replace(endpoint, **{name: value for name, value in given.items() if value is not None})


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
    endpoint must be disabled (with the reason) in the same write."""

    attempt: Attempt
    state: DeliveryState
    due_at: datetime | None = None
    disable_reason: str = ""


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """A delivery as the log shows it."""

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
