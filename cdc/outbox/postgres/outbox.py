"""The outbox in a PostgreSQL database: any number of processes store, dispatch and look.

Five connections and a listening one for each process, made when they are first used: one stores and changes
(durably), one leases, one records outcomes, one reads the log, one removes what is too old, so that a slow listing
delays nobody and a lease does not wait for a record.  What they do is in the ``postgres_….py`` files beside this one,
and ``sql/postgres/outbox``.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from cdc.audit import Note
from cdc.model.backfill import Backfill, BackfillState
from cdc.model.change import BackfillStep, Quarantined
from cdc.model.connection import ConnectionInfo
from cdc.model.delivery import Attempt, DeliveryState, DeliveryView, LeasedDelivery, Outcome
from cdc.model.endpoint import Endpoint, EndpointChange
from cdc.model.event import Event
from cdc.model.log_filter import DeliveryFilter, EventFilter
from cdc.model.payload import event_payload
from cdc.model.position import Position
from cdc.model.replay import Replay, ReplayState
from cdc.model.snapshot_row import SnapshotChange, SnapshotRow
from cdc.outbox.base import Fence, Replayed, Retained, Retention, Stored, StoredEvent
from cdc.outbox.postgres import (
    backfills,
    dispatch,
    endpoints,
    kept_rows,
    log,
    quarantine,
    refusals,
    relay,
    replay,
    replays,
    retention,
)
from cdc.outbox.postgres.audit import noting
from cdc.outbox.postgres.listen import Listener
from cdc.outbox.postgres.migrate import is_installed, migrate_postgres
from cdc.outbox.postgres.reader_lock import ReaderLocks
from cdc.outbox.postgres.session import Lock, PostgresSession
from cdc.outbox.secret_box import PLAIN, SecretBox
from cdc.outbox.slices import SearchPage, TimeBudget


class PostgresOutbox:
    """`OutboxStore` in the schema ``cdc_outbox`` of a database.  ``box``: seals the endpoints' secrets in it."""

    def __init__(self, info: ConnectionInfo, *, box: SecretBox = PLAIN) -> None:
        self._info = info
        self._box = box
        token = secrets.token_hex(8)
        self._durable = PostgresSession(info, token, durable=True)
        self._leasing = PostgresSession(info, token, durable=False)
        self._recording = PostgresSession(info, token, durable=True)
        self._log = PostgresSession(info, token, durable=True, plain=True)
        self._upkeep = PostgresSession(info, token, durable=False)
        self._listener = Listener(info, token)
        self._readers = ReaderLocks(info)
        self._own_writes = 0
        self._seen: tuple[int, int] | None = None

    async def exists(self) -> bool:
        return await is_installed(self._info)

    async def check(self) -> None:
        await self._log.read(relay.check_schema, self._info)

    async def save(self, now: datetime) -> Path | None:  # noqa: ARG002 - the protocol's: a dropped schema holds nothing
        return None

    async def open(self) -> None:
        await migrate_postgres(self._info)
        if await self._log.read(endpoints.seal_secrets, self._box, former=False, dry_run=True):
            await self._durable.write(Lock.FREELY, endpoints.seal_secrets, self._box, former=False)

    async def close(self) -> None:
        await self._listener.close()
        await self._readers.close()
        for session in (self._durable, self._leasing, self._recording, self._log, self._upkeep):
            await session.close()

    # -- written by the relay ---------------------------------------------------------------------------------------

    async def position(self, source: str) -> Position | None:
        return await self._durable.read(relay.position, source)

    async def states(self, source: str) -> dict[str, str]:
        return await self._durable.read(relay.states, source)

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
        payloads = relay.payloads_of(events)
        self._own_writes += 1
        return await self._durable.write(
            Lock.FREELY,
            noting(note, relay.store),
            source,
            position,
            events,
            payloads,
            changed_states=states,
            now=now,
            kept=kept,
            step=step,
            quarantined=quarantined,
            fence=fence,
        )

    async def become_reader(self, source: str) -> bool:
        return await self._readers.take(source)

    async def stop_reading(self, source: str) -> None:
        await self._readers.release(source)

    async def kept_digests(
        self, source: str, table: str, limit: int, after: bytes | None = None, until: bytes | None = None
    ) -> list[tuple[bytes, bytes]]:
        return await self._durable.read(kept_rows.digests, source, table, limit, after=after, until=until)

    async def kept_rows(self, source: str, table: str, keys: Sequence[bytes]) -> dict[bytes, SnapshotRow]:
        return await self._durable.read(kept_rows.rows, source, table, keys)

    async def refusals(self, api: str) -> str:
        return await self._durable.read(refusals.text, api)

    async def change_refusals(self, api: str, change: Callable[[str], str]) -> None:
        await self._durable.read(refusals.change, api, change)

    async def announce(self, events: Sequence[Event], now: datetime) -> Stored:
        payloads = relay.payloads_of(events)
        self._own_writes += 1
        return await self._durable.write(Lock.FREELY, relay.announce, events, payloads, now)

    # -- endpoints --------------------------------------------------------------------------------------------------

    async def add_endpoint(self, endpoint: Endpoint, note: Note = ()) -> None:
        self._own_writes += 1
        await self._durable.write(Lock.FREELY, noting(note, endpoints.add), self._box.seal_endpoint(endpoint))

    async def change_endpoint(self, endpoint_id: str, change: EndpointChange, note: Note = ()) -> Endpoint:
        self._own_writes += 1
        wanted = self._box.seal_change(change)
        changed = await self._durable.write(Lock.FREELY, noting(note, endpoints.change), endpoint_id, wanted)
        return self._box.open_endpoint(changed)

    async def disable_failing(
        self, endpoint_id: str, failing_since: datetime, reason: str, announcement: Event, now: datetime
    ) -> bool:
        self._own_writes += 1
        disable = endpoints.disable_failing
        announced = (announcement, event_payload(announcement))
        return await self._durable.write(Lock.FREELY, disable, endpoint_id, failing_since, reason, announced, now=now)

    async def disable_filtered(
        self, endpoint_id: str, condition: str, reason: str, announcement: Event, now: datetime
    ) -> bool:
        self._own_writes += 1
        disable = endpoints.disable_filtered
        announced = (announcement, event_payload(announcement))
        return await self._durable.write(Lock.FREELY, disable, endpoint_id, condition, reason, announced, now=now)

    async def remove_endpoint(self, endpoint_id: str, now: datetime, note: Note = ()) -> None:
        self._own_writes += 1
        await self._durable.write(Lock.FREELY, noting(note, endpoints.remove), endpoint_id, now)

    async def endpoint(self, endpoint_id: str) -> Endpoint | None:
        found = await self._leasing.read(endpoints.endpoints, endpoint_id)
        return self._box.open_endpoint(found[0]) if found else None

    async def endpoints(self) -> list[Endpoint]:
        found = await self._leasing.read(endpoints.endpoints, None)
        return [self._box.open_endpoint(each) for each in found]

    async def seal_secrets(self, *, dry_run: bool = False) -> int:
        self._own_writes += 1
        return await self._durable.write(Lock.FREELY, endpoints.seal_secrets, self._box, former=True, dry_run=dry_run)

    async def send_test(
        self, endpoint_id: str, event: Event, worker: str, now: datetime, until: datetime, *, note: Note = ()
    ) -> LeasedDelivery:
        self._own_writes += 1
        send_test = noting(note, endpoints.send_test)
        return await self._durable.write(Lock.FREELY, send_test, endpoint_id, event, worker, now=now, until=until)

    # -- dispatch: a crash of the server may undo the newest leases, so that something is sent once more ------------

    async def become_dispatcher(self) -> bool:
        return True  # any number of processes share the work

    def on_write(self, wake: Callable[[], None]) -> None:
        self._listener.wake = wake

    async def lease(
        self, worker: str, now: datetime, until: datetime, limit: int, room: Mapping[str, int] | None = None
    ) -> list[LeasedDelivery]:
        leased = await self._leasing.read(dispatch.lease, worker, now, until, limit=limit, room=room or {})
        self._own_writes += len(leased)
        return leased

    async def finish(
        self, worker: str, outcomes: Sequence[Outcome], now: datetime, announcements: Sequence[Event] = ()
    ) -> None:
        self._own_writes += 1
        write, finish = self._recording.write, dispatch.finish
        try:
            await write(Lock.IN_TURN, finish, worker, outcomes, now, announcements=announcements, freely=False)
        except dispatch.Crowded:
            await write(Lock.FREELY, finish, worker, outcomes, now, announcements=announcements, freely=True)

    async def release(self, worker: str, now: datetime) -> int:
        self._own_writes += 1
        return await self._recording.write(Lock.FREELY, dispatch.release, worker, now)

    async def bring_forward(self, worker: str, latest: Mapping[str, datetime], now: datetime) -> int:
        self._own_writes += 1
        return await self._recording.write(Lock.FREELY, dispatch.bring_forward, worker, latest, now)

    async def give_back(self, worker: str, deliveries: Sequence[LeasedDelivery], now: datetime) -> int:
        self._own_writes += 1
        return await self._recording.write(Lock.FREELY, dispatch.give_back, worker, deliveries, now)

    async def next_due(
        self,
        now: datetime,  # noqa: ARG002 - the protocol's; a due time is absolute
        without: Collection[str] = (),
    ) -> datetime | None:
        return await self._leasing.read(dispatch.next_due, without)

    async def oldest_due(self, now: datetime) -> dict[str, datetime]:
        return await self._log.read(dispatch.oldest_due, now)

    async def changed(self) -> bool:
        """Leases of other processes do not count; of what else they do they tell.  Unless it hears them: always."""
        await self._listener.start()
        now = (self._listener.writes, self._own_writes)
        changed, self._seen = now != self._seen or not self._listener.hearing, now
        return changed

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

    async def counts(self) -> dict[str, dict[DeliveryState, int]]:
        return await self._log.read(log.counts)

    async def events(self, limit: int, after: int | None = None, pattern: str | None = None) -> list[StoredEvent]:
        return await self._log.read(log.events, limit, after, pattern)

    async def event(self, event_id: str) -> StoredEvent | None:
        return await self._log.read(log.event, event_id)

    async def find_events(self, which: EventFilter, limit: int, after: int = 0) -> list[StoredEvent]:
        return await self._log.read(log.find_events, which, limit, after)

    async def search_events(
        self, which: EventFilter, limit: int, budget: TimeBudget, place: int | None = None, *, oldest_first: bool
    ) -> SearchPage[StoredEvent]:
        search = log.search_events
        return await self._log.read(search, which, limit, budget, place, oldest_first=oldest_first)

    # -- recovery and upkeep ----------------------------------------------------------------------------------------

    async def retry(self, delivery_id: str, now: datetime, note: Note = ()) -> None:
        self._own_writes += 1
        await self._durable.write(Lock.FREELY, noting(note, replay.retry), delivery_id, now)

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
        found = await self._log.read(replay.find, which, limit, after)
        if dry_run:
            return found.planned()
        self._own_writes += 1
        return await self._durable.write(Lock.FREELY, noting(note, replay.apply), found, now)

    async def add_replay(self, replay: Replay, note: Note = ()) -> None:
        await self._durable.write(Lock.IN_TURN, noting(note, replays.add), replay)

    async def replays(self, limit: int, before: str | None = None) -> list[Replay]:
        return await self._log.read(replays.newest, limit, before)

    async def find_replay(self, replay_id: str) -> Replay | None:
        return await self._log.read(replays.find, replay_id)

    async def lease_replay(self, worker: str, now: datetime, until: datetime) -> Replay | None:
        return await self._durable.read(replays.lease, worker, now, until)

    async def advance_replay(self, replay_id: str, worker: str, step: Replayed, now: datetime, until: datetime) -> bool:
        return await self._durable.read(replays.advance, replay_id, worker, step, now=now, until=until)

    async def end_replay(
        self, replay_id: str, state: ReplayState, error: str, now: datetime, note: Note = ()
    ) -> Replay:
        return await self._durable.write(Lock.IN_TURN, noting(note, replays.end), replay_id, state, error, now)

    async def add_backfill(self, backfill: Backfill, note: Note = (), *, rereads: str = "") -> None:
        await self._durable.write(Lock.IN_TURN, noting(note, backfills.add), backfill, rereads)

    async def backfills(self, limit: int, before: str | None = None) -> list[Backfill]:
        return await self._log.read(backfills.newest, limit, before)

    async def find_backfill(self, backfill_id: str) -> Backfill | None:
        return await self._log.read(backfills.find, backfill_id)

    async def next_backfill(self, source: str) -> Backfill | None:
        return await self._log.read(backfills.oldest, source)

    async def set_backfill(
        self, backfill_id: str, state: BackfillState, error: str, now: datetime, note: Note = ()
    ) -> Backfill:
        return await self._durable.write(
            Lock.IN_TURN, noting(note, backfills.set_state), backfill_id, state, error, now
        )

    async def quarantined(self, limit: int, before: str | None = None, source: str | None = None) -> list[Quarantined]:
        return await self._log.read(quarantine.newest, limit, before, source)

    async def find_quarantined(self, quarantined_id: str) -> Quarantined | None:
        return await self._log.read(quarantine.find, quarantined_id)

    async def count_quarantined(self) -> dict[str, int]:
        return await self._log.read(quarantine.count)

    async def remove_quarantined(self, quarantined_id: str, note: Note = ()) -> bool:
        return await self._durable.write(Lock.IN_TURN, noting(note, quarantine.remove), quarantined_id)

    async def forget_quarantined(self, before: datetime) -> int:
        return await self._upkeep.write(Lock.IN_TURN, quarantine.forget, before)

    async def unfinished(self, endpoint_id: str, limit: int) -> int:
        return await self._log.read(backfills.unfinished, endpoint_id, limit)

    async def retain(self, what: Retention, limit: int, after: int = 0) -> Retained:
        self._own_writes += 1
        return await self._upkeep.write(Lock.IN_TURN, retention.retain, what, limit, after)

    async def expunge(self, event_ids: Sequence[str], now: datetime, note: Note = ()) -> int:
        self._own_writes += 1
        return await self._durable.write(Lock.FREELY, noting(note, retention.expunge), event_ids, now)
