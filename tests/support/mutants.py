"""Mutation of the pure core: ``python -m support.mutants [--sample 20] [--seed 1] [module …]``.

Each mutant is one module with one changed operator, constant, comparison or condition.  A process forked for it runs
the tests nearest to the module; a mutant that no test notices is printed.  `mutants.toml` explains those that change
nothing that may be tested.  (mutmut 3 changes no constants of modules and no decorated functions, and replaces
coroutines by functions; cosmic-ray starts a process of pytest for each mutant.)
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import multiprocessing
import os
import random
import resource
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.machinery import SourceFileLoader
from multiprocessing import connection
from pathlib import Path
from types import CodeType
from typing import Any, NoReturn, cast

import pytest

from support.servers import ADDRESS

ROOT = Path(__file__).resolve().parents[2]
#: A module, or all of a folder, and the tests that are nearest to it.
NEAREST = {
    "cdc/mapping/*.py": ("tests/unit/mapping",),
    "cdc/dispatch/scheduler.py": ("tests/unit/dispatch/test_scheduler.py", "tests/unit/dispatch"),
    "cdc/dispatch/flow_control.py": ("tests/unit/dispatch/test_valve.py", "tests/unit/dispatch"),
    "cdc/dispatch/retry.py": ("tests/unit/dispatch/test_retry.py", "tests/unit/dispatch"),
    "cdc/dispatch/outcome_writer.py": (
        "tests/unit/dispatch/test_recorder.py",
        "tests/unit/dispatch/test_outcomes.py",
        "tests/unit/dispatch/test_dispatcher.py",
    ),
    "cdc/relay.py": ("tests/unit/test_relay.py",),
    "cdc/capture/journal/source.py": ("tests/unit/capture/test_journal*.py",),
    "cdc/capture/pages.py": ("tests/unit/capture/test_[pw]*.py", "tests/unit/test_backfilling.py"),
    "cdc/capture/bus.py": ("tests/unit/capture/test_bus.py",),
    "cdc/model/backfill.py": (
        "tests/unit/model/test_backfill.py",
        "tests/unit/test_due.py",
        "tests/unit/test_backfilling.py",
    ),
    "cdc/runtime/placement.py": ("tests/unit/runtime/test_placement.py",),
}
PLUGINS = ("pytest_asyncio.plugin", "pytest_timeout", "_hypothesis_pytestplugin")
#: Imported once: all that does not import the package itself.
COMMON = ("aiohttp.web", "cryptography.x509", "hypothesis", "psycopg", "pydantic", "pymysqlreplication", "structlog")
LEAST_SHARE = 0.9
#: A mutant that takes longer (seconds of a processor; seconds) is noticed, as a loop that does not end.
CPU_SECONDS, SECONDS = 120, 600

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Div: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}  # fmt: skip
FUNCTIONS = {"min": "max", "max": "min", "any": "all", "all": "any"}
NOT_RUN = {"annotation", "returns", "decorator_list"}


class Mutator(ast.NodeTransformer):
    """Names all mutants of a module in ``names``, and makes the ``chosen`` one."""

    def __init__(self, chosen: int = -1) -> None:
        self.chosen = chosen
        self.names: list[tuple[int, str]] = []  # line, change
        self._statement = ""  # its first line

    def visit(self, node: ast.AST, *, is_condition: bool = False) -> ast.AST:
        if _is_exempt(node):
            return node
        if isinstance(node, ast.stmt):
            self._statement = ast.unparse(node).partition("\n")[0]
        for mutant in _mutants(node, is_condition=is_condition):
            change = f"{self._statement}: {ast.unparse(node)} -> {ast.unparse(mutant)}"
            self.names.append((getattr(node, "lineno", 0), change))
            if len(self.names) == self.chosen + 1:
                return mutant
        for name, part in ast.iter_fields(node):
            if name in NOT_RUN:
                continue
            visit = partial(self.visit, is_condition=name in {"test", "ifs"})
            if isinstance(part, list):
                part[:] = [visit(each) if isinstance(each, ast.AST) else each for each in part]
            elif isinstance(part, ast.AST):
                setattr(node, name, visit(part))
        return node


def _is_exempt(node: ast.AST) -> bool:
    """Return whether it only words an error or a log, or is for type checkers."""
    match node:
        case ast.Raise() | ast.Assert() | ast.JoinedStr() | ast.keyword(arg="strict"):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Name(id="_log"))) | ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
    return False


def _mutants(node: ast.AST, *, is_condition: bool) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(ops=operators):
            for place, compared in enumerate(operators):
                yield _changed(node, ops=[*operators[:place], COMPARISONS[type(compared)](), *operators[place + 1 :]])
        case ast.BinOp(left=left, op=operator, right=right) if not any(map(_is_text, (left, right))):
            yield _changed(node, op=OPERATORS[type(operator)]())
        case ast.AugAssign(op=operator, value=value) if not _is_text(value):
            yield _changed(node, op=OPERATORS[type(operator)]())
        case ast.BoolOp(op=ast.And()):
            yield _changed(node, op=ast.Or())
        case ast.BoolOp():
            yield _changed(node, op=ast.And())
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield copy.deepcopy(operand)
        case ast.Constant(value=bool(value)):
            yield _changed(node, value=not value)
        case ast.Constant(value=int() | float() as number):
            yield _changed(node, value=number + 1)
        case ast.Call(func=ast.Name(id="min" | "max" | "any" | "all" as name)):
            yield _changed(node, func=ast.Name(FUNCTIONS[name], ast.Load()))
    if is_condition and not isinstance(node, ast.Compare | ast.UnaryOp | ast.Constant):
        yield ast.UnaryOp(ast.Not(), cast("ast.expr", copy.deepcopy(node)))


def _changed(node: ast.AST, **fields: Any) -> ast.AST:
    mutant = copy.deepcopy(node)
    for name, value in fields.items():
        setattr(mutant, name, value)
    return mutant


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


@dataclass(frozen=True)
class Mutant:
    path: str
    tests: Sequence[str]
    number: int = -1
    line: int = 0
    change: str = "as it is"


def mutants_of(path: str, tests: Sequence[str]) -> list[Mutant]:
    mutator = Mutator()
    mutator.visit(ast.parse((ROOT / path).read_text()))
    return [Mutant(path, tests, number, *name) for number, name in enumerate(mutator.names)]


def _run(mutant: Mutant) -> NoReturn:
    """Run the tests on the mutant, in a process forked for it; exit as pytest does."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    with Path(os.devnull).open("w") as silent:
        for stream in (1, 2):
            os.dup2(silent.fileno(), stream)
    changed = ast.fix_missing_locations(Mutator(mutant.number).visit(ast.parse((ROOT / mutant.path).read_text())))
    stored = SourceFileLoader.get_code

    def get_code(loader: SourceFileLoader, name: str) -> CodeType | None:
        if loader.path == str(ROOT / mutant.path):
            return compile(cast("ast.Module", changed), loader.path, "exec")
        return stored(loader, name)

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign, assignment]
    for name in [each for each in sys.modules if each.partition(".")[0] in {"cdc", "support"}]:
        del sys.modules[name]
    tests = [test for name in mutant.tests for test in sorted(map(str, ROOT.glob(name)))]
    plugins = [part for plugin in PLUGINS for part in ("-p", plugin)]
    ignored = "ignore::pytest.PytestAssertRewriteWarning"  # plugins are imported before
    os._exit(pytest.main(["-x", "-q", "-W", ignored, "-p", "no:cacheprovider", *plugins, *tests]))


def judged(mutants: Iterable[Mutant], jobs: int) -> Iterator[tuple[Mutant, int | None]]:
    """Return each with the exit code of its tests."""
    fork, waiting = multiprocessing.get_context("fork"), list(mutants)[::-1]
    running = dict[int, tuple[Any, Mutant, float]]()
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            process = fork.Process(target=_run, args=(mutant,))
            process.start()
            running[process.sentinel] = (process, mutant, time.monotonic() + SECONDS)
        connection.wait(list(running), 1.0)
        for sentinel, (process, mutant, until) in list(running.items()):
            if time.monotonic() > until:
                process.kill()
                process.join()
            if process.exitcode is not None:
                del running[sentinel]
                yield mutant, process.exitcode


def main() -> None:
    parser = argparse.ArgumentParser(description="Change the core, and count the changes that its tests notice.")
    parser.add_argument("modules", nargs="*", help="parts of paths; all without any")
    parser.add_argument("--sample", type=int, default=10, help="mutants of each module; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    for name in (*COMMON, *PLUGINS):
        importlib.import_module(name)
    os.environ |= {ADDRESS: "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # tests of units need no servers
    modules = {
        str(path.relative_to(ROOT)): tests for name, tests in NEAREST.items() for path in sorted(ROOT.glob(name))
    }
    chosen = {
        path: tests
        for path, tests in modules.items()
        if not options.modules or any(part in path for part in options.modules)
    }
    for whole, code in judged({tests: Mutant(path, tests) for path, tests in chosen.items()}.values(), options.jobs):
        if code:
            sys.exit(f"{whole.path}: its tests end with {code} without any change: pytest {' '.join(whole.tests)}")
    mutants = list[Mutant]()
    for path, tests in chosen.items():
        every = mutants_of(path, tests)
        count = min(options.sample or len(every), len(every))
        mutants += random.Random(options.seed).sample(every, count)
    explained = tomllib.loads((Path(__file__).parent / "mutants.toml").read_text())
    caught, counts = Counter[str](), Counter(each.path for each in mutants)
    for mutant, code in judged(mutants, options.jobs):
        caught[mutant.path] += code != 0
        if code == 0:
            reason = explained.get(mutant.path, {}).get(mutant.change, "NOT CAUGHT")
            print(f"{mutant.path}:{mutant.line}: {mutant.change}  ({reason})", flush=True)
    for path, count in counts.items():
        print(f"{caught[path]:5} of {count:5}  {path}")
    share = caught.total() / counts.total()
    print(f"{share:.1%} of {counts.total()} mutants caught (seed {options.seed})")
    sys.exit(share < LEAST_SHARE)


if __name__ == "__main__":
    main()
