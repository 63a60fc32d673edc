"""The first seconds of `make cluster`: workers, and the server of their outbox, fail while the ERPs write."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.cluster.run import Plan, run
from support.servers import KeeperClient


@pytest.mark.timeout(900)
def test_failing_workers_and_a_failover_lose_and_reorder_nothing(
    keeper: KeeperClient, tmp_path: Path, seed: int
) -> None:
    result = run(
        Plan(seed, workers=3, sources=8, events=800, rate=100.0, faults=4, failovers=1), keeper, tmp_path, print
    )
    assert not result.wrong, "\n".join([*result.wrong, *result.verdict.examples])
    assert sum(number for fault, number in result.faults.items() if fault.startswith("fail-over")) == 1
