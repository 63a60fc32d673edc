"""Leases due deliveries, sends them, and has what came of them recorded.

Invariants: a delivery is sent only while its lease lasts longer than its endpoint's timeout; what was sent is recorded
or its lease expires (it is then sent again); what was not sent is given back, uncounted; no endpoint waits for another.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog

from cdc.dispatch.outcome_writer import OutcomeWriter
from cdc.dispatch.request import build_batch, build_request
from cdc.dispatch.retry import Answer, Random, judge, longest_wait
from cdc.dispatch.scheduler import Flight, Scheduler
from cdc.dispatch.sender import Sender, outcomes, removed, unsent
from cdc.dispatch.shared_limits import SharedLimits
from cdc.dispatch.transform import TransformFailed
from cdc.model.clock import Backoff, Clock
from cdc.model.delivery import DeliveryState, LeasedDelivery, Outcome
from cdc.model.endpoint import Endpoint
from cdc.model.errors import OutboxError
from cdc.model.event import Labels, no_labels
from cdc.model.observer import SILENT, Observer
from cdc.outbox.base import DispatchStore, HandOver

#: A lease outlives the longest timeout by this much (seconds): time to record the outcome in.
LEASE_MARGIN = 30.0
#: How often at most the outbox is asked whether another process wrote (seconds).
POLL = 0.5
#: Seconds between searches for deliveries that a wrong clock scheduled too late.
FORWARD = 60.0
#: Due already, but nothing was leased although there is room, or an endpoint's rate admits the next: look again no
#: sooner than this (seconds).
SOON = 0.05
#: An answer within this time (seconds) is quick: deliveries to its endpoint are leased ahead.
QUICK = 0.25
#: So many endpoints are all considered at each lease; of more, those with something due are looked up first.
FEW = 32
#: How long a relay waits at most for what it stored to be on its way (seconds).
YIELD = 0.01
#: Requests that tenants with more than one make in one pass of the event loop, which everything else waits for.
IN_A_PASS = 8
#: Deliveries that a store leases at most: its transaction must stay short.
MOST_HANDED_OVER = 32
#: What recording, and releasing leases, may each take at a stop (seconds).
CLOSING = 0.75
#: Seconds that a call under way may take at the stop: a server that is slow answers in them, one that is deaf does not.
LEASING = 2.0


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """``worker``: this dispatcher's name in leases, the same after a restart.  ``concurrency``: attempts at once, in
    all.  ``lease``: seconds, raised where an endpoint's timeout needs more.  ``grace``: seconds that attempts on their
    way get at a stop."""

    worker: str
    concurrency: int = 64
    lease: float = 60.0
    grace: float = 8.0


class _Pass:
    """Bounds how many requests are made in one pass of the event loop."""

    def __init__(self) -> None:
        self._made = 0

    async def room(self) -> None:
        while self._made >= IN_A_PASS:  # noqa: ASYNC110 - the next pass sends no event
            await asyncio.sleep(0)
        if not self._made:
            asyncio.get_running_loop().call_soon(self._end)
        self._made += 1

    def _end(self) -> None:
        self._made = 0


class Dispatcher:
    def __init__(
        self,
        store: DispatchStore,
        sender: Sender,
        clock: Clock,
        settings: DispatchSettings,
        rand: Random = random.random,
        *,
        observer: Observer = SILENT,
        labels: Labels = no_labels,
        former: Dispatcher | None = None,
    ) -> None:
        """``former``: the one of this process that failed, whose breakers, pauses and rates continue."""
        self._store = store
        self._labels = labels
        self._sender = sender
        self._clock = clock
        self._settings = settings
        self._rand = rand
        self._observer = observer
        self._log = structlog.get_logger().bind()
        self._wake = asyncio.Event()
        self._at_rest = asyncio.Event()  # waiting for something to do
        self._stop = asyncio.Event()
        self._landed = asyncio.Event()
        self._recorder = OutcomeWriter(store, settings.worker, clock, self._wake.set, observer)
        self._scheduler = Scheduler(settings.concurrency, clock, rand, shared=store.limits is not None)
        if former is not None:
            self._scheduler.succeed(former._scheduler)  # noqa: SLF001 - of the same class
        limits = store.limits  # None where this process is the only one
        self._limits = None if limits is None else SharedLimits(limits, settings.worker, clock, self._scheduler)
        self._tasks: set[asyncio.Task[None]] = set()
        self._pass = _Pass()
        self._sending: asyncio.TaskGroup | None = None  # while what is leased is sent
        self._endpoints_stale = True
        self._endpoints_version: int | None = None
        self._lease_time = timedelta()
        self._place = 0  # of the endpoints for which something was leased last
        self._changed_asked = 0.0
        self._forward_at = 0.0
        self._any_held = False
        self._more_due = False  # more is due than was leased

    def notify(self) -> None:
        """Wake the dispatcher: something may be due."""
        self._wake.set()

    async def wake_and_yield(self) -> None:
        """`notify`, and where nothing was on its way before, wait until what is due is: who has time lets it go first.
        For `YIELD` seconds at most."""
        self.notify()
        if self._at_rest.is_set() and not self._scheduler.in_flight:
            self._at_rest.clear()
            await self._clock.wait(self._at_rest, YIELD)

    def hand_over(self, source: str) -> HandOver | None:
        """Return what may be leased in a store of this source's events, None while nothing may."""
        group = self._sending
        if group is None or self._stop.is_set() or self._recorder.failing:
            return None
        most = min(self._scheduler.to_hand_over(source), MOST_HANDED_OVER)
        if not most:
            return None
        until, full = self._clock.now() + self._lease_time, self._scheduler.full()
        return HandOver(self._settings.worker, until, full, most, partial(self._take, group))

    def _take(self, group: asyncio.TaskGroup, leased: Sequence[LeasedDelivery]) -> None:
        """Send what was handed over.  Once this dispatcher has ended the leases are released, or end by themselves."""
        if self._sending is not group or self._stop.is_set():
            return
        more = self._scheduler.add(leased)
        if more or self._scheduler.orphans or self._scheduler.next_complete() is not None:
            self._wake.set()
        self._start_all(group)

    @property
    def at_rest(self) -> bool:
        """Return whether nothing is in flight, unrecorded, or known to be due."""
        return self._at_rest.is_set() and not self._scheduler.in_flight and not self._recorder.unrecorded

    def reload_endpoints(self) -> None:
        """One of them was changed: do not wait for the next time that this is asked for."""
        self._endpoints_stale = True
        self._wake.set()

    def reconfigure(self, settings: DispatchSettings) -> None:
        """Take on other settings of the same worker: what is known of endpoints and requests in flight stays."""
        self._settings = replace(settings, worker=self._settings.worker)
        self._log = structlog.get_logger().bind()  # as logs are configured now
        self._scheduler.reconfigure(settings.concurrency)
        self._lease_time = self._longest_lease()
        self._wake.set()

    def stop(self) -> None:
        """Lease no more; `run` ends within ten seconds."""
        self._stop.set()
        self._wake.set()

    async def run(self) -> None:
        """Dispatch until `stop`.  Only defects escape; a failing outbox is waited for."""
        try:
            async with asyncio.TaskGroup() as group:
                recording = group.create_task(self._recorder.run())
                leasing = group.create_task(self._lease_until_stopped(group))
                await self._stop.wait()
                ends = self._clock.monotonic() + self._settings.grace
                if not await self._within(LEASING, leasing):  # what it may have leased is released below, or expires
                    self._log.error("leasing given up at stop: the outbox does not answer")
                await self._wind_down(recording, ends - self._clock.monotonic())
        finally:
            self._sending = None

    # -- leasing ----------------------------------------------------------------------------------------------------

    async def _lease_until_stopped(self, group: asyncio.TaskGroup) -> None:
        backoff = Backoff(first=0.1, most=5.0)
        mine_released = False
        while not self._stop.is_set():
            try:
                if not mine_released:
                    await self._store.release(self._settings.worker, self._clock.now())
                    mine_released = True
                if self._limits is not None:
                    self._endpoints_stale |= await self._limits.publish()
                await self._refresh_endpoints()
                self._sending = group
                await self._bring_forward()
                await self._give_back()
                opens_at = self._scheduler.opens_at()
                if await self._lease_below_share():
                    await self._start_ready(group)
                without = await self._lease()
                await self._start_ready(group)
                self._report_held()
                due = None if without is None else await self._store.next_due(self._clock.now(), without)
                backoff.reset()
                self._observer.outbox_worked("leasing")
                await self._pause(due, opens_at)
            except OutboxError as error:
                delay = backoff.next()
                self._observer.outbox_failed("leasing", error)
                self._log.error("nothing leased", error=str(error), retry_in=round(delay, 1))
                await self._clock.wait(self._stop, delay)

    async def _refresh_endpoints(self) -> None:
        if not self._endpoints_stale and self._clock.monotonic() - self._changed_asked >= POLL:
            await self._ask_changed()
        if self._endpoints_stale:
            version = await self._store.endpoints_version()
            if version != self._endpoints_version:
                self._scheduler.follow(await self._store.endpoints(), await self._store.endpoint_numbers())
                self._lease_time = self._longest_lease()
                self._endpoints_version = version
            if self._limits is not None:
                await self._limits.follow()
            self._endpoints_stale = False

    async def _bring_forward(self) -> bool:
        """Make deliveries due that a wrong clock has scheduled years ahead.  Return whether there were any."""
        if self._clock.monotonic() < self._forward_at:
            return False
        self._forward_at = self._clock.monotonic() + FORWARD
        now = self._clock.now()
        latest = {
            endpoint_id: now + longest_wait(channel.endpoint.retry_schedule)
            for endpoint_id, channel in self._scheduler.channels.items()
        }
        brought = await self._store.bring_forward(self._settings.worker, latest, now)
        if brought:
            self._log.warning("deliveries brought forward", deliveries=brought, reason="due later than any retry is")
        return brought > 0

    async def _ask_changed(self) -> bool:
        self._changed_asked = self._clock.monotonic()
        changed = await self._store.changed()
        self._endpoints_stale = self._endpoints_stale or changed
        return changed

    async def _lease(self) -> Collection[str] | None:
        """Lease what there is room for.  Return the endpoints that have no room left, None when no other one has."""
        most = 0 if self._recorder.failing else self._scheduler.capacity()
        among = await self._due_endpoints(most) if most and len(self._scheduler.channels) > FEW else None
        filled, underfilled, turns = not most, set[str](), list[str]()
        for limit, room in self._scheduler.room(among) if most else ():
            now = self._clock.now()
            until, only = now + self._lease_time, among is not None
            leased = await self._store.lease(self._settings.worker, now, until, limit, room, only=only)
            if self._scheduler.add(leased):
                self._wake.set()
            filled = filled or len(leased) == limit
            turns += [each.endpoint_id for each in leased]
            got = Counter(each.endpoint_id for each in leased)
            underfilled |= {endpoint_id for endpoint_id, most in room.items() if most > got[endpoint_id]}
        self._more_due = filled
        if most:
            self._scheduler.took_turns(turns if filled or self._place else ())
        if among is None:
            return None if filled or not underfilled else self._scheduler.channels.keys() - underfilled
        if turns and self._place and not filled:
            self._wake.set()  # other endpoints have something due
        return None if filled else self._scheduler.full()

    async def _lease_below_share(self) -> bool:
        """Lease first for tenants that have less than their share, where others have more.  Return whether something
        was leased."""
        many = len(self._scheduler.channels) > FEW
        if self._recorder.failing or (not many and self._scheduler.capacity()):
            return False  # of few endpoints each has its turn in every lease
        below = self._scheduler.below_share()
        if below is None:
            return False
        now = self._clock.now()
        if many:
            runs, without = self._scheduler.runs_of_others(below.above), self._scheduler.full()
            among = (await self._store.due_endpoints(now, below.room, 0, without, runs)).ids
        else:
            among = self._scheduler.endpoints_of_others(below.above)
        leased_any = False
        for limit, room in self._scheduler.room(among, below.room) if among else ():
            until = now + self._lease_time
            leased = await self._store.lease(self._settings.worker, now, until, limit, room, only=True)
            self._scheduler.add(leased)
            leased_any = leased_any or bool(leased)
        return leased_any

    async def _due_endpoints(self, most: int) -> list[str]:
        found = await self._store.due_endpoints(self._clock.now(), most, self._place, self._scheduler.full())
        self._place = found.place
        return found.ids

    def _longest_lease(self) -> timedelta:
        """Return how long a lease lasts: twice the longest timeout, since a delivery leased ahead may wait for a
        request that hangs, and the longest ``batch_wait``."""
        endpoints = [channel.endpoint for channel in self._scheduler.channels.values()]
        longest = max((endpoint.timeout for endpoint in endpoints), default=0.0)
        wait = max((endpoint.batch_wait for endpoint in endpoints if endpoint.batched), default=0.0)
        return timedelta(seconds=max(self._settings.lease, 2 * longest + LEASE_MARGIN) + wait)

    async def _start_ready(self, group: asyncio.TaskGroup) -> None:
        if self._scheduler.orphans:
            self._endpoints_stale = True
            await self._refresh_endpoints()
            for delivery in self._scheduler.adopt():
                self._recorder.add([removed(delivery, self._clock.now())], delivery.endpoint_id)
        self._scheduler.complete()
        self._scheduler.unadmitted = False
        if self._limits is not None and await self._limits.admit():
            self._wake.set()  # what cannot be sent soon is given back
        self._start_all(group)

    def _start_all(self, group: asyncio.TaskGroup) -> None:
        while (flight := self._start()) is not None:
            task = group.create_task(self._fly(flight))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _start(self) -> Flight | None:
        """The next request that may be sent now, counted as in flight."""
        if self._stop.is_set() or self._recorder.exhausted:
            return None
        flight = self._scheduler.start(idle=self._recorder.full)
        self._recorder.beyond += self._recorder.full and flight is not None
        if self._scheduler.to_release or self._scheduler.unadmitted:
            self._wake.set()
        return flight

    async def _give_back(self) -> None:
        self._scheduler.release_held()
        if released := tuple(self._scheduler.to_release):
            await self._store.give_back(self._settings.worker, released, self._clock.now())
            del self._scheduler.to_release[: len(released)]  # requests that ended since may have added others

    def _report_held(self) -> None:
        held = self._scheduler.held()
        if held or self._any_held:
            self._observer.held(held)
        self._any_held = bool(held)

    async def _pause(self, due: datetime | None, opens_at: float) -> None:
        """Wait until there is something to lease: notified, recorded, due, written by another process, brought forward,
        admitted by an endpoint's flow control, or a slot counts as stalled.

        ``opens_at``: from before the room for leases was counted.  What has opened since then is in no later answer."""
        opens_at = min(opens_at, self._scheduler.opens_at())
        while True:
            seconds = max(opens_at - self._clock.monotonic(), SOON)
            self._at_rest.set()
            woken = await self._clock.wait(self._wake, min(seconds, self._pause_seconds(due)))
            self._at_rest.clear()
            self._wake.clear()
            now, complete = self._clock.monotonic(), self._scheduler.next_complete()
            reached = opens_at <= now or (complete is not None and complete <= now)
            reached = reached or (due is not None and due <= self._clock.now())
            if (
                woken
                or reached
                or self._scheduler.in_flight
                or await self._ask_changed()
                or await self._bring_forward()
            ):
                return

    def _pause_seconds(self, due: datetime | None) -> float:
        complete = self._scheduler.next_complete()
        most = POLL if complete is None else min(max(complete - self._clock.monotonic(), 0.0), POLL)
        if due is None:
            return most
        seconds = (due - self._clock.now()).total_seconds()
        return min(seconds if seconds > 0 else SOON, most)  # else it fell due this very moment

    # -- one attempt ------------------------------------------------------------------------------------------------

    async def _fly(self, flight: Flight | None) -> None:
        """Attempts one after the other for as long as there is something to send: a task for each would cost more."""
        while flight is not None:
            try:
                if flight.tenant.in_flight > 1:
                    await self._pass.room()
                made = await self._send(flight)
            except BaseException:
                flight.broken_off(self._clock)
                raise
            finally:
                self._scheduler.ended(flight)
                if not self._scheduler.in_flight:
                    self._landed.set()
            self._recorder.add(made, flight.endpoint.id)
            if self._recorder.full:
                await self._recorder.room()
            tenant, flight = flight.tenant, self._start()
            if self._more_due and self._scheduler.underfilled(tenant):
                self._more_due = False
                self._wake.set()

    async def _send(self, flight: Flight) -> list[Outcome]:
        """Send a request and judge its answer.  All its deliveries have the same attempt number, so that one verdict
        holds for them all."""
        batch, endpoint = flight.batch, flight.endpoint
        started_at = self._clock.now()
        try:
            if len(batch) == 1:
                request = build_request(batch[0], endpoint, started_at, self._labels)
            else:
                request = build_batch(batch, endpoint, started_at)
            answer = await self._sender.send(request)
        except TransformFailed as failed:
            answer = unsent(failed)
        except Exception as defect:  # noqa: BLE001 - logged; one attempt must not stop the other deliveries
            self._log.exception("attempt broke off", delivery=batch[0].id, batch=len(batch), endpoint=endpoint.id)
            answer = Answer(None, 0.0, error=f"The request could not be made: {type(defect).__name__}; see the log.")
        doubt = flight.answered(answer, self._clock)
        if self._limits is not None and self._limits.ended(flight.channel):
            self._wake.set()
        now = self._clock.now()
        verdict = judge(answer, endpoint.retry_schedule, batch[0].attempt, now, self._rand, doubt=doubt)
        if verdict.disable_reason and await self._changed(endpoint):
            verdict = verdict._replace(disable_reason="")  # what was at fault was changed during the attempt
        flight.channel.quick = verdict.state is DeliveryState.DELIVERED and answer.duration <= QUICK
        return outcomes(batch, endpoint, answer, verdict, started_at)

    async def _changed(self, endpoint: Endpoint) -> bool:
        """Return whether the endpoint has another URL or transform by now than in the attempt."""
        self._endpoints_stale = True
        try:
            current = await self._store.endpoint(endpoint.id)
        except OutboxError as error:
            self._log.error("endpoint not read", endpoint=endpoint.id, error=str(error))
            return False
        return current is not None and (current.url, current.transform) != (endpoint.url, endpoint.transform)

    # -- the end ----------------------------------------------------------------------------------------------------

    async def _wind_down(self, recording: asyncio.Task[None], grace: float) -> None:
        if self._scheduler.in_flight:
            self._landed.clear()
            await self._clock.wait(self._landed, max(grace, 0.0))
        unfinished = list(self._tasks)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        self._recorder.close()
        if not await self._within(CLOSING, recording):
            self._log.error("outcomes lost at stop: they will be sent again", outcomes=self._recorder.unrecorded)
        if not await self._within(CLOSING, asyncio.create_task(self._release())):
            self._log.error("leases not released at stop: they expire", worker=self._settings.worker)

    async def _release(self) -> None:
        try:
            await self._store.release(self._settings.worker, self._clock.now())
        except OutboxError as error:
            self._log.error("leases not released at stop: they expire", error=str(error))

    async def _within(self, seconds: float, task: asyncio.Task[Any]) -> bool:
        """Return whether the task ended by itself in this time; it is cancelled if not."""
        ended = asyncio.Event()
        task.add_done_callback(lambda _: ended.set())
        if await self._clock.wait(ended, seconds):
            return True
        task.cancel()
        await asyncio.wait([task])
        return False
