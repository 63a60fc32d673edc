"""docs/imports.md, from docstrings and the import rules in pyproject.toml (``python -m support.import_rules``)."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HEAD = """# Packages and import rules

Generated from docstrings and `pyproject.toml` by `make docs`; `make check` holds the rules (import-linter).

## Packages

| package or module | content |
| --- | --- |
"""
IMPORTS = """
## Which package may import which

A package may import itself and the packages of this row.  Within a package, no modules import each other in a circle.

| package | may import |
| --- | --- |
"""


def _packages() -> list[str]:
    """Return a row for each package and each module beside them, with the first paragraph of its docstring."""
    modules = [path for path in (ROOT / "cdc").glob("*.py") if not path.name.startswith("__")]
    packages = [path for path in (ROOT / "cdc").rglob("__init__.py") if path.parent.name != "cdc"]
    rows = []
    for path in sorted([*modules, *packages], key=lambda each: str(each).removesuffix("/__init__.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        name = str(path.relative_to(ROOT)).removesuffix("__init__.py")
        first = " ".join(text.partition("\n\n")[0].split()).replace("``", "`")
        rows.append(f"| `{name}` | {first} |")
    return rows


def _allowed(package: str, below: Sequence[str], contracts: Sequence[dict[str, Any]]) -> list[str]:
    forbidden = {
        module
        for contract in contracts
        if contract["type"] == "forbidden" and package in contract["source_modules"]
        for module in contract["forbidden_modules"]
    }
    return [each for each in below if each not in forbidden]


def _rows(contracts: Sequence[dict[str, Any]]) -> list[str]:
    top = next(each for each in contracts if each["type"] == "layers" and "containers" not in each)
    layers = [[name.strip() for name in layer.split("|")] for layer in top["layers"]]
    rows = []
    for number, layer in enumerate(layers):
        below = [name for lower in layers[number + 1 :] for name in lower]
        for package in sorted(layer):
            names = ", ".join(f"`{name.removeprefix('cdc.')}`" for name in sorted(_allowed(package, below, contracts)))
            rows.append(f"| `{package}` | {names or 'nothing of ours'} |")
    exceptions = [f"`{each}`".replace(" -> ", "` → `") for each in top.get("ignore_imports", [])]
    return [*rows, "", f"Exceptions: {', '.join(exceptions)}.", ""]


def _details(contracts: Sequence[dict[str, Any]]) -> list[str]:
    rows = ["## Other rules", "", "| rule | modules | must not import |", "| --- | --- | --- |"]
    rows += [
        f"| {each['name']} | {_names(each['source_modules'])} | {_names(each['forbidden_modules'])} |"
        for each in contracts
        if each["type"] == "forbidden"
    ]
    for each in contracts:
        if "containers" in each:
            upper, *lower = each["layers"]
            rows.append(f"| {each['name']} | {_names(lower)} in {_names(each['containers'])} | `{upper}` |")
    return rows


def _names(modules: Sequence[str]) -> str:
    return ", ".join(f"`{module}`" for module in modules)


def page() -> str:
    """Return the text of docs/imports.md."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    return HEAD + "\n".join([*_packages(), IMPORTS + "\n".join([*_rows(contracts), *_details(contracts)])])


if __name__ == "__main__":
    print(page())
