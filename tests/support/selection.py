"""The tests of a short run, `make test`: all of units, contracts and golden files, a part of each other file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import cast

import pytest

#: Folders of tests that take seconds each: a short run has the first test of each file.
LONG = frozenset({"acceptance", "browser", "fault"})
#: Folders of tests on real servers: a short run has each function once, and each file on each of its engines; of those
#: that start servers of their own, which costs as much as ten others, one a file and engine.
ON_SERVERS = frozenset({"integration", "security", "upgrade"})
#: Work of a short run where the variable is not set: the kind of work is the same.
LESS = {
    "CDC_TEST_BACKLOG": "6000",
    "CDC_TEST_CHANGES": "3000",
    "CDC_TEST_CHAOS": "6",
    "CDC_TEST_EXAMPLES": "20",
    "CDC_TEST_KILLED": "1000",
    "CDC_TEST_TRANSACTIONS": "200",
}
#: Long tests that only `make test-all` has: another of the same subject runs in a short run.
LEFT_OUT = re.compile(
    r"""
    test_altered_while_written\.py .* \[mysql  # MariaDB parses triggers again after a table changed
    | test_full_schema\.py .* \[mysql  # golden/test_erp.py installs on FacturaScripts' tables of MySQL
    | test_long_rows\.py .* \[mysql  # its other test is for MySQL
    | ::test_a_huge_transaction_in_bounded_memory | ::test_a_huge_transaction_comes_in_parts_in_bounded_memory
      # unit/capture/binlog/test_transaction_rows.py, integration/postgres/test_logical_faults.py
    | ::test_a_day_without_a_receiver$  # the same with restarts
    | ::test_demo_and_help_of_an_installed_wheel | ::test_its_postgresql_ends_and_its_folder_goes_when_it_is_killed
    | ::test_the_sources_of_a_killed_worker_are_shared  # a worker that is stopped loses its sources too
    | test_install_page\.py  # test_setup.py and test_by_hand.py set up both ways
    | test_outbox_postgres\.py  # contract/test_outbox_kill.py, integration/postgres/test_outbox_together.py
    | test_problems\.py  # integration/web/test_probe.py, unit/web/test_health.py, unit/pages/test_overview.py
    | test_failover\.py  # fault/test_cluster.py fails over once
    """,
    re.VERBOSE,
)
_ENGINE = re.compile(r"mariadb|mysql|postgres")


def work_less() -> None:
    """Set the amounts of work of a short run, for this process and those that it starts."""
    for variable, amount in LESS.items():
        os.environ.setdefault(variable, amount)


def examples(number: int) -> int:
    """Return how many examples a property test tries: ``CDC_TEST_EXAMPLES`` percent of this number."""
    return max(number * int(os.environ.get("CDC_TEST_EXAMPLES", "100")) // 100, 1)


def short_run(items: Iterable[pytest.Item]) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """Return the tests of a short run, and those left out."""
    seen: set[tuple[str, ...]] = set()
    selected: list[pytest.Item] = []
    rest: list[pytest.Item] = []
    for item in items:
        promised = set(_promised(item))
        (rest if promised <= seen else selected).append(item)
        seen |= promised
    return selected, rest


def _promised(item: pytest.Item) -> Iterator[tuple[str, ...]]:
    """Return what a short run has at least once, of which this is one."""
    if LEFT_OUT.search(item.nodeid):
        return
    function, _, parameters = item.nodeid.partition("[")
    file = str(item.path)
    if not LONG.isdisjoint(item.path.parts):
        yield (file,)
    elif ON_SERVERS.isdisjoint(item.path.parts):
        yield (item.nodeid,)
    else:
        yield file, *_ENGINE.findall(parameters)[:1]
        if "own_server" not in cast("pytest.Function", item).fixturenames:
            yield (function,)
