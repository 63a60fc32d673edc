"""The outbox as its users see it: events, one delivery per (event, endpoint), source positions, attempts.

Invariants, proved by ``tests/contract/test_outbox.py`` on each implementation:

* events, their deliveries, the source's position, its small states and kept rows are stored in one transaction, or
  none is;
* an event id is stored once: storing it again changes nothing and makes no delivery;
* of one record (``Event.record``) at most one delivery per endpoint is ``PENDING`` or ``LEASED``: the oldest
  unfinished; the later ones are ``WAITING`` and follow in the order in which their events were stored
  (`Order.RECORD`; of `Order.ENDPOINT` so it is with all deliveries of the endpoint, of `Order.NONE` none waits; what is
  under way when the order changes, or names of records are merged, is waited for);
* due means ``due_at <= now``; an expired lease is as good as ``PENDING``; an attempt is counted when it is leased;
* an attempt's record and its delivery's new state are one write;
* deliveries of a disabled endpoint are kept and not leased; removing an endpoint cancels its unfinished deliveries.

Times are aware UTC datetimes, always passed in: the store has no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from cdc.model.audit import Note
from cdc.model.backfill import BackfillStore
from cdc.model.change import BackfillStep, Position, Quarantined, ReaderStore, SnapshotChange, SnapshotStore
from cdc.model.delivery import (
    Activity,
    ActivityLeaders,
    AdmissionRequest,
    Admitted,
    Attempt,
    DeliveryFilter,
    DeliveryState,
    DeliveryView,
    EndpointHold,
    EventFilter,
    PullStore,
    QueueStore,
    ReplayStore,
)
from cdc.model.endpoint import Endpoint, EndpointChange, EndpointFilter
from cdc.model.event import Event
from cdc.model.quota import Usage
from cdc.model.worker import WorkerStore
from cdc.outbox.slices import SearchPage, TimeBudget


@dataclass(frozen=True, slots=True)
class Stored:
    """The number of events that were new, and of deliveries that they made."""

    events: int
    deliveries: int


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


class OutboxFile(Protocol):
    """The outbox as a whole: whether there is one, opening and closing it."""

    async def exists(self) -> bool:
        """Return whether `open` would find an outbox rather than create one.  Does not need `open`."""
        ...

    async def check(self) -> None:
        """Raise `OutboxLost` when the open outbox was deleted or replaced."""
        ...

    async def save(self, now: datetime) -> Path | None:
        """Write the content of a lost outbox to a new file beside its former place, and return that file's path; None
        when nothing can be saved.  Raises `OutboxError`."""
        ...

    async def open(self) -> None:
        """Create or migrate the schema.  Raises `OutboxError` when the file is newer than this version or unusable."""
        ...

    async def close(self) -> None: ...


class IngestStore(Protocol):
    """The part of the outbox that a relay writes."""

    async def position(self, source: str) -> Position | None: ...

    async def states(self, source: str) -> dict[str, str]:
        """The small states that mapping keeps for this source (for instance a user's session state)."""
        ...

    async def store(
        self,
        source: str,
        position: Position,
        events: Sequence[Event],
        states: Mapping[str, str | None],
        now: datetime,
        *,
        kept: SnapshotChange | None = None,
        step: BackfillStep | None = None,
        quarantined: Sequence[Quarantined] = (),
        fence: Fence | None = None,
        note: Note = (),
    ) -> Stored:
        """Store events in order with their deliveries for every endpoint (enabled or not) that wants them, the
        position, the changed states (None removes one), what changed of the rows that are kept, how far a backfill is,
        unless it has ended, and changes that were skipped, in one transaction.  Raises `PositionMoved`, and stores
        nothing, when ``kept`` or ``fence`` is behind another position than the stored one, or another process has the
        lease of the source."""
        ...


class LogStore(Protocol):
    """The part of the outbox that shows events and deliveries.  `announce` adds the program's own events."""

    async def announce(self, events: Sequence[Event], now: datetime) -> Stored:
        """Store events that come from no source, with their deliveries, in one transaction."""
        ...

    async def changed(self) -> bool:
        """Return whether anyone, another process included, wrote since the last call."""
        ...

    async def version(self) -> object:
        """Return a value that differs from the one before when anyone, another process included, wrote since; it may
        differ without that."""
        ...

    async def events(self, limit: int, after: int | None = None, pattern: str | None = None) -> list[StoredEvent]:
        """Events in the order stored: those behind sequence ``after``, or the newest ``limit`` when it is None."""
        ...

    async def event(self, event_id: str) -> StoredEvent | None: ...

    async def events_of(self, event_ids: Sequence[str]) -> list[StoredEvent]:
        """The events with these ids, in no certain order; ids that are none are left out."""
        ...

    async def newest_events(self, records: Sequence[str], sources: Sequence[str] | None) -> list[StoredEvent]:
        """The newest event of each of these records, of these sources if any are named, in no certain order."""
        ...

    async def find_events(self, which: EventFilter, limit: int, after: int = 0) -> list[StoredEvent]:
        """Events in the order stored, behind sequence ``after``."""
        ...

    async def search_events(
        self, which: EventFilter, limit: int, budget: TimeBudget, place: int | None = None, *, oldest_first: bool
    ) -> SearchPage[StoredEvent]:
        """Events, oldest or newest first, no longer than ``budget`` has it: a page that may be short, and where to go
        on.  ``place``: behind which sequence, in that order; `SearchPage.further` of the page before is its text."""
        ...

    async def deliveries(self, which: DeliveryFilter, limit: int, before: str | None = None) -> list[DeliveryView]:
        """Return deliveries of the newest events first, of one event the newest delivery first.  ``before``: the last
        id of the page before; raises `UsageError` when there is no such delivery (any more)."""
        ...

    async def search_deliveries(
        self, which: DeliveryFilter, limit: int, budget: TimeBudget, before: str | None = None
    ) -> SearchPage[DeliveryView]:
        """Search `deliveries` within ``budget``: return a page that may be short, and where to continue.  ``before``:
        `SearchPage.further` of the page before, or the id of a delivery.  Raises `UsageError` when there is no such
        delivery (any more)."""
        ...

    async def delivery(self, delivery_id: str) -> DeliveryView | None: ...

    async def attempts(self, delivery_id: str) -> list[Attempt]: ...

    async def attempts_of(self, delivery_ids: Sequence[str]) -> dict[str, list[Attempt]]:
        """`attempts` of many deliveries, by their ids; one that has none is absent."""
        ...


class Replication(StrEnum):
    """The wait of a commit for a standby of the server.  ``NONE``: no standby is known."""

    NONE = "none"
    ASYNCHRONOUS = "asynchronous"
    SYNCHRONOUS = "synchronous"


class EndpointReader(Protocol):
    """The endpoints, and how much waits for each."""

    async def endpoint(self, endpoint_id: str) -> Endpoint | None: ...

    async def endpoints(self) -> list[Endpoint]:
        """All endpoints that were not removed, oldest first.  Raises `OutboxError` when a secret cannot be opened."""
        ...

    async def endpoints_of(self, endpoint_ids: Sequence[str]) -> list[Endpoint]:
        """Return those of these endpoints that were not removed, in any order."""
        ...

    async def search_endpoints(
        self,
        which: EndpointFilter,
        limit: int,
        budget: TimeBudget,
        after: int = 0,
        *,
        fits: Callable[[Endpoint], bool] = lambda _: True,
    ) -> SearchPage[Endpoint]:
        """Return a page of endpoints, in the order in which they were added.  ``after``: where the page before ended
        (`SearchPage.further`).  ``fits``: judges those that fit the filter, in any thread, with sealed secrets."""
        ...

    async def endpoints_version(self) -> int:
        """Return a number that is another one after each change of endpoints, but for ``failing_since``."""
        ...

    async def removed_endpoints(self, endpoint_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Id → name and URL of those of these endpoints that were removed."""
        ...

    async def counts(
        self, most: int | None = None, endpoint_ids: Sequence[str] | None = None
    ) -> dict[str, dict[DeliveryState, int]]:
        """Endpoint id (of those not removed) → how many deliveries by state; a state that has none is absent, and
        finished tests are left out.  ``most``: about so many unfinished ones of each endpoint are counted; None:
        all.  ``endpoint_ids``: of these endpoints only; None: of all."""
        ...

    async def activity(
        self, edges: Sequence[datetime], endpoint_ids: Sequence[str] | None = None, source: str | None = None
    ) -> list[Activity]:
        """Return the attempts of each period from one edge to the next, by endpoint and source, where there are any.
        Periods that ended more than two hours ago are known by the hour only.  ``endpoint_ids``: as in `counts`.
        ``source``: of this one only."""
        ...

    async def activity_totals(self, periods: Sequence[tuple[datetime, datetime]]) -> list[Activity]:
        """Return all attempts of each period, from its beginning until before its end, where there are any."""
        ...

    async def activity_leaders(self, since: datetime, before: datetime, most: int) -> ActivityLeaders:
        """Return the attempts of the ``most`` endpoints and sources that have the most of them."""
        ...

    async def oldest_due(self, now: datetime) -> dict[str, datetime]:
        """Endpoint id (enabled ones) → since when its longest due delivery is due; absent when none is."""
        ...

    async def unfinished(self, endpoint_id: str | None, limit: int) -> int:
        """Return how many deliveries of an endpoint, or of all, are not finished, counted up to ``limit``."""
        ...


class MonitoredStore(EndpointReader, Protocol):
    """The parts of the outbox that health and metrics report."""

    async def replication(self) -> Replication:
        """Return how the server that holds the outbox replicates it."""
        ...


class EndpointStore(EndpointReader, Protocol):
    """The endpoints, and their administration."""

    async def add_endpoint(self, endpoint: Endpoint, note: Note = ()) -> None:
        """Raises `UsageError` when the id is, or ever was, in use."""
        ...

    async def change_endpoint(self, endpoint_id: str, change: EndpointChange, note: Note = ()) -> Endpoint:
        """Change what is given in one write, whatever others change at the same time; the endpoint as it is then.
        Its unfinished deliveries keep to a new order at once.  Raises `UsageError` when there is none."""
        ...

    async def remove_endpoint(self, endpoint_id: str, now: datetime, note: Note = ()) -> None:
        """The log keeps naming it.  Raises `UsageError` when there is none (any more)."""
        ...

    async def seal_secrets(self, *, dry_run: bool = False) -> int:
        """Seal every stored secret (former ones too) that is not, or that a former key sealed, with the present key,
        in one write; how many there were.  ``dry_run``: only how many.  Raises `OutboxError`, and changes nothing, when
        no key opens one.  `open` seals what is not sealed at all."""
        ...


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


class RetentionStore(Protocol):
    """The part of the outbox that removes stored data."""

    async def retain(self, what: Retention, limit: int, after: int = 0) -> Retained:
        """Look at up to ``limit`` events, oldest first, after sequence ``after``, and remove the expired ones in one
        short transaction.  The newest event and delivery stay at any age, so that no number is used twice."""
        ...

    async def expunge(self, event_ids: Sequence[str], now: datetime, note: Note = ()) -> int:
        """Empty payloads, and what endpoints answered to them, for good, and cancel the unfinished deliveries; how many
        there were of these.  Raises `UsageError`, and changes nothing, when one of the events is not there;
        `OutboxError` when they are emptied but the disk may still hold what they were: call it again."""
        ...

    async def gather_activity(self, since: datetime, now: datetime) -> None:
        """Combine the counters by minute that are later than ``since`` and older than two hours into counters by hour,
        and remove those that are older than 400 days."""
        ...

    async def reseal(self, limit: int) -> bool:
        """Rewrite up to ``limit`` rows that a former version stored, or whose values are not sealed as configured;
        return whether there may be more."""
        ...

    async def reseal_pending(self) -> bool:
        """Return whether row values may be stored that are not sealed as configured."""
        ...

    async def forget_quarantined(self, before: datetime) -> int:
        """Remove changes that were skipped before this time; how many."""
        ...


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


class DispatchStore(QueueStore, LogStore, EndpointReader, Protocol):
    """The parts of the outbox that a dispatcher needs."""

    @property
    def limits(self) -> LimitStore | None:
        """Limits over all processes; None where one process dispatches."""
        ...


class OutboxStore(
    OutboxFile,
    IngestStore,
    DispatchStore,
    MonitoredStore,
    PullStore,
    EndpointStore,
    ReplayStore,
    BackfillStore,
    RetentionStore,
    SnapshotStore,
    ReaderStore,
    QuarantineStore,
    Protocol,
):
    """A whole outbox.  Its users take the part that they need.

    ``note``, everywhere: entries of the audit log that are stored in the same transaction as the change."""

    async def usage(self, now: datetime) -> Sequence[Usage]:
        """Return how much sources and principals have of what has a limit under ``[limits]``."""
        ...

    @property
    def workers(self) -> WorkerStore | None:
        """The leases by which processes share the sources; None where one process reads all of them."""
        ...
