"""What a token of some sources sees of the desk and of the outbox: theirs, and nothing else.

Closed by default: each method that is here narrows, what is not here cannot be asked for.  An endpoint is theirs when
it names sources, all of them theirs; an event when its source is; a delivery, and a backfill, when its event (its
source) and its endpoint are.
Whatever is not theirs is as if it were not there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar, cast

from cdc.access.model import Allowance
from cdc.api.desk import Desk, EventKind, SignatureKind, SourceState
from cdc.audit import Note
from cdc.model.backfill import Asked, Backfill, BackfillState
from cdc.model.clock import Clock
from cdc.model.delivery import Attempt, DeliveryState, DeliveryView
from cdc.model.endpoint import Endpoint, EndpointChange
from cdc.model.errors import UsageError
from cdc.model.event import OPERATIONS
from cdc.model.log_filter import DeliveryFilter, EventFilter
from cdc.model.mail_address import is_mail
from cdc.model.operation import OPERATION_TYPES
from cdc.model.replay import Replay, ReplayState
from cdc.outbox.base import OutboxStore, Replayed, StoredEvent
from cdc.outbox.shared import Subscriber, no_backfill, no_delivery, no_endpoint, no_replay
from cdc.outbox.slices import SearchPage, TimeBudget

Filter = TypeVar("Filter", bound=EventFilter)
Work = TypeVar("Work", Replay, Backfill)
#: Replays, or backfills, looked at together, to find those of a page.
_TOGETHER = 200


def scoped(desk: Desk, sources: Sequence[str], allowed: Sequence[Allowance] = ()) -> Desk:
    """The desk as a token of these sources sees it.  ``allowed``: what it may do beyond them."""
    return cast("Desk", ScopedDesk(desk, frozenset(sources), frozenset(allowed)))  # a part of it, on purpose


class ScopedStore:
    def __init__(self, store: OutboxStore, sources: frozenset[str], allowed: frozenset[Allowance]) -> None:
        self._store = store
        self._sources = sources
        self._allowed = allowed

    def owns(self, sources: Sequence[str] | None) -> bool:
        """Whether these are sources, and all of them theirs."""
        return bool(sources) and self._sources.issuperset(sources or ())

    # -- events -----------------------------------------------------------------------------------------------------

    def _narrowed(self, which: Filter) -> Filter:
        return replace(which, sources=tuple(sorted(self._sources)))

    async def event(self, event_id: str) -> StoredEvent | None:
        found = await self._store.event(event_id)
        return found if found is not None and found.source in self._sources else None

    async def events(self, limit: int, after: int | None = None, pattern: str | None = None) -> list[StoredEvent]:
        which = self._narrowed(EventFilter(event_pattern=pattern))
        if after is not None:
            return await self._store.find_events(which, limit, after)
        newest = await self._store.search_events(which, limit, TimeBudget(_no_hurry), oldest_first=False)
        return list(newest.found)[::-1]

    async def search_events(
        self, which: EventFilter, limit: int, patience: TimeBudget, place: int | None = None, *, oldest_first: bool
    ) -> SearchPage[StoredEvent]:
        return await self._store.search_events(self._narrowed(which), limit, patience, place, oldest_first=oldest_first)

    # -- endpoints --------------------------------------------------------------------------------------------------

    async def endpoints(self) -> list[Endpoint]:
        return [each for each in await self._store.endpoints() if self.owns(each.sources)]

    async def endpoint(self, endpoint_id: str) -> Endpoint | None:
        found = await self._store.endpoint(endpoint_id)
        return found if found is not None and self.owns(found.sources) else None

    async def check_endpoint(self, endpoint_id: str) -> Endpoint:
        """Return the endpoint.  Raises `NotFound`."""
        found = await self.endpoint(endpoint_id)
        if found is None:
            raise no_endpoint(endpoint_id)
        return found

    def check_touchable(self, endpoint: Endpoint) -> None:
        """Raise `NotFound` for an endpoint of others, and `UsageError` for one that this token may only look at."""
        if not self.owns(endpoint.sources):
            raise no_endpoint(endpoint.id)
        if is_mail(endpoint.url) and Allowance.MAIL not in self._allowed:
            raise _no_mail()
        if not endpoint.has_credentials or Allowance.CREDENTIALS in self._allowed or self.owns(endpoint.credentials_of):
            return
        raise UsageError(
            "A token for some sources cannot change an endpoint whose headers, proxy or client certificate somebody "
            "with more rights set.",
            "Ask the operator to change it, or to allow it: cdc token add … --allow credentials",
        )

    async def counts(self) -> dict[str, dict[DeliveryState, int]]:
        theirs = {each.id for each in await self.endpoints()}
        return {name: counts for name, counts in (await self._store.counts()).items() if name in theirs}

    async def add_endpoint(self, endpoint: Endpoint, note: Note = ()) -> None:
        assert self.owns(endpoint.sources), "made by the scoped desk"
        await self._store.add_endpoint(endpoint, note)

    async def change_endpoint(self, endpoint_id: str, change: EndpointChange, note: Note = ()) -> Endpoint:
        assert change.sources is None or self.owns(change.sources), "checked by the scoped desk"
        await self.check_endpoint(endpoint_id)
        return await self._store.change_endpoint(endpoint_id, replace(change, guard=self.check_touchable), note)

    async def remove_endpoint(self, endpoint_id: str, now: datetime, note: Note = ()) -> None:
        self.check_touchable(await self.check_endpoint(endpoint_id))
        await self._store.remove_endpoint(endpoint_id, now, note)

    # -- deliveries -------------------------------------------------------------------------------------------------

    async def of_theirs(self, which: DeliveryFilter) -> DeliveryFilter:
        """Of their events, to their endpoints."""
        return replace(self._narrowed(which), endpoint_ids=tuple(each.id for each in await self.endpoints()))

    async def search_deliveries(
        self, which: DeliveryFilter, limit: int, patience: TimeBudget, before: str | None = None
    ) -> SearchPage[DeliveryView]:
        return await self._store.search_deliveries(await self.of_theirs(which), limit, patience, before)

    async def delivery(self, delivery_id: str) -> DeliveryView | None:
        found = await self._store.delivery(delivery_id)
        if found is None or found.source not in self._sources or await self.endpoint(found.endpoint_id) is None:
            return None
        return found

    async def attempts(self, delivery_id: str) -> list[Attempt]:
        return [] if await self.delivery(delivery_id) is None else await self._store.attempts(delivery_id)

    async def retry(self, delivery_id: str, now: datetime, note: Note = ()) -> None:
        if await self.delivery(delivery_id) is None:
            raise no_delivery(delivery_id)
        await self._store.retry(delivery_id, now, note)

    # -- replays ----------------------------------------------------------------------------------------------------

    async def replays(self, limit: int, before: str | None = None) -> list[Replay]:
        async def owned(replay: Replay) -> bool:
            return self.owns(replay.which.sources)

        return await _page(self._store.replays, owned, limit, before)

    async def find_replay(self, replay_id: str) -> Replay | None:
        found = await self._store.find_replay(replay_id)
        return found if found is not None and self.owns(found.which.sources) else None

    async def end_replay(
        self, replay_id: str, state: ReplayState, error: str, now: datetime, note: Note = ()
    ) -> Replay:
        if await self.find_replay(replay_id) is None:
            raise no_replay(replay_id)
        return await self._store.end_replay(replay_id, state, error, now, note)

    # -- backfills --------------------------------------------------------------------------------------------------

    async def _owns(self, backfill: Backfill) -> bool:
        """Not one that is for all who ask: others may be among them."""
        theirs = bool(backfill.endpoint) and backfill.source in self._sources
        return theirs and await self.endpoint(backfill.endpoint) is not None

    async def backfills(self, limit: int, before: str | None = None) -> list[Backfill]:
        return await _page(self._store.backfills, self._owns, limit, before)

    async def find_backfill(self, backfill_id: str) -> Backfill | None:
        found = await self._store.find_backfill(backfill_id)
        return found if found is not None and await self._owns(found) else None

    async def set_backfill(
        self, backfill_id: str, state: BackfillState, error: str, now: datetime, note: Note = ()
    ) -> Backfill:
        if await self.find_backfill(backfill_id) is None:
            raise no_backfill(backfill_id)
        return await self._store.set_backfill(backfill_id, state, error, now, note)


async def _page(
    read: Callable[[int, str | None], Awaitable[list[Work]]],
    owned: Callable[[Work], Awaitable[bool]],
    limit: int,
    before: str | None,
) -> list[Work]:
    found: list[Work] = []
    while len(found) < limit:
        page = await read(_TOGETHER, before)
        found += [each for each in page if await owned(each)]
        if len(page) < _TOGETHER:
            break
        before = page[-1].id
    return found[:limit]


def _no_hurry() -> float:
    return 0.0


class ScopedDesk:
    def __init__(self, desk: Desk, sources: frozenset[str], allowed: frozenset[Allowance]) -> None:
        self._desk = desk
        self._sources = sources
        self._allowed = allowed
        self._store = ScopedStore(desk.store, sources, allowed)

    @property
    def store(self) -> OutboxStore:
        return cast("OutboxStore", self._store)  # a part of it, on purpose

    @property
    def clock(self) -> Clock:
        return self._desk.clock

    async def newest(self) -> int:
        return await self._desk.newest()

    def event_kinds(self) -> Sequence[EventKind]:
        return self._desk.event_kinds_of(sorted(self._sources))

    def sources(self) -> Sequence[SourceState]:
        return [each for each in self._desk.sources() if each.name in self._sources]

    def signature(self, endpoint: Endpoint) -> SignatureKind:
        return self._desk.signature(endpoint)

    def made(self, fields: Mapping[str, Any], secret: str | None, signature: str | None) -> Endpoint:
        """Of all their sources, unless some are named."""
        wanted = dict(fields)
        wanted["sources"] = tuple(wanted.get("sources") or sorted(self._sources))
        self._check(wanted)
        return self._desk.made({**wanted, **self._credentials_of(wanted)}, secret, signature)

    def checked(self, fields: Mapping[str, Any], endpoint: Endpoint) -> Mapping[str, Any]:
        self._store.check_touchable(endpoint)
        self._check(fields)
        return self._desk.checked({**fields, **self._credentials_of(fields, endpoint)}, endpoint)

    def _credentials_of(self, fields: Mapping[str, Any], endpoint: Endpoint | None = None) -> Mapping[str, Any]:
        """The field that says whose the credentials are: this token's, where all that remain are headers that it
        gives.  Proxies and certificates of the configuration stay the operator's."""
        others = [fields.get(name, getattr(endpoint, name, "")) for name in ("proxy", "client_certificate")]
        return {} if any(others) or "headers" not in fields else {"credentials_of": tuple(sorted(self._sources))}

    def _check(self, fields: Mapping[str, Any]) -> None:
        if "sources" in fields and not self._store.owns(fields["sources"]):
            raise UsageError("This token is for some sources only.", f"Name one or more of {_list(self._sources)}.")
        asked = Subscriber(0, tuple(fields.get("events", ())))
        if any(asked.names(kind.name, OPERATIONS) for kind in OPERATION_TYPES):
            raise UsageError(
                "A token for some sources cannot ask for operational events, which tell of all.",
                'Name events of records, such as invoice.*; "*" is all of them.',
            )
        if is_mail(fields.get("url", "")) and Allowance.MAIL not in self._allowed:
            raise _no_mail()
        if Allowance.CREDENTIALS in self._allowed:
            return
        if fields.get("proxy") or fields.get("client_certificate"):
            raise UsageError(
                "A token for some sources cannot use the operator's proxies and client certificates.",
                "Ask the operator to set them, or to allow it: cdc token add … --allow credentials",
            )

    def secret(self, secret: str | None, signature: str | None, endpoint: Endpoint) -> str:
        return self._desk.secret(secret, signature, endpoint)

    async def fitting(self, wanted: Mapping[str, Any], events: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
        return await self._desk.fitting(wanted, events)

    async def send_test(self, endpoint_id: str, event_name: str, note: Note) -> Attempt:
        self._store.check_touchable(await self._store.check_endpoint(endpoint_id))
        return await self._desk.send_test(endpoint_id, event_name, note)

    async def count_replay(self, which: DeliveryFilter) -> Replayed:
        return await self._desk.count_replay(await self._replayed(which))

    async def begin_replay(self, which: DeliveryFilter, rate: float, actor: str) -> Replay:
        return await self._desk.begin_replay(await self._replayed(which), rate, actor)

    async def _replayed(self, which: DeliveryFilter) -> DeliveryFilter:
        if which.endpoint_id is not None:
            await self._store.check_endpoint(which.endpoint_id)
        return await self._store.of_theirs(which)

    async def begin_backfills(self, source: str, asked: Asked) -> Sequence[Backfill]:
        if source not in self._sources:
            raise UsageError("This token is for some sources only.", f"Name one of {_list(self._sources)}.")
        if not asked.endpoint:
            raise UsageError("A backfill of this token names an endpoint: the only one that gets it.")
        if await self._store.endpoint(asked.endpoint) is None:
            raise no_endpoint(asked.endpoint)
        return await self._desk.begin_backfills(source, asked)

    def backfill_speed(self, backfill: Backfill) -> float | None:
        return self._desk.backfill_speed(backfill)


def _no_mail() -> UsageError:
    return UsageError(
        "A token for some sources cannot have events sent by mail.",
        "Ask the operator, or for a token that may: cdc token add … --allow mail",
    )


def _list(sources: frozenset[str]) -> str:
    return ", ".join(sorted(sources))
