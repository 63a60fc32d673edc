"""Deliveries, attempts, and replays: the work of dispatch; filters of their log, and statistics.

What is made for each attempt is a named tuple: it costs a fifth of a frozen dataclass.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from cdc.model.audit import Note
from cdc.model.event import TESTS, Event, searched

TEST_RECORD: Final = f"{TESTS}:"


class DeliveryState(StrEnum):
    """``WAITING``: an earlier event of the same record is not finished.  ``PENDING``: may be sent once due.
    ``LEASED``: a dispatcher has it.  ``DELIVERED``, ``DEAD`` (dead letter), ``CANCELLED`` (its endpoint was removed,
    or it was a test that failed) are final until someone retries by hand."""

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
    source: str = ""


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
    """The effect of an attempt on its delivery: the new state, when it is due again (``PENDING`` only), and whether the
    endpoint must be disabled (with the reason) in the same write.

    ``batch``: how many deliveries travelled in the request; their outcomes are handed on together, one behind the
    other, and differ by the delivery alone.  ``endpoint_id`` and ``source``: what the attempt counts for in the
    statistics.  ``record``: for the log."""

    attempt: Attempt
    state: DeliveryState
    due_at: datetime | None = None
    disable_reason: str = ""
    batch: int = 1
    endpoint_id: str = ""
    source: str = ""
    record: str = ""

    @property
    def failed(self) -> bool:
        """The endpoint did not accept it (nor was it removed)."""
        return self.state not in _NO_FAILURE


_NO_FAILURE = (DeliveryState.DELIVERED, DeliveryState.CANCELLED)


class Hold(StrEnum):
    """The reason why an endpoint's due deliveries are held back: its ``RATE``, a ``PAUSE`` that it asked for, or its
    ``BREAKER``, which is open, for it does not work."""

    RATE = "rate"
    PAUSE = "pause"
    BREAKER = "breaker"


class Held(NamedTuple):
    """Due deliveries are held back ``until`` then, at least; with ``BREAKER`` it is when the next one is tried."""

    by: Hold
    until: datetime


class EndpointHold(NamedTuple):
    """The breaker and pause of an endpoint as all processes keep to them.  ``held``: seconds until a probe may start;
    None: the breaker is closed.  ``probed``: this is the result of a probe.  ``paused``: seconds."""

    held: float | None = None
    failed_probes: int = 0
    paused: float = 0.0
    probed: bool = False


class AdmissionRequest(NamedTuple):
    """Requests that are to be admitted: one each ``spacing`` seconds (0: any number), as many as fit into ``slack``
    seconds sooner.  ``claim``: seconds that a probe has before another process may probe."""

    requests: int
    spacing: float
    slack: float
    claim: float


class Admitted(NamedTuple):
    """``booked``: seconds that the requests admitted before fill the rate."""

    requests: int
    booked: float
    hold: EndpointHold


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

    @property
    def is_test(self) -> bool:
        return self.source == TESTS and self.record.startswith(TEST_RECORD)


class DueEndpoints(NamedTuple):
    """``ids``: in the order of their turn.  ``place``: where the next search begins."""

    ids: list[str]
    place: int


class QueueStore(Protocol):
    """The part of the outbox that a dispatcher works through."""

    async def become_dispatcher(self) -> bool:
        """Return whether this process may dispatch.  Where only one may, it has the part until it closes the outbox or
        dies, and the others get False until then."""
        ...

    async def lease(
        self,
        worker: str,
        now: datetime,
        until: datetime,
        limit: int,
        room: Mapping[str, int] | None = None,
        *,
        only: bool = False,
    ) -> list[LeasedDelivery]:
        """Take up to ``limit`` due deliveries of enabled endpoints: one of each endpoint before a second of any, the
        oldest due of each first.  They are returned oldest due first.

        ``room``: endpoint id → how many more it may have in flight, in the order in which endpoints have their turn.
        An endpoint that is not in it goes first, and may have any number; with ``only`` it gets nothing.
        ``until``: when the lease expires.
        """
        ...

    async def endpoint_numbers(self) -> Mapping[str, int]:
        """Return id → number of the endpoints that were not removed.  Numbers grow in the order of adding."""
        ...

    async def due_endpoints(
        self,
        now: datetime,
        most: int,
        place: int,
        without: Collection[str] = (),
        runs: Sequence[tuple[int, int]] | None = None,
    ) -> DueEndpoints:
        """Return up to ``most`` enabled endpoints with something due, those behind ``place`` first.  It costs what the
        endpoints with unfinished deliveries cost, however many others there are.  ``place``: the one that was returned
        before, or 0; ``without``: ids of endpoints that do not count.  ``runs``: of these numbers (after, up to) only,
        where ``place`` does not count: the first endpoint of each run, then the second of each, and so on."""
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
        """Return when the earliest pending delivery of an enabled endpoint is (or was) due, or an earlier lease
        expires.  ``without``: ids of endpoints that do not count."""
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

    async def note_filter(self, endpoint_id: str, condition: str, problem: str) -> None:
        """Store the endpoint's ``filter_problem``, if it still has this condition."""
        ...

    async def send_test(
        self, endpoint_id: str, event: Event, worker: str, now: datetime, until: datetime, *, note: Note = ()
    ) -> LeasedDelivery:
        """Store ``event`` with one delivery, to this endpoint only, whatever its patterns, already leased by ``worker``
        until ``until``: its first attempt is counted.  Whatever the endpoint's order, it waits for nothing, and nothing
        but its record for it.  Raises `UsageError` when there is no such endpoint, it is disabled, or the event or its
        record is not the test's own."""
        ...

    def on_write(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called when another process made something due, where the store gets notices of that (from the
        first call of `changed` on); elsewhere only `changed` shows it."""
        ...


class PullStore(Protocol):
    """The part of the outbox from which consumers fetch their events; `QueueStore` records what they answer."""

    async def lease_of(
        self, endpoint_id: str, worker: str, now: datetime, until: datetime, limit: int
    ) -> list[LeasedDelivery]:
        """Lease up to ``limit`` due deliveries of this endpoint, if it is enabled, oldest due first."""
        ...

    async def held(self, worker: str, delivery_ids: Sequence[str]) -> list[LeasedDelivery]:
        """Return those of these deliveries that ``worker`` leases; ``lease_until`` is when each lease expires, or
        expired without anybody else having it."""
        ...

    async def due_of(self, endpoint_id: str) -> datetime | None:
        """Return when the first delivery of this endpoint, if it is enabled, is or was due."""
        ...


#: So many of the newest events are searched for a text.
TEXT_EVENTS: Final = 20_000
#: After a text: the first of those that begin with it and go on, and one after all of them.
_NEXT: Final = chr(1)
_LAST: Final = chr(0x10FFFF)


def label_range(text: str, *, whole: bool = False) -> tuple[str, str]:
    """Codes and names that begin with ``text``, or if ``whole`` are it, are not before the first and before the
    second."""
    first = searched(text.encode(errors="replace").decode())
    return (first, first + (_NEXT if whole else _LAST)) if first else (_LAST, _LAST)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """A filter of events; empty fields do not narrow.  ``since``, ``until``: the event's own time, the time of the
    change, is not before the one and before the other.  ``text``: the record's code or name begins with it, or it
    is part of the payload, letter by letter, of one of the `TEXT_EVENTS` newest events.  ``label``: the record's code
    or name is this one, in any case; then ``text`` does not count.  ``sources``: of one of these; None: of any."""

    event_id: str | None = None
    event_pattern: str | None = None
    record: str | None = None
    source: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    sources: tuple[str, ...] | None = None
    label: str | None = None

    @property
    def searches(self) -> bool:
        """Return whether it searches codes, names or payloads."""
        return self.text is not None or self.label is not None


@dataclass(frozen=True, slots=True)
class DeliveryFilter(EventFilter):
    """A filter of deliveries: of such events, to this endpoint, in this state.  ``endpoint_ids``: to one of these;
    None: to any."""

    endpoint_id: str | None = None
    state: DeliveryState | None = None
    endpoint_ids: tuple[str, ...] | None = None


#: Minutes become hours at this age; hours are removed at that age.
MINUTES_KEPT: Final = timedelta(hours=2)
HOURS_KEPT: Final = timedelta(days=400)


class Activity(NamedTuple):
    """Attempts for one endpoint and source in the period that begins at ``since``.  ``seconds``: their duration."""

    since: datetime
    endpoint_id: str
    source: str
    delivered: int
    failed: int
    seconds: float


class ActivityLeaders(NamedTuple):
    """Attempts of the endpoints and of the sources with the most; the field that is summed up is empty."""

    endpoints: Sequence[Activity]
    sources: Sequence[Activity]


def counted(outcomes: Iterable[Outcome], now: datetime) -> list[Activity]:
    """Return the counters of the attempts, each once.  Tests and cancelled deliveries do not count."""
    found: dict[tuple[str, str], list[float]] = {}
    for attempt, state, _, _, _, endpoint_id, source, _ in outcomes:
        key = endpoint_id, source
        counter = found.get(key)
        if counter is None:
            counter = found[key] = [0, 0, 0.0]
        if state is DeliveryState.DELIVERED:
            counter[0] += 1
        elif state is not DeliveryState.CANCELLED:
            counter[1] += 1
        counter[2] += attempt.duration
    minute = now.replace(second=0, microsecond=0)
    return [
        Activity(minute, endpoint_id, source, int(delivered), int(failed), seconds)
        for (endpoint_id, source), (delivered, failed, seconds) in sorted(found.items())
        if delivered + failed and source != TESTS
    ]


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

    async def later(self, endpoint_id: str, now: datetime, limit: int) -> int:
        """Return how many deliveries of an endpoint wait for their next attempt, counted up to ``limit``."""
        ...

    async def hurry(self, endpoint_id: str, now: datetime, limit: int, note: Note = ()) -> int:
        """Make those of `later` due now, the earliest ``limit`` of them, and return how many.  Their attempts still
        count."""
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
