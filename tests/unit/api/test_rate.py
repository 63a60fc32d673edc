"""Token buckets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.api import token_auth as rate
from cdc.api.token_auth import RateLimit


def test_a_burst_and_then_a_steady_rate() -> None:
    limit = RateLimit(rate=2, burst=3)
    assert [limit.reserve("a", 0.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert limit.reserve("a", 0.25) == 0.25
    assert limit.reserve("a", 0.5) == 0
    assert limit.reserve("a", 0.5) == 0.5
    assert [limit.reserve("a", 100) for _ in range(4)] == [0, 0, 0, 0.5]


def test_each_has_a_bucket_of_its_own() -> None:
    limit = RateLimit(rate=1, burst=1)
    assert [limit.reserve(key, 0.0) for key in ("a", "b", "a")] == [0, 0, 1]


@given(st.lists(st.floats(0, 3), max_size=100))
def test_never_more_than_the_burst_and_the_rate_allow(gaps: list[float]) -> None:
    limit, now, taken = RateLimit(rate=2, burst=5), 0.0, 0
    for gap in gaps:
        now += gap
        taken += limit.reserve("a", now) == 0
        assert taken <= 5 + 2 * now + 1e-3


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "_MOST", 10)
    limit = RateLimit(rate=1, burst=1)
    for number in range(100):
        limit.reserve(str(number), 0.0)
    assert len(limit._buckets) == 10
    assert limit.reserve("99", 0.0) == 1
