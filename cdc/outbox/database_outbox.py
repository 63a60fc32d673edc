"""An outbox in a database: what is the same for SQLite and PostgreSQL.

The statements of each subject are in the module of its name; how a dialect runs them, and leasing and recording, which
are tuned by hand, are in ``sqlite/`` and ``postgres/``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, TypeVar

from cdc.model.audit import Note
from cdc.model.backfill import Backfill, BackfillState
from cdc.model.change import BackfillStep, Position, Quarantined, SnapshotChange, SnapshotRow
from cdc.model.delivery import (
    Activity,
    ActivityLeaders,
    Attempt,
    DeliveryFilter,
    DeliveryState,
    DeliveryView,
    DueEndpoints,
    EventFilter,
    LeasedDelivery,
    Replay,
    Replayed,
    ReplayState,
)
from cdc.model.endpoint import Endpoint, EndpointChange, EndpointFilter
from cdc.model.event import Event
from cdc.model.quota import Usage
from cdc.model.worker import WorkerStore
from cdc.outbox import (
    backfills,
    dispatch,
    endpoints,
    log,
    quarantine,
    quotas,
    relay,
    replays,
    resealing,
    retention,
)
from cdc.outbox.audit import noting
from cdc.outbox.base import Fence, LimitStore, Replication, Stored, StoredEvent
from cdc.outbox.database import Database, Session
from cdc.outbox.relay import written
from cdc.outbox.slices import SearchPage, TimeBudget
from cdc.outbox.upkeep import Retained, Retention

P = ParamSpec("P")
T = TypeVar("T")
Work = Callable[Concatenate[Database, P], Coroutine[Any, Any, T]]


class DatabaseOutbox(ABC):
    """Sessions: ``own`` reads what this process has written, ``log`` the log,
    ``kept`` kept rows, ``due`` endpoints and what is due."""

    _own: Session
    _log: Session
    _kept: Session
    _due: Session

    _endpoints_by = "endpoints"  # the statement that reads all
    workers: WorkerStore | None = None
    limits: LimitStore | None = None

    def __init__(self) -> None:
        self._opened = endpoints.OpenedEndpoints()  # as they were read last

    @abstractmethod
    async def _change(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """``work`` in a transaction that is on the disk when this returns, and that may change any lane."""

    @abstractmethod
    async def _add(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """`_change` for what changes no lane."""

    @abstractmethod
    async def _step(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `_add` for a single statement, without a notice."""

    @abstractmethod
    async def _dispatch(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """`_change` for what a power failure may undo: then something is sent once more."""

    @abstractmethod
    async def _tidy(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """`_add` for what a power failure may undo: then it is done again."""

    # -- a source that moves to another outbox (`cdc.outbox.departures`) ----------------------------------------------

    async def look(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._log.read(work, *args, **kwargs)

    async def alter(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._change(work, *args, **kwargs)

    # -- written by the relay ---------------------------------------------------------------------------------------

    async def position(self, source: str) -> Position | None:
        return await self._own.read(relay.position, source)

    async def states(self, source: str) -> dict[str, str]:
        return await self._own.read(relay.states, source)

    async def reading_session(self, source: str) -> str:
        return await self._own.read(relay.reading_session, source)

    async def note_reading_session(self, source: str, session: str) -> None:
        await self._add(relay.note_reading_session, source, session)

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
            noting(note, relay.store) if note else relay.store,
            source,
            position,
            written(events),
            changed_states=states,
            now=now,
            kept=kept,
            step=step,
            quarantined=quarantined,
            fence=fence,
        )
        if kept is not None and kept.written:
            await self._kept_changed()
        return stored

    async def _kept_changed(self) -> None:  # noqa: B027 - only where their pages stay in memory
        """Forget cached pages of snapshot rows; called after such rows were written."""

    async def kept_digests(
        self, source: str, table: str, limit: int, after: bytes | None = None, until: bytes | None = None
    ) -> list[tuple[bytes, bytes]]:
        return await self._kept.read(relay.kept_digests, source, table, limit, after=after, until=until)

    async def kept_rows(self, source: str, table: str, keys: Sequence[bytes]) -> dict[bytes, SnapshotRow]:
        return await self._kept.read(relay.kept_rows, source, table, keys)

    async def announce(self, events: Sequence[Event], now: datetime) -> Stored:
        return await self._change(relay.announce, written(events), now)

    # -- endpoints --------------------------------------------------------------------------------------------------

    async def add_endpoint(self, endpoint: Endpoint, note: Note = ()) -> None:
        await self._change(noting(note, endpoints.add), endpoint)

    async def change_endpoint(self, endpoint_id: str, change: EndpointChange, note: Note = ()) -> Endpoint:
        return await self._change(noting(note, endpoints.change), endpoint_id, change)

    async def disable_failing(
        self, endpoint_id: str, failing_since: datetime, reason: str, announcement: Event, now: datetime
    ) -> bool:
        (announced,) = written([announcement])
        disable = endpoints.disable_failing
        return await self._change(disable, endpoint_id, failing_since, reason, announced, now=now)

    async def disable_filtered(
        self, endpoint_id: str, condition: str, reason: str, announcement: Event, now: datetime
    ) -> bool:
        (announced,) = written([announcement])
        disable = endpoints.disable_filtered
        return await self._change(disable, endpoint_id, condition, reason, announced, now=now)

    async def note_filter(self, endpoint_id: str, condition: str, problem: str) -> None:
        await self._change(endpoints.note_filter, endpoint_id, condition, problem)

    async def restore_endpoint(self, endpoint: Endpoint) -> None:
        """Add an endpoint under the id of one that was removed."""
        await self._change(endpoints.restore, endpoint)

    async def remove_endpoint(self, endpoint_id: str, now: datetime, note: Note = ()) -> None:
        await self._change(noting(note, endpoints.remove), endpoint_id, now)

    async def endpoint(self, endpoint_id: str) -> Endpoint | None:
        return next(iter(await self.endpoints_of([endpoint_id])), None)

    async def endpoints_of(self, endpoint_ids: Sequence[str]) -> list[Endpoint]:
        return await self._due.read(endpoints.endpoints_of, endpoint_ids)

    async def search_endpoints(
        self,
        which: EndpointFilter,
        limit: int,
        budget: TimeBudget,
        after: int = 0,
        *,
        fits: Callable[[Endpoint], bool] = lambda _: True,
    ) -> SearchPage[Endpoint]:
        return await self._log.read(endpoints.search, which, limit, budget, after, fits=fits)

    async def endpoints(self) -> list[Endpoint]:
        self._opened = await self._due.read(endpoints.opened, self._opened, self._endpoints_by)
        return [endpoint for _, endpoint in self._opened.all]

    async def endpoints_version(self) -> int:
        return await self._due.read(endpoints.version)

    async def removed_endpoints(self, endpoint_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        return await self._log.read(endpoints.removed_endpoints, endpoint_ids)

    async def seal_secrets(self, *, dry_run: bool = False) -> int:
        return await self._change(endpoints.seal_secrets, former=True, dry_run=dry_run)

    async def send_test(
        self, endpoint_id: str, event: Event, worker: str, now: datetime, until: datetime, *, note: Note = ()
    ) -> LeasedDelivery:
        (test,) = written([event])
        return await self._change(noting(note, endpoints.send_test), endpoint_id, test, worker, now=now, until=until)

    # -- dispatch ---------------------------------------------------------------------------------------------------

    async def release(self, worker: str, now: datetime) -> int:
        return await self._dispatch(dispatch.release, worker, now)

    async def bring_forward(self, worker: str, latest: Mapping[str, datetime], now: datetime) -> int:
        return await self._dispatch(dispatch.bring_forward, worker, latest, now)

    async def give_back(self, worker: str, deliveries: Sequence[LeasedDelivery], now: datetime) -> int:
        return await self._dispatch(dispatch.give_back, worker, deliveries, now)

    async def endpoint_numbers(self) -> Mapping[str, int]:
        return await self._due.read(dispatch.endpoint_numbers)

    async def due_endpoints(
        self,
        now: datetime,
        most: int,
        place: int,
        without: Collection[str] = (),
        runs: Sequence[tuple[int, int]] | None = None,
    ) -> DueEndpoints:
        return await self._due.read(dispatch.due_endpoints, now, most, place, without=without, runs=runs)

    async def next_due(
        self,
        now: datetime,  # noqa: ARG002 - the protocol's; a due time is absolute here
        without: Collection[str] = (),
    ) -> datetime | None:
        return await self._due.read(dispatch.next_due, without)

    async def replication(self) -> Replication:
        return Replication.NONE

    async def held(self, worker: str, delivery_ids: Sequence[str]) -> list[LeasedDelivery]:
        return await self._own.read(dispatch.held, worker, delivery_ids)

    async def due_of(self, endpoint_id: str) -> datetime | None:
        return await self._due.read(dispatch.due_of, endpoint_id)

    async def oldest_due(self, now: datetime) -> dict[str, datetime]:
        return await self._log.read(dispatch.oldest_due, now)

    # -- the log ----------------------------------------------------------------------------------------------------

    async def deliveries(self, which: DeliveryFilter, limit: int, before: str | None = None) -> list[DeliveryView]:
        return await self._log.read(log.deliveries, which, limit, before)

    async def search_deliveries(
        self, which: DeliveryFilter, limit: int, budget: TimeBudget, before: str | None = None
    ) -> SearchPage[DeliveryView]:
        return await self._log.read(log.search_deliveries, which, limit, budget, before)

    async def delivery(self, delivery_id: str) -> DeliveryView | None:
        return await self._log.read(log.delivery, delivery_id)

    async def attempts(self, delivery_id: str) -> list[Attempt]:
        return await self._log.read(log.attempts, delivery_id)

    async def attempts_of(self, delivery_ids: Sequence[str]) -> dict[str, list[Attempt]]:
        return await self._log.read(log.attempts_of, delivery_ids)

    async def counts(
        self, most: int | None = None, endpoint_ids: Sequence[str] | None = None
    ) -> dict[str, dict[DeliveryState, int]]:
        return await self._log.read(log.counts, most, endpoint_ids)

    async def activity(
        self, edges: Sequence[datetime], endpoint_ids: Sequence[str] | None = None, source: str | None = None
    ) -> list[Activity]:
        return await self._log.read(log.activity, edges, endpoint_ids, source)

    async def activity_totals(self, periods: Sequence[tuple[datetime, datetime]]) -> list[Activity]:
        return await self._log.read(log.activity_totals, periods)

    async def activity_leaders(self, since: datetime, before: datetime, most: int) -> ActivityLeaders:
        return await self._log.read(log.activity_leaders, since, before, most)

    async def gather_activity(self, since: datetime, now: datetime) -> None:
        await self._tidy(retention.gather_activity, since, now)

    async def events(self, limit: int, after: int | None = None, pattern: str | None = None) -> list[StoredEvent]:
        return await self._log.read(log.events, limit, after, pattern)

    async def event(self, event_id: str) -> StoredEvent | None:
        return await self._log.read(log.event, event_id)

    async def events_of(self, event_ids: Sequence[str]) -> list[StoredEvent]:
        return await self._log.read(log.events_of, event_ids)

    async def newest_events(self, records: Sequence[str], sources: Sequence[str] | None) -> list[StoredEvent]:
        return await self._log.read(log.newest_events, records, sources)

    async def find_events(self, which: EventFilter, limit: int, after: int = 0) -> list[StoredEvent]:
        return await self._log.read(log.find_events, which, limit, after)

    async def search_events(
        self, which: EventFilter, limit: int, budget: TimeBudget, place: int | None = None, *, oldest_first: bool
    ) -> SearchPage[StoredEvent]:
        search = log.search_events
        return await self._log.read(search, which, limit, budget, place, oldest_first=oldest_first)

    # -- recovery and upkeep ----------------------------------------------------------------------------------------

    async def retry(self, delivery_id: str, now: datetime, note: Note = ()) -> None:
        await self._change(noting(note, replays.retry), delivery_id, now)

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
        found = await self._log.read(replays.scan, which, limit, after)
        return found.planned() if dry_run else await self._change(noting(note, replays.apply), found, now)

    async def add_replay(self, replay: Replay, note: Note = ()) -> None:
        await self._add(noting(note, replays.add), replay)

    async def replays(self, limit: int, before: str | None = None) -> list[Replay]:
        return await self._log.read(replays.newest, limit, before)

    async def find_replay(self, replay_id: str) -> Replay | None:
        return await self._log.read(replays.find, replay_id)

    async def lease_replay(self, worker: str, now: datetime, until: datetime) -> Replay | None:
        return await self._step(replays.lease, worker, now, until)

    async def advance_replay(self, replay_id: str, worker: str, step: Replayed, now: datetime, until: datetime) -> bool:
        return await self._step(replays.advance, replay_id, worker, step, now=now, until=until)

    async def end_replay(
        self, replay_id: str, state: ReplayState, error: str, now: datetime, note: Note = ()
    ) -> Replay:
        return await self._add(noting(note, replays.end), replay_id, state, error, now)

    async def add_backfill(self, backfill: Backfill, note: Note = (), *, rereads: str = "") -> None:
        await self._add(noting(note, backfills.add), backfill, rereads)

    async def backfills(self, limit: int, before: str | None = None) -> list[Backfill]:
        return await self._log.read(backfills.newest, limit, before)

    async def find_backfill(self, backfill_id: str) -> Backfill | None:
        return await self._log.read(backfills.find, backfill_id)

    async def next_backfill(self, source: str) -> Backfill | None:
        return await self._log.read(backfills.oldest, source)

    async def backfilled_sources(self) -> frozenset[str]:
        return await self._log.read(backfills.sources)

    async def set_backfill(
        self, backfill_id: str, state: BackfillState, error: str, now: datetime, note: Note = ()
    ) -> Backfill:
        return await self._add(noting(note, backfills.set_state), backfill_id, state, error, now)

    async def quarantined(self, limit: int, before: str | None = None, source: str | None = None) -> list[Quarantined]:
        return await self._log.read(quarantine.newest, limit, before, source)

    async def find_quarantined(self, quarantined_id: str) -> Quarantined | None:
        return await self._log.read(quarantine.find, quarantined_id)

    async def count_quarantined(self) -> dict[str, int]:
        return await self._log.read(quarantine.count)

    async def remove_quarantined(self, quarantined_id: str, note: Note = ()) -> bool:
        return await self._add(noting(note, quarantine.remove), quarantined_id)

    async def reseal(self, limit: int) -> bool:
        return await self._tidy(resealing.reseal, limit)

    async def usage(self, now: datetime) -> list[Usage]:
        return await self._log.read(quotas.usage, now)

    async def reseal_pending(self) -> bool:
        return await self._log.read(resealing.is_pending)

    async def forget_quarantined(self, before: datetime) -> int:
        return await self._tidy(quarantine.forget, before)

    async def unfinished(self, endpoint_id: str | None, limit: int) -> int:
        return await self._log.read(backfills.unfinished, endpoint_id, limit)

    async def retain(self, what: Retention, limit: int, after: int = 0) -> Retained:
        return await self._tidy(retention.retain, what, limit, after)

    async def expunge(self, event_ids: Sequence[str], now: datetime, note: Note = ()) -> int:
        return await self._change(noting(note, retention.expunge), event_ids, now)
