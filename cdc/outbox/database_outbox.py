"""An outbox in a database: a table of its methods.

The statements of each subject are in the module of its name, as functions of a `Database`.  Each line here names one,
and the connection or transaction that runs it.  Leasing and recording, which are tuned by hand, are in ``sqlite/`` and
``postgres/``.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from datetime import datetime
from functools import wraps
from operator import attrgetter
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

from cdc.model.audit import Note
from cdc.model.change import BackfillStep, Position, Quarantined, SnapshotChange
from cdc.model.delivery import DeliveryFilter, DueEndpoints, Replayed
from cdc.model.endpoint import Endpoint
from cdc.model.event import Event
from cdc.model.worker import WorkerStore
from cdc.outbox import audit, dispatch, log, relay, upkeep
from cdc.outbox import endpoints as endpoint_work
from cdc.outbox import replays as replay_work
from cdc.outbox.base import Fence, LimitStore, Replication, Stored
from cdc.outbox.database import Database

P = ParamSpec("P")
T = TypeVar("T")
Work = Callable[Concatenate[Database, P], Coroutine[Any, Any, T]]


class Run(Protocol):
    """Runs functions that use the database, one after the other."""

    async def __call__(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...


def _method(
    run: Callable[[Any], Run], work: Work[P, T]
) -> Callable[Concatenate[DatabaseOutbox, P], Coroutine[Any, Any, T]]:
    """Return the method of an outbox that has ``run`` call ``work``."""

    @wraps(work)
    async def method(self: DatabaseOutbox, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await run(self)(work, *args, **kwargs)

    return method


_OWN: Final = attrgetter("_read_own")
_LOG: Final = attrgetter("read_log")
_SNAPSHOT: Final = attrgetter("_read_snapshot")
_DUE: Final = attrgetter("_read_due")
_CHANGE: Final = attrgetter("_change")
_ADD: Final = attrgetter("_add")
_STEP: Final = attrgetter("_step")
_DISPATCH: Final = attrgetter("_dispatch")
_TIDY: Final = attrgetter("_tidy")


class DatabaseOutbox(ABC):
    """An outbox, by ten attributes that run functions.

    Outside a transaction, for single statements: ``_read_own`` sees what this process has written, ``read_log`` reads
    the log, ``_read_snapshot`` snapshot rows, ``_read_due`` endpoints and what is due.

    In a transaction: ``_change`` may change any ordering key, and is on the disk when it returns; ``alter`` is the same
    for steps of a move, which may take long; ``_add`` changes no ordering key; ``_step`` is for a single statement,
    without a notice.  A power failure may undo ``_dispatch`` (then something is sent once more) and ``_tidy`` (then it
    is done again)."""

    _read_own: Run
    read_log: Run
    _read_snapshot: Run
    _read_due: Run
    _change: Run
    alter: Run
    _add: Run
    _step: Run
    _dispatch: Run
    _tidy: Run

    _endpoints_by = "endpoints"  # the statement that reads all
    workers: WorkerStore | None = None
    limits: LimitStore | None = None

    def __init__(self) -> None:
        self._opened = endpoint_work.OpenedEndpoints()  # as they were read last

    # -- written by the relay ---------------------------------------------------------------------------------------

    position = _method(_OWN, relay.position)
    states = _method(_OWN, relay.states)
    reading_session = _method(_OWN, relay.reading_session)
    note_reading_session = _method(_ADD, relay.note_reading_session)
    snapshot_digests = _method(_SNAPSHOT, relay.snapshot_digests)
    snapshot_rows = _method(_SNAPSHOT, relay.snapshot_rows)

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
        stored = await self._change(
            relay.store,
            source,
            position,
            relay.written(events),
            changed_states=states,
            now=now,
            kept=kept,
            step=step,
            quarantined=quarantined,
            fence=fence,
            note=note,
        )
        if kept is not None and kept.written:
            await self._forget_pages()
        return stored

    async def _forget_pages(self) -> None:  # noqa: B027 - only where their pages stay in memory
        """Forget cached pages of snapshot rows; called after such rows were written."""

    async def announce(self, events: Sequence[Event], now: datetime) -> Stored:
        return await self._change(relay.announce, relay.written(events), now)

    # -- endpoints --------------------------------------------------------------------------------------------------

    add_endpoint = _method(_CHANGE, endpoint_work.add)
    change_endpoint = _method(_CHANGE, endpoint_work.change)
    disable_failing = _method(_CHANGE, endpoint_work.disable_failing)
    disable_filtered = _method(_CHANGE, endpoint_work.disable_filtered)
    note_filter = _method(_CHANGE, endpoint_work.note_filter)
    restore_endpoint = _method(_CHANGE, endpoint_work.restore)
    remove_endpoint = _method(_CHANGE, endpoint_work.remove)
    seal_secrets = _method(_CHANGE, endpoint_work.seal_secrets)
    send_test = _method(_CHANGE, endpoint_work.send_test)
    endpoint = _method(_DUE, endpoint_work.endpoint)
    endpoints_of = _method(_DUE, endpoint_work.endpoints_of)
    endpoints_version = _method(_DUE, endpoint_work.version)
    search_endpoints = _method(_LOG, endpoint_work.search)
    removed_endpoints = _method(_LOG, endpoint_work.removed_endpoints)

    async def endpoints(self) -> list[Endpoint]:
        self._opened = await self._read_due(endpoint_work.opened, self._opened, self._endpoints_by)
        return [endpoint for _, endpoint in self._opened.all]

    # -- dispatch ---------------------------------------------------------------------------------------------------

    release = _method(_DISPATCH, dispatch.release)
    bring_forward = _method(_DISPATCH, dispatch.bring_forward)
    give_back = _method(_DISPATCH, dispatch.give_back)
    endpoint_numbers = _method(_DUE, dispatch.endpoint_numbers)
    due_of = _method(_DUE, dispatch.due_of)
    held = _method(_OWN, dispatch.held)
    oldest_due = _method(_LOG, dispatch.oldest_due)

    async def due_endpoints(
        self,
        now: datetime,
        most: int,
        place: int,
        without: Collection[str] = (),
        runs: Sequence[tuple[int, int]] | None = None,
    ) -> DueEndpoints:
        return await self._read_due(dispatch.due_endpoints, now, most, place, without=without, runs=runs)

    async def next_due(
        self,
        now: datetime,  # noqa: ARG002 - the protocol's; a due time is absolute here
        without: Collection[str] = (),
    ) -> datetime | None:
        return await self._read_due(dispatch.next_due, without)

    async def replication(self) -> Replication:
        return Replication.NONE

    # -- the log ----------------------------------------------------------------------------------------------------

    deliveries = _method(_LOG, log.deliveries)
    search_deliveries = _method(_LOG, log.search_deliveries)
    delivery = _method(_LOG, log.delivery)
    attempts = _method(_LOG, log.attempts)
    attempts_of = _method(_LOG, log.attempts_of)
    counts = _method(_LOG, log.counts)
    unfinished = _method(_LOG, log.unfinished)
    activity = _method(_LOG, log.activity)
    activity_totals = _method(_LOG, log.activity_totals)
    activity_leaders = _method(_LOG, log.activity_leaders)
    events = _method(_LOG, log.events)
    event = _method(_LOG, log.event)
    events_of = _method(_LOG, log.events_of)
    newest_events = _method(_LOG, log.newest_events)
    find_events = _method(_LOG, log.find_events)
    search_events = _method(_LOG, log.search_events)
    usage = _method(_LOG, audit.usage)

    # -- recovery and upkeep ----------------------------------------------------------------------------------------

    retry = _method(_CHANGE, replay_work.retry)
    add_replay = _method(_ADD, replay_work.add)
    replays = _method(_LOG, replay_work.newest)
    find_replay = _method(_LOG, replay_work.find)
    lease_replay = _method(_STEP, replay_work.lease)
    advance_replay = _method(_STEP, replay_work.advance)
    end_replay = _method(_ADD, replay_work.end)

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
        found = await self.read_log(replay_work.scan, which, limit, after)
        return found.planned() if dry_run else await self._change(replay_work.apply, found, now, note)

    add_backfill = _method(_ADD, relay.add_backfill)
    backfills = _method(_LOG, relay.backfills)
    find_backfill = _method(_LOG, relay.find_backfill)
    next_backfill = _method(_LOG, relay.next_backfill)
    backfilled_sources = _method(_LOG, relay.backfilled_sources)
    set_backfill = _method(_ADD, relay.set_backfill)

    quarantined = _method(_LOG, relay.quarantined)
    find_quarantined = _method(_LOG, relay.find_quarantined)
    count_quarantined = _method(_LOG, relay.count_quarantined)
    remove_quarantined = _method(_ADD, relay.remove_quarantined)
    forget_quarantined = _method(_TIDY, relay.forget_quarantined)

    gather_activity = _method(_TIDY, upkeep.gather_activity)
    reseal = _method(_TIDY, upkeep.reseal)
    reseal_pending = _method(_LOG, upkeep.reseal_pending)
    retain = _method(_TIDY, upkeep.retain)
    expunge = _method(_CHANGE, upkeep.expunge)
