"""Source → mapping → outbox, and the acknowledgement: one relay a source.

Invariant: a position is acknowledged only after the outbox has committed it together with the events that it covers.
A failing source is closed and opened again with the last position that the outbox holds; a failing outbox is tried
again with the same events, and nothing further is read until then.  What repeatedly cannot be processed is skipped,
stored in quarantine and reported: a change, or the transaction that fails only as a whole.  A batch that fails is
processed transaction by transaction then, so that nothing depends on what happens to be in it together.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

import orjson
import structlog

from cdc.capture.base import NO_BACKFILLS, EventBatch, Source, SourceBackfills
from cdc.mapping.mapper import Mapped, Mapper
from cdc.mapping.permissions import QUIET
from cdc.model.backfill import state_after
from cdc.model.change import Batch, Gap, Operation, Position, Quarantined, Row, RowChange, Transaction, check_present
from cdc.model.clock import Backoff, Clock
from cdc.model.errors import (
    CdcError,
    OutboxError,
    OutboxLost,
    OutboxRefused,
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
from cdc.outbox.base import Fence, HandOver
from cdc.outbox.store import OutboxStore

log = structlog.get_logger()

#: Seconds after which a source that failed is tried again as if it had not failed before.
_WORKED = 60.0
#: Attempts of a batch before the failing change is searched for.
TRIES = 3
#: Characters that are stored of each image of the row.
LARGEST = 64 * 1024
#: Characters that are stored of all images of a transaction that is skipped as a whole, in one direction.
WHOLE_LARGEST = 16 * 1024 * 1024


class Defects:
    """Counts failures at one position that a change may cause: no errors of the database or the outbox itself."""

    def __init__(self) -> None:
        self._position: Position | None = None
        self._count = 0

    def at(self, position: Position | None) -> None:
        """Reset the count when the position changes."""
        if position != self._position:
            self._position, self._count = position, 0

    def count(self, error: Exception) -> None:
        """Count an exception."""
        if isinstance(error, RowUnreadable | OutboxRefused) or not isinstance(error, CdcError):
            self._count += 1

    @property
    def many(self) -> bool:
        return self._count >= TRIES


async def nobody() -> None:
    """Do nothing: the callback ``stored`` where nobody dispatches."""


def none_handed_over(source: str) -> None:
    """Have a store lease nothing: ``hand_over`` where nobody dispatches."""


@dataclass
class Relay:
    """``stored`` is awaited after each commit that made deliveries: dispatch is woken, and goes first.
    ``opening``: held while the source is being opened.  ``retry``: seconds before the first new try after a failure.
    ``backfills``: what else is to be read.  ``epoch``: of the source's lease, where the outbox has leases.
    ``site``: the address of FacturaScripts; empty: the one in its own settings.
    ``hand_over``: asked before each store for what may be leased in it."""

    source: Source
    mapper: Mapper
    store: OutboxStore
    clock: Clock
    stored: Callable[[], Awaitable[None]]
    observer: Observer = SILENT
    opening: Callable[[], AbstractAsyncContextManager[None]] = contextlib.nullcontext
    retry: float = 0.5
    backfills: SourceBackfills = NO_BACKFILLS
    epoch: int | None = None
    site: str = ""
    hand_over: Callable[[str], HandOver | None] = none_handed_over

    _defects: Defects = field(default_factory=Defects)
    _site: str = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Relay until ``stop`` is set.  After any error, reopen the source with a growing delay; other sources,
        dispatch and the page are not affected."""
        backoff = Backoff(first=self.retry, most=30.0)
        while not stop.is_set():
            begun = self.clock.monotonic()
            try:
                await _unless(stop, self._read(backoff))
            except Exception as error:
                if self.clock.monotonic() - begun > _WORKED:
                    backoff.reset()  # it worked, though it may have had nothing to store
                cause, name, delay = first_error(error), self.source.name, backoff.next()
                reported = reportable_error(cause)
                trace = None if isinstance(cause, CdcError) else cause
                outbox = isinstance(cause, OutboxError)
                (self.observer.outbox_failed if outbox else self.observer.source_failed)(name, reported)
                what = "outbox failed" if outbox else "source failed"
                log.error(what, source=name, error=str(reported), retry_in=round(delay, 1), exc_info=trace)
                self._defects.count(cause)
                await self.clock.wait(stop, delay)
            finally:
                await self.source.close()

    async def _read(self, backoff: Backoff) -> None:
        self.observer.opening(self.source.name)
        position = await self._open()
        self._site = self.site or await self.source.site_url()
        states = await self.store.states(self.source.name)
        keys: dict[str, str] = {}
        self._defects.at(position)
        if (first := await self.source.begin()) is not None:
            position = await self._pass_on(first, position, states, keys)
        log.info("reading", source=self.source.name)
        self.observer.reading(self.source.name, position)
        batches = aiter(self.source.batches(self.backfills))
        while (batch := await self._next(batches, position, states)) is not None:
            self._defects.at(position)
            position = await self._pass_on(batch, position, states, keys)
            backoff.reset()

    async def _pass_on(
        self, batch: Batch, former: Position | None, states: dict[str, str], keys: dict[str, str]
    ) -> Position:
        """Map and store a batch and acknowledge it.  Return its position."""
        if self._defects.many:
            batch, mapped = await self._apart(batch, former, states, keys)
        else:
            mapped = await self._map(batch.transactions, states, keys)
        if batch.step is not None:
            mapped.states_changed.update(state_after(batch.step, states))
        await self._store(batch, mapped, former)
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

    async def _apart(
        self, batch: Batch, former: Position | None, states: dict[str, str], keys: dict[str, str]
    ) -> tuple[Batch, Mapped]:
        """Process each transaction of a batch by itself, and store its events at the former position, if there is one.
        Return what is left to store with the batch's position, and gaps that name what is in quarantine."""
        states, left, skipped = dict(states), Mapped([], {}), _Skipped(self.source.name)
        for transaction in batch.transactions:
            mapped = await self._processed(transaction, former, states, keys, skipped)
            left.events.extend(mapped.events)
            left.states_changed.update(mapped.states_changed)
            _apply(states, mapped)
        if isinstance(batch, EventBatch) and former is not None:
            for event in batch.events:
                error = await self._stored_alone(EventBatch((), former, events=(event,)), (), former)
                if error is not None:
                    skipped.event(event, error)
            batch = replace(batch, events=())
        for each in skipped.changes:
            log.error("row quarantined", source=self.source.name, id=each.id, table=each.table, reason=each.reason)
        quarantined, gaps = (*batch.quarantined, *skipped.changes), (*batch.gaps, *skipped.gaps)
        return replace(batch, transactions=(), gaps=gaps, quarantined=quarantined), left

    async def _processed(
        self,
        whole: Transaction,
        former: Position | None,
        states: dict[str, str],
        keys: dict[str, str],
        skipped: _Skipped,
    ) -> Mapped:
        """Return the part of a transaction to store, without changes that cannot be processed: those that fail alone;
        all of them where the others fail together."""
        transaction, mapped = whole, await self._tried(whole, states, keys)
        if isinstance(mapped, Exception):
            good: list[RowChange] = []
            for change in whole.changes:
                found = await self._tried(whole._replace(changes=(change,)), states, keys)
                if isinstance(found, Exception):
                    skipped.change(whole, change, found)
                else:
                    good.append(change)
            transaction = whole._replace(changes=tuple(good))
            mapped = await self._tried(transaction, states, keys)
        if isinstance(mapped, Mapped) and mapped.events and former is not None:
            error = await self._stored_alone(Batch((transaction,), former), mapped.events, former)
            mapped = error or Mapped([], mapped.states_changed)
        if isinstance(mapped, Exception) and transaction.changes:
            skipped.whole(transaction, mapped)
            mapped = await self._tried(transaction._replace(changes=()), states, keys)  # it may end a huge one
        return Mapped([], {}) if isinstance(mapped, Exception) else mapped

    async def _stored_alone(self, batch: Batch, events: Sequence[Event], former: Position) -> Exception | None:
        """Store the events of one transaction.  Return why the outbox cannot hold them.

        Their states come with the batch's position: should the process end before, all is mapped again as now, and
        gives the same ids."""
        try:
            await self._store(batch, Mapped(list(events), {}), former)
        except OutboxRefused as error:
            return error
        except (CdcError, OSError, MemoryError, RuntimeError):  # the last: no thread can be started
            raise
        except Exception as error:  # noqa: BLE001 - the error that is searched for
            return error
        return None

    async def _tried(
        self, transaction: Transaction, states: dict[str, str], keys: dict[str, str]
    ) -> Mapped | Exception:
        """Return the transaction alone, mapped; or the error of that.

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
        return mapped

    async def _map(self, read: Sequence[Transaction], states: dict[str, str], keys: dict[str, str]) -> Mapped:
        batch = self.mapper.batch(self.source.name, read, states, self._site)
        return (await batch.read_facts(self.source, keys)).map()

    async def _store(self, batch: Batch, mapped: Mapped, former: Position | None) -> None:
        """Store a batch; try until it succeeds, since giving up would lose events.  ``former``: the position stored
        before.  Raises `PositionMoved` when the outbox holds another one, and `OutboxLost`."""
        backoff = Backoff(first=0.5, most=30.0)
        name = self.source.name
        events: Sequence[Event] = batch.events if isinstance(batch, EventBatch) else mapped.events
        if gaps := {event.id: event for event in (source_gap(name, gap) for gap in batch.gaps)}:
            events = [*events, *gaps.values()]
        while True:
            hand_over = self.hand_over(name)
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
                    fence=Fence(former, self.epoch),
                    hand_over=hand_over,
                )
            except (PositionMoved, OutboxLost, OutboxRefused):
                raise
            except OutboxError as error:
                delay = backoff.next()
                self.observer.outbox_failed(name, error)
                log.error("outbox failed", source=name, error=str(error), retry_in=round(delay, 1))
                await self.clock.wait(asyncio.Event(), delay)
                continue
            self.observer.stored(name, batch, events, stored.events)
            if hand_over is not None and stored.leased:
                hand_over.take(stored.leased)
            if stored.deliveries > len(stored.leased):
                await self.stored()
            return


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


class _Skipped:
    """The changes of a batch that go to quarantine, and the gaps that report them."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.changes: list[Quarantined] = []
        self.gaps: list[Gap] = []

    def change(self, transaction: Transaction, change: RowChange, error: Exception) -> None:
        self.changes.append(self._of(transaction, change, error))
        self.gaps.append(gap_of(self.changes[-1]))

    def whole(self, transaction: Transaction, error: Exception) -> None:
        """A transaction that fails only as a whole: each of its changes, and one gap."""
        count = len(transaction.changes)
        why = (
            f"The transaction {transaction.token} ({count} changes) cannot be processed as a whole, although each "
            "change can."
        )
        largest = min(LARGEST, WHOLE_LARGEST // count)
        skipped = [self._of(transaction, each, error, largest) for each in transaction.changes]
        skipped = [replace(each, reason=f"{why} {each.reason}") for each in skipped]
        first, tables = skipped[0], sorted({each.table for each in skipped})
        reason = (
            f"{first.reason} It was skipped; its tables: {', '.join(tables)}. `cdc quarantine list` shows its changes; "
            f"after a fix, `cdc quarantine reread {first.id} …` sends their rows as they are then."
        )
        self.changes += skipped
        key = {"transaction": transaction.token}
        self.gaps.append(Gap(first.table, first.operation, first.changed_at, reason, key))

    def event(self, event: Event, error: Exception) -> None:
        """An event of another cell that the outbox cannot hold."""
        self.changes.append(
            Quarantined(
                _id(self._source, event.id), event.table, Operation.READ, event.key, event.transaction, event.time,
                reportable_error(error).message, after=_row_text(event.data),
            )
        )  # fmt: skip
        self.gaps.append(gap_of(self.changes[-1]))

    def _of(self, transaction: Transaction, change: RowChange, error: Exception, largest: int = LARGEST) -> Quarantined:
        return Quarantined(
            id=_id(self._source, transaction.token, change.table, str(change.ordinal)),
            table=change.table,
            operation=change.operation,
            key=_key(change) or None,
            token=transaction.token,
            changed_at=change.time,
            reason=reportable_error(error).message,
            before=_row_text(change.before, largest),
            after=_row_text(change.after, largest),
        )


def _id(*identity: str) -> str:
    return f"qr_{blake2b(chr(0).join(identity).encode(errors='replace'), digest_size=8).hexdigest()}"


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


def _row_text(row: Mapping[str, Any] | None, largest: int = LARGEST) -> str:
    """Return the row as JSON, or the text that it came as; no more than ``largest`` characters."""
    if row is None:
        return ""
    try:
        text = orjson.dumps(dict(row)).decode()
    except Exception:  # noqa: BLE001 - the row cannot be read
        text = row.text if isinstance(row, Image) else ""
    return text[:largest].encode("utf-8", "replace").decode().replace("\0", "\ufffd")
