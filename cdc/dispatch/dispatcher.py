"""Leases due deliveries, sends them, and has what came of them recorded.

Invariants: a delivery is sent only while its lease lasts longer than its endpoint's timeout; what was sent is recorded
or its lease expires (it is then sent again); no endpoint waits for another.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import structlog

from cdc.backoff import Backoff
from cdc.clock import Clock
from cdc.delivery import Attempt, DeliveryState, LeasedDelivery, Outcome
from cdc.dispatch.address import public_url
from cdc.dispatch.flights import Flights
from cdc.dispatch.ready import Ready
from cdc.dispatch.recorder import Recorder
from cdc.dispatch.request import build_request
from cdc.dispatch.retry import Answer, Random, judge
from cdc.dispatch.sender import ANSWER_BYTES, Sender
from cdc.endpoint import Endpoint
from cdc.errors import OutboxError
from cdc.observer import SILENT, Observer
from cdc.outbox.base import OutboxStore

#: A lease outlives the longest timeout by this much (seconds): time to record the outcome in.
LEASE_MARGIN = 30.0
#: How often at most the outbox is asked whether another process wrote (seconds).
POLL = 0.5
#: Due already, but nothing was leased although nothing is on its way: look again this soon (seconds).
SOON = 0.05
#: An answer within this time (seconds) is quick: deliveries to its endpoint are leased ahead.
QUICK = 0.25
#: What recording, and releasing leases, may each take at a stop (seconds).
CLOSING = 0.75


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """``worker``: this dispatcher's name in leases, the same after a restart.  ``concurrency``: attempts at once, in
    all.  ``lease``: seconds, raised where an endpoint's timeout needs more.  ``grace``: seconds that attempts on their
    way get at a stop."""

    worker: str
    concurrency: int = 64
    lease: float = 60.0
    grace: float = 8.0


class _Flight(NamedTuple):
    delivery: LeasedDelivery
    endpoint: Endpoint
    token: int


class Dispatcher:
    def __init__(
        self,
        store: OutboxStore,
        sender: Sender,
        clock: Clock,
        settings: DispatchSettings,
        rand: Random = random.random,
        *,
        observer: Observer = SILENT,
    ) -> None:
        self._store = store
        self._sender = sender
        self._clock = clock
        self._settings = settings
        self._rand = rand
        self._observer = observer
        self._log = structlog.get_logger().bind()
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._landed = asyncio.Event()
        self._recorder = Recorder(store, settings.worker, clock, self._wake.set, observer)
        self._monotonic = asyncio.get_running_loop().time
        self._flights = Flights(settings.concurrency, self._monotonic)
        self._tasks: set[asyncio.Task[None]] = set()
        self._endpoints: dict[str, Endpoint] = {}
        self._public_urls: dict[str, str] = {}
        self._endpoints_stale = True
        self._changed_asked = 0.0
        self._ready = Ready()
        self._quick: set[str] = set()  # endpoints whose last attempt was a quick success

    def notify(self) -> None:
        """Something may be due: look now."""
        self._wake.set()

    def stop(self) -> None:
        """Lease no more; `run` ends within ten seconds."""
        self._stop.set()
        self._wake.set()

    async def run(self) -> None:
        """Dispatch until `stop`.  Only defects escape; a failing outbox is waited for."""
        async with asyncio.TaskGroup() as group:
            recording = group.create_task(self._recorder.run())
            await self._lease_until_stopped(group)
            await self._wind_down(recording)

    # -- leasing ----------------------------------------------------------------------------------------------------

    async def _lease_until_stopped(self, group: asyncio.TaskGroup) -> None:
        backoff = Backoff(first=0.1, most=5.0)
        mine_released = False
        while not self._stop.is_set():
            try:
                if not mine_released:
                    await self._store.release(self._settings.worker, self._clock.now())
                    mine_released = True
                await self._refresh_endpoints()
                due = await self._lease()
                await self._start_ready(group)
                backoff.reset()
                self._observer.outbox_worked("leasing")
                await self._pause(due)
            except OutboxError as error:
                delay = backoff.next()
                self._observer.outbox_failed("leasing", error)
                self._log.error("nothing leased", error=str(error), retry_in=round(delay, 1))
                await self._clock.wait(self._stop, delay)

    async def _refresh_endpoints(self) -> None:
        if not self._endpoints_stale and self._monotonic() - self._changed_asked >= POLL:
            await self._ask_changed()
        if self._endpoints_stale:
            self._endpoints = {endpoint.id: endpoint for endpoint in await self._store.endpoints()}
            self._public_urls = {endpoint.id: public_url(endpoint.url) for endpoint in self._endpoints.values()}
            self._endpoints_stale = False

    async def _ask_changed(self) -> bool:
        self._changed_asked = self._monotonic()
        changed = await self._store.changed()
        self._endpoints_stale = self._endpoints_stale or changed
        return changed

    async def _lease(self) -> datetime | None:
        """Lease what there is room for; when the next delivery is due, None when the room was filled or is unknown."""
        limit = self._flights.free() + self._settings.concurrency - len(self._ready)
        enough = not self._flights.free() and len(self._ready) > self._settings.concurrency // 2
        if enough or limit <= 0 or self._recorder.failing:
            return None
        now = self._clock.now()
        room = {endpoint.id: self._room(endpoint) for endpoint in self._endpoints.values()}
        leased = await self._store.lease(self._settings.worker, now, now + self._lease_time(), limit, room)
        self._ready.add(leased)
        return None if len(leased) == limit else await self._store.next_due(self._clock.now())

    def _room(self, endpoint: Endpoint) -> int:
        """How many deliveries to have here beside those that are: what may start now, and for an endpoint that
        answers quickly as many again."""
        ahead = endpoint.concurrency if endpoint.id in self._quick else 0
        return max(self._flights.room(endpoint) - self._ready.count(endpoint.id) + ahead, 0)

    def _lease_time(self) -> timedelta:
        """Enough for the longest timeout twice: a delivery leased ahead may wait for a request that hangs."""
        longest = max((endpoint.timeout for endpoint in self._endpoints.values()), default=0.0)
        return timedelta(seconds=max(self._settings.lease, 2 * longest + LEASE_MARGIN))

    async def _start_ready(self, group: asyncio.TaskGroup) -> None:
        if not self._ready.endpoints() <= self._endpoints.keys():
            self._endpoints_stale = True
            await self._refresh_endpoints()
            for delivery in self._ready.drop_all_but(self._endpoints):
                self._recorder.add(_removed(delivery, self._clock.now()), delivery.endpoint_id)
        while (flight := self._take_off()) is not None:
            task = group.create_task(self._fly(flight))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _take_off(self) -> _Flight | None:
        """The next delivery that may be sent now, counted as on its way."""
        while not self._stop.is_set():
            delivery = self._ready.take(self._may_start)
            if delivery is None:
                return None
            endpoint = self._endpoints[delivery.endpoint_id]
            if delivery.lease_until - self._clock.now() > timedelta(seconds=endpoint.timeout):
                return _Flight(delivery, endpoint, self._flights.start(endpoint.id))
            self._log.warning("lease too short to send", delivery=delivery.id, endpoint=endpoint.id)  # let it expire
        return None

    def _may_start(self, endpoint_id: str) -> bool:
        endpoint = self._endpoints.get(endpoint_id)
        return endpoint is not None and self._flights.free() > 0 and self._flights.room(endpoint) > 0

    async def _pause(self, due: datetime | None) -> None:
        """Until there is something to lease: notified, recorded, due, written by another process, or a slot counts as
        stalled."""
        while True:
            woken = await self._clock.wait(self._wake, self._pause_seconds(due))
            self._wake.clear()
            reached = due is not None and due <= self._clock.now()
            if woken or reached or self._flights or await self._ask_changed():
                return

    def _pause_seconds(self, due: datetime | None) -> float:
        if due is None:
            return POLL
        seconds = (due - self._clock.now()).total_seconds()
        if seconds <= 0:  # its endpoint has no room: the end of an attempt wakes; else it fell due this very moment
            return POLL if self._flights else SOON
        return min(seconds, POLL)

    # -- one attempt ------------------------------------------------------------------------------------------------

    async def _fly(self, flight: _Flight | None) -> None:
        """Attempts one after the other for as long as there is something to send: a task for each would cost more."""
        while flight is not None:
            try:
                outcome = await self._send(flight.delivery, flight.endpoint)
            finally:
                self._flights.end(flight.token, flight.endpoint.id)
                if not self._flights:
                    self._landed.set()
            self._recorder.add(outcome, flight.endpoint.id)
            flight = self._take_off()

    async def _send(self, delivery: LeasedDelivery, endpoint: Endpoint) -> Outcome:
        started_at = self._clock.now()
        try:
            answer = await self._sender.send(build_request(delivery, endpoint, started_at))
        except Exception as defect:  # noqa: BLE001 - one delivery that cannot be sent must not stop the others
            self._log.exception("attempt broke off", delivery=delivery.id, endpoint=endpoint.id)
            answer = Answer(None, 0.0, error=f"The request could not be made: {type(defect).__name__}; see the log.")
        verdict = judge(answer, endpoint.retry_schedule, delivery.attempt, self._clock.now(), self._rand)
        if verdict.disable_reason and await self._url_changed(endpoint):
            verdict = verdict._replace(disable_reason="")  # somebody mended it while the old URL was answering
        if verdict.state is DeliveryState.DELIVERED and answer.duration <= QUICK:
            self._quick.add(endpoint.id)
        else:
            self._quick.discard(endpoint.id)
        attempt = Attempt(
            delivery_id=delivery.id,
            number=delivery.attempt,
            event_id=delivery.event_id,
            event_name=delivery.event_name,
            url=self._public_urls.get(endpoint.id) or public_url(endpoint.url),
            status=answer.status,
            started_at=started_at,
            duration=answer.duration,
            error=verdict.error,
            answer=_text(answer.body),
        )
        return Outcome(attempt, verdict.state, verdict.due_at, verdict.disable_reason)

    async def _url_changed(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint has another URL by now than the one that was attempted."""
        self._endpoints_stale = True
        try:
            current = await self._store.endpoint(endpoint.id)
        except OutboxError as error:
            self._log.error("endpoint not read", endpoint=endpoint.id, error=str(error))
            return False
        return current is not None and current.url != endpoint.url

    # -- the end ----------------------------------------------------------------------------------------------------

    async def _wind_down(self, recording: asyncio.Task[None]) -> None:
        if self._flights:
            self._landed.clear()
            await self._clock.wait(self._landed, self._settings.grace)
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
        """Whether the task ended by itself in this time; it is cancelled if not."""
        ended = asyncio.Event()
        task.add_done_callback(lambda _: ended.set())
        if await self._clock.wait(ended, seconds):
            return True
        task.cancel()
        await asyncio.wait([task])
        return False


def _text(body: bytes) -> str:
    """The first bytes of an answer for the log; NUL, which no text column of PostgreSQL takes, replaced as well."""
    return body[:ANSWER_BYTES].decode("utf-8", "replace").replace("\0", "\ufffd") if body else ""


def _removed(delivery: LeasedDelivery, now: datetime) -> Outcome:
    attempt = Attempt(
        delivery_id=delivery.id,
        number=delivery.attempt,
        event_id=delivery.event_id,
        event_name=delivery.event_name,
        url="",
        status=None,
        started_at=now,
        duration=0.0,
        error="The endpoint was removed before the request was made.",
        answer="",
    )
    return Outcome(attempt, DeliveryState.CANCELLED)
