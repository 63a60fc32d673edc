"""Storing many rows leaves the core to others now and then; storing a few does not."""

from __future__ import annotations

import os

import pytest

from cdc.outbox.sqlite.giving_way import giving_way


@pytest.fixture
def occasions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One element for each time that the core was left."""
    left: list[int] = []
    monkeypatch.setattr(os, "sched_yield", lambda: left.append(1))
    return left


def test_rows_stay_as_they_are(occasions: list[int]) -> None:
    assert list(giving_way(range(100))) == list(range(100))
    assert 5 < len(occasions) < 50


def test_a_few_rows_are_stored_without_delay(occasions: list[int]) -> None:
    assert list(giving_way(iter("abc"))) == ["a", "b", "c"]
    assert occasions == []
