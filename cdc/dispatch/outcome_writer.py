"""Writes outcomes to the log and the outbox, many in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from cdc.dispatch.attempt_log import Finished, log_attempts
from cdc.dispatch.disable import disablings
from cdc.model.backoff import Backoff
from cdc.model.clock import Clock
from cdc.model.delivery import Outcome
from cdc.model.errors import OutboxError, reportable_error
from cdc.model.observer import SILENT, Observer
from cdc.outbox.base import OutboxStore

log = structlog.get_logger()


#: Requests whose outcomes are written together as long as each round of the loop brings more of them …
MANY = 128
#: … or is one of so few that bring none: an answer that has arrived takes as many to become an outcome.
QUIET = 4
#: Of requests that carry many events fewer are: outcomes that are written together.
MOST = 1024


class OutcomeWriter:
    """Takes outcomes at any time and records all that have gathered whenever the write before has ended.

    No outcome is dropped while the outbox fails: the write is repeated, with growing pauses, until it succeeds.
    """

    def __init__(
        self,
        store: OutboxStore,
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
        self._wake = asyncio.Event()
        self._closed = asyncio.Event()
        self.failing = False
        self.unrecorded = 0

    def add(self, outcomes: Sequence[Outcome], endpoint_id: str) -> None:
        """The outcomes of one request."""
        self._waiting.extend([Finished(outcome, endpoint_id) for outcome in outcomes])
        self._requests += 1
        self.unrecorded += len(outcomes)
        self._wake.set()

    def close(self) -> None:
        """Nothing more is added: `run` ends when everything is recorded."""
        self._closed.set()
        self._wake.set()

    async def run(self) -> None:
        while self._waiting or not self._closed.is_set():
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._gather()
                finished, self._waiting, self._requests = self._waiting, [], 0
                log_attempts(finished)
                self._observer.attempted(finished)
                await self._write(finished)
                self.unrecorded -= len(finished)
                self._recorded()

    async def _gather(self) -> None:
        """Let those in that have been answered already: a write costs about the same for many as for a few."""
        quiet = 0
        while quiet < QUIET and (before := self._requests) < MANY and len(self._waiting) < MOST:
            await asyncio.sleep(0)  # once round the loop: no time passes when there is nothing to do
            quiet = quiet + 1 if self._requests == before else 0

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
                self.failing = True
                self._observer.outbox_failed("recording", error)
                delay = backoff.next()
                log.error("outcomes not recorded", outcomes=len(finished), error=str(error), retry_in=round(delay, 1))
                await self._clock.wait(asyncio.Event(), delay)
            except Exception as error:  # noqa: BLE001 - one bad outcome must not block the others
                await self._write_apart(finished, error)
                return
            else:
                self.failing = False
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
