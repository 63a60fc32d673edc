"""Deliveries that wait for company: batches of endpoints that want several events in one request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence

from cdc.model.delivery import LeasedDelivery
from cdc.model.endpoint import Endpoint

#: What goes out in one request: deliveries of one endpoint, at least one.
RequestBatch = tuple[LeasedDelivery, ...]
#: From this attempt on a delivery travels alone: what its receiver cannot take no longer dooms others.
ALONE_FROM = 3


def travels_alone(attempt: int, endpoint: Endpoint) -> bool:
    """Whether a delivery with this attempt number does."""
    return not endpoint.batched or attempt >= ALONE_FROM


class _Batch:
    __slots__ = ("deliveries", "goes_at")

    def __init__(self, goes_at: float) -> None:
        self.deliveries: list[LeasedDelivery] = []
        self.goes_at = goes_at


class BatchBuffer:
    """One growing batch for each endpoint and attempt number, so that a request's fate is one for all that is in it.

    Second attempts keep to themselves, apart from the first ones: an event that its receiver cannot take spoils the
    company in which it first came, and nothing that comes later.  Times are monotonic seconds.
    """

    def __init__(self) -> None:
        self._batches: dict[tuple[str, int], _Batch] = {}
        self._by_endpoint: Counter[str] = Counter()

    def __len__(self) -> int:
        """Deliveries in all."""
        return self._by_endpoint.total()

    def count(self, endpoint_id: str) -> int:
        return self._by_endpoint.get(endpoint_id, 0)

    def endpoints(self) -> set[str]:
        return set(self._by_endpoint)

    def add(self, deliveries: Sequence[LeasedDelivery], endpoint: Endpoint, now: float) -> list[RequestBatch]:
        """Deliveries of one endpoint with one attempt number, at least one: the batches that they made full."""
        key = (endpoint.id, deliveries[0].attempt)
        full: list[RequestBatch] = []
        taken = 0
        while taken < len(deliveries):
            batch = self._batches.get(key)
            if batch is None:
                batch = self._batches[key] = _Batch(now + endpoint.batch_wait)
            joining = deliveries[taken : taken + max(endpoint.batch_size - len(batch.deliveries), 0)]
            batch.deliveries += joining
            self._by_endpoint[endpoint.id] += len(joining)
            taken += len(joining)
            if len(batch.deliveries) >= endpoint.batch_size:
                full.append(self._pop(key))
        return full

    def due(self, now: float) -> list[RequestBatch]:
        """Batches whose first delivery has waited long enough; they are no longer here."""
        return [self._pop(key) for key, batch in list(self._batches.items()) if batch.goes_at <= now]

    def all(self) -> list[RequestBatch]:
        """Every batch, however long it has waited."""
        return [self._pop(key) for key in list(self._batches)]

    def next_due(self) -> float | None:
        """When the first batch will be due; None when there is none."""
        return min((batch.goes_at for batch in self._batches.values()), default=None)

    def drop_all_but(self, known: Container[str]) -> list[LeasedDelivery]:
        """Remove, and return, what waits for endpoints that are not ``known``."""
        unknown = [key for key in self._batches if key[0] not in known]
        return [delivery for key in unknown for delivery in self._pop(key)]

    def _pop(self, key: tuple[str, int]) -> RequestBatch:
        load = tuple(self._batches.pop(key).deliveries)
        self._by_endpoint[key[0]] -= len(load)
        if not self._by_endpoint[key[0]]:
            del self._by_endpoint[key[0]]
        return load
