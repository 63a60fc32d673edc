"""The interface of every source (a journal, a log, an API, or memory in tests), its limits in rows and in time, the
lock by which it becomes the only consumer of its database, and its position.

A position says how far a source was read, what follows from it, and how it is described to people."""

from __future__ import annotations

import asyncio
import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, NamedTuple, Protocol, Self

import orjson
import structlog

from cdc.model.backfill import Backfill
from cdc.model.change import Batch, Position, ReaderStore, Row, SnapshotStore, Value
from cdc.model.clock import Clock
from cdc.model.column import Capture, Table
from cdc.model.errors import SourceError
from cdc.model.event import Event


@dataclass(frozen=True, slots=True)
class EventBatch(Batch):
    """A batch of a source that another cell has mapped: ``events`` instead of transactions."""

    events: tuple[Event, ...] = ()


class Lookup(Protocol):
    """Rows as they are in the database now, in normal form, secret columns absent."""

    async def rows(self, table: str, column: str, values: Sequence[Value]) -> list[Row]:
        """Return the rows of ``table`` with one of ``values`` in ``column``, by primary key; no I/O when empty."""
        ...

    async def all_rows(self, table: str) -> list[Row]:
        """The whole of a small table, in primary key order."""
        ...


class SourceBackfills(Protocol):
    """The backfills of a source: existing rows that are wanted beside its changes."""

    async def next(self) -> tuple[Backfill, int] | None:
        """Return the backfill to continue now, and the most rows that may be read of it; None when there is none, or
        not now."""
        ...

    def rest(self) -> float:
        """Seconds after which `next` may say something else."""
        ...

    async def fail(self, backfill_id: str, error: str) -> None:
        """Mark a backfill as failed: it cannot continue.  ``error``: a sentence."""
        ...


class NoBackfills:
    """The absence of backfills: only changes are read."""

    async def next(self) -> None:
        return None

    def rest(self) -> float:
        return math.inf

    async def fail(self, backfill_id: str, error: str) -> None:
        raise AssertionError((backfill_id, error))


NO_BACKFILLS: Final[SourceBackfills] = NoBackfills()


#: Seconds of silence after which the server ends the session that holds the lock.  A consumer queries every few
#: seconds, so a standby takes over within half a minute when a host vanishes.  Where workers share the sources, another
#: one takes a source from a worker that hangs as soon as its lease has ended, and needs the lock then.
SILENT_SECONDS, SILENT_LEASED = 25, 10


@dataclass(frozen=True, slots=True)
class LockHolder:
    """The holder of the consumer lock of a database.  ``session``: its identity as its own account sees it; empty when
    no session holds it.  ``name``: for people, with its account as far as ours may see it.  ``end``: the statement
    that ends it."""

    session: str
    name: str
    end: str

    def noted(self, session: str) -> bool:
        """Return whether this is the session that a process of this outbox noted."""
        return bool(session) and session == self.session

    @property
    def foreign(self) -> str:
        """Return what to say of it when it is no process of this outbox."""
        return f"{self.name} holds the consumer lock of this database and is no process of this outbox."

    @property
    def remedy(self) -> str:
        return (
            "If it is a cdc run, of another outbox or an earlier version, stop it; if not, end it as an "
            f"administrator: {self.end}"
        )


class SourceDatabase(Lookup, Protocol):
    """The database of one source, over a connection that holds the consumer lock: who loses it, loses both.

    Every method may raise `SourceUnavailable`, after which only ``disconnect`` may be called.
    """

    async def connect(self) -> None:
        """Connect and check the installation."""
        ...

    async def try_lock(self, seconds: float, silent: int = SILENT_SECONDS) -> bool:
        """Try for up to ``seconds`` to become the only consumer of this database.  ``silent``: seconds of silence after
        which the server takes the lock away."""
        ...

    async def lock_holder(self) -> LockHolder | None:
        """Return what holds the lock for which `try_lock` tries, this connection too; None when it is free."""
        ...

    async def disconnect(self) -> None: ...

    async def table_names(self) -> list[str]:
        """Return all tables that there are now and that the account may see."""
        ...

    async def installed(self) -> Collection[str]:
        """Return the captured tables, as the installation has them now."""
        ...

    def capture(self, captures: Sequence[Capture]) -> None:
        """Capture these tables too, from the next `tables` on."""
        ...

    async def tables(self) -> dict[str, Table]:
        """The captured tables as the database has them now, secret columns absent."""
        ...

    async def site_url(self) -> str:
        """Return the address in FacturaScripts' own settings; empty where the account may not read them."""
        ...


class Source(Lookup, Protocol):
    """One FacturaScripts database, read by one consumer at a time.

    The life of a source: ``open`` (which waits, as a standby, until no other consumer reads this database), then
    batches from ``batches``, each acknowledged once the outbox has committed it, then ``close``.  All methods raise
    `SourceUnavailable` when the connection is gone: the caller closes, waits and opens again with the last position
    that the outbox holds.
    """

    @property
    def name(self) -> str: ...

    @property
    def standby(self) -> bool:
        """Return whether `open` waits, because another process of this outbox reads this database."""
        ...

    @property
    def blocked(self) -> str:
        """Return why `open` waits although no process of this outbox reads this database, in sentences; else empty."""
        ...

    @property
    def problems(self) -> Sequence[str]:
        """Parts of the database that are not captured now though they should be, a sentence each; empty: none known.

        Reading continues; the consumer is not ready while there are any."""
        ...

    async def open(self, position: Position | None) -> None:
        """Connect, become the only consumer, and resume behind ``position`` (the last that the outbox committed).

        Whatever ``position`` covers is never yielded again, even if it was not acknowledged.
        """
        ...

    async def begin(self) -> Batch | None:
        """Begin to read, once the position given to `open` is certain to be the last that the outbox holds.

        Return where reading begins when that is not at this position.  It must be stored before the source is reported
        as reading: a crash would otherwise begin again later, without the changes in between.  `batches` begins by
        itself when this was not called, and yields this batch first."""
        ...

    def batches(self, backfills: SourceBackfills = NO_BACKFILLS) -> AsyncIterator[Batch]:
        """Yield batches for ever, waiting for new changes.  The next one is read only when asked for, and by then the
        outbox has committed the one before.  ``backfills``: what else is to be read, while no change waits."""
        ...

    async def site_url(self) -> str:
        """Return the address in FacturaScripts' own settings; empty where the account may not read them."""
        ...

    async def acknowledge(self, position: Position) -> None:
        """The outbox has committed everything up to ``position``: it may be forgotten here."""
        ...

    async def tables(self) -> dict[str, Table]:
        """The captured tables as the database has them now."""
        ...

    async def close(self) -> None:
        """Stop waiting, release the database; safe to call twice and in any state."""
        ...


log = structlog.get_logger()


class ConsumerLock:
    """Acquires the lock by which one process reads a source.  ``awaited``: another session has the lock, and we wait
    for its end.  ``blocked``: it is no process of this outbox; whose session it is and what to do, in sentences.

    Any account of a server may hold the lock.  So the process that gets it notes its session in the outbox, which all
    its processes share: another session that holds it is foreign."""

    def __init__(self, source: str, readers: ReaderStore | None = None) -> None:
        self._source = source
        self._readers = readers
        self.awaited = False
        self.blocked = ""

    async def acquire(
        self,
        try_lock: Callable[[float], Awaitable[bool]],
        pause: float,
        lock_holder: Callable[[], Awaitable[LockHolder | None]] | None = None,
    ) -> bool:
        """Return whether the lock had to be waited for.  ``try_lock``: tries for so many seconds.  ``pause``: seconds
        of each try while waiting."""
        waited = not await try_lock(0)
        if waited:
            self.awaited = True
            try:
                log.info("standby", source=self._source, reason="another consumer reads this database")
                suspect = await self._foreign(lock_holder)
                while not await try_lock(pause):
                    # a process that has just taken the lock notes it a moment later
                    suspect, before = await self._foreign(lock_holder), suspect
                    blocked = f"{suspect.foreign} {suspect.remedy}" if suspect and suspect == before else ""
                    if blocked and blocked != self.blocked:
                        log.error("source blocked", source=self._source, reason=blocked)
                    self.blocked = blocked
                log.info("took over", source=self._source)
            finally:
                self.awaited, self.blocked = False, ""
        if self._readers is not None and lock_holder is not None and (own := await lock_holder()) is not None:
            await self._readers.note_reading_session(self._source, own.session)
        return waited

    async def _foreign(self, lock_holder: Callable[[], Awaitable[LockHolder | None]] | None) -> LockHolder | None:
        """Return the holder if it is no process of this outbox."""
        if self._readers is None or lock_holder is None or (holder := await lock_holder()) is None:
            return None
        return None if holder.noted(await self._readers.reading_session(self._source)) else holder


async def try_reading(seconds: float, store: SnapshotStore, source: str, clock: Clock) -> bool:
    """Try to become the only process of the outbox that reads a source without a lock of its own; wait ``seconds`` if
    another one does."""
    if await store.become_reader(source):
        return True
    await clock.wait(asyncio.Event(), seconds)
    return False


class SingleReader:
    """The part of a `Source` that makes it the only reader of its database."""

    def __init__(self, name: str, readers: ReaderStore | None = None) -> None:
        self._name = name
        self._lock = ConsumerLock(name, readers)

    @property
    def name(self) -> str:
        return self._name

    @property
    def standby(self) -> bool:
        return self._lock.awaited and not self._lock.blocked

    @property
    def blocked(self) -> str:
        return self._lock.blocked

    @property
    def problems(self) -> Sequence[str]:
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureLimits:
    """The limits of a source in rows and in time.  ``batch``: rows stored together.  ``huge``: a transaction with
    more rows than this is stored in parts.  ``idle``: seconds to wait at most before looking after other things.
    ``standby``: seconds between two tries to become the consumer.  ``progress``: seconds after which a position is
    stored though nothing of ours was committed.  ``check_pause``: between two checks of what is installed.
    ``reread_pause``: between two re-reads of a table.  ``silent``: seconds of silence after which the server takes the
    consumer lock away."""

    batch: int = 1000
    huge: int = 2000
    idle: float = 1.0
    standby: float = 5.0
    progress: float = 5.0
    check_pause: timedelta = timedelta(minutes=1)
    reread_pause: timedelta = timedelta(minutes=1)
    silent: int = SILENT_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalLimits(CaptureLimits):
    """Limits of a journal.  ``heads``: transactions listed at a time."""

    heads: int = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLimits(CaptureLimits):
    """Limits of the binlog.  ``heartbeat``: seconds after which a server with nothing to say says that it lives."""

    heartbeat: float = 5.0
    reread_pause: timedelta = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotLimits(CaptureLimits):
    """Limits of PostgreSQL's log.  ``retained``: bytes of it that the server may keep for the slot; beyond them the
    slot is dropped (0: never)."""

    progress: float = 10.0
    retained: int = 0


@dataclass(frozen=True, slots=True)
class Reread:
    """A table that is being read again; part of a source's position.

    ``token``: the transaction of the gap.  ``after``: the last key read (None: not begun).  ``count``: rows read.
    """

    table: str
    token: str
    after: Row | None = None
    count: int = 0

    def to_json(self) -> list[Any]:
        return [self.table, self.token, self.after, self.count]


@dataclass(frozen=True, slots=True)
class HugePart:
    """A huge transaction of which the records up to number ``records`` are stored.  ``tables``: those that were
    captured when they were numbered, where the numbers depend on them."""

    token: str
    records: int
    tables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourcePosition(ABC):
    """A position of a source: everything before it is stored, except what ``rereads`` name.  ``huge``: the first
    transaction after it, if that is stored in parts."""

    rereads: tuple[Reread, ...] = field(default=(), kw_only=True)
    huge: HugePart | None = field(default=None, kw_only=True)

    def with_gaps(self, gaps: Mapping[str, str]) -> Self:
        """Return the position with re-reads of these tables (table → token of the gap).  A re-read that has not begun
        already covers its table; one that has begun starts over, since it may have passed the row."""
        kept = tuple(reread for reread in self.rereads if reread.table not in gaps or reread.after is None)
        covered = {reread.table for reread in kept}
        new = (Reread(table, token) for table, token in gaps.items() if table not in covered)
        return replace(self, rereads=(*kept, *new))

    @abstractmethod
    def dump(self) -> Position: ...


def rereads_of(fields: Sequence[Sequence[Any]]) -> tuple[Reread, ...]:
    """Return re-reads from `Reread.to_json`."""
    return tuple(Reread(*each) for each in fields)


@contextmanager
def written_by(source: str) -> Iterator[None]:
    """Raise `SourceError` when a position was not written by such a ``source``."""
    try:
        yield
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise SourceError(
            f"The position in the outbox was not written by {source}.",
            "If capture was changed on purpose, see docs/sources.md on moving between sources.",
        ) from error


class PositionPart(NamedTuple):
    """A part of a position, for people.  ``kind``: ``file`` (with the offset), ``gtids``, ``lsn``, ``message`` (the
    last of a stream), ``transactions`` (the last of a journal), ``known`` and ``unknown`` (tables that were compared,
    or are read the first time), ``large`` (records of a transaction that is stored in parts), ``rereads`` (tables that
    are read again)."""

    kind: str
    values: Sequence[str]


def position_parts(position: Position) -> list[PositionPart]:
    """Return the parts that have values; none where no source of this program wrote the position."""
    try:
        return [PositionPart(kind, values) for kind, values in _parts(orjson.loads(position)) if values]
    except (ValueError, KeyError, TypeError):
        return []


def _parts(fields: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    if "overlap" in fields:
        yield from _parts(orjson.loads(fields["overlap"][0]))
        return
    if "log" in fields:
        file, offset, gtids, *_ = fields["log"]
        yield "file", [f"{file}:{offset}"] if file else []
        yield "gtids", [each.strip() for each in gtids.split(",") if each.strip()]
    if "lsn" in fields:
        yield "lsn", [fields["lsn"]]
    if "nats" in fields:
        yield "message", [str(fields["nats"][1])]
    yield "transactions", fields.get("done", [])[:-6:-1]
    progress = fields.get("rest", {})
    yield "known", [table for table, (_, known, *_) in progress.items() if known]
    yield "unknown", [table for table, (_, known, *_) in progress.items() if not known]
    huge = fields.get("huge")
    yield "large", [str(huge[1])] if huge else []
    yield "rereads", [each[0] for each in fields.get("rereads", [])]
