"""`support.selection`: a short run leaves out no folder, engine or file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from support.selection import short_run


class _Item:
    def __init__(self, nodeid: str) -> None:
        self.nodeid = nodeid
        self.path = Path(nodeid.partition("::")[0])


def _short(*names: str) -> tuple[list[str], list[str]]:
    selected, rest = short_run(cast("list[Any]", [_Item(name) for name in names]))
    return [each.nodeid for each in selected], [each.nodeid for each in rest]


def test_units_contracts_and_golden_files_are_complete() -> None:
    names = [
        f"tests/{folder}/test_a.py::test_b[{number}]" for folder in ("unit", "contract", "golden") for number in "12"
    ]
    assert _short(*names) == (names, [])


def test_tests_on_servers_run_once_per_engine() -> None:
    test = "tests/integration/test_a.py::test_b"
    selected, rest = _short(f"{test}[mysql-1]", f"{test}[mysql-2]", f"{test}[mariadb_db-1]", f"{test}[2]", f"{test}[3]")
    assert selected == [f"{test}[mysql-1]", f"{test}[mariadb_db-1]", f"{test}[2]"]
    assert rest == [f"{test}[mysql-2]", f"{test}[3]"]


def test_long_tests_run_once_per_file() -> None:
    a, b = "tests/fault/test_a.py::test_1", "tests/fault/test_b.py::test_1"
    assert _short(a, f"{a}1", b) == ([a, b], [f"{a}1"])
