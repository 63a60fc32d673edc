"""Simulated runs: nothing is lost, invented, doubled, reordered, early or stuck, whatever fails; a seed is the same run
wherever it runs; and the simulation notices when what it is there for is taken out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from cdc.config import Config
from cdc.outbox.database import sqlite_statements
from cdc.outbox.sqlite.database import _numbered
from support.simulated.world import simulate

SEEDS, TOGETHER = 200, 25
#: A defect is found within so many seeds.
WITHIN = 600
TESTS = Path(__file__).resolve().parents[1]
DIGESTS = """
import sys
from support.simulated.world import simulate
for seed in map(int, sys.argv[1:]):
    print(simulate(seed).digest)
"""


@pytest.mark.parametrize("first", range(0, SEEDS, TOGETHER))
def test_no_seed_has_a_violation(first: int) -> None:
    failed = {seed: found for seed in range(first, first + TOGETHER) if (found := simulate(seed).violations)}
    assert not failed, f'make simulate ARGS="--seed {min(failed)}" shows what happened'


def test_a_seed_is_the_same_run_in_every_process() -> None:
    """Whatever the hashes of texts are, and whatever has run before."""
    seeds = [3, 88, 90, 159]
    here = [simulate(seed).digest for seed in seeds]
    for order, hashes in ((seeds, "1"), (seeds[::-1], "77")):
        environment = {**os.environ, "PYTHONHASHSEED": hashes, "PYTHONPATH": str(TESTS)}
        command = [sys.executable, "-c", DIGESTS, *map(str, order)]
        there = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=200)
        assert dict(zip(order, there.stdout.split(), strict=True)) == dict(zip(seeds, here, strict=True))


def violations() -> Iterator[str]:
    for seed in range(WITHIN):
        yield from simulate(seed).violations


def without_fence() -> AbstractContextManager[Any]:
    """A `store` that does not compare the position that it follows."""
    return changed_statement("set_position", ":fenced", "0")


def with_one_owner() -> AbstractContextManager[Any]:
    """Dispatchers that are called after their host and their process number, as containers all have them."""

    def worker(config: Config) -> str:
        return config.dispatch.worker or "cdc-1"

    return mock.patch("cdc.runtime.consumer._worker", worker)


def without_lane() -> AbstractContextManager[Any]:
    """Deliveries that wait for no other one of their record."""
    return changed_statement("insert_delivery", "other.state < 2", "other.state < 0")


@contextmanager
def changed_statement(name: str, old: str, new: str) -> Iterator[None]:
    text = sqlite_statements()[name]
    assert old in text
    with mock.patch.dict(sqlite_statements(), {name: text.replace(old, new)}):
        _numbered.cache_clear()
        yield
    _numbered.cache_clear()


@pytest.mark.parametrize(
    ("defect", "kind"),
    [(without_fence, "backwards: "), (with_one_owner, "at once: "), (without_lane, "reordered: ")],
    ids=["fence", "lease owner", "lane"],
)
def test_a_defect_is_found(defect: Any, kind: str) -> None:
    with defect():
        assert any(violation.startswith(kind) for violation in violations()), f"not within {WITHIN} seeds"
