"""The embedded outbox: one SQLite file, several processes.

Two connections, each in its own thread: one writes (and reads what the hot paths need), the other reads the log, so
that a slow listing delays nobody.  What they do is in the ``sqlite_….py`` files beside this one, and ``sql/sqlite``.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from cdc.audit import Note
from cdc.model.backfill import Backfill, BackfillState
from cdc.model.change import BackfillStep, Quarantined
from cdc.model.delivery import Attempt, DeliveryState, DeliveryView, LeasedDelivery, Outcome
from cdc.model.endpoint import Endpoint, EndpointChange
from cdc.model.event import Event
from cdc.model.log_filter import DeliveryFilter, EventFilter
from cdc.model.position import Position
from cdc.model.replay import Replay, ReplayState
from cdc.model.snapshot_row import SnapshotChange, SnapshotRow
from cdc.outbox.base import Fence, Replayed, Retained, Retention, Stored, StoredEvent
from cdc.outbox.migrate import migrate_sqlite
from cdc.outbox.secret_box import PLAIN, SecretBox
from cdc.outbox.slices import SearchPage, TimeBudget
from cdc.outbox.sqlite import (
    backfills,
    dispatch,
    endpoints,
    errors,
    kept_rows,
    log,
    quarantine,
    relay,
    replay,
    replays,
    retention,
)
from cdc.outbox.sqlite.audit import noting
from cdc.outbox.sqlite.backup import copy
from cdc.outbox.sqlite.file import keep_private
from cdc.outbox.sqlite.lock import ProcessLock
from cdc.outbox.sqlite.refusals import RefusalFile
from cdc.outbox.sqlite.thread import SqliteThread

#: KiB.  The log, and kept rows, are walked once: what is needed again are the pages above the leaves.
_READER_CACHE: Final = 4096


class SqliteOutbox:
    """`OutboxStore` in the file ``path`` (made with mode 0600 when absent: it holds secrets).

    ``busy_timeout``: seconds to wait for another process's write.  ``box``: seals the endpoints' secrets in it.
    """

    def __init__(self, path: Path | str, *, busy_timeout: float = 5.0, box: SecretBox = PLAIN) -> None:
        self._path = Path(path)
        self._box = box
        self._writer = SqliteThread(self._path, busy_timeout)
        self._reader = SqliteThread(self._path, busy_timeout, _READER_CACHE)
        self._seen: tuple[int, int] | None = None
        self._dispatch_lock = ProcessLock(self._path)
        self._readers: dict[str, ProcessLock] = {}
        self._refusals = RefusalFile(self._path)

    async def exists(self) -> bool:
        return self._path.exists()

    async def check(self) -> None:
        await asyncio.to_thread(self._writer.check_file)

    async def save(self, now: datetime) -> Path | None:
        target = self._path.with_name(f"{self._path.name}-saved-{now:%Y%m%dT%H%M%S}")
        await self._writer.rescue(lambda db: copy(db, self._path, target))
        return target

    async def open(self) -> None:
        keep_private(self._path)
        await self._writer.open()
        try:
            await self._writer.read(migrate_sqlite, self._path)
            await self._reader.open()
            if await self._reader.read(endpoints.seal_secrets, self._box, former=False, dry_run=True):
                await self._writer.write(endpoints.seal_secrets, self._box, former=False)
                await self._writer.read(endpoints.forget_log)
        except BaseException:
            await self._reader.close()
            await self._writer.close()
            raise

    async def close(self) -> None:
        self._dispatch_lock.release()
        for reader in self._readers.values():
            reader.release()
        await self._reader.close()
        await self._writer.close()

    # -- written by the relay ---------------------------------------------------------------------------------------

    async def position(self, source: str) -> Position | None:
        return await self._writer.read(relay.position, source)

    async def states(self, source: str) -> dict[str, str]:
        return await self._writer.read(relay.states, source)

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
        stored = await self._writer.write(
            noting(note, relay.store),
            source,
            position,
            events,
            changed_states=states,
            now=now,
            kept=kept,
            step=step,
            quarantined=quarantined,
            fence=fence,
        )
        if kept is not None and kept.written:
            await self._writer.read(kept_rows.let_go)
        return stored

    async def become_reader(self, source: str) -> bool:
        return self._readers.setdefault(source, ProcessLock(self._path, f"source-{source}")).take()

    async def stop_reading(self, source: str) -> None:
        if (reader := self._readers.pop(source, None)) is not None:
            reader.release()

    async def kept_digests(
        self, source: str, table: str, limit: int, after: bytes | None = None, until: bytes | None = None
    ) -> list[tuple[bytes, bytes]]:
        return await self._reader.read(kept_rows.digests, source, table, limit, after=after, until=until)

    async def kept_rows(self, source: str, table: str, keys: Sequence[bytes]) -> dict[bytes, SnapshotRow]:
        return await self._reader.read(kept_rows.rows, source, table, keys)

    async def refusals(self, api: str) -> str:
        return await self._refusals.read(api)

    async def change_refusals(self, api: str, change: Callable[[str], str]) -> None:
        await self._refusals.change(api, change)

    async def announce(self, events: Sequence[Event], now: datetime) -> Stored:
        return await self._writer.write(relay.announce, events, now)

    # -- endpoints --------------------------------------------------------------------------------------------------

    async def add_endpoint(self, endpoint: Endpoint, note: Note = ()) -> None:
        await self._writer.write(noting(note, endpoints.add), self._box.seal_endpoint(endpoint))

    async def change_endpoint(self, endpoint_id: str, change: EndpointChange, note: Note = ()) -> Endpoint:
        wanted = self._box.seal_change(change)
        return self._box.open_endpoint(await self._writer.write(noting(note, endpoints.change), endpoint_id, wanted))

    async def disable_failing(
        self, endpoint_id: str, failing_since: datetime, reason: str, announcement: Event, now: datetime
    ) -> bool:
        disable = endpoints.disable_failing
        return await self._writer.write(disable, endpoint_id, failing_since, reason, announcement, now=now)

    async def disable_filtered(
        self, endpoint_id: str, condition: str, reason: str, announcement: Event, now: datetime
    ) -> bool:
        disable = endpoints.disable_filtered
        return await self._writer.write(disable, endpoint_id, condition, reason, announcement, now=now)

    async def remove_endpoint(self, endpoint_id: str, now: datetime, note: Note = ()) -> None:
        await self._writer.write(noting(note, endpoints.remove), endpoint_id, now)

    async def endpoint(self, endpoint_id: str) -> Endpoint | None:
        found = await self._reader.read(endpoints.endpoints, endpoint_id)
        return self._box.open_endpoint(found[0]) if found else None

    async def endpoints(self) -> list[Endpoint]:
        return [self._box.open_endpoint(each) for each in await self._reader.read(endpoints.endpoints, None)]

    async def seal_secrets(self, *, dry_run: bool = False) -> int:
        return await self._writer.write(endpoints.seal_secrets, self._box, former=True, dry_run=dry_run)

    async def send_test(
        self, endpoint_id: str, event: Event, worker: str, now: datetime, until: datetime, *, note: Note = ()
    ) -> LeasedDelivery:
        send_test = noting(note, endpoints.send_test)
        return await self._writer.write(send_test, endpoint_id, event, worker, now=now, until=until)

    # -- dispatch: a power failure may undo the newest of these, so that something is sent once more -----------------

    async def become_dispatcher(self) -> bool:
        return self._dispatch_lock.take()

    async def lease(
        self, worker: str, now: datetime, until: datetime, limit: int, room: Mapping[str, int] | None = None
    ) -> list[LeasedDelivery]:
        return await self._writer.write_relaxed(dispatch.lease, worker, now, until, limit=limit, room=room or {})

    async def finish(
        self, worker: str, outcomes: Sequence[Outcome], now: datetime, announcements: Sequence[Event] = ()
    ) -> None:
        await self._writer.write_relaxed(dispatch.finish, worker, outcomes, now, announcements)

    async def release(self, worker: str, now: datetime) -> int:
        return await self._writer.write_relaxed(dispatch.release, worker, now)

    async def bring_forward(self, worker: str, latest: Mapping[str, datetime], now: datetime) -> int:
        return await self._writer.write_relaxed(dispatch.bring_forward, worker, latest, now)

    async def give_back(self, worker: str, deliveries: Sequence[LeasedDelivery], now: datetime) -> int:
        return await self._writer.write_relaxed(dispatch.give_back, worker, deliveries, now)

    async def next_due(
        self,
        now: datetime,  # noqa: ARG002 - the protocol's; a due time is absolute here
        without: Collection[str] = (),
    ) -> datetime | None:
        return await self._writer.read(dispatch.next_due, without)

    async def oldest_due(self, now: datetime) -> dict[str, datetime]:
        return await self._reader.read(dispatch.oldest_due, now)

    def on_write(self, wake: Callable[[], None]) -> None:
        pass  # a file tells nobody

    async def changed(self) -> bool:
        now = await self._writer.read(_versions)
        changed, self._seen = now != self._seen, now
        return changed

    # -- the log ----------------------------------------------------------------------------------------------------

    async def deliveries(self, which: DeliveryFilter, limit: int, before: str | None = None) -> list[DeliveryView]:
        return await self._reader.read(log.deliveries, which, limit, before)

    async def search_deliveries(
        self, which: DeliveryFilter, limit: int, budget: TimeBudget, before: str | None = None
    ) -> SearchPage[DeliveryView]:
        return await self._reader.read(log.search_deliveries, which, limit, budget, before)

    async def delivery(self, delivery_id: str) -> DeliveryView | None:
        return await self._reader.read(log.delivery, delivery_id)

    async def attempts(self, delivery_id: str) -> list[Attempt]:
        return await self._reader.read(log.attempts, delivery_id)

    async def attempts_of(self, delivery_ids: Sequence[str]) -> dict[str, list[Attempt]]:
        return await self._reader.read(log.attempts_of, delivery_ids)

    async def counts(self) -> dict[str, dict[DeliveryState, int]]:
        return await self._reader.read(log.counts)

    async def events(self, limit: int, after: int | None = None, pattern: str | None = None) -> list[StoredEvent]:
        return await self._reader.read(log.events, limit, after, pattern)

    async def event(self, event_id: str) -> StoredEvent | None:
        return await self._reader.read(log.event, event_id)

    async def find_events(self, which: EventFilter, limit: int, after: int = 0) -> list[StoredEvent]:
        return await self._reader.read(log.find_events, which, limit, after)

    async def search_events(
        self, which: EventFilter, limit: int, budget: TimeBudget, place: int | None = None, *, oldest_first: bool
    ) -> SearchPage[StoredEvent]:
        search = log.search_events
        return await self._reader.read(search, which, limit, budget, place, oldest_first=oldest_first)

    # -- recovery and upkeep ----------------------------------------------------------------------------------------

    async def retry(self, delivery_id: str, now: datetime, note: Note = ()) -> None:
        await self._writer.write(noting(note, replay.retry), delivery_id, now)

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
        found = await self._reader.read(replay.find, which, limit, after)
        return found.planned() if dry_run else await self._writer.write(noting(note, replay.apply), found, now)

    async def add_replay(self, replay: Replay, note: Note = ()) -> None:
        await self._writer.write(noting(note, replays.add), replay)

    async def replays(self, limit: int, before: str | None = None) -> list[Replay]:
        return await self._reader.read(replays.newest, limit, before)

    async def find_replay(self, replay_id: str) -> Replay | None:
        return await self._reader.read(replays.find, replay_id)

    async def lease_replay(self, worker: str, now: datetime, until: datetime) -> Replay | None:
        return await self._writer.write(replays.lease, worker, now, until)

    async def advance_replay(self, replay_id: str, worker: str, step: Replayed, now: datetime, until: datetime) -> bool:
        return await self._writer.write(replays.advance, replay_id, worker, step, now=now, until=until)

    async def end_replay(
        self, replay_id: str, state: ReplayState, error: str, now: datetime, note: Note = ()
    ) -> Replay:
        return await self._writer.write(noting(note, replays.end), replay_id, state, error, now)

    async def add_backfill(self, backfill: Backfill, note: Note = (), *, rereads: str = "") -> None:
        await self._writer.write(noting(note, backfills.add), backfill, rereads)

    async def backfills(self, limit: int, before: str | None = None) -> list[Backfill]:
        return await self._reader.read(backfills.newest, limit, before)

    async def find_backfill(self, backfill_id: str) -> Backfill | None:
        return await self._reader.read(backfills.find, backfill_id)

    async def next_backfill(self, source: str) -> Backfill | None:
        return await self._reader.read(backfills.oldest, source)

    async def set_backfill(
        self, backfill_id: str, state: BackfillState, error: str, now: datetime, note: Note = ()
    ) -> Backfill:
        return await self._writer.write(noting(note, backfills.set_state), backfill_id, state, error, now)

    async def quarantined(self, limit: int, before: str | None = None, source: str | None = None) -> list[Quarantined]:
        return await self._reader.read(quarantine.newest, limit, before, source)

    async def find_quarantined(self, quarantined_id: str) -> Quarantined | None:
        return await self._reader.read(quarantine.find, quarantined_id)

    async def count_quarantined(self) -> dict[str, int]:
        return await self._reader.read(quarantine.count)

    async def remove_quarantined(self, quarantined_id: str, note: Note = ()) -> bool:
        return await self._writer.write(noting(note, quarantine.remove), quarantined_id)

    async def forget_quarantined(self, before: datetime) -> int:
        return await self._writer.write_relaxed(quarantine.forget, before)

    async def unfinished(self, endpoint_id: str, limit: int) -> int:
        return await self._reader.read(backfills.unfinished, endpoint_id, limit)

    async def retain(self, what: Retention, limit: int, after: int = 0) -> Retained:
        return await self._writer.write_relaxed(retention.retain, what, limit, after)

    async def expunge(self, event_ids: Sequence[str], now: datetime, note: Note = ()) -> int:
        cancelled = await self._writer.write(noting(note, retention.expunge), event_ids, now)
        if not await self._writer.read(endpoints.forget_log):
            raise errors.log_in_use(self._path)
        return cancelled


def _versions(db: sqlite3.Connection) -> tuple[int, int]:
    """Two numbers that move: with the commits of other connections, and with the writes of this one."""
    return int(db.execute("PRAGMA data_version").fetchone()[0]), db.total_changes
