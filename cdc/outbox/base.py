"""What every outbox offers: events, one delivery per (event, endpoint), source positions, attempts.

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

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from cdc.audit import Note
from cdc.model.backfill import Backfill, BackfillState
from cdc.model.change import BackfillStep, Quarantined
from cdc.model.delivery import Attempt, DeliveryState, DeliveryView, LeasedDelivery, Outcome
from cdc.model.endpoint import Endpoint, EndpointChange
from cdc.model.event import Event
from cdc.model.log_filter import DeliveryFilter, EventFilter
from cdc.model.position import Position
from cdc.model.quarantine import QuarantineStore
from cdc.model.replay import Replay, ReplayState
from cdc.model.snapshot_row import SnapshotChange, SnapshotStore
from cdc.outbox.slices import SearchPage, TimeBudget


@dataclass(frozen=True, slots=True)
class Stored:
    """How many of the events given were new, and how many deliveries they made."""

    events: int
    deliveries: int


class Fence(NamedTuple):
    """``position``: the one that the outbox must still hold (None: none) for a new one to take its place.  Another one
    means that another process stored for the source, or that the outbox was replaced by an older state."""

    position: Position | None


@dataclass(frozen=True, slots=True)
class Replayed:
    """One step of a replay: how many deliveries it made due; how many it passed over because their event was expunged;
    where to go on, None when there is nothing behind."""

    deliveries: int
    expunged: int
    after: str | None

    def and_then(self, step: Replayed) -> Replayed:
        """This and the step behind it."""
        return Replayed(self.deliveries + step.deliveries, self.expunged + step.expunged, step.after)


@dataclass(frozen=True, slots=True)
class Retention:
    """What is to go.

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
    """One step of retention: how much it removed, how many payloads it emptied; the sequence to go on behind, None when
    there is nothing to be done behind."""

    events: int
    deliveries: int
    payloads: int
    after: int | None


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


class OutboxStore(SnapshotStore, QuarantineStore, Protocol):
    """``note``, everywhere: entries of the audit log that are stored in the same transaction as the change."""

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

    # -- written by the relay ---------------------------------------------------------------------------------------

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
        nothing, when ``kept`` or ``fence`` is behind another position than the stored one."""
        ...

    async def announce(self, events: Sequence[Event], now: datetime) -> Stored:
        """Store events that come from no source, with their deliveries, in one transaction."""
        ...

    # -- endpoints --------------------------------------------------------------------------------------------------

    async def add_endpoint(self, endpoint: Endpoint, note: Note = ()) -> None:
        """Raises `UsageError` when the id is, or ever was, in use."""
        ...

    async def change_endpoint(self, endpoint_id: str, change: EndpointChange, note: Note = ()) -> Endpoint:
        """Change what is given in one write, whatever others change at the same time; the endpoint as it is then.
        Its unfinished deliveries keep to a new order at once.  Raises `UsageError` when there is none."""
        ...

    async def disable_failing(
        self, endpoint_id: str, failing_since: datetime, reason: str, announcement: Event, now: datetime
    ) -> bool:
        """Disable an endpoint and store ``announcement`` in one write, if it is enabled and its ``failing_since`` is
        still this one; whether that was so."""
        ...

    async def disable_filtered(
        self, endpoint_id: str, condition: str, reason: str, announcement: Event, now: datetime
    ) -> bool:
        """Disable an endpoint and store ``announcement`` in one write, if it is enabled and has this condition;
        whether that was so."""
        ...

    async def remove_endpoint(self, endpoint_id: str, now: datetime, note: Note = ()) -> None:
        """The log keeps naming it.  Raises `UsageError` when there is none (any more)."""
        ...

    async def endpoint(self, endpoint_id: str) -> Endpoint | None: ...

    async def endpoints(self) -> list[Endpoint]:
        """All endpoints that were not removed, oldest first.  Raises `OutboxError` when a secret cannot be opened."""
        ...

    async def seal_secrets(self, *, dry_run: bool = False) -> int:
        """Seal every stored secret (former ones too) that is not, or that a former key sealed, with the present key,
        in one write; how many there were.  ``dry_run``: only how many.  Raises `OutboxError`, and changes nothing, when
        no key opens one.  `open` seals what is not sealed at all."""
        ...

    async def send_test(
        self, endpoint_id: str, event: Event, worker: str, now: datetime, until: datetime, *, note: Note = ()
    ) -> LeasedDelivery:
        """Store ``event`` with one delivery, to this endpoint only, whatever its patterns, already leased by ``worker``
        until ``until``: its first attempt is counted.  Whatever the endpoint's order, it waits for nothing, and nothing
        but its record for it.  Raises `UsageError` when there is no such endpoint, it is disabled, or the event or its
        record is not the test's own."""
        ...

    # -- dispatch ---------------------------------------------------------------------------------------------------

    async def become_dispatcher(self) -> bool:
        """Whether this process may dispatch.  Where only one may, it has the part until it closes the outbox or dies,
        and the others get False until then."""
        ...

    async def lease(
        self, worker: str, now: datetime, until: datetime, limit: int, room: Mapping[str, int] | None = None
    ) -> list[LeasedDelivery]:
        """Take up to ``limit`` due deliveries, oldest due first, of enabled endpoints.

        ``room``: endpoint id → how many more it may have in flight (an endpoint that is not in it may have any number).
        ``until``: when the lease expires.
        """
        ...

    async def finish(
        self, worker: str, outcomes: Sequence[Outcome], now: datetime, announcements: Sequence[Event] = ()
    ) -> None:
        """Record attempts and their deliveries' new states in one write, and store ``announcements`` in it.  A delivery
        that ``worker`` no longer leases keeps its state (someone else has it); the attempt is recorded all the same.  A
        finished delivery lets the next one of its record go.  A failed attempt sets its endpoint's ``failing_since``
        unless it is set; a success of the endpoint clears it."""
        ...

    async def release(self, worker: str, now: datetime) -> int:
        """Give back every lease of ``worker`` (at a stop, or its own former life after a crash), uncounting attempts
        that were leased but have no attempt record; how many."""
        ...

    async def bring_forward(self, worker: str, latest: Mapping[str, datetime], now: datetime) -> int:
        """Make deliveries that are due after ``latest`` (endpoint id → time) due now: a clock was wrong when they were
        scheduled.  Leases of ``worker`` are not changed.  Return how many were.  Once there are any, those that wait
        for others are not late either."""
        ...

    async def give_back(self, worker: str, deliveries: Sequence[LeasedDelivery], now: datetime) -> int:
        """Give back these leases, as far as ``worker`` still holds them, for nothing was sent: their attempts are
        uncounted, and they are due at once; how many."""
        ...

    async def next_due(self, now: datetime, without: Collection[str] = ()) -> datetime | None:
        """When the earliest pending delivery of an enabled endpoint is (or was) due, or an earlier lease expires.
        ``without``: ids of endpoints that do not count."""
        ...

    async def oldest_due(self, now: datetime) -> dict[str, datetime]:
        """Endpoint id (enabled ones) → since when its longest due delivery is due; absent when none is."""
        ...

    def on_write(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called when another process made something due, where the store is told of that (it begins with
        the first call of `changed`); where it is not, only `changed` tells."""
        ...

    async def changed(self) -> bool:
        """Whether anyone, another process included, wrote since the last call."""
        ...

    # -- the log ----------------------------------------------------------------------------------------------------

    async def deliveries(self, which: DeliveryFilter, limit: int, before: str | None = None) -> list[DeliveryView]:
        """Those of the newest events first, of one event the newest delivery first.  ``before``: the last id of the
        page before; raises `UsageError` when there is no such delivery (any more)."""
        ...

    async def search_deliveries(
        self, which: DeliveryFilter, limit: int, budget: TimeBudget, before: str | None = None
    ) -> SearchPage[DeliveryView]:
        """`deliveries`, no longer than ``budget`` has it: a page that may be short, and where to go on.  ``before``:
        `SearchPage.further` of the page before, or the id of a delivery.  Raises `UsageError` when there is no such
        delivery (any more)."""
        ...

    async def delivery(self, delivery_id: str) -> DeliveryView | None: ...

    async def attempts(self, delivery_id: str) -> list[Attempt]: ...

    async def attempts_of(self, delivery_ids: Sequence[str]) -> dict[str, list[Attempt]]:
        """`attempts` of many deliveries, by their ids; one that has none is absent."""
        ...

    async def counts(self) -> dict[str, dict[DeliveryState, int]]:
        """Endpoint id (of those not removed) → how many deliveries by state; a state that has none is absent."""
        ...

    async def events(self, limit: int, after: int | None = None, pattern: str | None = None) -> list[StoredEvent]:
        """Events in the order stored: those behind sequence ``after``, or the newest ``limit`` when it is None."""
        ...

    async def event(self, event_id: str) -> StoredEvent | None: ...

    async def find_events(self, which: EventFilter, limit: int, after: int = 0) -> list[StoredEvent]:
        """Events in the order stored, behind sequence ``after``."""
        ...

    async def search_events(
        self, which: EventFilter, limit: int, budget: TimeBudget, place: int | None = None, *, oldest_first: bool
    ) -> SearchPage[StoredEvent]:
        """Events, oldest or newest first, no longer than ``budget`` has it: a page that may be short, and where to go
        on.  ``place``: behind which sequence, in that order; `SearchPage.further` of the page before is its text."""
        ...

    # -- recovery and upkeep ----------------------------------------------------------------------------------------

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
        tells what would be.  Raises `UsageError` when there is no such endpoint."""
        ...

    async def add_replay(self, replay: Replay, note: Note = ()) -> None:
        """Keep a replay that is to go on by itself."""
        ...

    async def replays(self, limit: int, before: str | None = None) -> list[Replay]:
        """Newest first.  ``before``: the last id of the page before; nothing when there is no such replay."""
        ...

    async def find_replay(self, replay_id: str) -> Replay | None: ...

    async def lease_replay(self, worker: str, now: datetime, until: datetime) -> Replay | None:
        """Take the oldest running replay that no other process is at (any more), until then; None when there is
        none."""
        ...

    async def advance_replay(self, replay_id: str, worker: str, step: Replayed, now: datetime, until: datetime) -> bool:
        """Add a step (`replay`) to what was done; without a place to go on it is done.  False, and nothing is changed,
        when ``worker`` is not at it, or it has ended."""
        ...

    async def end_replay(
        self, replay_id: str, state: ReplayState, error: str, now: datetime, note: Note = ()
    ) -> Replay:
        """End one that runs; as it is then.  Raises `NotFound`."""
        ...

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

    async def set_backfill(
        self, backfill_id: str, state: BackfillState, error: str, now: datetime, note: Note = ()
    ) -> Backfill:
        """Pause one, let it go on, or end it; as it is then.  One that has ended stays as it is.  Raises `NotFound`."""
        ...

    async def unfinished(self, endpoint_id: str, limit: int) -> int:
        """How many deliveries an endpoint has that are not finished, counted up to ``limit``."""
        ...

    async def retain(self, what: Retention, limit: int, after: int = 0) -> Retained:
        """Look at up to ``limit`` events, oldest first, behind sequence ``after``, and remove in one short transaction
        what is to go.  The newest event and delivery stay whatever their age, so that no number is given twice."""
        ...

    async def expunge(self, event_ids: Sequence[str], now: datetime, note: Note = ()) -> int:
        """Empty payloads, and what endpoints answered to them, for good, and cancel the unfinished deliveries; how many
        there were of these.  Raises `UsageError`, and changes nothing, when one of the events is not there;
        `OutboxError` when they are emptied but the disk may still hold what they were: call it again."""
        ...
