"""docs/security.md names tests that exist, and every test of an attack is named there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
PAGE = (TESTS.parent / "docs/security.md").read_text(encoding="utf-8")
ACTORS = (
    "ERP's account", "Tenant's manager", "`read` token", "Portal visitor", "OpenID Connect provider", "Receiver",
    "Bus publisher",
    "Neighbour on the database server", "Stolen worker",
)  # fmt: skip
#: A file or folder of tests, and a function of it where one is named.
REFERENCE = re.compile(r"`(?:tests/)?((?:\w+/)*test_\w+\.py|tests/[\w/]+|bench_\w+\.py)(?:::(\w+))?`")


def path_of(name: str) -> Path:
    return TESTS / ("bench" if name.startswith("bench_") else "") / name.removeprefix("tests/")


def test_named_tests_exist() -> None:
    named = REFERENCE.findall(PAGE)
    assert len(named) > 100
    for name, function in named:
        path = path_of(name)
        assert path.exists(), name
        if function:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            functions = {each.name for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
            assert function in functions, f"{name} has no {function}"


def test_each_claim_has_its_test_or_is_a_limit() -> None:
    section = PAGE.split("## By actor\n")[1].split("\n## ")[0]
    tables = [table.splitlines() for table in section.split("\n\n") if table.startswith("| ")]
    assert [next(actor for actor in ACTORS if table[0].startswith(f"| {actor}")) for table in tables] == list(ACTORS)
    for claim, held in (line.strip("| ").split(" | ") for table in tables for line in table[2:]):
        assert re.search(r"\b(can|cannot|nobody)\b", claim), claim
        assert held.startswith("limit") or REFERENCE.search(held), claim
    assert all("limit" in "\n".join(table) for table in tables), "no actor is harmless"


def test_each_attack_is_named() -> None:
    named = {name.removeprefix("tests/") for name, _ in REFERENCE.findall(PAGE)}
    there = {f"security/{path.name}" for path in (TESTS / "security").glob("test_*.py")}
    unnamed = sorted(there - named)
    assert not unnamed, "Name it in docs/security.md, beside the promise that it tests."
