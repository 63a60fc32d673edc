"""The table of acts in docs/reliability.md has no empty cell, and names tests and faults that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from support.fault.faults import FAULTS
from support.fault.routes import ROUTES

ROOT = Path(__file__).resolve().parents[2]
SECTION = re.compile(r"^## Acts\n(.*?)^## ", re.MULTILINE | re.DOTALL)
CODE = r"(?:(?:E|R|S|S/R)(?: \d+)+|N(?: \d+)*)"
CELL = re.compile(f"{CODE}(?:, {CODE})*|\N{EN DASH}")
HARNESS = "make faults"


def section() -> str:
    (text,) = SECTION.findall((ROOT / "docs/reliability.md").read_text(encoding="utf-8"))
    return str(text)


def cells() -> list[list[str]]:
    """Return the rows below the two of the heading, without the act."""
    rows = [line.strip("|").split("|") for line in section().splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row[1:]] for row in rows[2:]]


def listed() -> dict[int, tuple[str, str]]:
    """Return number → (file, test or fault)."""
    found: dict[int, tuple[str, str]] = {}
    for file, names in re.findall(r"^- `([^`]+)`: ((?:.|\n  )*)", section(), re.MULTILINE):
        for number, name in re.findall(r"(\d+)\s+`([\w-]+)`", names):
            assert int(number) not in found
            found[int(number)] = (file, name)
    return found


def functions_of(file: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_each_cell_says_what_is_promised() -> None:
    rows = cells()
    assert len(rows) > 40
    for row in rows:
        assert len(row) == 6
        assert [cell for cell in row if not CELL.fullmatch(cell)] == [], row


def test_numbers_of_cells_are_those_of_the_list() -> None:
    cited = {int(number) for row in cells() for cell in row for number in re.findall(r"\d+", cell)}
    assert cited == listed().keys()


def test_tests_and_faults_of_the_list_exist() -> None:
    for file, name in listed().values():
        there = FAULTS.keys() | ROUTES.keys() if file == HARNESS else functions_of(file)
        assert name in there, f"{file}: {name}"
