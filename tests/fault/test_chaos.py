"""The first minute of `make chaos`: failures of some sources, endpoints and duties lose nothing of any other.

How long healthy sources take is not judged here: other work may keep the machine busy.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.chaos.plan import AILMENTS, ENDPOINTS, OF_RECEIVERS, Plan
from support.chaos.run import run
from support.servers import KeeperClient

SECONDS, QUIET = float(os.environ.get("CDC_TEST_CHAOS", "25")), 3.0
KINDS = int(SECONDS / 6)


@pytest.mark.timeout(900)
def test_failures_lose_reorder_and_double_nothing(keeper: KeeperClient, tmp_path: Path, seed: int) -> None:
    result = run(Plan(seed, SECONDS, bulk_seconds=10.0), QUIET, keeper, tmp_path)
    report = "\n".join([*result.wrong, *result.judgement.examples])
    assert not result.wrong, report
    kinds = {kind for _, kind in result.failures}
    assert len(kinds) > KINDS, f"no more than {kinds}"


def test_the_seed_chooses_who_is_sick() -> None:
    plan = Plan(7, 60.0)
    assert plan.sources() == Plan(7, 1.0).sources() != Plan(8, 60.0).sources()
    sick = [receiver for receiver in plan.receivers() if receiver.ailment]
    assert sorted(receiver.ailment for receiver in sick) == sorted(AILMENTS)
    assert len(plan.receivers()) == ENDPOINTS
    assert {receiver.source for receiver in plan.receivers() if not receiver.ailment} >= {
        source.name for source in plan.sources()
    }, "each source has a healthy endpoint"
    assert set(AILMENTS) >= OF_RECEIVERS
