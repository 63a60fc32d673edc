"""Growing batches: nothing is lost or doubled, and the bounds hold, in any order of deliveries and time."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cdc.dispatch.scheduler import ALONE_FROM, RequestBatch, Scheduler
from cdc.model.delivery import LeasedDelivery
from support.dispatching import endpoint, no_jitter
from support.manual_clock import START, ManualClock

ENDPOINTS = {
    "pairs": endpoint("http://pairs", "pairs", batch_size=2, batch_wait=0.5),
    "many": endpoint("http://many", "many", batch_size=7, batch_wait=2.0),
    "hasty": endpoint("http://hasty", "hasty", batch_size=5, batch_wait=0.0),
    "single": endpoint("http://single", "single", batch_size=1),
}


def leased(number: int, endpoint_id: str, attempt: int) -> LeasedDelivery:
    until = START + timedelta(days=1000)
    return LeasedDelivery(f"dlv_{number}", endpoint_id, f"evt_{number}", "e.v", f"f:{number}", attempt, until, b"{}")


class Seconds(ManualClock):
    """Any part of a second, where `ManualClock` counts microseconds."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


class BatchMachine(RuleBasedStateMachine):
    """Time passes and deliveries come; those that were sent are compared with those that came."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Seconds()
        self.scheduler = Scheduler(1000, self.clock, no_jitter)
        self.scheduler.follow(ENDPOINTS.values())
        self.came: dict[str, float] = {}
        self.sent: list[str] = []

    @rule(
        endpoint_id=st.sampled_from(list(ENDPOINTS)),
        attempt=st.integers(1, ALONE_FROM + 1),
        count=st.integers(1, 20),
    )
    def add(self, endpoint_id: str, attempt: int, count: int) -> None:
        first = len(self.came)
        deliveries = [leased(number, endpoint_id, attempt) for number in range(first, first + count)]
        self.came |= dict.fromkeys([each.id for each in deliveries], self.clock.monotonic())
        self.scheduler.add(deliveries)
        size = ENDPOINTS[endpoint_id].batch_size
        for batch in self._start():
            assert len(batch) == (size if batch[0].attempt < ALONE_FROM else 1)
        assert self.scheduler.channels[endpoint_id].gathered <= 2 * (size - 1)

    @rule(seconds=st.floats(0, 1.5))
    def pass_time(self, seconds: float) -> None:
        """As the dispatcher does: it wakes at each moment at which a batch is due."""
        until = self.clock.monotonic() + seconds
        while (due := self.scheduler.next_complete()) is not None and due <= until:
            self.clock.seconds = max(self.clock.seconds, due)
            self.scheduler.complete()
            for batch in self._start():
                wait = ENDPOINTS[batch[0].endpoint_id].batch_wait
                assert self.clock.monotonic() - self.came[batch[0].id] == pytest.approx(wait)
        self.clock.seconds = until

    def _start(self) -> list[RequestBatch]:
        batches = []
        while flight := self.scheduler.start():
            self.scheduler.ended(flight)
            self._check(flight.batch)
            batches.append(flight.batch)
        return batches

    def _check(self, batch: RequestBatch) -> None:
        to, now = ENDPOINTS[batch[0].endpoint_id], self.clock.monotonic()
        assert 1 <= len(batch) <= to.batch_size
        assert {(each.endpoint_id, each.attempt) for each in batch} == {(to.id, batch[0].attempt)}
        assert all(now - self.came[each.id] <= to.batch_wait + 1e-9 for each in batch)
        self.sent += [each.id for each in batch]

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        assert max(Counter(self.sent).values(), default=1) == 1
        assert len(self.sent) + self.scheduler.waiting == len(self.came)
        assert sum(each.gathered for each in self.scheduler.channels.values()) == self.scheduler.waiting

    @invariant()
    def nothing_waits_too_long(self) -> None:
        due = self.scheduler.next_complete()
        assert due is None or due >= self.clock.monotonic()

    def teardown(self) -> None:
        self.pass_time(2.0)
        assert sorted(self.sent) == sorted(self.came)


TestBatches = BatchMachine.TestCase
