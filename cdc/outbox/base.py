"""The values that an outbox takes and returns, and the part of it that dispatch needs (all: `cdc.outbox.store`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from cdc.model.change import Position
from cdc.model.delivery import AdmissionRequest, Admitted, EndpointHold, LeasedDelivery, QueueStore
from cdc.model.endpoint import Endpoint
from cdc.model.event import Event


@dataclass(frozen=True, slots=True)
class Stored:
    """The number of events that were new, and of deliveries that they made.  ``leased``: of these, by `HandOver`."""

    events: int
    deliveries: int
    leased: Sequence[LeasedDelivery] = ()


@dataclass(frozen=True, slots=True)
class HandOver:
    """Deliveries that a store may lease as it makes them, for the dispatcher of this process: of each endpoint one, if
    nothing else of it is due.  ``full``: endpoints that have no room; ``most``: in all.  ``take``: to be called with
    what was leased."""

    worker: str
    until: datetime
    full: Collection[str]
    most: int
    take: Callable[[Sequence[LeasedDelivery]], None]


class Fence(NamedTuple):
    """``position``: the one that the outbox must still hold (None: none) for a new one to take its place.  Another one
    means that another process stored for the source, or that the outbox was replaced by an older state.  ``epoch``: of
    the lease of the source that this process must still have; None where processes have no leases."""

    position: Position | None
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as the log shows it; ``payload`` is the default format, parsed, and empty when the event was expunged;
    ``sequence`` grows with storing."""

    sequence: int
    id: str
    name: str
    source: str
    record: str
    time: datetime
    payload: Mapping[str, Any]

    @property
    def expunged(self) -> bool:
        return not self.payload


class Replication(StrEnum):
    """The wait of a commit for a standby of the server.  ``NONE``: no standby is known."""

    NONE = "none"
    ASYNCHRONOUS = "asynchronous"
    SYNCHRONOUS = "synchronous"


@dataclass(frozen=True, slots=True)
class Retention:
    """The limits of what is stored.

    ``finished_before``: deliveries that were finished before (None: none), with their attempts; and events before that
    time that have no delivery (any more).  ``most_events``: the older ones beyond so many (0: none), with all they
    have, unless a delivery is unfinished or a dead letter, or anything is younger than ``settled_before``.
    ``payloads_before``: payloads and answers of events before that time (None: none) of which nothing is unfinished.
    ``now``: events with a later time have a wrong date; the time of their deliveries counts.
    """

    settled_before: datetime
    finished_before: datetime | None = None
    most_events: int = 0
    payloads_before: datetime | None = None
    now: datetime | None = None


@dataclass(frozen=True, slots=True)
class Retained:
    """The result of one step of retention: numbers of removed events and deliveries, of emptied payloads, and the
    sequence to continue after, None at the end."""

    events: int
    deliveries: int
    payloads: int
    after: int | None


class LimitStore(Protocol):
    """Rates, breakers and pauses of endpoints over all processes, by the clock of the database."""

    async def holds(self) -> dict[str, EndpointHold]:
        """Return the endpoints with an open breaker or a pause."""
        ...

    async def publish(self, worker: str, holds: Mapping[str, EndpointHold]) -> None:
        """Publish breakers that opened here, results of probes, and pauses, for all processes.  Where another process
        published first, its state stays."""
        ...

    async def admit(self, worker: str, wanted: Mapping[str, AdmissionRequest]) -> dict[str, Admitted]:
        """Admit requests as far as they may start within a second; one where the breaker is open: the probe."""
        ...


class DispatchStore(QueueStore, Protocol):
    """The part of the outbox that a dispatcher needs."""

    @property
    def limits(self) -> LimitStore | None:
        """Limits over all processes; None where one process dispatches."""
        ...

    @property
    def most_outcomes(self) -> int:
        """Outcomes to record together at most."""
        ...

    async def changed(self) -> bool: ...

    async def announce(self, events: Sequence[Event], now: datetime) -> Stored: ...

    async def event(self, event_id: str) -> StoredEvent | None: ...

    async def endpoint(self, endpoint_id: str) -> Endpoint | None: ...

    async def endpoints(self) -> list[Endpoint]: ...

    async def endpoints_version(self) -> int: ...

    async def unfinished(self, endpoint_id: str | None, limit: int) -> int: ...
