"""Events that another cell published to a stream of NATS: a `cdc.capture.base.Source` that needs no mapping.

Invariants: the position is the stream's identity and the sequence of the last stored message, and is stored with the
events.  The stream is read from there on; the server remembers no reader, and nothing is acknowledged to it.

A message is trusted no further than its publisher's rights, which the server checks by subject: an event is taken only
if its source is the one of its subject, and one that this bus may carry.  Operational events are this cell's own.  What
is no event, or refused, goes into quarantine, and the rest continues.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial
from hashlib import blake2b
from itertools import pairwise
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import orjson
import structlog

from cdc.capture.base import NO_BACKFILLS, CaptureLimits, EventBatch, SingleReader, SourceBackfills, try_reading
from cdc.capture.probe import Backlog, Ends
from cdc.model.broker import EventStream, StreamMessage, StreamState, source_of_subject
from cdc.model.change import Batch, Gap, Operation, Position, Quarantined, Row, SnapshotStore, Value
from cdc.model.clock import Clock
from cdc.model.column import Table
from cdc.model.errors import LogPurged, SourceError, SourceUnavailable
from cdc.model.event import OPERATIONS, TESTS, Event, event_payload, record_name
from cdc.model.operation import OPERATION_TYPES

#: Characters that are kept of a message that is no event.
_LARGEST: Final = 64 * 1024
#: Characters of an event's id, name, source and transaction at most, and of names in sentences.
_LONGEST, _SHOWN = 1000, 100
#: An event's name: of an entity, and of what happened.
_NAME: Final = re.compile(r"[^\s.*,]+(\.[^\s.*,]+)+")
_MOST_DAYS: Final = 1_000_000
_OPERATIONAL: Final = frozenset(kind.name for kind in OPERATION_TYPES)
_WAY_OUT: Final = (
    'With on_purged = "reread" it continues with the first message there is. Send what is missing again from the cell '
    "that captures: cdc replay."
)

log = structlog.get_logger()

#: Connects to the stream; raises `SourceError`.
Connect = Callable[[], Awaitable[EventStream]]
#: An event's name and data → code and name by which people search its record.
Searched = Callable[[str, Row], tuple[str, str]]


class StreamPosition(NamedTuple):
    """The position of a source that reads a stream.  ``created``: of the stream, which differs from another one of
    its name.  ``sequence``: of the last message."""

    created: str
    sequence: int

    def dump(self) -> Position:
        return Position(orjson.dumps({"nats": tuple(self)}).decode())

    @classmethod
    def load(cls, position: Position) -> StreamPosition:
        """Raises `SourceError` for a position of another kind of source."""
        try:
            created, sequence = orjson.loads(position)["nats"]
        except (ValueError, TypeError, KeyError) as error:
            raise SourceError(
                "The position in the outbox is not that of a stream of NATS.", "Give this source another name."
            ) from error
        return cls(created, sequence)


def missing(position: StreamPosition, state: StreamState) -> str:
    """Return what is missing between a position and the stream as it is, as a sentence; empty: nothing."""
    if position.created != state.created:
        return f"It was created again on {state.created}: what it held behind message {position.sequence} is gone."
    if state.last < position.sequence:
        return f"It ends with message {state.last}, and message {position.sequence} was read: it is an older copy."
    if state.first > position.sequence + 1:
        return f"Messages {position.sequence + 1} to {state.first - 1} were removed before they were read."
    return ""


@dataclass(frozen=True, slots=True)
class BusSettings:
    """The settings of a source that reads a stream.  ``stream``: its name.  ``subject``: which of its messages are
    read; empty: all.  ``source_subject``: which token of a subject names the source
    (`cdc.model.broker.source_of_subject`).  ``sources``: names, or patterns of names, of sources whose events it may
    carry.  ``existing``: whether a new source begins with the first message.  ``reread``: whether it continues where
    messages are missing.  ``searched``: how people search records."""

    stream: str
    searched: Searched
    source_subject: str
    sources: tuple[str, ...]
    subject: str = ""
    existing: bool = True
    reread: bool = False
    limits: CaptureLimits = field(default_factory=CaptureLimits)


class BusSource(SingleReader):
    """A `cdc.capture.base.Source` of events that another cell has published on a stream."""

    def __init__(
        self,
        name: str,
        connect: Connect,
        settings: BusSettings,
        store: SnapshotStore,
        clock: Clock,
        *,
        owners: Callable[[Sequence[str]], Awaitable[Mapping[str, str]]],
    ) -> None:
        """``store``: knows which process reads the source.  ``owners``: ids of events → their sources, of those that
        are stored."""
        super().__init__(name)
        self._owners = owners
        self._connect = connect
        self._settings = settings
        self._store = store
        self._clock = clock
        self._stream: EventStream | None = None
        self._position = StreamPosition("", 0)
        self._first: Batch | None = None

    async def open(self, position: Position | None) -> None:
        known = None if position is None else StreamPosition.load(position)
        become_reader = partial(try_reading, store=self._store, source=self._name, clock=self._clock)
        await self._lock.acquire(become_reader, 1.0)
        self._stream = await self._connect()
        state = await self._stream.state()
        if known is None:
            self._position = StreamPosition(state.created, state.first - 1 if self._settings.existing else state.last)
            self._first = Batch((), self._position.dump())
        else:
            self._position, self._first = known, None
            if lost := missing(known, state):
                self._first = self._lost(lost, StreamPosition(state.created, state.first - 1))

    async def begin(self) -> Batch | None:
        first, self._first = self._first, None
        return first

    async def batches(self, _backfills: SourceBackfills = NO_BACKFILLS) -> AsyncGenerator[Batch]:
        if (first := await self.begin()) is not None:
            yield first
        stream = self._opened
        await stream.follow(self._settings.subject, self._position.sequence)
        stored_at = self._clock.monotonic()
        while True:
            messages, reached = await stream.messages(self._settings.limits.batch)
            if reached == self._position.sequence:
                continue
            if await self._has_gap(messages, reached):
                state = await stream.state()
                lost = missing(self._position, state) or f"Messages behind {self._position.sequence} were removed."
                yield self._lost(lost, StreamPosition(state.created, self._before(messages, reached)))
            if messages or self._clock.monotonic() - stored_at >= self._settings.limits.progress:
                self._position = self._position._replace(sequence=reached)
                yield await self._batch(messages)
                stored_at = self._clock.monotonic()

    async def _has_gap(self, messages: Sequence[StreamMessage], reached: int) -> bool:
        """Return whether messages were removed that this source should have read.  Of a part of the subjects the
        others' are always absent: there the stream's beginning says it."""
        expected = self._position.sequence + 1
        if not self._settings.subject:
            return self._before(messages, reached) >= expected or any(
                after.sequence != before.sequence + 1 for before, after in pairwise(messages)
            )
        whole = reached == self._position.sequence + len(messages)
        return not whole and (await self._opened.state()).first > expected

    @staticmethod
    def _before(messages: Sequence[StreamMessage], reached: int) -> int:
        return messages[0].sequence - 1 if messages else reached

    def _lost(self, lost: str, reached: StreamPosition) -> Batch:
        """Return the report of what is missing, and continue at ``reached``.  Raises `LogPurged` unless ``reread``."""
        sentence = f"The stream {self._settings.stream} of source {self._name} does not continue the position. {lost}"
        if not self._settings.reread:
            raise LogPurged(sentence, _WAY_OUT)
        log.error("lost", source=self._name, stream=self._settings.stream, reason=lost)
        self._position = reached
        gap = Gap(self._settings.stream, Operation.READ, self._clock.now(), f"{sentence} {_WAY_OUT}")
        return Batch((), reached.dump(), (gap,))

    async def _batch(self, messages: Sequence[StreamMessage]) -> Batch:
        events: list[tuple[StreamMessage, Event]] = []
        wrong: list[Quarantined] = []
        for message in messages:
            try:
                event = event_of(message, self._settings.searched)
                if event is not None:
                    self._check_source(message.subject, event)
                    event_payload(event)
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 - any content may be published: it goes to quarantine, and the next are read
                wrong.append(self._quarantined(message, error))
            else:
                events += () if event is None else ((message, event),)
        # An outbox stores an id once: an event with the id of another source's would be dropped, or take its place.
        owners = dict(await self._owners([event.id for _, event in events]))
        taken: list[Event] = []
        for message, event in events:
            if owners.setdefault(event.id, event.source) == event.source:
                taken.append(event)
            else:
                wrong.append(self._quarantined(message, _Refused("Its id is that of an event of another source.")))
        gaps = [
            Gap(
                each.table,
                each.operation,
                each.changed_at,  # without a key: one report an hour, so that no publisher floods the operators
                f"The message {(each.key or {})['sequence']} of the stream {each.table} was skipped. {each.reason} "
                f"`cdc quarantine show {each.id}` prints it.",
            )
            for each in wrong
        ]
        position = self._position.dump()
        return EventBatch((), position, tuple(gaps), quarantined=tuple(wrong), events=tuple(taken))

    def _check_source(self, subject: str, event: Event) -> None:
        """Raises `_Refused` for an event that the publisher may have no right to."""
        settings = self._settings
        named = source_of_subject(settings.source_subject, subject)
        if named is None:
            raise _Refused(f"Its subject is not of the form {settings.source_subject} (source_subject).")
        if named != event.source:
            raise _Refused(f"Its subject names the source {named[:_SHOWN]!r}, its event {event.source[:_SHOWN]!r}.")
        if event.source in (OPERATIONS, TESTS) or event.name in _OPERATIONAL:
            raise _Refused("Operational events are not accepted from a bus.")
        if not any(fnmatchcase(event.source, pattern) for pattern in settings.sources):
            raise _Refused(f"The source {event.source[:_SHOWN]!r} is not one of this bus (sources).")

    def _quarantined(self, message: StreamMessage, error: Exception) -> Quarantined:
        token = f"{self._settings.stream} {self._position.created} {message.sequence}"
        if isinstance(error, _Refused):
            reason = str(error)
        else:
            reason = f"It is not an event in the format facturascripts ({type(error).__name__})."
        identity = blake2b(f"{self._name}\0{token}".encode(), digest_size=8).hexdigest()
        log.error(
            "message quarantined", source=self._name, stream=self._settings.stream, sequence=message.sequence,
            reason=reason,
        )  # fmt: skip
        body = message.body[:_LARGEST].decode("utf-8", "replace").replace("\0", "\ufffd")
        now, key = self._clock.now(), {"sequence": message.sequence}
        return Quarantined(f"qr_{identity}", self._settings.stream, Operation.READ, key, token, now, reason, after=body)

    # -- what only databases have -----------------------------------------------------------------------------------

    async def acknowledge(self, position: Position) -> None:
        """Do nothing: the stream keeps its messages for as long as it is configured to."""

    async def rows(self, _table: str, _column: str, _values: Sequence[Value]) -> list[Row]:
        return []

    async def all_rows(self, _table: str) -> list[Row]:
        return []

    async def tables(self) -> dict[str, Table]:
        return {}

    async def site_url(self) -> str:
        return ""  # events come with their links

    async def close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()
        await self._store.stop_reading(self._name)

    @property
    def _opened(self) -> EventStream:
        if self._stream is None:
            raise SourceUnavailable(f"The source {self._name} is not open.")
        return self._stream


class _Refused(ValueError):
    """An event that is not taken.  Its text is a sentence."""


def event_of(message: StreamMessage, searched: Searched) -> Event | None:
    """Return the event of a message, as the other cell has stored it; None for one that tries an endpoint.  Raises any
    exception for a message that is none."""
    payload: dict[str, Any] = orjson.loads(message.body)
    if payload.get("test"):
        return None
    identity, name, source, key = payload["id"], payload["event"], payload["source"], payload["key"]
    data, previous, record = payload["data"], payload.get("previous"), unquote(message.record, errors="strict")
    time = datetime.fromisoformat(payload["timestamp"])
    table, _, _ = record.partition(":")
    texts, days = (identity, name, source, payload["transaction"]), payload.get("days")
    rows = (key, data, {} if previous is None else previous)
    if not all(isinstance(each, str) for each in texts) or not all(isinstance(each, dict) for each in rows):
        raise TypeError
    if not all(each.isprintable() for each in texts) or max(map(len, texts)) > _LONGEST:
        raise ValueError
    if not identity.startswith("evt_") or not table or not _NAME.fullmatch(name) or not source or time.tzinfo is None:
        raise ValueError
    if not (days is None or (type(days) is int and abs(days) < _MOST_DAYS)):
        raise ValueError
    former = {column: previous[column] for column in key if column in previous} if previous else {}
    return Event(
        identity,
        name,
        source,
        table,
        record,
        key,
        data,
        previous,
        time.astimezone(UTC),  # OverflowError where that is before the year 1, or after 9999
        payload["transaction"],
        inferred=bool(payload.get("inferred")),
        renamed_from=record_name(table, {**key, **former}) if former else None,
        observed=bool(payload.get("observed")),
        labels=searched(name, data),
        days=days,
    )


class BusProbe:
    """A `cdc.capture.probe.Probe` of a stream, over a connection of its own."""

    def __init__(self, where: str, connect: Connect) -> None:
        self._where = where
        self._connect = connect
        self._stream: EventStream | None = None
        self._ends = Ends[int](lambda place, other: place >= other)

    @property
    def server(self) -> str:
        return f"NATS: {self._where}"

    async def ask(self, position: Position | None, /) -> Backlog | None:
        if position is None:
            return None
        try:
            self._stream = self._stream or await self._connect()
            state = await self._stream.state()
        except SourceError:
            await self.close()
            raise
        known = StreamPosition.load(position)
        return None if known.created != state.created else self._ends.ahead(state.last, known.sequence)

    async def close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()
