"""Leased deliveries that wait for a slot, so that no slot waits for the outbox."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Container, Iterable

from cdc.delivery import LeasedDelivery


class Ready:
    """Leased deliveries in the order in which they were leased."""

    def __init__(self) -> None:
        self._waiting: deque[LeasedDelivery] = deque()
        self._by_endpoint: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._waiting)

    def count(self, endpoint_id: str) -> int:
        return self._by_endpoint.get(endpoint_id, 0)

    def endpoints(self) -> set[str]:
        return set(self._by_endpoint)

    def add(self, deliveries: Iterable[LeasedDelivery]) -> None:
        for delivery in deliveries:
            self._waiting.append(delivery)
            self._by_endpoint[delivery.endpoint_id] += 1

    def take(self, may_start: Callable[[str], bool]) -> LeasedDelivery | None:
        """The first whose endpoint has room (asked once for each endpoint), or None."""
        if not self._waiting:
            return None
        if may_start(self._waiting[0].endpoint_id):  # nearly always
            delivery = self._waiting.popleft()
            self._forget(delivery)
            return delivery
        full = {self._waiting[0].endpoint_id}
        for place, delivery in enumerate(self._waiting):
            if delivery.endpoint_id in full:
                continue
            if may_start(delivery.endpoint_id):
                del self._waiting[place]
                self._forget(delivery)
                return delivery
            full.add(delivery.endpoint_id)
        return None

    def drop_all_but(self, known: Container[str]) -> list[LeasedDelivery]:
        """Remove, and return, what waits for endpoints that are not ``known``."""
        dropped = [delivery for delivery in self._waiting if delivery.endpoint_id not in known]
        if dropped:
            self._waiting = deque(delivery for delivery in self._waiting if delivery.endpoint_id in known)
            for delivery in dropped:
                self._forget(delivery)
        return dropped

    def _forget(self, delivery: LeasedDelivery) -> None:
        self._by_endpoint[delivery.endpoint_id] -= 1
        if not self._by_endpoint[delivery.endpoint_id]:
            del self._by_endpoint[delivery.endpoint_id]
