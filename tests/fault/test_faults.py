"""Every route through injected faults, judged against the ledger of what was committed.  `make faults` does more."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from support.fault.drive import go
from support.fault.faults import WEIGHTS
from support.fault.routes import ROUTES
from support.fault.run import Plan
from support.servers import KeeperClient

FAULTS_EACH = 12


@pytest.mark.timeout(600)
@pytest.mark.parametrize("route", [name for name, route in ROUTES.items() if not route.moving])
def test_nothing_is_lost_invented_or_reordered(route: str, keeper: KeeperClient, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    result = go(ROUTES[route], Plan(seed, FAULTS_EACH, WEIGHTS), keeper, tmp_path)
    report = "\n".join([*result.failures, *result.verdict.examples])
    assert not result.failures, f"make faults ARGS='--route {route} --faults {FAULTS_EACH} --seed {seed}'\n{report}"
