"""Leases due deliveries, sends them, and has what came of them recorded.

Invariants: a delivery is sent only while its lease lasts longer than its endpoint's timeout; what was sent is recorded
or its lease expires (it is then sent again); no endpoint waits for another.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from cdc.backoff import Backoff
from cdc.clock import Clock
from cdc.delivery import Attempt, DeliveryState, Endpoint, LeasedDelivery, Outcome
from cdc.dispatch.address import public_url
from cdc.dispatch.flights import Flights
from cdc.dispatch.recorder import Recorder
from cdc.dispatch.request import build_request
from cdc.dispatch.retry import Answer, Random, Verdict, judge
from cdc.dispatch.sender import ANSWER_BYTES, Sender
from cdc.errors import OutboxError
from cdc.outbox.base import OutboxStore

#: A lease outlives the longest timeout by this much (seconds): time to record the outcome in.
LEASE_MARGIN = 30.0
#: How often at most the outbox is asked whether another process wrote (seconds).
POLL = 0.5
#: Due already, but nothing was leased although nothing is on its way: look again this soon (seconds).
SOON = 0.05
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


class Dispatcher:
    def __init__(
        self,
        store: OutboxStore,
        sender: Sender,
        clock: Clock,
        settings: DispatchSettings,
        rand: Random = random.random,
    ) -> None:
        self._store = store
        self._sender = sender
        self._clock = clock
        self._settings = settings
        self._rand = rand
        self._log = structlog.get_logger().bind()
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._landed = asyncio.Event()
        self._recorder = Recorder(store, settings.worker, clock, self._wake.set)
        self._monotonic = asyncio.get_running_loop().time
        self._flights = Flights(settings.concurrency, self._monotonic)
        self._tasks: set[asyncio.Task[None]] = set()
        self._endpoints: dict[str, Endpoint] = {}
        self._public_urls: dict[str, str] = {}
        self._endpoints_stale = True
        self._changed_asked = 0.0
        self._leased: list[LeasedDelivery] = []  # not started yet

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
                await self._start_leased(group)
                backoff.reset()
                await self._pause(due)
            except OutboxError as error:
                delay = backoff.next()
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
        limit = self._flights.free() - len(self._leased)
        if limit <= 0 or self._recorder.failing:
            return None
        now = self._clock.now()
        longest = max((endpoint.timeout for endpoint in self._endpoints.values()), default=0.0)
        until = now + timedelta(seconds=max(self._settings.lease, longest + LEASE_MARGIN))
        room = self._flights.room(self._endpoints.values())
        leased = await self._store.lease(self._settings.worker, now, until, limit, room)
        self._leased += leased
        return None if len(leased) == limit else await self._store.next_due(self._clock.now())

    async def _start_leased(self, group: asyncio.TaskGroup) -> None:
        if any(delivery.endpoint_id not in self._endpoints for delivery in self._leased):
            self._endpoints_stale = True
            await self._refresh_endpoints()
        leased, self._leased = self._leased, []
        now = self._clock.now()
        for delivery in leased:
            endpoint = self._endpoints.get(delivery.endpoint_id)
            if endpoint is None:
                self._recorder.add(_removed(delivery, now))
            elif delivery.lease_until - now > timedelta(seconds=endpoint.timeout):
                token = self._flights.start(endpoint.id)
                task = group.create_task(self._attempt(delivery, endpoint, token))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:  # the outbox was away for so long that the lease is nearly over: let it expire
                self._log.warning("lease too short", delivery=delivery.id, endpoint=endpoint.id)

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

    async def _attempt(self, delivery: LeasedDelivery, endpoint: Endpoint, token: int) -> None:
        try:
            outcome = await self._send(delivery, endpoint)
        finally:
            self._flights.end(token, endpoint.id)
            if not self._flights:
                self._landed.set()
        self._recorder.add(outcome)

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
        self._log_attempt(delivery, attempt, verdict)
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

    def _log_attempt(self, delivery: LeasedDelivery, attempt: Attempt, verdict: Verdict) -> None:
        write = self._log.info if verdict.state is DeliveryState.DELIVERED else self._log.warning
        write(
            "attempt",
            event_name=attempt.event_name,
            event_id=attempt.event_id,
            endpoint=delivery.endpoint_id,
            url=attempt.url,
            number=attempt.number,
            status=attempt.status,
            seconds=round(attempt.duration, 4),
            error=attempt.error,
            state=verdict.state.value,
            next=verdict.due_at.isoformat() if verdict.due_at else None,
        )
        if verdict.disable_reason:
            self._log.warning("endpoint disabled", endpoint=delivery.endpoint_id, reason=verdict.disable_reason)

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
