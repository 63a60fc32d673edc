"""Bytes that are no log give values or one documented error, quickly and in bounded space (`make fuzz` goes on)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.binlog_fuzz import TARGETS, seeds
from support.selection import examples

SEEDS = {name: [data for target, data in seeds() if target == name] for name in TARGETS}


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name: str) -> None:
    assert SEEDS[name]
    for data in SEEDS[name]:
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes(name: str) -> None:
    @settings(max_examples=examples(400), deadline=1000)
    @given(st.binary(max_size=400))
    def run(data: bytes) -> None:
        TARGETS[name](data)

    run()


@pytest.mark.parametrize("name", TARGETS)
def test_nearly_valid_bytes(name: str) -> None:
    """A seed with bytes replaced, left out and put in."""

    @settings(max_examples=examples(600), deadline=1000)
    @given(
        st.sampled_from(SEEDS[name]),
        st.lists(st.tuples(st.integers(0, 700), st.integers(0, 3), st.binary(max_size=4)), max_size=6),
    )
    def run(data: bytes, changes: list[tuple[int, int, bytes]]) -> None:
        for position, removed, put_in in changes:
            data = data[:position] + put_in + data[position + removed :]
        TARGETS[name](data)

    run()
