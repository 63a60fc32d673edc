"""`support.selection`: a short run leaves out no folder, engine or file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest

from support.selection import LESS, examples, short_run, work_less


class _Item:
    def __init__(self, nodeid: str, *fixtures: str) -> None:
        self.nodeid = nodeid
        self.path = Path(nodeid.partition("::")[0])
        self.fixturenames = fixtures


def _short(*items: str | _Item) -> tuple[list[str], list[str]]:
    all_items = [item if isinstance(item, _Item) else _Item(item) for item in items]
    selected, rest = short_run(cast("list[Any]", all_items))
    return [each.nodeid for each in selected], [each.nodeid for each in rest]


def test_units_contracts_and_golden_files_are_complete() -> None:
    names = [
        f"tests/{folder}/test_a.py::test_b[{number}]" for folder in ("unit", "contract", "golden") for number in "12"
    ]
    assert _short(*names) == (names, [])


def test_functions_on_servers_run_once_and_files_on_each_engine() -> None:
    a, b = "tests/integration/test_a.py::test_a", "tests/integration/test_a.py::test_b"
    selected, rest = _short(
        f"{a}[mysql-1]", f"{a}[mysql-2]", f"{a}[mariadb_db-1]", f"{b}[mysql-1]", f"{b}[mariadb_db-1]"
    )
    assert selected == [f"{a}[mysql-1]", f"{a}[mariadb_db-1]", f"{b}[mysql-1]"]
    assert rest == [f"{a}[mysql-2]", f"{b}[mariadb_db-1]"]


def test_one_test_of_a_file_and_engine_starts_servers_of_its_own() -> None:
    test = "tests/integration/test_a.py::test"
    names = [f"{test}_{name}[{engine}]" for name in "ab" for engine in ("mysql", "mariadb")]
    selected, rest = _short(*(_Item(name, "own_server") for name in names), f"{test}_c[mysql]")
    assert selected == [*names[:2], f"{test}_c[mysql]"]
    assert rest == names[2:]


def test_amounts_that_are_set_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"CDC_TEST_BACKLOG": "500"})
    assert examples(50) == 50
    work_less()
    assert os.environ["CDC_TEST_BACKLOG"] == "500"
    assert examples(50) == 50 * int(LESS["CDC_TEST_EXAMPLES"]) // 100
    assert examples(1) == 1


def test_long_tests_run_once_per_file() -> None:
    a, b = "tests/fault/test_a.py::test_1", "tests/fault/test_b.py::test_1"
    assert _short(a, f"{a}1", b) == ([a, b], [f"{a}1"])
