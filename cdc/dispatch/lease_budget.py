"""How many deliveries to lease, and of which endpoint at most how many.

What is leased waits here for a request, ahead of time for endpoints that answer quickly, so that no request waits for
the outbox; and never more of it than may start before its lease grows old, or than memory is meant for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cdc.dispatch.batch_buffer import ALONE_FROM
from cdc.dispatch.endpoint_flow import EndpointFlows
from cdc.dispatch.in_flight import InFlight
from cdc.dispatch.ready_queue import ReadyQueue
from cdc.model.delivery import LeasedDelivery
from cdc.model.endpoint import Endpoint

#: Deliveries that wait at most (about) where there are endpoints that want batches.
WAITING = 2000


class LeaseBudget:
    """``concurrency``: requests at once, in all."""

    def __init__(self, concurrency: int, in_flight: InFlight, ready: ReadyQueue, flows: EndpointFlows) -> None:
        self._concurrency = concurrency
        self._in_flight = in_flight
        self._ready = ready
        self._flows = flows
        self._endpoints: Mapping[str, Endpoint] = {}
        self._batched: set[str] = set()  # endpoints that want batches
        self._together: set[str] = set()  # those of them of which no delivery came last that travels alone
        self._quick: set[str] = set()  # endpoints whose last attempt was a quick success

    def follow(self, endpoints: Mapping[str, Endpoint]) -> None:
        """These are the endpoints that there are."""
        self._endpoints = endpoints
        self._batched = {endpoint.id for endpoint in endpoints.values() if endpoint.batched}

    def answered(self, endpoint_id: str, *, quickly: bool) -> None:
        """Whether its last attempt was a quick success."""
        if quickly:
            self._quick.add(endpoint_id)
        else:
            self._quick.discard(endpoint_id)

    def learn(self, leased: Sequence[LeasedDelivery]) -> bool:
        """See of which endpoints deliveries go out together: the others' room is counted in requests.  Whether there is
        more room now than there was."""
        if not self._batched:
            return False
        came = {each.endpoint_id for each in leased if each.endpoint_id in self._batched}
        alone = {each.endpoint_id for each in leased if each.attempt >= ALONE_FROM}
        more = bool(came - alone - self._together)
        self._together = (self._together - alone) | (came - alone)
        return more

    def wanted(self) -> Iterator[tuple[int, dict[str, int]]]:
        """How many in all, and endpoint id → its most: for deliveries that go out alone, and for batches."""
        yield from self._alone()
        yield from self._for_batches()

    def _alone(self) -> Iterator[tuple[int, dict[str, int]]]:
        """Of those that go out one a request."""
        limit = self._in_flight.free() + self._concurrency - len(self._ready)
        if self._all_busy() or limit <= 0 or (self._endpoints and len(self._batched) == len(self._endpoints)):
            return
        yield limit, {each.id: 0 if each.batched else self._requests(each) for each in self._endpoints.values()}

    def _for_batches(self) -> Iterator[tuple[int, dict[str, int]]]:
        """Of those that go out many a request: there memory is the bound, not the number of requests."""
        limit = WAITING - self._ready.deliveries
        if self._all_busy() or limit <= 0 or not self._batched:
            return
        rooms = {each.id: self._batches(each) if each.batched else 0 for each in self._endpoints.values()}
        if any(rooms.values()):
            yield limit, rooms

    def _all_busy(self) -> bool:
        return not self._in_flight.free() and len(self._ready) > self._concurrency // 2

    def _requests(self, endpoint: Endpoint) -> int:
        """How many requests to have deliveries for beside those that are: what may start now, and for an endpoint that
        answers quickly as many again, if its rate admits them."""
        ahead = endpoint.concurrency if endpoint.id in self._quick else 0
        most = min(self._in_flight.room(endpoint) + ahead, self._flows.room(endpoint.id))
        return max(most - self._ready.count(endpoint.id), 0)

    def _batches(self, endpoint: Endpoint) -> int:
        """How many deliveries to have beside those that are: full batches for each request, or, where deliveries come
        that travel alone, one.

        Of the memory an endpoint gets half of what it leaves to the others, but enough for one batch where a request
        may start: so one that stops answering never has it all."""
        requests = self._requests(endpoint)
        gathered = self._ready.gathered(endpoint.id)
        if endpoint.id not in self._together:
            return max(requests - gathered, 0)
        waiting = gathered + self._ready.count(endpoint.id) * endpoint.batch_size
        share = (WAITING - self._ready.deliveries - waiting) // 2
        if self._in_flight.room(endpoint) > self._ready.count(endpoint.id):
            share = max(share, endpoint.batch_size - gathered)
        return max(min(requests * endpoint.batch_size - gathered, share), 0)
