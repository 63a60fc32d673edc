"""Decides what to lease, which request starts next, and when to look again.  No I/O.

An endpoint is a `Channel`: its flow control, and counts of its requests.  Leased deliveries wait in a queue of requests
for each tenant, in the order in which these became complete: a delivery by itself at once, a batch when it is full or
its time has come.  Within a tenant requests start first come, first served, past endpoints that have no room; so no
endpoint waits for another.

Tenants (`Tenant`) share leases and slots: a free slot goes to the one with the fewest requests in flight; one that has
none may exceed the overall bound by one request.  What is due of tenants below their share is looked up, and leased,
before the rest (`below_share`): many endpoints of one tenant delay no delivery of another.

What is leased waits here ahead of time for endpoints that answer quickly, so that no request waits for the outbox; and
never more of it than may start before its lease grows old, or than memory is meant for.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from itertools import groupby, takewhile
from operator import attrgetter
from typing import Final, NamedTuple

import structlog

from cdc.dispatch.flow_control import WINDOW, FlowControl
from cdc.dispatch.retry import Answer, Random, is_trouble, pause_asked
from cdc.model.clock import Clock
from cdc.model.delivery import Held, LeasedDelivery
from cdc.model.endpoint import Endpoint

#: Deliveries that wait at most (about) where there are endpoints that want batches.
WAITING = 2000
#: From this attempt on a delivery travels alone: what its receiver cannot take no longer dooms others.
ALONE_FROM = 3
#: A request that has taken longer than this (seconds) waits for its receiver and costs nothing but a socket …
STALLED_AFTER = 1.0
#: … so it stops counting towards the overall bound, until there are this many times the bound in all.
STALLED_FACTOR = 16
#: What is leased for an endpoint that lets nothing through for longer than this (seconds) is given back.
PATIENCE = 1.0

#: One part in so many: of slots, leases and memory that tenants below their share have beyond the bounds of all.
RESERVE: Final = 4
#: Of tenants above their share, those that have most are passed over first: a query names so many.
MOST_ABOVE: Final = 32

#: No endpoint's number is greater.
_LAST_NUMBER: Final = 2**63 - 1

_LEASED_AT: Final = attrgetter("leased_at")
_IN_FLIGHT: Final = attrgetter("in_flight")

#: What goes out in one request: deliveries of one endpoint with the same attempt number, at least one.
RequestBatch = tuple[LeasedDelivery, ...]


class Tenant:
    """The endpoints of one source, or of all sources, which take turns with those of others.  ``in_flight``: requests
    that have not stalled; ``queue``: requests that wait for a slot."""

    __slots__ = ("in_flight", "name", "queue")

    def __init__(self, name: str) -> None:
        self.name = name
        self.in_flight = 0
        self.queue: deque[tuple[Channel, RequestBatch]] = deque()


def tenant_of(endpoint: Endpoint) -> str:
    """Return the name of an endpoint's tenant: the first of its sources; empty where it is for all."""
    return min(endpoint.sources, default="")


class Channel:
    """An endpoint.  ``quick``: its last attempt was a quick success; ``together``: it wants batches, and no delivery
    came last that travels alone."""

    __slots__ = ("endpoint", "flow", "gathered", "in_flight", "leased_at", "quick", "ready", "tenant", "together")

    def __init__(self, endpoint: Endpoint, flow: FlowControl, tenant: Tenant) -> None:
        self.endpoint = endpoint
        self.tenant = tenant
        self.flow = flow
        self.in_flight = 0  # requests
        self.ready = 0  # requests that wait for a slot
        self.gathered = 0  # deliveries whose batch is not complete
        self.quick = False
        self.together = False
        self.leased_at = 0  # by the scheduler's count: the one for which nothing was leased the longest comes first

    def follow(self, endpoint: Endpoint) -> None:
        """Apply what was changed of the endpoint."""
        before, self.endpoint = self.endpoint, endpoint
        if endpoint.rate != before.rate:
            self.flow.change_rate(endpoint.rate)
        if endpoint.url != before.url or (endpoint.enabled and not before.enabled):
            self.flow.reset()

    def room(self) -> int:
        """Return how many more requests its concurrency allows; negative after it was lowered."""
        return self.endpoint.concurrency - self.in_flight


class Flight:
    """A request in flight.  ``endpoint``: as it was when the request started."""

    __slots__ = ("batch", "channel", "endpoint", "started", "tenant", "turn")

    def __init__(self, channel: Channel, batch: RequestBatch, tenant: Tenant, now: float) -> None:
        self.tenant = tenant
        self.channel = channel
        self.batch = batch
        self.endpoint = channel.endpoint
        self.started = now
        self.turn = channel.flow.start(now)

    def answered(self, answer: Answer, clock: Clock) -> float | None:
        """Report the answer to the endpoint's flow control.  Return `cdc.dispatch.flow_control.Breaker.doubt`."""
        if answer.unsent:
            self.channel.flow.unsent(self.turn, clock.monotonic())
            return None
        trouble = is_trouble(answer)
        pause = pause_asked(answer, clock.now()) if trouble else 0.0
        return self.channel.flow.ended(self.turn, clock.monotonic(), trouble=trouble, retry_after=pause)

    def broken_off(self, clock: Clock) -> None:
        """Report that the answer will never be known."""
        self.channel.flow.unsent(self.turn, clock.monotonic())


class BelowShare(NamedTuple):
    """``room``: requests to lease deliveries for.  ``above``: the tenants that have their share."""

    room: int
    above: frozenset[str]


class _Batch:
    __slots__ = ("deliveries", "goes_at")

    def __init__(self, goes_at: float) -> None:
        self.deliveries: list[LeasedDelivery] = []
        self.goes_at = goes_at


class Scheduler:
    """``limit``: requests at once, in all; those that stall do not count, so that receivers that hang, however many of
    them, never use up what the others need.  ``shared``: limits hold over several processes.  ``unadmitted``:
    a request was passed over that must be admitted by all of them."""

    def __init__(self, limit: int, clock: Clock, rand: Random, *, shared: bool = False) -> None:
        self._limit = limit
        self._shared = shared
        self.unadmitted = False
        self._clock = clock
        self._rand = rand
        self._log = structlog.get_logger().bind()
        self._tenants: dict[str, Tenant] = {}
        self._ready: dict[Tenant, None] = {}  # with a queue, the one that started a request longest ago first
        self._queued = 0  # requests, in all queues
        self._took: Counter[Tenant] = Counter()  # deliveries at the last lease, where it left some
        self._numbers: list[tuple[int, str]] = []  # of endpoints, each with its tenant, in order
        self._runs: tuple[frozenset[str], list[tuple[int, int]]] = frozenset(), []
        self._batches: dict[tuple[Channel, int], _Batch] = {}  # by attempt number: a request has one fate for all in it
        self.channels: dict[str, Channel] = {}
        self.active: set[Channel] = set()  # all with requests, or whose flow control may hold something back
        self._leases = 0
        self._never_sent: list[str] = []
        self.in_flight: dict[Flight, None] = {}  # in order of start
        self._moving: dict[Flight, None] = {}  # those that have not stalled
        self.waiting = 0  # deliveries, in requests or not
        self.orphans: list[LeasedDelivery] = []  # of endpoints that are new here, or removed
        self.to_release: list[LeasedDelivery] = []  # leased, and not sent soon

    def reconfigure(self, limit: int) -> None:
        self._limit = limit
        self._log = structlog.get_logger().bind()  # as logs are configured now

    # -- endpoints --------------------------------------------------------------------------------------------------

    def succeed(self, former: Scheduler) -> None:
        """Take over the flow control of a scheduler whose dispatcher has failed, and nothing that waited in it."""
        for endpoint_id, channel in former.channels.items():
            name = channel.tenant.name
            tenant = self._tenants.setdefault(name, Tenant(name))
            self.channels[endpoint_id] = Channel(channel.endpoint, channel.flow, tenant)

    def follow(self, endpoints: Iterable[Endpoint], numbers: Mapping[str, int] | None = None) -> None:
        """Take over the list of endpoints.  One that had no success for longer than a breaker remembers begins with a
        probe: its breaker may have been open in a process that ended.  ``numbers``: of endpoints in the outbox."""
        before, self.channels = self.channels, {}
        tenants, self._tenants = self._tenants, {}
        for endpoint in endpoints:
            name = tenant_of(endpoint)
            tenant = self._tenants.setdefault(name, tenants.get(name) or Tenant(name))
            channel = before.pop(endpoint.id, None)
            if channel is None:
                since = endpoint.failing_since
                failing = since is not None and self._clock.now() - since > timedelta(seconds=WINDOW)
                failing = failing and endpoint.concurrency > 0  # nothing that a consumer fetches is held back
                flow = FlowControl(endpoint.rate, self._rand, trying=failing, shared=self._shared)
                channel = Channel(endpoint, flow, tenant)
            else:
                channel.follow(endpoint)
                channel.tenant = tenant
            self.channels[endpoint.id] = channel
            if channel.flow.hold(self._clock.monotonic()) is not None:
                self.active.add(channel)
        self.active.difference_update(before.values())
        self._never_sent = [each.endpoint.id for each in self.channels.values() if not each.endpoint.concurrency]
        self.orphans += self._drop(before.values())
        known = numbers or {}
        self._numbers = sorted((known.get(name, 0), each.tenant.name) for name, each in self.channels.items())
        self._runs = frozenset(), []

    def adopt(self) -> list[LeasedDelivery]:
        """Queue orphans whose endpoint is known by now; return the others: their endpoint is removed."""
        orphans, self.orphans = self.orphans, []
        self.add(orphans)
        removed, self.orphans = self.orphans, []
        return removed

    def held(self) -> dict[str, Held]:
        """Endpoints of which due deliveries are held back.  Endpoints that are idle are looked at no longer."""
        now, time = self._clock.monotonic(), self._clock.now()
        found = {}
        for channel in tuple(self.active):
            by = channel.flow.hold(now)
            if by is None:
                if not (channel.in_flight or channel.ready or channel.gathered):
                    self.active.discard(channel)
            elif channel.endpoint.enabled:
                wait = channel.flow.wait(now)
                found[channel.endpoint.id] = Held(by, time + timedelta(seconds=wait if wait < math.inf else 0.0))
        return found

    def opens_at(self) -> float:
        """Return when (monotonic seconds) the first endpoint that is held back may send again; infinite when waiting
        changes nothing."""
        now = self._clock.monotonic()
        waits = (each.flow.wait(now) for each in self.active if each.endpoint.enabled)
        return now + min((wait for wait in waits if wait), default=math.inf)

    # -- how much to lease ------------------------------------------------------------------------------------------

    def capacity(self) -> int:
        """Return how many requests to lease deliveries for, in all."""
        free, ready = self.free(), self._queued
        return 0 if not free and ready > self._limit // 2 else max(free + self._limit - ready, 0)

    def to_hand_over(self, source: str) -> int:
        """Return how many of the deliveries of a source's new events may be leased as they are stored: where nothing of
        its tenants waits, some beyond `capacity`."""
        most = self.capacity()
        tenants = [self._tenants[name] for name in (source, "") if name in self._tenants]
        if not any(each.queue for each in tenants):  # a lease may have queued twice the limit
            most = max(most, 2 * self._limit + self._limit // RESERVE - self._queued)
        return max(most, 0)

    def below_share(self) -> BelowShare | None:
        """Return how much to lease first, for tenants that have less than their share of slots and queue; None where no
        tenant has more, so that no one waits for another."""
        held = Counter({each: each.in_flight + len(each.queue) for each in self._ready})
        held |= Counter(flight.tenant for flight in self._moving) | self._took
        share = max(self._limit // max(len(held), 1), 1)
        above = [each for each, number in held.most_common(MOST_ABOVE) if number >= share]
        if not above or len(above) == len(self._tenants):
            return None
        names = frozenset(each.name for each in above)
        ready = sum(len(each.queue) for each in self._ready if each.name not in names)
        room = max(self._limit // 2, 1) - ready
        return BelowShare(room, names) if room > 0 else None

    def took_turns(self, endpoint_ids: Iterable[str]) -> None:
        """Note the endpoints of which deliveries were leased (once for each), by a lease for all that left others due:
        their tenants are not below their share, however quickly these were sent."""
        self._took = Counter(self.channels[each].tenant for each in endpoint_ids if each in self.channels)

    def endpoints_of_others(self, names: Collection[str]) -> list[str]:
        """Return the endpoints of all tenants but these."""
        return [each for each, channel in self.channels.items() if channel.tenant.name not in names]

    def runs_of_others(self, names: frozenset[str]) -> list[tuple[int, int]]:
        """Return the numbers of the endpoints of all tenants but these, as runs (after, up to)."""
        if self._runs[0] != names:
            runs, last = list[tuple[int, int]](), 0
            for other, run in groupby(self._numbers, key=lambda each: each[1] not in names):
                *_, (end, _) = run
                if other:
                    runs.append((last, end))
                last = end
            self._runs = names, [*runs, (last, _LAST_NUMBER)]  # and those that are new
        return self._runs[1]

    def full(self) -> list[str]:
        """Return the endpoints that have no room for more, consumers that fetch their events among them."""
        return self._never_sent + [
            each.endpoint.id
            for each in self.active
            if (self._deliveries(each) if each.endpoint.batched else self._requests(each)) <= 0
        ]

    def room(self, among: Collection[str] | None = None, most: int | None = None) -> list[tuple[int, dict[str, int]]]:
        """Return the deliveries to lease: how many in all, and endpoint id → its most, in the order of their turn; once
        for those that are sent alone, and once for batches, which memory limits.

        ``among``: the only endpoints to lease for, in that order.  One that is new here gets one delivery, which makes
        it known.  ``most``: in place of `capacity`, for tenants below their share."""
        if not (limit := self.capacity() if most is None else most):
            return []
        memory = WAITING if most is None else WAITING + WAITING // RESERVE
        if among is None:
            channels, rooms = sorted(self.channels.values(), key=_LEASED_AT), dict[str, int]()
        else:
            channels = [self.channels[each] for each in among if each in self.channels]
            rooms = {each: 1 for each in among if each not in self.channels}
        batched = [each for each in channels if each.endpoint.batched]
        wanted = []
        if rooms or len(batched) < len(channels) or not (channels or among):
            rooms |= {each.endpoint.id: 0 if each.endpoint.batched else self._requests(each) for each in channels}
            wanted.append((limit, rooms))
        if batched and (limit := memory - self.waiting) > 0:
            rooms = {each.endpoint.id: 0 for each in channels}
            rooms |= {each.endpoint.id: self._deliveries(each) for each in batched}
            if any(rooms.values()):
                wanted.append((limit, rooms))
        return wanted

    def _requests(self, channel: Channel) -> int:
        """Return how many more requests to lease deliveries for: those that may start now, and as many again for an
        endpoint that answers quickly, if its rate admits them."""
        ahead = channel.endpoint.concurrency if channel.quick else 0
        return max(min(channel.room() + ahead, channel.flow.room(self._clock.monotonic())) - channel.ready, 0)

    def _deliveries(self, channel: Channel) -> int:
        """Return how many more deliveries to lease: full batches for each request, or one where deliveries come that
        are sent alone.

        An endpoint gets half of the memory that it leaves to the others, but enough for one batch where a request may
        start: one that stops answering never holds all of it.
        """
        requests, size = self._requests(channel), channel.endpoint.batch_size
        if not channel.together:
            return max(requests - channel.gathered, 0)
        share = (WAITING - self.waiting - channel.gathered - channel.ready * size) // 2
        if channel.room() > channel.ready:
            share = max(share, size - channel.gathered)
        return max(min(requests * size - channel.gathered, share), 0)

    # -- what was leased --------------------------------------------------------------------------------------------

    def add(self, leased: Sequence[LeasedDelivery]) -> bool:
        """Queue deliveries.  Return whether there is room for more now, because an endpoint takes batches again."""
        came, alone = set[Channel](), set[Channel]()
        for (endpoint_id, attempt), alike in groupby(leased, attrgetter("endpoint_id", "attempt")):
            channel = self.channels.get(endpoint_id)
            if channel is None:
                self.orphans += alike
            elif channel.endpoint.batched and attempt < ALONE_FROM:
                came.add(channel)
                self._gather(channel, attempt, list(alike))
            else:
                alone.add(channel)
                for delivery in alike:
                    self._append(channel, (delivery,))
        self._leases += 1
        self.active |= came | alone
        more = any(not each.together for each in came - alone)
        for channel in came | alone:
            channel.leased_at = self._leases
            channel.together = channel not in alone
        return more

    def complete(self) -> None:
        """Queue batches whose time has come, however few they hold; all of them where memory is short."""
        now = math.inf if self.waiting >= WAITING else self._clock.monotonic()
        for key in [key for key, batch in self._batches.items() if batch.goes_at <= now]:
            self._append(key[0], self._gathered(key))

    def next_complete(self) -> float | None:
        """Return when (monotonic seconds) the first batch that gathers is complete by time."""
        return min((batch.goes_at for batch in self._batches.values()), default=None)

    def release_held(self) -> None:
        """Leases on which nothing will be sent soon: others must not wait for them, and their attempts do not count."""
        now = self._clock.monotonic()
        held = [each for each in self.active if each.ready or each.gathered]
        self.to_release += self._drop(
            [each for each in held if not each.endpoint.concurrency or each.flow.wait(now) > PATIENCE]
        )

    def _gather(self, channel: Channel, attempt: int, deliveries: Sequence[LeasedDelivery]) -> None:
        """Let deliveries wait for company, in one growing batch for each attempt number: an event that its receiver
        cannot take spoils the company in which it first came, and nothing that comes later."""
        key, size, taken = (channel, attempt), channel.endpoint.batch_size, 0
        while taken < len(deliveries):
            batch = self._batches.get(key)
            if batch is None:
                batch = self._batches[key] = _Batch(self._clock.monotonic() + channel.endpoint.batch_wait)
            joining = deliveries[taken : taken + max(size - len(batch.deliveries), 0)]
            batch.deliveries += joining
            taken += len(joining)
            channel.gathered += len(joining)
            self.waiting += len(joining)
            if len(batch.deliveries) >= size:
                self._append(channel, self._gathered(key))

    def _gathered(self, key: tuple[Channel, int]) -> RequestBatch:
        deliveries = self._batches.pop(key).deliveries
        key[0].gathered -= len(deliveries)
        self.waiting -= len(deliveries)
        return tuple(deliveries)

    def _append(self, channel: Channel, batch: RequestBatch) -> None:
        channel.tenant.queue.append((channel, batch))
        self._ready.setdefault(channel.tenant)
        self._queued += 1
        channel.ready += 1
        self.waiting += len(batch)

    def _drop(self, channels: Collection[Channel]) -> list[LeasedDelivery]:
        """Remove, and return, what waits for these endpoints."""
        if not channels:
            return []
        dropped = list[RequestBatch]()
        for tenant in tuple(self._ready):
            dropped += [batch for channel, batch in tenant.queue if channel in channels]
            tenant.queue = deque(each for each in tenant.queue if each[0] not in channels)
            if not tenant.queue:
                del self._ready[tenant]
        self._queued -= len(dropped)
        self.waiting -= sum(map(len, dropped))
        dropped += [self._gathered(key) for key in list(self._batches) if key[0] in channels]
        for channel in channels:
            channel.ready = 0
        return [delivery for batch in dropped for delivery in batch]

    # -- requests ---------------------------------------------------------------------------------------------------

    def start(self, *, idle: bool = False) -> Flight | None:
        """Return the next request that may be sent now, counted as in flight.  ``idle``: of tenants without any."""
        while True:
            free = not idle and self.free() > 0
            if not free and not self._within(self._limit + self._limit // RESERVE):
                return None
            if (found := self._next(idle=not free)) is None:
                return None
            tenant, channel, batch = found
            endpoint = channel.endpoint
            lease_until = batch[0].lease_until if len(batch) == 1 else min(each.lease_until for each in batch)
            if lease_until - self._clock.now() > timedelta(seconds=endpoint.timeout):
                flight = Flight(channel, batch, tenant, self._clock.monotonic())
                self.in_flight[flight] = self._moving[flight] = None
                channel.in_flight += 1
                tenant.in_flight += 1
                return flight
            self._log.warning("lease too short to send", delivery=batch[0].id, batch=len(batch), endpoint=endpoint.id)
            self.to_release += batch

    def ended(self, flight: Flight) -> None:
        del self.in_flight[flight]
        flight.channel.in_flight -= 1
        if flight in self._moving:
            self._stopped(flight)

    def _stopped(self, flight: Flight) -> None:
        """Count a request no longer that ended or stalled."""
        del self._moving[flight]
        flight.tenant.in_flight -= 1

    def underfilled(self, tenant: Tenant) -> bool:
        """Return whether so few requests wait that it is time to lease more; or none of this tenant, but others do."""
        return self._queued < self._limit // 2 or (not tenant.queue and self._queued > 0)

    def _next(self, *, idle: bool) -> tuple[Tenant, Channel, RequestBatch] | None:
        """Take the next request from the queues: the first one of a tenant whose endpoint has room (asked once for each
        endpoint); first of the tenant with the fewest requests in flight.  ``idle``: of tenants without any only."""
        now = self._clock.monotonic()
        tenants: Iterable[Tenant] = self._ready
        if idle:
            tenants = [each for each in self._ready if not each.in_flight]
        elif len(self._ready) > 1:
            tenants = sorted(self._ready, key=_IN_FLIGHT)
        for tenant in tenants:
            if (found := self._next_of(tenant, now)) is not None:
                del self._ready[tenant]
                if tenant.queue:
                    self._ready[tenant] = None
                return tenant, *found
        return None

    def _next_of(self, tenant: Tenant, now: float) -> tuple[Channel, RequestBatch] | None:
        shut: set[Channel] = set()  # set[Channel]() takes 0.8 us, and this runs for each request
        for place, (channel, batch) in enumerate(tenant.queue):
            if channel in shut:
                continue
            if channel.room() <= 0:
                shut.add(channel)
                continue
            if not channel.flow.may_start(now):
                self.unadmitted = self.unadmitted or not channel.flow.wait(now)
                shut.add(channel)
                continue
            size = channel.endpoint.batch_size
            if len(batch) > size:  # smaller than it was: the rest is next
                tenant.queue[place] = channel, batch[size:]
            else:
                del tenant.queue[place]
                channel.ready -= 1
                self._queued -= 1
            self.waiting -= min(len(batch), size)
            return channel, batch[:size]
        return None

    def free(self) -> int:
        """Return how many more requests may start now, in all."""
        return self._within(self._limit)

    def _within(self, limit: int) -> int:
        if len(self.in_flight) >= self._limit:
            before = self._clock.monotonic() - STALLED_AFTER
            for flight in list(takewhile(lambda flight: flight.started <= before, self._moving)):
                self._stopped(flight)
            return max(min(limit - len(self._moving), self._limit * STALLED_FACTOR - len(self.in_flight)), 0)
        return limit - len(self.in_flight)
