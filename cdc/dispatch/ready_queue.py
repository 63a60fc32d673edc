"""Leased deliveries that wait for a slot, so that no slot waits for the outbox."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Mapping
from itertools import groupby
from operator import attrgetter

from cdc.dispatch.batch_buffer import BatchBuffer, RequestBatch, travels_alone
from cdc.model.delivery import LeasedDelivery
from cdc.model.endpoint import Endpoint


class ReadyQueue:
    """Loads in the order in which they became complete: a delivery by itself at once, a batch when it is full or its
    time has come.  Until then its deliveries gather, and count as waiting all the same."""

    def __init__(self) -> None:
        self._loads: deque[RequestBatch] = deque()
        self._by_endpoint: Counter[str] = Counter()
        self._in_loads = 0
        self._buffer = BatchBuffer()

    def __len__(self) -> int:
        """Loads: how many requests could be made now."""
        return len(self._loads)

    @property
    def deliveries(self) -> int:
        """Deliveries in all."""
        return self._in_loads + len(self._buffer)

    def count(self, endpoint_id: str) -> int:
        """Loads of an endpoint."""
        return self._by_endpoint.get(endpoint_id, 0)

    def gathered(self, endpoint_id: str) -> int:
        """Deliveries of an endpoint whose batch is not complete."""
        return self._buffer.count(endpoint_id)

    def endpoints(self) -> set[str]:
        return self._by_endpoint.keys() | self._buffer.endpoints()

    def add(self, deliveries: Iterable[LeasedDelivery], endpoints: Mapping[str, Endpoint], now: float) -> None:
        """Those of an endpoint that is not in ``endpoints`` travel alone."""
        for (endpoint_id, attempt), alike in groupby(deliveries, attrgetter("endpoint_id", "attempt")):
            endpoint = endpoints.get(endpoint_id)
            if endpoint is None or travels_alone(attempt, endpoint):
                for delivery in alike:
                    self._append((delivery,))
            else:
                for load in self._buffer.add(list(alike), endpoint, now):
                    self._append(load)

    def complete(self, now: float, *, at_once: bool = False) -> None:
        """Batches whose time has come are complete, however few they hold; ``at_once``: all are."""
        for load in self._buffer.all() if at_once else self._buffer.due(now):
            self._append(load)

    def next_complete(self) -> float | None:
        """When (monotonic seconds) the time of the first batch that gathers will have come."""
        return self._buffer.next_due()

    def take(self, may_start: Callable[[str], bool]) -> RequestBatch | None:
        """The first load whose endpoint has room (asked once for each endpoint), or None."""
        if not self._loads:
            return None
        endpoint_id = self._loads[0][0].endpoint_id
        if may_start(endpoint_id):  # nearly always
            load = self._loads.popleft()
            self._forget(load)
            return load
        full = {endpoint_id}
        for place, load in enumerate(self._loads):
            endpoint_id = load[0].endpoint_id
            if endpoint_id in full:
                continue
            if may_start(endpoint_id):
                del self._loads[place]
                self._forget(load)
                return load
            full.add(endpoint_id)
        return None

    def put_back(self, load: RequestBatch) -> None:
        """It is the next one again."""
        self._loads.appendleft(load)
        self._remember(load)

    def drop_all_but(self, known: Container[str]) -> list[LeasedDelivery]:
        """Remove, and return, what waits for endpoints that are not ``known``."""
        dropped = [load for load in self._loads if load[0].endpoint_id not in known]
        if dropped:
            self._loads = deque(load for load in self._loads if load[0].endpoint_id in known)
            for load in dropped:
                self._forget(load)
        return [delivery for load in dropped for delivery in load] + self._buffer.drop_all_but(known)

    def _append(self, load: RequestBatch) -> None:
        self._loads.append(load)
        self._remember(load)

    def _remember(self, load: RequestBatch) -> None:
        self._by_endpoint[load[0].endpoint_id] += 1
        self._in_loads += len(load)

    def _forget(self, load: RequestBatch) -> None:
        endpoint_id = load[0].endpoint_id
        self._in_loads -= len(load)
        self._by_endpoint[endpoint_id] -= 1
        if not self._by_endpoint[endpoint_id]:
            del self._by_endpoint[endpoint_id]
