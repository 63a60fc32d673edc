"""Writes outcomes to the log and the outbox, many in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import structlog

from cdc.dispatch.request import BATCH, batch_id
from cdc.logs import log_many
from cdc.model.clock import Backoff, Clock
from cdc.model.delivery import DeliveryState, Outcome
from cdc.model.endpoint import shown_url
from cdc.model.errors import OutboxError, reportable_error
from cdc.model.event import Event
from cdc.model.observer import SILENT, Observer, requests
from cdc.model.operation import MOST_WAITING, Failing, endpoint_disabled
from cdc.outbox.base import DispatchStore

log = structlog.get_logger()

#: Requests whose outcomes are written together as long as each round of the loop brings more of them …
MANY = 128
#: … or is one of so few that bring none: an answer that has arrived takes as many to become an outcome.
QUIET = 4
#: Nothing more is sent while so many times as many requests as recent writes held are not recorded …
AHEAD = 4
#: … at least, and at most, so many: all of them are sent again after a crash, and larger writes gain nothing.
LEAST, LIMIT = 16, 4 * MANY
#: One part in so many: of these, beyond the bound, that tenants without any other request may have.
RESERVE = 4


class Finished(NamedTuple):
    """An attempt that ended, on its way to the outbox."""

    outcome: Outcome
    endpoint_id: str


class OutcomeWriter:
    """Takes outcomes at any time and records all that have gathered whenever the write before has ended.

    No outcome is dropped while the outbox fails: the write is repeated, with growing pauses, until it succeeds.
    Where writes fail or lag, it becomes `full`: what is sent and not recorded is sent again once its lease ends.
    """

    def __init__(
        self,
        store: DispatchStore,
        worker: str,
        clock: Clock,
        recorded: Callable[[], None],
        observer: Observer = SILENT,
    ) -> None:
        self._store = store
        self._worker = worker
        self._clock = clock
        self._recorded = recorded  # called after each write
        self._observer = observer
        self._waiting: list[Finished] = []
        self._requests = 0  # that what waits travelled in
        self._outstanding = 0  # requests, those that are being written among them
        self._most = LEAST  # of these
        self._wake = asyncio.Event()
        self._written = asyncio.Event()
        self._closed = asyncio.Event()
        self.failing = False
        self.full = False  # nothing more is to be sent
        self.beyond = 0  # requests that started while it was full, since the last write
        self.unrecorded = 0

    def add(self, outcomes: Sequence[Outcome], endpoint_id: str) -> None:
        """The outcomes of one request."""
        self._waiting.extend([Finished(outcome, endpoint_id) for outcome in outcomes])
        self._requests += 1
        self._outstanding += 1
        self.full = self.failing or self._outstanding >= self._most
        self.unrecorded += len(outcomes)
        self._wake.set()

    @property
    def exhausted(self) -> bool:
        """Return whether nothing is to be sent for tenants without requests either, who do not wait for others."""
        return self.failing or (self.full and self.beyond >= max(self._most, LEAST) // RESERVE)

    async def room(self) -> None:
        """Wait until it is not full."""
        while self.full:
            self._written.clear()
            await self._written.wait()

    def close(self) -> None:
        """Accept nothing more: `run` ends when everything is recorded."""
        self._closed.set()
        self._wake.set()

    async def run(self) -> None:
        while self._waiting or not self._closed.is_set():
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._gather()
                finished, ended = self._next()
                log_attempts(finished)
                self._observer.attempted(finished)
                await self._write(finished)
                self.unrecorded -= len(finished)
                self._outstanding -= ended
                self._most = min(max(LEAST, AHEAD * ended, self._most // 2), LIMIT)
                self.full = self.failing or self._outstanding >= self._most
                self.beyond = 0
                self._written.set()
                self._recorded()

    async def _gather(self) -> None:
        """Let those in that have been answered already: a write costs about the same for many as for a few."""
        quiet = 0
        most = self._store.most_outcomes
        while quiet < QUIET and (before := self._requests) < MANY and len(self._waiting) < most:
            await asyncio.sleep(0)  # once round the loop: no time passes when there is nothing to do
            quiet = quiet + 1 if self._requests == before else 0

    def _next(self) -> tuple[Sequence[Finished], int]:
        """Take the outcomes to write now, those of whole requests, and the number of these."""
        finished, ended, place = self._waiting, self._requests, 0
        if len(finished) > (most := self._store.most_outcomes):
            ended = 0
            while not ended or (place < len(finished) and place + finished[place].outcome.batch <= most):
                place += finished[place].outcome.batch
                ended += 1
            finished = finished[:place]
        self._waiting = self._waiting[len(finished) :]
        self._requests -= ended
        return finished, ended

    async def _write(self, finished: Sequence[Finished]) -> None:
        """Record all of them; retry while the outbox fails.  An outcome that raises anything else is skipped: its
        delivery is sent again after the lease."""
        backoff = Backoff(first=0.1, most=5.0)
        while True:
            now = self._clock.now()
            try:
                announcements = await disablings(self._store, finished, now)
                await self._store.finish(self._worker, [one.outcome for one in finished], now, announcements)
            except OutboxError as error:
                self.failing = self.full = True
                self._observer.outbox_failed("recording", error)
                delay = backoff.next()
                log.error("outcomes not recorded", outcomes=len(finished), error=str(error), retry_in=round(delay, 1))
                await self._clock.wait(asyncio.Event(), delay)
            except Exception as error:  # noqa: BLE001 - one bad outcome must not block the others
                await self._write_apart(finished, error)
                return
            else:
                self.failing, self.full = False, self._outstanding >= self._most
                self._observer.outbox_worked("recording")
                return

    async def _write_apart(self, finished: Sequence[Finished], error: Exception) -> None:
        requests = _requests(finished)
        if len(requests) == 1:
            attempt = finished[0].outcome.attempt
            log.error(
                "outcome skipped", delivery=attempt.delivery_id, error=str(reportable_error(error)), exc_info=error
            )
            return
        for half in (requests[: len(requests) // 2], requests[len(requests) // 2 :]):
            await self._write([one for request in half for one in request])


def _requests(finished: Sequence[Finished]) -> list[Sequence[Finished]]:
    """Split by request: the outcomes of one request are recorded together."""
    cut: list[Sequence[Finished]] = []
    place = 0
    while place < len(finished):
        size = finished[place].outcome.batch
        cut.append(finished[place : place + size])
        place += size
    return cut


def log_attempts(finished: Sequence[Finished]) -> None:
    """Info for a success, warning for the rest.  Written for many attempts in a row, a line costs far less than
    between requests.  The line of a batch says how many events it held, and has its ``webhook-id`` as ``event_id``; the
    delivery log has each event."""
    bound = log.bind()
    delivered: list[dict[str, Any]] = []
    place = 0
    for outcome, endpoint_id in requests(finished):
        fields = _fields(outcome, endpoint_id)
        if outcome.batch > 1:
            events = [each.outcome.attempt.event_id for each in finished[place : place + outcome.batch]]
            fields |= {"event_name": BATCH, "event_id": batch_id(events), "record": "", "source": ""}
            fields["batch"] = outcome.batch
        place += outcome.batch
        if outcome.state is DeliveryState.DELIVERED:
            delivered.append(fields)
            continue
        due = outcome.due_at.isoformat() if outcome.due_at else None
        bound.warning("attempt", **fields, error=outcome.attempt.error, state=outcome.state.value, next=due)
        if outcome.disable_reason:
            bound.warning("endpoint disabled", endpoint=endpoint_id, reason=outcome.disable_reason)
    if delivered:
        log_many("attempt", delivered)


def _fields(outcome: Outcome, endpoint_id: str) -> dict[str, Any]:
    attempt = outcome.attempt
    return {
        "event_name": attempt.event_name,
        "event_id": attempt.event_id,
        "record": outcome.record,
        "source": outcome.source,
        "endpoint": endpoint_id,
        "url": attempt.url,
        "number": attempt.number,
        "status": attempt.status,
        "seconds": round(attempt.duration, 4),
    }


async def disablings(store: DispatchStore, finished: Iterable[Finished], now: datetime) -> list[Event]:
    """An event for each endpoint that one of these outcomes disables (410 Gone), to be stored in the same write; of
    several the first says why.

    Those that are disabled already were announced.  Raises `OutboxError`."""
    reasons: dict[str, Outcome] = {}
    for outcome, endpoint_id in finished:
        if outcome.disable_reason:
            reasons.setdefault(endpoint_id, outcome)
    found = [(await store.endpoint(endpoint_id), outcome) for endpoint_id, outcome in reasons.items()]
    return [
        endpoint_disabled(
            Failing(
                endpoint,
                shown_url(endpoint),
                endpoint.failing_since or outcome.attempt.started_at,
                outcome.attempt.error,
                await store.unfinished(endpoint.id, MOST_WAITING),
            ),
            outcome.disable_reason,
            now,
        )
        for endpoint, outcome in found
        if endpoint is not None and endpoint.enabled
    ]
