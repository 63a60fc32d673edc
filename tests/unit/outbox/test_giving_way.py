"""Storing many rows leaves the core to others now and then; storing a few does not."""

from __future__ import annotations

import os

import pytest

from cdc.outbox.sqlite.database import giving_way


@pytest.fixture
def occasions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One element for each time that the core was left."""
    left: list[int] = []
    monkeypatch.setattr(os, "sched_yield", lambda: left.append(1))
    return left


def test_rows_stay_as_they_are(occasions: list[int]) -> None:
    assert list(giving_way(iter(range(50)), 50)) == list(range(50))
    assert len(occasions) == 6


def test_many_rows_give_no_more_occasions(occasions: list[int]) -> None:
    assert list(giving_way(iter(range(2000)), 2000)) == list(range(2000))
    assert len(occasions) == 8


def test_a_few_rows_are_stored_without_delay(occasions: list[int]) -> None:
    assert list(giving_way(iter("abc"), 3)) == ["a", "b", "c"]
    assert occasions == []
