"""Every route through injected faults, judged against the ledger of what was committed.  `make faults` does more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from support.fault import doctors
from support.fault.drive import go
from support.fault.faults import WEIGHTS
from support.fault.routes import ROUTES
from support.fault.run import Plan
from support.servers import KeeperClient

FAULTS_EACH = 8
#: Faults that take long, or change tables: on routes for which they are worst.
RARE = [
    ("mariadb-binlog", "fail-over"),
    ("mysql-triggers", "alter"),
    ("postgresql-triggers", "alter"),
    ("mariadb-triggers", "swap"),
    ("postgresql-triggers", "swap"),
    ("mysql-binlog", "recreate"),
    ("mariadb-binlog", "truncate-partition"),
    ("mariadb-binlog", "reset-log"),
    ("mariadb-triggers", "restore-dump"),
    ("mysql-binlog", "rotate"),
    ("mariadb-binlog", "rotate"),
    ("postgresql-logical", "old-copy"),
]
#: One of each capture mode that doctor reads in a way of its own; `make faults ARGS="--doctors 500"` runs all.
DOCTORED = ["postgresql-logical", "mariadb-binlog", "mysql-triggers", "postgresql-moving"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("route", list(ROUTES))
def test_nothing_is_lost_invented_or_reordered(route: str, keeper: KeeperClient, tmp_path: Path, seed: int) -> None:
    _judge(route, WEIGHTS, FAULTS_EACH, keeper, tmp_path, seed)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("route", "fault"), RARE)
def test_rare_fault_loses_nothing(route: str, fault: str, keeper: KeeperClient, tmp_path: Path, seed: int) -> None:
    _judge(route, {fault: 1}, 2, keeper, tmp_path, seed)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("route", DOCTORED)
def test_doctor_calls_nothing_wrong_beside_writers_kills_and_moves(
    route: str, keeper: KeeperClient, tmp_path: Path, seed: int
) -> None:
    _judge(route, doctors.WEIGHTS, 0, keeper, tmp_path, seed, doctors=4)


def _judge(
    route: str, weights: Mapping[str, int], faults: int, keeper: KeeperClient, folder: Path, seed: int, **more: int
) -> None:
    result = go(ROUTES[route], Plan(seed, faults, weights, **more), keeper, folder)
    report = "\n".join([*result.failures, *result.verdict.examples])
    assert not result.failures, report
