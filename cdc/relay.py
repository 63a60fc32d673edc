"""Source → mapping → outbox, and the acknowledgement: one relay a source.

Invariant: a position is acknowledged only after the outbox has committed it together with the events that it covers.
A failing source is closed and opened again with the last position that the outbox holds; a failing outbox is tried
again with the same events, and nothing further is read until then.  A change that repeatedly cannot be processed
is skipped, kept in quarantine and reported.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import orjson
import structlog

from cdc.capture.base import NO_BACKFILLS, EventBatch, Source, SourceBackfills
from cdc.mapping.facts import gather_facts
from cdc.mapping.mapper import Mapped, Mapper
from cdc.mapping.merge import merged
from cdc.mapping.permissions import QUIET
from cdc.model.change import Batch, Gap, Position, Quarantined, Row, RowChange, Transaction
from cdc.model.clock import Backoff, Clock
from cdc.model.departure import check_present
from cdc.model.due import state_after
from cdc.model.errors import (
    CdcError,
    OutboxError,
    OutboxLost,
    PositionMoved,
    RowUnreadable,
    SourceError,
    first_error,
    reportable_error,
)
from cdc.model.event import Event, event_payload
from cdc.model.image import Image
from cdc.model.observer import SILENT, Observer
from cdc.model.operation import source_gap
from cdc.outbox.base import Fence, IngestStore

log = structlog.get_logger()

#: Seconds after which a source that failed is tried again as if it had not failed before.
_WORKED = 60.0
#: Attempts of a batch before the failing change is searched for.
TRIES = 3
#: Characters that are kept of each image of the row.
LARGEST = 64 * 1024


class Defects:
    """Counts failures at one position that a change may cause: no errors of the database or the outbox."""

    def __init__(self) -> None:
        self._position: Position | None = None
        self._count = 0

    def at(self, position: Position | None) -> None:
        """Reset the count when the position changes."""
        if position != self._position:
            self._position, self._count = position, 0

    def met(self, error: Exception) -> None:
        """Count an exception."""
        if isinstance(error, RowUnreadable) or not isinstance(error, CdcError):
            self._count += 1

    @property
    def many(self) -> bool:
        return self._count >= TRIES


async def nobody() -> None:
    """Do nothing: the callback ``stored`` where nobody dispatches."""


@dataclass
class Relay:
    """``stored`` is awaited after each commit that made deliveries: dispatch is woken, and goes first.
    ``opening``: held while the source is being opened.  ``retry``: seconds before the first new try after a failure.
    ``backfills``: what else is to be read.  ``epoch``: of the source's lease, where the outbox has leases.
    ``site``: the address of FacturaScripts; empty: the one in its own settings."""

    source: Source
    mapper: Mapper
    store: IngestStore
    clock: Clock
    stored: Callable[[], Awaitable[None]]
    observer: Observer = SILENT
    opening: Callable[[], AbstractAsyncContextManager[None]] = contextlib.nullcontext
    retry: float = 0.5
    backfills: SourceBackfills = NO_BACKFILLS
    epoch: int | None = None
    site: str = ""

    _defects: Defects = field(default_factory=Defects)
    _site: str = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Relay until ``stop`` is set.  After any error, reopen the source with a growing delay; other sources,
        dispatch and the page are not affected."""
        backoff = Backoff(first=self.retry, most=30.0)
        while not stop.is_set():
            begun = self.clock.monotonic()
            try:
                await _unless(stop, self._follow(backoff))
            except Exception as error:  # noqa: BLE001 - one source must not end the others: the error is logged and counted, and the source opened again
                if self.clock.monotonic() - begun > _WORKED:
                    backoff.reset()  # it worked, though it may have had nothing to store
                delay = backoff.next()
                self._report(first_error(error), delay)
                self._defects.met(first_error(error))
                await self.clock.wait(stop, delay)
            finally:
                await self.source.close()

    def _report(self, error: Exception, delay: float) -> None:
        reported, name = reportable_error(error), self.source.name
        trace = None if isinstance(error, CdcError) else error
        outbox = isinstance(error, OutboxError)
        (self.observer.outbox_failed if outbox else self.observer.source_failed)(name, reported)
        what = "outbox failed" if outbox else "source failed"
        log.error(what, source=name, error=str(reported), retry_in=round(delay, 1), exc_info=trace)

    async def _follow(self, backoff: Backoff) -> None:
        self.observer.opening(self.source.name)
        position = await self._open()
        self._site = self.site or await self.source.site_url()
        states = await self.store.states(self.source.name)
        keys: dict[str, str] = {}
        if (first := await self.source.begin()) is not None:
            position = await self._pass_on(first, position, states, keys)
        log.info("reading", source=self.source.name)
        self.observer.reading(self.source.name, position)
        batches = aiter(self.source.batches(self.backfills))
        while (batch := await self._next(batches, position, states)) is not None:
            self._defects.at(position)
            if self._defects.many:
                batch = await self._without_quarantined(batch, states, keys)
            position = await self._pass_on(batch, position, states, keys)
            backoff.reset()

    async def _pass_on(
        self, batch: Batch, behind: Position | None, states: dict[str, str], keys: dict[str, str]
    ) -> Position:
        """Map and store a batch and acknowledge it.  Return its position."""
        mapped = await self._map(batch.transactions, states, keys)
        if batch.step is not None:
            mapped.states_changed.update(state_after(batch.step, states))
        await self._store(batch, mapped, behind)
        await self.source.acknowledge(batch.position)
        _apply(states, mapped)
        return batch.position

    async def _next(
        self, batches: AsyncIterator[Batch], position: Position | None, states: dict[str, str]
    ) -> Batch | None:
        """The next batch.  Events that mapping holds are released when none comes for a while."""
        if position is None or not self.mapper.holds(states):
            return await anext(batches, None)
        coming = asyncio.ensure_future(anext(batches, None))
        try:
            await asyncio.wait({coming}, timeout=QUIET.total_seconds())
            if not coming.done():
                released = self.mapper.release(self.source.name, states)
                await self._store(Batch((), position), released, position)
                _apply(states, released)
            return await coming
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)

    async def _open(self) -> Position | None:
        """Open the source; return its position.  After waiting as a standby that is the one the outbox holds by then,
        since the former consumer continued from the one read before."""
        position = await self._stored_position()
        async with self.opening():
            await self.source.open(position)
        while (latest := await self._stored_position()) != position:
            await self.source.close()
            position = latest
            await self.source.open(position)
        return position

    async def _stored_position(self) -> Position | None:
        """Raises `SourceError` when another outbox has the source."""
        position = await self.store.position(self.source.name)
        check_present(self.source.name, position)
        return position

    async def _without_quarantined(self, batch: Batch, states: dict[str, str], keys: dict[str, str]) -> Batch:
        """Return the batch without the changes that cannot be mapped; each becomes a gap that names its record."""
        kept: list[Transaction] = []
        skipped: list[Quarantined] = []
        for transaction in batch.transactions:
            failed = await self._tried(transaction, states, keys)
            if failed is None:
                kept.append(transaction)
                continue
            good: list[RowChange] = []
            for change in transaction.changes:
                alone = transaction._replace(changes=(change,))
                error = await self._tried(alone, states, keys)
                if error is None:
                    good.append(change)
                else:
                    skipped.append(quarantined(self.source.name, transaction, change, error))
            if good:
                kept.append(transaction._replace(changes=tuple(good)))
        for each in skipped:
            log.error("row quarantined", source=self.source.name, id=each.id, table=each.table, reason=each.reason)
        gaps = (*batch.gaps, *map(gap_of, skipped))
        return replace(batch, transactions=tuple(kept), gaps=gaps, quarantined=tuple(skipped))

    async def _tried(self, transaction: Transaction, states: dict[str, str], keys: dict[str, str]) -> Exception | None:
        """Return the error of mapping this transaction alone; None when it can be mapped.

        Raises errors that are not the row's: `SourceError`, `OSError` (no file descriptors) and `MemoryError`.  A row
        must not be skipped for them."""
        try:
            mapped = await self._map([transaction], dict(states), keys)
            for event in mapped.events:
                event_payload(event)
        except RowUnreadable as error:
            return error
        except (SourceError, OSError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - the error that is searched for
            return error
        return None

    async def _map(self, read: Sequence[Transaction], states: dict[str, str], keys: dict[str, str]) -> Mapped:
        transactions = merged(read)
        facts = await gather_facts(self.mapper.facts_needed(transactions, states), self.source, keys)
        return self.mapper.map_batch(self.source.name, transactions, facts, states, self._site)

    async def _store(self, batch: Batch, mapped: Mapped, behind: Position | None) -> None:
        """Store a batch; try until it succeeds, since giving up would lose events.  ``behind``: the position stored
        before.  Raises `PositionMoved` when the outbox holds another one, and `OutboxLost`."""
        backoff = Backoff(first=0.5, most=30.0)
        name = self.source.name
        events = _events(name, batch, mapped)
        while True:
            try:
                stored = await self.store.store(
                    name,
                    batch.position,
                    events,
                    mapped.states_changed,
                    self.clock.now(),
                    kept=batch.kept,
                    step=None if batch.step is None or batch.step.due is not None else batch.step,
                    quarantined=batch.quarantined,
                    fence=Fence(behind, self.epoch),
                )
            except (PositionMoved, OutboxLost):
                raise
            except OutboxError as error:
                delay = backoff.next()
                self.observer.outbox_failed(name, error)
                log.error("outbox failed", source=name, error=str(error), retry_in=round(delay, 1))
                await self.clock.wait(asyncio.Event(), delay)
                continue
            self.observer.stored(name, batch, events, stored.events)
            if stored.deliveries:
                await self.stored()
            return


def _events(source: str, batch: Batch, mapped: Mapped) -> Sequence[Event]:
    """Return the events of a batch, and after them one for each table with a gap."""
    events = batch.events if isinstance(batch, EventBatch) else mapped.events
    gaps = {event.id: event for event in (source_gap(source, gap) for gap in batch.gaps)}
    return [*events, *gaps.values()] if gaps else events


def _apply(states: dict[str, str], mapped: Mapped) -> None:
    for key, value in mapped.states_changed.items():
        if value is None:
            states.pop(key, None)
        else:
            states[key] = value


async def _unless(stop: asyncio.Event, work: Awaitable[None]) -> None:
    """Await ``work``; cancel it when ``stop`` is set.  Returns after ``work`` has ended, also when cancelled."""
    task = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    if not task.cancelled():
        task.result()


def quarantined(source: str, transaction: Transaction, change: RowChange, error: Exception) -> Quarantined:
    """Return what is kept of a change that is skipped."""
    identity = "\0".join((source, transaction.token, change.table, str(change.ordinal)))
    key = _key(change)
    return Quarantined(
        id=f"qr_{blake2b(identity.encode(errors='replace'), digest_size=8).hexdigest()}",
        table=change.table,
        operation=change.operation,
        key=key or None,
        token=transaction.token,
        changed_at=change.time,
        reason=reportable_error(error).message,
        before=_kept(change.before),
        after=_kept(change.after),
    )


def gap_of(skipped: Quarantined) -> Gap:
    """Return the gap that reports a skipped change."""
    record = ", ".join(f"{column} {value}" for column, value in (skipped.key or {}).items())
    reason = (
        f"A change ({skipped.operation}) of the table {skipped.table}{f', {record},' if record else ''} was skipped, "
        f"because it cannot be processed. {skipped.reason} "
        "`cdc quarantine list` shows what was skipped; after a fix, "
        f"`cdc quarantine reread {skipped.id}` sends the row as it is then."
    )
    return Gap(skipped.table, skipped.operation, skipped.changed_at, reason, skipped.key)


def _key(change: RowChange) -> Row:
    try:
        key = dict(change.key)
        orjson.dumps(key)
    except Exception:  # noqa: BLE001 - the key itself cannot be read, or not be written
        return {}
    return key


def _kept(row: Row | None) -> str:
    """Return the row as JSON, or the text that it came as; no more than `LARGEST` characters."""
    if row is None:
        return ""
    try:
        text = orjson.dumps(dict(row)).decode()
    except Exception:  # noqa: BLE001 - the row cannot be read
        text = row.text if isinstance(row, Image) else ""
    return text[:LARGEST].encode("utf-8", "replace").decode().replace("\0", "\ufffd")
