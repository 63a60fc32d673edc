"""Consumers: endpoints (``pull:NAME``) whose events a program fetches, instead of getting them sent.

A fetched delivery is leased, as by a dispatcher: until the lease ends nobody else gets it, nor a later event of its
record.  The program acknowledges it, reports a failure (the endpoint's retry schedule says when it comes again), or
gives it back; a lease that ends unanswered counts as an attempt.  It names the delivery and the lease by a receipt: one
whose lease has passed to somebody else changes nothing.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from random import random
from typing import Final, NamedTuple

from cdc.admin.base import LOOK_EVERY, UseCases
from cdc.model.delivery import LeasedDelivery, Outcome
from cdc.model.endpoint import PULL_SCHEME, Endpoint, is_pull
from cdc.model.errors import NotFound, UsageError

#: How often a request that waits looks whether its client is still there (seconds).
GONE_EVERY: Final = 1.0
#: Attempts of a program that reports a failure have this error; its reason is stored as the answer.
FAILED: Final = "The consumer reported a failure."
#: The last attempt of a delivery whose leases ended unanswered as often as its endpoint's retry schedule allows.
UNANSWERED: Final = "The consumer fetched it and did not answer before the lease ended."
#: Delivery, lease (the name of its worker), and when it began: milliseconds since 1970.
_RECEIPT: Final = re.compile(r"(dlv_[0-9]{1,18})\.(pull-([0-9a-f]{1,11})-[0-9a-f]{16})")


class Fetched(NamedTuple):
    delivery: LeasedDelivery
    receipt: str


@dataclass(frozen=True, slots=True)
class Answered:
    """``late``: receipts that changed nothing: their leases have ended, and somebody else has or had the events."""

    acknowledged: int
    failed: int
    released: int
    late: Sequence[str]


class _Lease(NamedTuple):
    worker: str
    began: datetime
    delivery: LeasedDelivery


class Consumers(UseCases):
    async def find(self, name: str) -> Endpoint:
        """Return the consumer of this name or id.  Raises `NotFound`, and `UsageError` for a name of several."""
        known, key = self._service.consumer_ids, (name, self._principal.sources)
        found = await self._store.endpoint(known.get(key, name))
        if found is not None and self._is(found, name):
            return found
        named = [each for each in await self._store.endpoints() if self._is(each, name)]
        if not named:
            raise NotFound(f"There is no consumer {name!r}.", "cdc endpoint add pull:NAME adds one.")
        if len(named) > 1:
            raise UsageError(f"There are several consumers {name!r}.", "Name one of them by its id, ep_….")
        known[key] = named[0].id
        return named[0]

    def _is(self, endpoint: Endpoint, name: str) -> bool:
        named = name in (endpoint.id, endpoint.url.removeprefix(PULL_SCHEME))
        return named and is_pull(endpoint.url) and self._principal.owns(endpoint.sources)

    async def waiting_since(self, consumer: Endpoint) -> datetime | None:
        """Return since when its oldest due event is; None while none is due."""
        due = await self._store.due_of(consumer.id)
        return due if due is not None and due <= self._clock.now() else None

    async def fetch(
        self, consumer: Endpoint, limit: int, lease: timedelta, wait: float, gone: Callable[[], bool]
    ) -> list[Fetched]:
        """Lease up to ``limit`` events for ``lease``; where none is due, wait ``wait`` seconds for one.  ``limit`` 0:
        only wait.  ``gone``: says whether the client is; then nothing is leased."""
        end = self._clock.monotonic() + wait
        async with self._service.writes.watched():
            while not gone():
                written = self._service.writes.next  # before the look: it misses no write
                due, now = await self._store.due_of(consumer.id), self._clock.now()
                if due is not None and due <= now:
                    if not limit:
                        return []
                    if fetched := await self._lease_unless(gone, self._lease(consumer, limit, lease, now)):
                        return fetched
                time = self._clock.monotonic()
                until = end if due is None else min(end, time + max((due - now).total_seconds(), LOOK_EVERY))
                await self._waited(written, until, gone)
                if self._clock.monotonic() >= end:
                    break
        return []

    async def _waited(self, written: asyncio.Event, until: float, gone: Callable[[], bool]) -> None:
        """Wait until something is written, the client is gone, or it is time."""
        while not gone() and (left := until - self._clock.monotonic()) > 0:
            if await self._clock.wait(written, min(left, GONE_EVERY)):
                return

    async def _lease_unless(
        self, gone: Callable[[], bool], leasing: Coroutine[None, None, list[Fetched]]
    ) -> list[Fetched]:
        """Lease; give back at once what nobody will get: the client is gone, or this request is cancelled."""
        task = asyncio.create_task(leasing)
        try:
            fetched = await asyncio.shield(task)
        except asyncio.CancelledError:
            await self._give_back(await task)
            raise
        if not gone():
            return fetched
        await self._give_back(fetched)
        return []

    async def _give_back(self, fetched: Sequence[Fetched]) -> None:
        for each in fetched:
            worker = each.receipt.partition(".")[2]
            await self._store.give_back(worker, [each.delivery], self._clock.now())

    async def _lease(self, consumer: Endpoint, limit: int, lease: timedelta, now: datetime) -> list[Fetched]:
        worker = f"pull-{int(now.timestamp() * 1000):x}-{secrets.token_hex(8)}"
        while leased := await self._store.lease_of(consumer.id, worker, now, now + lease, limit):
            # judged by the number of the lease before, which ended unanswered
            spent = [each for each in leased if each.attempt > len(consumer.retry_schedule) + 1]
            if spent:
                held = (_Lease(worker, now, each) for each in spent)
                dead = [made for each in held for made in _outcomes(consumer, each, now, "", error=UNANSWERED)]
                await self._record(consumer, {worker: dead}, now)
            if len(spent) < len(leased):
                return [Fetched(each, f"{each.id}.{worker}") for each in leased if each not in spent]
        return []

    async def answer(
        self, consumer: Endpoint, acknowledged: Sequence[str], failed: Mapping[str, str], released: Sequence[str]
    ) -> Answered:
        """Record what became of fetched deliveries, by their receipts.  ``failed``: with the reason.

        An expired lease counts until somebody else has the delivery.  Raises `UsageError` for a repeated receipt."""
        receipts = [*acknowledged, *failed, *released]
        if len(set(receipts)) < len(receipts):
            raise UsageError("A receipt is given twice.", "Acknowledge an event, report a failure, or give it back.")
        leases = await self._leases(consumer, receipts)
        await self._finish(consumer, {name: each for name, each in leases.items() if name not in released}, failed)
        for name in set(released) & leases.keys():
            await self._store.give_back(leases[name].worker, [leases[name].delivery], self._clock.now())
        return Answered(
            len(leases.keys() & set(acknowledged)),
            len(leases.keys() & failed.keys()),
            len(leases.keys() & set(released)),
            [each for each in receipts if each not in leases],
        )

    async def _leases(self, consumer: Endpoint, receipts: Sequence[str]) -> dict[str, _Lease]:
        """Receipt → its lease, of those that nobody else has."""
        by_worker: defaultdict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        for receipt in receipts:
            if parts := _RECEIPT.fullmatch(receipt):
                delivery_id, worker, began = parts.groups()
                by_worker[worker, began][delivery_id] = receipt
        found = {}
        for (worker, began), ids in by_worker.items():
            time = datetime.fromtimestamp(int(began, 16) / 1000, UTC)
            for each in await self._store.held(worker, list(ids)):
                if each.endpoint_id == consumer.id:
                    found[ids[each.id]] = _Lease(worker, time, each)
        return found

    async def _finish(self, consumer: Endpoint, leases: Mapping[str, _Lease], failed: Mapping[str, str]) -> None:
        now = self._clock.now()
        outcomes: defaultdict[str, list[Outcome]] = defaultdict(list)
        for receipt, lease in leases.items():
            outcomes[lease.worker] += _outcomes(consumer, lease, now, failed.get(receipt), error=FAILED)
        await self._record(consumer, outcomes, now)

    async def _record(self, consumer: Endpoint, outcomes: Mapping[str, Sequence[Outcome]], now: datetime) -> None:
        """``outcomes``: by the worker that holds the leases."""
        from cdc.dispatch.outcome_writer import Finished, log_attempts

        for worker, each in outcomes.items():
            # A lease that passes to somebody else this very moment keeps its state: the event comes once more.
            await self._store.finish(worker, each, now)
            finished = [Finished(outcome, consumer.id) for outcome in each]
            log_attempts(finished)
            if self._service.process is not None:
                self._service.process.fetched(finished)


def _outcomes(consumer: Endpoint, lease: _Lease, now: datetime, reason: str | None, *, error: str) -> list[Outcome]:
    """``reason``: of the failure; None where the delivery is acknowledged."""
    from cdc.dispatch.retry import Answer, judge
    from cdc.dispatch.sender import outcomes

    duration = max((now - lease.began).total_seconds(), 0.0)
    answer = (
        Answer(HTTPStatus.OK.value, duration)
        if reason is None
        else Answer(None, duration, body=reason.encode(errors="replace"), error=error)
    )
    verdict = judge(answer, consumer.retry_schedule, lease.delivery.attempt, now, random)
    return outcomes((lease.delivery,), consumer, answer, verdict, lease.began)
