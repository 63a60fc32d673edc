"""What the API and the page ask for, answered by the running consumer (`cdc.api.desk.Desk`)."""

from __future__ import annotations

import asyncio
import secrets
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson

from cdc.audit import AuditEntry, Note
from cdc.config import Config
from cdc.dispatch.replay_steps import ReplayPlan, count
from cdc.dispatch.request import build_request
from cdc.dispatch.signing import Signature, check_secret, new_secret, public_key, signature_of
from cdc.model.backfill import Asked, Backfill, Planned
from cdc.model.clock import Clock
from cdc.model.delivery import Attempt, DeliveryView, LeasedDelivery
from cdc.model.endpoint import Endpoint, EndpointChange
from cdc.model.errors import NotFound, UsageError
from cdc.model.finding import Finding
from cdc.model.log_filter import DeliveryFilter
from cdc.model.mail_address import is_mail
from cdc.model.replay import Replay
from cdc.outbox.base import OutboxStore, Replayed, StoredEvent
from cdc.outbox.shared import Subscriber
from cdc.runtime.backfill import planned_from_outside, tables_told_of
from cdc.runtime.delivery_test import send_test
from cdc.runtime.doctor import examine
from cdc.runtime.endpoints import check_endpoint, check_patterns, new_endpoint, preview
from cdc.runtime.events import event_types
from cdc.runtime.sharing import alone
from cdc.web.activity import ActivityMinute
from cdc.web.health import HealthLimits, reasons, state
from cdc.web.monitor import Monitor

if TYPE_CHECKING:
    from cdc.mapping.schema import EventType

_HIDDEN = "…"
#: Counting what a replay would send ends after so long (seconds): whoever asks waits for it.
COUNT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ReportedSource:
    name: str
    capture: str
    server: str
    state: str
    since: datetime
    lag: float | None
    gaps: Mapping[str, int]
    error: str | None
    position: str | None


@dataclass(frozen=True, slots=True)
class EndpointSignature:
    kind: str
    public_key: str | None


@dataclass(frozen=True, slots=True)
class BuiltRequest:
    url: str
    headers: Mapping[str, str]
    body: str

    @property
    def command(self) -> str:
        headers = [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in self.headers.items()]
        parts = [f"curl -X POST {shlex.quote(self.url)}", *headers, f"--data-raw {shlex.quote(self.body)}"]
        return " \\\n  ".join(parts)


class ServiceDesk:
    def __init__(
        self,
        *,
        config: Config,
        store: OutboxStore,
        monitor: Monitor,
        bounds: HealthLimits,
        clock: Clock,
        replay_asked: Callable[[], None],
    ) -> None:
        """``replay_asked``: called when there is a new replay to go on with."""
        self._config = config
        self._replay_asked = replay_asked
        self._previewing = asyncio.Lock()
        self._monitor = monitor
        self._bounds = bounds
        self.store = store
        self.clock = clock

    # -- events -----------------------------------------------------------------------------------------------------

    @cached_property
    def _kinds(self) -> Sequence[EventType]:
        return event_types(self._config)

    def event_kinds(self) -> Sequence[EventType]:
        return self._kinds

    def event_kinds_of(self, sources: Sequence[str]) -> Sequence[EventType]:
        return event_types(self._config, sources)

    async def newest(self) -> int:
        newest = await self.store.events(1)
        return newest[-1].sequence if newest else 0

    async def fitting(self, wanted: Mapping[str, Any], events: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
        patterns = check_patterns(self._config, wanted["events"])
        subscriber = Subscriber(0, patterns, wanted["sources"], condition=wanted["condition"])
        async with self._previewing:  # filters may take their time, and threads share the interpreter with the loop
            previewed = await asyncio.to_thread(preview, subscriber, events)
        return [each.event for each in previewed if each.delivered]

    # -- endpoints --------------------------------------------------------------------------------------------------

    def made(self, fields: Mapping[str, Any], secret: str | None, signature: str | None) -> Endpoint:
        chosen = _secret(secret, Signature(signature) if signature else None, Signature.V1)
        made = new_endpoint(dict(fields), chosen, self.clock.now())
        self._check(made, fields)
        check_endpoint(self._config, made)
        return made

    def checked(self, fields: Mapping[str, Any], endpoint: Endpoint) -> Mapping[str, Any]:
        changed = EndpointChange(**fields).applied_to(endpoint)
        self._check(changed, fields)
        check_endpoint(self._config, changed, set(fields))
        return fields

    def _check(self, endpoint: Endpoint, given: Mapping[str, Any]) -> None:
        if "events" in given:
            check_patterns(self._config, endpoint.events)
        for name in endpoint.sources if "sources" in given else ():
            self._config.select_source(name)
        most = self._config.dispatch.max_timeout_seconds
        if "timeout" in given and not 0 < endpoint.timeout <= most:
            raise UsageError(
                f"A timeout of {endpoint.timeout:g} s is not possible.", f"It is more than 0 and at most {most:g} s."
            )

    def secret(self, secret: str | None, signature: str | None, endpoint: Endpoint) -> str:
        return _secret(secret, Signature(signature) if signature else None, signature_of(endpoint.secret))

    def signature(self, endpoint: Endpoint) -> EndpointSignature:
        return EndpointSignature(signature_of(endpoint.secret).value, public_key(endpoint.secret))

    def proxies(self) -> Sequence[str]:
        return list(self._config.dispatch.proxies)

    def certificates(self) -> Sequence[str]:
        return list(self._config.dispatch.client_certificates)

    async def send_test(self, endpoint_id: str, event_name: str, note: Note) -> Attempt:
        return await send_test(self._config, endpoint_id, event_name, note)

    def request_of(
        self, view: DeliveryView, event: StoredEvent, endpoint: Endpoint, at: datetime
    ) -> BuiltRequest | None:
        if is_mail(endpoint.url):
            return None
        leased = LeasedDelivery(
            id=view.id,
            endpoint_id=endpoint.id,
            event_id=event.id,
            event_name=event.name,
            record=event.record,
            attempt=view.attempts,
            lease_until=at,
            body_event=orjson.dumps(event.payload),
        )
        shown = replace(endpoint, headers=tuple((name, _HIDDEN) for name, _ in endpoint.headers))
        request = build_request(leased, shown, at)
        return BuiltRequest(endpoint.url, request.headers, request.body.decode())

    # -- replays ----------------------------------------------------------------------------------------------------

    async def count_replay(self, which: DeliveryFilter) -> Replayed:
        return await count(self.store, ReplayPlan(which, rate=0), self.clock, COUNT_SECONDS)

    async def begin_replay(self, which: DeliveryFilter, rate: float, actor: str) -> Replay:
        found = await self.count_replay(which)
        total = found.deliveries if found.after is None else None
        begun = Replay(f"rpl_{secrets.token_hex(8)}", actor, which, rate, total, self.clock.now())
        await self.store.add_replay(begun, self._note(actor, "delivery.replay", begun.id))
        self._replay_asked()
        return begun

    # -- backfills --------------------------------------------------------------------------------------------------

    def backfill_tables(self) -> Mapping[str, Mapping[str, str]]:
        found = {name: tables_told_of(source) for name, source in self._config.source.items()}
        return {name: tables for name, tables in found.items() if tables}

    async def plan_backfills(self, source: str, asked: Asked) -> Sequence[Planned]:
        return await planned_from_outside(self._config.select_source(source), self.store, asked)

    async def begin_backfills(self, source: str, asked: Asked) -> Sequence[Backfill]:
        begun = [each.backfill for each in await self.plan_backfills(source, asked)]
        for each in begun:
            await self.store.add_backfill(each, self._note(asked.actor, "backfill.begin", each.id))
        return begun

    def backfill_speed(self, backfill: Backfill) -> float | None:
        report = self._monitor.reported.sources.get(backfill.source)
        return None if report is None else report.backfill.of(backfill.id, self.clock.now())

    # -- sources ----------------------------------------------------------------------------------------------------

    def source_names(self) -> Sequence[str]:
        return list(self._config.source)

    def sources(self) -> Sequence[ReportedSource]:
        now = self.clock.now()
        return [self._source(name, now) for name in self._monitor.reported.sources]

    def _source(self, name: str, now: datetime) -> ReportedSource:
        report = self._monitor.reported.sources[name]
        answers = self._monitor.ahead.get(name)
        failure = report.failing(now)
        return ReportedSource(
            name=name,
            capture=self._config.source[name].capture,
            server=self._monitor.server(name),
            state=state(self._monitor, name, now),
            since=failure.since if failure else report.open_since or report.since,
            lag=answers.last.seconds if answers is not None and answers.last is not None else None,
            gaps=dict(report.gaps),
            error=failure.error.message if failure else None,
            position=report.position,
        )

    async def examine(self, source: str) -> Sequence[Finding]:
        if source not in self._config.source:
            raise NotFound(f"There is no source {source!r}.")
        position = await self.store.position(source)
        # not in a thread of the pool, which others need too: its server may hang
        return await alone().in_thread(lambda: examine(self._config.source[source], self._config.outbox, position))

    # -- the process ------------------------------------------------------------------------------------------------

    def reasons(self) -> Sequence[str]:
        return reasons(self._monitor, self._bounds, self.clock.now())

    def activity(self, minutes: int) -> Sequence[ActivityMinute]:
        return self._monitor.reported.activity.last(minutes, self.clock.now())

    def progress(self) -> Mapping[str, int]:
        reported = self._monitor.reported
        return {
            "events": sum(source.events for source in reported.sources.values()),
            "attempts": reported.attempts.total(),
        }

    def _note(self, actor: str, action: str, subject: str) -> Note:
        return (AuditEntry(self.clock.now(), actor, action, subject),)


def _secret(secret: str | None, signature: Signature | None, otherwise: Signature) -> str:
    if secret is None:
        return new_secret(signature or otherwise)
    check_secret(secret)
    if signature is not None and signature_of(secret) is not signature:
        raise UsageError(
            f"The secret given does not make the signature {signature}.", "whsec_ is for v1, whsk_ for v1a."
        )
    return secret
