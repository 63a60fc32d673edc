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

Times are aware UTC datetimes, always passed in: the store has no clock.  ``note``, everywhere: entries of the audit log
that are stored in the same transaction as the change.

The statements of each subject are in the module of its name, as functions of a `Database`; `OutboxStore` is a table of
them, with the connection or transaction that runs each.  Leasing and recording, which are tuned by hand, are in
``sqlite/`` and ``postgres/``.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from enum import Enum, auto
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

from cdc.model.audit import Note
from cdc.model.backfill import BackfillStore
from cdc.model.change import BackfillStep, Position, Quarantined, ReaderStore, SnapshotChange, SnapshotStore
from cdc.model.delivery import DeliveryFilter, PullStore, QueueStore, Replayed, ReplayStore
from cdc.model.endpoint import Endpoint
from cdc.model.errors import OutboxError, OutboxLost, OutboxUnavailable, PositionMoved
from cdc.model.event import Event
from cdc.model.worker import WorkerStore
from cdc.outbox import audit, dispatch, log, relay, upkeep
from cdc.outbox import endpoints as endpoint_work
from cdc.outbox import replays as replay_work
from cdc.outbox.base import Fence, HandOver, LimitStore, Replication, Stored
from cdc.outbox.database import Database
from cdc.outbox.relay import StoreRequest

P = ParamSpec("P")
T = TypeVar("T")
D = TypeVar("D", bound=Database)


#: Outcomes that are recorded together at most.
MOST_OUTCOMES: Final = 1024


#: Stores, and events of several, that are stored together at most.
_MOST_STORES: Final = 64
_MOST_EVENTS: Final = 500
#: A store and where its result is awaited.
_Waiting = tuple[StoreRequest, asyncio.Future[Stored]]


class Via(Enum):
    """The connection, or the transaction, that runs a function."""

    OWN = auto()  # single statements, after what this process is writing
    SNAPSHOT = auto()  # single statements: snapshot rows
    LOG = auto()  # single statements: the log
    DUE = auto()  # single statements: endpoints and what is due
    CHANGE = auto()  # a transaction that may change any ordering key, and is on the disk when it returns
    STORE = auto()  # the same where new deliveries join the end of ordering keys
    ALTER = auto()  # the same for steps of a move, which may take long
    ADD = auto()  # the same where no ordering key changes
    STEP = auto()  # a single statement, without a notice
    DISPATCH = auto()  # a transaction that a power failure may undo: then something is sent once more
    TIDY = auto()  # a transaction that a power failure may undo: then it is done again


class Run(Protocol):
    """Runs functions that use the database, one after the other."""

    async def __call__(
        self, work: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...


def method(
    via: Via, work: Callable[Concatenate[D, P], Coroutine[Any, Any, T]]
) -> Callable[Concatenate[OutboxStore, P], Coroutine[Any, Any, T]]:
    """Return ``work`` as a method of an outbox."""

    @wraps(work)
    async def run(self: OutboxStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.runs[via](work, *args, **kwargs)

    return run


class StoreQueue:
    """Stores of a process, one transaction at a time: what comes while one runs is stored by the next, together.

    Each source has its own fence.  Where one of several fails, each is stored again by itself, so that what the outbox
    cannot hold harms its source only.  ``run``: stores requests of different sources in a transaction."""

    def __init__(self, run: Callable[[Sequence[StoreRequest]], Awaitable[Sequence[Stored | PositionMoved]]]) -> None:
        self._run = run
        self._busy = False
        self._waiting: deque[_Waiting] = deque()
        self._batch: Sequence[_Waiting] = ()  # of those, what is being stored
        self._task: asyncio.Task[None] | None = None

    async def add(self, request: StoreRequest) -> Stored:
        if self._busy:
            future: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
            self._waiting.append((request, future))
            return await future
        self._busy = True
        try:
            (stored,) = await self._run([request])
        finally:
            self._busy = bool(self._waiting)
            if self._busy:
                self._task = asyncio.create_task(self._store_waiting())
        if isinstance(stored, PositionMoved):
            raise stored
        return stored

    async def close(self) -> None:
        """Store nothing more: what still waits fails."""
        if (task := self._task) is not None:
            task.cancel()
            await asyncio.wait([task])
        for _, future in (*self._batch, *self._waiting):
            if not future.done():
                future.set_exception(OutboxError("The outbox is closed."))
        self._waiting.clear()
        self._busy, self._batch = False, ()

    async def _store_waiting(self) -> None:
        while batch := self._next():
            self._batch = batch
            await self._store(batch)
            await asyncio.sleep(0)  # what the same sources store next may join
        self._busy, self._batch, self._task = False, (), None

    def _next(self) -> list[_Waiting]:
        """Take requests in order, each of another source, and not too much for a transaction."""
        batch, events = dict[str, _Waiting](), 0
        while self._waiting:
            request, future = self._waiting[0]
            events += len(request.events)
            if batch and (request.source in batch or len(batch) == _MOST_STORES or events > _MOST_EVENTS):
                break
            self._waiting.popleft()
            if not future.done():  # else its relay has ended
                batch[request.source] = request, future
        return list(batch.values())

    async def _store(self, batch: Sequence[_Waiting]) -> None:
        results: Sequence[Stored | Exception]
        try:
            results = await self._run([request for request, _ in batch])
        except Exception as error:  # noqa: BLE001 - raised where it is awaited
            if len(batch) > 1 and not isinstance(error, OutboxUnavailable | OutboxLost):
                for each in batch:
                    await self._store([each])
                return
            results = [error] * len(batch)
        for (request, future), result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                if not future.done():
                    future.set_exception(result)
            elif not future.done():
                future.set_result(result)
            elif request.hand_over is not None and result.leased:  # nobody else would send them before they expire
                request.hand_over.take(result.leased)


class OutboxStore(QueueStore, PullStore, ReplayStore, BackfillStore, SnapshotStore, ReaderStore, ABC):
    """An outbox.  ``workers``: the leases by which processes share the sources; None where one process reads all of
    them.  ``limits``: of all processes; None where one process dispatches.  ``most_outcomes``: to be recorded together,
    so that others do not wait long for it."""

    most_outcomes = MOST_OUTCOMES
    _stores: StoreQueue
    runs: Mapping[Via, Run]
    workers: WorkerStore | None = None
    limits: LimitStore | None = None
    _endpoints_by = "endpoints"  # the statement that reads all
    _opened = endpoint_work.OpenedEndpoints()  # as they were read last

    # -- the outbox as a whole --------------------------------------------------------------------------------------

    @abstractmethod
    async def exists(self) -> bool:
        """Return whether `open` would find an outbox rather than create one.  Does not need `open`."""

    @abstractmethod
    async def check(self) -> None:
        """Raise `OutboxLost` when the open outbox was deleted or replaced."""

    @abstractmethod
    async def save(self, now: datetime) -> Path | None:
        """Write the content of a lost outbox to a new file beside its former place, and return that file's path; None
        when nothing can be saved.  Raises `OutboxError`."""

    @abstractmethod
    async def open(self) -> None:
        """Create or migrate the schema.  Raises `OutboxError` when the file is newer than this version or unusable."""

    @abstractmethod
    async def close(self) -> None: ...

    @abstractmethod
    async def changed(self) -> bool:
        """Return whether anyone, another process included, wrote since the last call."""

    @abstractmethod
    async def version(self) -> object:
        """Return a value that differs from the one before when anyone, another process included, wrote since; it may
        differ without that."""

    async def replication(self) -> Replication:
        """Return how the server that holds the outbox replicates it."""
        return Replication.NONE

    # -- written by the relay ---------------------------------------------------------------------------------------

    position = method(Via.OWN, relay.position)
    states = method(Via.OWN, relay.states)
    reading_session = method(Via.OWN, relay.reading_session)
    note_reading_session = method(Via.ADD, relay.note_reading_session)
    snapshot_digests = method(Via.SNAPSHOT, relay.snapshot_digests)
    snapshot_rows = method(Via.SNAPSHOT, relay.snapshot_rows)

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
        hand_over: HandOver | None = None,
    ) -> Stored:
        """Store events in order with their deliveries for every endpoint (enabled or not) that wants them, the
        position, the changed states (None removes one), what changed of the rows that are kept, how far a backfill is,
        unless it has ended, and changes that were skipped, in one transaction, with those of other sources that wait
        for the same (`StoreQueue`).  Raises `PositionMoved`, and stores nothing, when ``kept`` or ``fence`` is behind
        another position than the stored one, or another process has the lease of the source.  ``hand_over``: the
        deliveries to lease in it."""
        made = relay.written(events)
        one = StoreRequest(source, position, made, states, now, kept, step, quarantined, fence, note, hand_over)
        stored = await self._stores.add(one)
        if kept is not None and kept.written:
            await self._forget_pages()
        return stored

    async def _store(self, requests: Sequence[StoreRequest]) -> Sequence[Stored | PositionMoved]:
        merges = any(event.renamed_from is not None for each in requests for event, _ in each.events)
        return await self.runs[Via.CHANGE if merges else Via.STORE](relay.store, *requests)

    async def _forget_pages(self) -> None:
        """Forget cached pages of snapshot rows; called after such rows were written."""

    async def announce(self, events: Sequence[Event], now: datetime) -> Stored:
        """Store events that come from no source, with their deliveries, in one transaction."""
        return await self.runs[Via.CHANGE](relay.announce, relay.written(events), now)

    # -- endpoints --------------------------------------------------------------------------------------------------

    add_endpoint = method(Via.CHANGE, endpoint_work.add)
    change_endpoint = method(Via.CHANGE, endpoint_work.change)
    disable_failing = method(Via.CHANGE, endpoint_work.disable_failing)
    disable_filtered = method(Via.CHANGE, endpoint_work.disable_filtered)
    note_filter = method(Via.CHANGE, endpoint_work.note_filter)
    restore_endpoint = method(Via.CHANGE, endpoint_work.restore)
    remove_endpoint = method(Via.CHANGE, endpoint_work.remove)
    seal_secrets = method(Via.CHANGE, endpoint_work.seal_secrets)
    send_test = method(Via.CHANGE, endpoint_work.send_test)
    endpoint = method(Via.DUE, endpoint_work.endpoint)
    endpoints_of = method(Via.DUE, endpoint_work.endpoints_of)
    endpoints_version = method(Via.DUE, endpoint_work.version)
    search_endpoints = method(Via.LOG, endpoint_work.search)
    removed_endpoints = method(Via.LOG, endpoint_work.removed_endpoints)

    async def endpoints(self) -> list[Endpoint]:
        """Return all endpoints that were not removed, oldest first.  Raises `OutboxError` when a secret cannot be
        opened."""
        self._opened = await self.runs[Via.DUE](endpoint_work.opened, self._opened, self._endpoints_by)
        return [endpoint for _, endpoint in self._opened.all]

    # -- dispatch ---------------------------------------------------------------------------------------------------

    release = method(Via.DISPATCH, dispatch.release)
    bring_forward = method(Via.DISPATCH, dispatch.bring_forward)
    give_back = method(Via.DISPATCH, dispatch.give_back)
    endpoint_numbers = method(Via.DUE, dispatch.endpoint_numbers)
    due_of = method(Via.DUE, dispatch.due_of)
    held = method(Via.OWN, dispatch.held)
    oldest_due = method(Via.LOG, dispatch.oldest_due)
    due_endpoints = method(Via.DUE, dispatch.due_endpoints)
    next_due = method(Via.DUE, dispatch.next_due)

    # -- the log ----------------------------------------------------------------------------------------------------

    deliveries = method(Via.LOG, log.deliveries)
    search_deliveries = method(Via.LOG, log.search_deliveries)
    delivery = method(Via.LOG, log.delivery)
    attempts = method(Via.LOG, log.attempts)
    attempts_of = method(Via.LOG, log.attempts_of)
    last_failures = method(Via.LOG, log.last_failures)
    durations = method(Via.LOG, log.durations)
    counts = method(Via.LOG, log.counts)
    unfinished = method(Via.LOG, log.unfinished)
    activity = method(Via.LOG, log.activity)
    activity_totals = method(Via.LOG, log.activity_totals)
    activity_leaders = method(Via.LOG, log.activity_leaders)
    events = method(Via.LOG, log.events)
    event = method(Via.LOG, log.event)
    events_of = method(Via.LOG, log.events_of)
    newest_events = method(Via.LOG, log.newest_events)
    find_events = method(Via.LOG, log.find_events)
    search_events = method(Via.LOG, log.search_events)
    usage = method(Via.LOG, audit.usage)
    record = method(Via.ADD, audit.record)

    # -- recovery and upkeep ----------------------------------------------------------------------------------------

    retry = method(Via.CHANGE, replay_work.retry)
    later = method(Via.LOG, replay_work.later)
    hurry = method(Via.ADD, replay_work.hurry)
    add_replay = method(Via.ADD, replay_work.add)
    replays = method(Via.LOG, replay_work.newest)
    find_replay = method(Via.LOG, replay_work.find)
    lease_replay = method(Via.STEP, replay_work.lease)
    advance_replay = method(Via.STEP, replay_work.advance)
    end_replay = method(Via.ADD, replay_work.end)

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
        found = await self.runs[Via.LOG](replay_work.scan, which, limit, after)
        return found.planned() if dry_run else await self.runs[Via.CHANGE](replay_work.apply, found, now, note)

    add_backfill = method(Via.ADD, relay.add_backfill)
    backfills = method(Via.LOG, relay.backfills)
    find_backfill = method(Via.LOG, relay.find_backfill)
    next_backfill = method(Via.LOG, relay.next_backfill)
    backfilled_sources = method(Via.LOG, relay.backfilled_sources)
    set_backfill = method(Via.ADD, relay.set_backfill)

    quarantined = method(Via.LOG, relay.quarantined)
    find_quarantined = method(Via.LOG, relay.find_quarantined)
    count_quarantined = method(Via.LOG, relay.count_quarantined)
    remove_quarantined = method(Via.ADD, relay.remove_quarantined)
    forget_quarantined = method(Via.TIDY, relay.forget_quarantined)

    gather_activity = method(Via.TIDY, upkeep.gather_activity)
    reseal = method(Via.TIDY, upkeep.reseal)
    reseal_pending = method(Via.LOG, upkeep.reseal_pending)
    retain = method(Via.TIDY, upkeep.retain)
    expunge = method(Via.CHANGE, upkeep.expunge)
