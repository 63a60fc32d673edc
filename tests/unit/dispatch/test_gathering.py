"""Batches that grow: whatever comes, in whatever order, nothing is lost or doubled, and the bounds hold."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cdc.dispatch.batch_buffer import ALONE_FROM, BatchBuffer, RequestBatch, travels_alone
from cdc.model.delivery import LeasedDelivery
from support.dispatching import endpoint
from support.manual_clock import START

ENDPOINTS = {
    "pairs": endpoint("http://pairs", "pairs", batch_size=2, batch_wait=0.5),
    "many": endpoint("http://many", "many", batch_size=7, batch_wait=2.0),
    "hasty": endpoint("http://hasty", "hasty", batch_size=5, batch_wait=0.0),
}


def leased(number: int, endpoint_id: str, attempt: int) -> LeasedDelivery:
    return LeasedDelivery(f"dlv_{number}", endpoint_id, f"evt_{number}", "e.v", f"f:{number}", attempt, START, b"{}")


class GatheringMachine(RuleBasedStateMachine):
    """Time passes and deliveries come; what went is compared with what came."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = BatchBuffer()
        self.now = 0.0
        self.came: dict[str, float] = {}
        self.gone: list[str] = []

    @rule(
        endpoint_id=st.sampled_from(list(ENDPOINTS)),
        attempt=st.integers(1, ALONE_FROM - 1),
        count=st.integers(1, 20),
    )
    def add(self, endpoint_id: str, attempt: int, count: int) -> None:
        first = len(self.came)
        deliveries = [leased(number, endpoint_id, attempt) for number in range(first, first + count)]
        self.came |= dict.fromkeys([each.id for each in deliveries], self.now)
        for load in self.buffer.add(deliveries, ENDPOINTS[endpoint_id], self.now):
            assert len(load) == ENDPOINTS[endpoint_id].batch_size
            self._go(load)
        assert self.buffer.count(endpoint_id) <= 2 * (ENDPOINTS[endpoint_id].batch_size - 1)

    @rule(seconds=st.floats(0, 1.5))
    def pass_time(self, seconds: float) -> None:
        """As the dispatcher does: it wakes at each moment at which a batch is due."""
        until = self.now + seconds
        while (due := self.buffer.next_due()) is not None and due <= until:
            self.now = max(self.now, due)
            for load in self.buffer.due(self.now):
                wait = ENDPOINTS[load[0].endpoint_id].batch_wait
                assert self.now - self.came[load[0].id] == pytest.approx(wait)
                self._go(load)
        self.now = until

    @rule()
    def hurry(self) -> None:
        for load in self.buffer.all():
            self._go(load)
        assert len(self.buffer) == 0

    def _go(self, load: RequestBatch) -> None:
        to = ENDPOINTS[load[0].endpoint_id]
        assert 1 <= len(load) <= to.batch_size
        assert {(each.endpoint_id, each.attempt) for each in load} == {(to.id, load[0].attempt)}
        assert all(self.now - self.came[each.id] <= to.batch_wait + 1e-9 for each in load)
        self.gone += [each.id for each in load]

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        assert max(Counter(self.gone).values(), default=1) == 1
        assert len(self.gone) + len(self.buffer) == len(self.came)
        assert sum(self.buffer.count(name) for name in ENDPOINTS) == len(self.buffer)
        assert self.buffer.endpoints() <= ENDPOINTS.keys()

    @invariant()
    def nothing_waits_too_long(self) -> None:
        due = self.buffer.next_due()
        assert due is None or due >= self.now

    def teardown(self) -> None:
        for load in self.buffer.all():
            self._go(load)
        assert sorted(self.gone) == sorted(self.came)


TestGathering = GatheringMachine.TestCase


@given(attempt=st.integers(1, 60), batch_size=st.integers(1, 1000))
def test_who_travels_alone(attempt: int, batch_size: int) -> None:
    alone = travels_alone(attempt, endpoint("http://ep", "ep", batch_size=batch_size))
    assert alone == (batch_size == 1 or attempt >= 3)
