"""The interface through which the API reaches the rest of the program; `cdc.runtime.desk` implements it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from cdc.audit import Note
from cdc.model.backfill import Asked, Backfill, Planned
from cdc.model.clock import Clock
from cdc.model.delivery import Attempt, DeliveryView
from cdc.model.endpoint import Endpoint
from cdc.model.finding import Finding
from cdc.model.log_filter import DeliveryFilter
from cdc.model.replay import Replay
from cdc.outbox.base import OutboxStore, Replayed, StoredEvent


class EventKind(Protocol):
    """`cdc.mapping.schema.EventType`."""

    @property
    def name(self) -> str: ...

    @property
    def when(self) -> str: ...

    @property
    def entity(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def table(self) -> str: ...

    @property
    def example(self) -> Mapping[str, Any]: ...

    @property
    def schema(self) -> Mapping[str, Any]: ...


class SignatureKind(Protocol):
    """``kind``: ``v1`` or ``v1a``; with the latter there is a public key."""

    @property
    def kind(self) -> str: ...

    @property
    def public_key(self) -> str | None: ...


class Minute(Protocol):
    """``failed``: attempts.  ``seconds``: what all attempts took.  ``lags``: source → the longest lag seen, seconds."""

    @property
    def at(self) -> datetime: ...

    @property
    def delivered(self) -> int: ...

    @property
    def failed(self) -> int: ...

    @property
    def seconds(self) -> float: ...

    @property
    def lags(self) -> Mapping[str, float]: ...


class SourceState(Protocol):
    """``state``: ``reading``, ``standby``, ``failed`` or ``opening``.  ``lag``: seconds that the oldest change which is
    not stored has waited; None while unknown.  ``server``: engine and version, empty before it was first reached."""

    @property
    def name(self) -> str: ...

    @property
    def capture(self) -> str: ...

    @property
    def server(self) -> str: ...

    @property
    def state(self) -> str: ...

    @property
    def since(self) -> datetime: ...

    @property
    def lag(self) -> float | None: ...

    @property
    def gaps(self) -> Mapping[str, int]: ...

    @property
    def error(self) -> str | None: ...

    @property
    def position(self) -> str | None: ...


class ShownRequest(Protocol):
    """``headers``: without secret values.  ``command``: all of it for a shell, with curl."""

    @property
    def url(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def body(self) -> str: ...

    @property
    def command(self) -> str: ...


class Desk(Protocol):
    @property
    def store(self) -> OutboxStore: ...

    @property
    def clock(self) -> Clock: ...

    def event_kinds(self) -> Sequence[EventKind]:
        """Every event of every source, and the operational ones, by name."""
        ...

    def event_kinds_of(self, sources: Sequence[str]) -> Sequence[EventKind]:
        """Every event of these sources, by name."""
        ...

    async def newest(self) -> int:
        """The place in the log of the newest event; 0 before there is any."""
        ...

    def sources(self) -> Sequence[SourceState]:
        """Those that this process captures."""
        ...

    def source_names(self) -> Sequence[str]:
        """Those of the configuration."""
        ...

    def reasons(self) -> Sequence[str]:
        """Why this process is not ready, in sentences."""
        ...

    def activity(self, minutes: int) -> Sequence[Minute]:
        """What was sent in each of the last minutes, by this process."""
        ...

    def progress(self) -> Mapping[str, int]:
        """How many ``events`` this process has stored and how many ``attempts`` it has made, since its start."""
        ...

    async def examine(self, source: str) -> Sequence[Finding]:
        """The doctor's findings.  Raises `NotFound`."""
        ...

    def proxies(self) -> Sequence[str]:
        """Names that an endpoint may take."""
        ...

    def certificates(self) -> Sequence[str]:
        """Names of client certificates that an endpoint may take."""
        ...

    def signature(self, endpoint: Endpoint) -> SignatureKind: ...

    def request_of(
        self, view: DeliveryView, event: StoredEvent, endpoint: Endpoint, at: datetime
    ) -> ShownRequest | None:
        """The delivery's request as it is sent ``at`` that time; None where it is no request: mail."""
        ...

    async def count_replay(self, which: DeliveryFilter) -> Replayed:
        """What a replay would do; counting ends after some seconds, and then ``after`` is not None.  Raises
        `NotFound` for its endpoint."""
        ...

    async def begin_replay(self, which: DeliveryFilter, rate: float, actor: str) -> Replay:
        """Keep a new replay (fields of `Replay`) and its entry in the audit log; this process goes on with it, or
        another one that serves.  Raises as `count_replay`."""
        ...

    def backfill_tables(self) -> Mapping[str, Mapping[str, str]]:
        """Source → table → what its entity is called: those whose existing rows can be told of, without the tables that
        a pattern means.  Only sources that can be read so."""
        ...

    async def plan_backfills(self, source: str, asked: Asked) -> Sequence[Planned]:
        """One for each table; nothing is kept.  Raises `UsageError` for what cannot be read, and for a condition that
        asks about more than what may be seen of a row; `SourceError`."""
        ...

    async def begin_backfills(self, source: str, asked: Asked) -> Sequence[Backfill]:
        """Keep what is planned so, with entries in the audit log; it goes on while its source is captured.  Raises as
        `plan_backfills`."""
        ...

    def backfill_speed(self, backfill: Backfill) -> float | None:
        """Rows a second, as this process stored them lately; None when it did not, or has just begun."""
        ...

    def made(self, fields: Mapping[str, Any], secret: str | None, signature: str | None) -> Endpoint:
        """A new endpoint of these fields (of `Endpoint`), with a secret of this kind unless one is given; not stored
        yet.  Raises `UsageError`."""
        ...

    def checked(self, fields: Mapping[str, Any], endpoint: Endpoint) -> Mapping[str, Any]:
        """The same fields, when this endpoint may have them.  Raises `UsageError`."""
        ...

    def secret(self, secret: str | None, signature: str | None, endpoint: Endpoint) -> str:
        """The secret given, or a new one of this kind, or of the kind that the endpoint has.  Raises `UsageError`."""
        ...

    async def fitting(self, wanted: Mapping[str, Any], events: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
        """Those that an endpoint would get with these ``events``, ``sources`` and ``condition``.  Raises
        `UsageError`."""
        ...

    async def send_test(self, endpoint_id: str, event_name: str, note: Note) -> Attempt:
        """``note``: stored with the test's delivery, before it is sent."""
        ...
