"""Possible texts of an expression of the package's source: constants, f-strings, variables, parameters, functions."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Final, NamedTuple

import cdc

ROOT: Final = Path(cdc.__file__).parent
#: A value that only a running program knows.
VALUE: Final = "\0"
#: Alternatives of one text; a text with more is too clever.
_MOST: Final = 100
#: Alternatives of a part that are written out: clauses, or single words.
_CLAUSES: Final = 20
_WORDS: Final = 3
_DEEPEST: Final = 12

Function = ast.FunctionDef | ast.AsyncFunctionDef


class SourceModule(NamedTuple):
    """``imported``: name → module's path and name there.  ``constants``: name → what is assigned at the top."""

    path: str
    tree: ast.Module
    functions: dict[str, list[Function]]
    calls: dict[str, list[ast.Call]]
    imported: dict[str, tuple[str, str]]
    constants: dict[str, list[ast.expr]]


class Scope(NamedTuple):
    """The place of an expression.  ``element``: of tuples, only this element is meant."""

    module: SourceModule
    function: Function | None
    depth: int = 0
    element: int | None = None


@cache
def modules() -> Mapping[str, SourceModule]:
    """Path below the package → module."""
    return {str(file.relative_to(ROOT)): _read(file) for file in sorted(ROOT.rglob("*.py"))}


def _read(file: Path) -> SourceModule:
    tree = ast.parse(file.read_text("utf-8"))
    read = SourceModule(str(file.relative_to(ROOT)), tree, {}, {}, {}, {})
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            child.parent = node  # type: ignore[attr-defined]  # an AST's nodes do not know theirs
        if isinstance(node, Function):
            read.functions.setdefault(node.name, []).append(node)
        elif isinstance(node, ast.Call):
            read.calls.setdefault(name_of(node.func), []).append(node)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cdc."):
            where = (node.module or "").removeprefix("cdc.").replace(".", "/")
            read.imported.update({alias.asname or alias.name: (where, alias.name) for alias in node.names})
    for statement in tree.body:
        for name, value in _assigned(statement):
            read.constants.setdefault(name, []).append(value)
    return read


def name_of(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def function_of(node: Any) -> Function | None:
    """Return the function that a node is in."""
    while not isinstance(node, ast.Module):
        node = node.parent
        if isinstance(node, Function):
            return node
    return None


def class_of(node: Any) -> str:
    """Return the name of the class that a node is in; empty where it is in none."""
    while not isinstance(node, ast.ClassDef | ast.Module):
        node = node.parent
    return node.name if isinstance(node, ast.ClassDef) else ""


def _assigned(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield from _each_assigned(target, node.value)
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
        yield from _each_assigned(node.target, node.value)


def _each_assigned(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple):
        for index, each in enumerate(target.elts):
            yield from _each_assigned(each, ast.Subscript(value, ast.Constant(index)))


class Texts:
    """``phrases``: texts that are values within others, found on the way."""

    def __init__(self) -> None:
        self.phrases: list[str] = []

    def of(self, node: ast.AST, scope: Scope) -> list[str]:
        """Return the possible texts of an expression, with `VALUE` for unknown parts."""
        read = _READERS.get(type(node))
        if read is None or scope.depth > _DEEPEST:
            return [VALUE]
        return read(self, node, scope._replace(depth=scope.depth + 1))

    def several(self, nodes: Sequence[ast.AST], scope: Scope) -> list[str]:
        return list(dict.fromkeys(text for node in nodes for text in self.of(node, scope)))

    def constant(self, node: ast.Constant, _scope: Scope) -> list[str]:
        if node.value is None:
            return [""]
        return [node.value if isinstance(node.value, str) else VALUE]

    def f_string(self, node: ast.JoinedStr, scope: Scope) -> list[str]:
        return _joined([self._part(each, scope) for each in node.values])

    def _part(self, node: ast.expr, scope: Scope) -> list[str]:
        """A choice of words or clauses is written out, all else is a value."""
        if not isinstance(node, ast.FormattedValue):
            return self.of(node, scope)
        found = self.of(node.value, scope)
        if _is_choice(found):
            return [text for text in found if text or not any(each[:1].isalpha() for each in found)]
        self.phrases += [text for text in found if text != VALUE]
        return [VALUE]

    def of_sum(self, node: ast.BinOp, scope: Scope) -> list[str]:
        if not isinstance(node.op, ast.Add):
            return [VALUE]
        return _joined([self.of(node.left, scope), self.of(node.right, scope)])

    def condition(self, node: ast.IfExp, scope: Scope) -> list[str]:
        return self.several([node.body, node.orelse], scope)

    def values(self, node: ast.BoolOp | ast.Dict, scope: Scope) -> list[str]:
        return self.several(node.values, scope)

    def inner(self, node: ast.NamedExpr | ast.Starred, scope: Scope) -> list[str]:
        return self.of(node.value, scope)

    def of_tuple(self, node: ast.Tuple, scope: Scope) -> list[str]:
        if scope.element is None:
            return self.several(node.elts, scope)
        return self.of(node.elts[scope.element], scope._replace(element=None))

    def of_list(self, node: ast.List, scope: Scope) -> list[str]:
        return self.several(node.elts, scope)

    def of_element(self, node: ast.Subscript, scope: Scope) -> list[str]:
        if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, int):
            scope = scope._replace(element=node.slice.value)
        return self.of(node.value, scope)

    def variable(self, node: ast.Name, scope: Scope) -> list[str]:
        found = self._local(node.id, scope) if scope.function else []
        if not found:
            constants = scope.module.constants.get(node.id, [])
            found = self.several(constants, scope._replace(function=None))
        if not found and node.id in scope.module.imported:
            module, name = _import(scope.module, node.id)
            found = self.several(module.constants.get(name, []), Scope(module, None, scope.depth, scope.element))
        return list(dict.fromkeys(found)) or [VALUE]

    def _local(self, name: str, scope: Scope) -> list[str]:
        assert scope.function is not None, "looked up in a function"
        nodes = list(ast.walk(scope.function))
        found = self.several([value for node in nodes for key, value in _assigned(node) if key == name], scope)
        base = found or [VALUE]
        for node in nodes:
            if isinstance(node, ast.AugAssign) and name_of(node.target) == name:
                found = [*found, *_joined([base, self.of(node.value, scope)])]
        return found or self._argument(name, scope.function, scope)

    def _argument(self, name: str, function: Function, scope: Scope) -> list[str]:
        """Return the texts that callers of the same module pass for a parameter."""
        names = [each.arg for each in (*function.args.posonlyargs, *function.args.args)]
        if name not in [*names, *(each.arg for each in function.args.kwonlyargs)]:
            return []
        place = names.index(name) - (names[0] in ("self", "cls")) if name in names else -1
        found: list[str] = []
        for call in scope.module.calls.get(function.name, []):
            given = [each.value for each in call.keywords if each.arg == name]
            given = given or (call.args[place : place + 1] if place >= 0 else [])
            found += self.several(given, scope._replace(function=function_of(call)))
        return found

    def call(self, node: ast.Call, scope: Scope) -> list[str]:
        name, called = name_of(node.func), node.func
        if isinstance(called, ast.Attribute):
            if name == "get":
                return self.several([called.value, *node.args[1:]], scope)
            if name == "format":
                return [re.sub(r"\{[^}]*\}", VALUE, text) for text in self.of(called.value, scope)]
            if name_of(called.value) not in ("self", "cls"):
                return [VALUE]
        module = scope.module
        if name not in module.functions and name in module.imported:
            module, name = _import(module, name)
        found: list[str] = []
        for function in module.functions.get(name, []):
            returned = [each.value for each in ast.walk(function) if isinstance(each, ast.Return) and each.value]
            found += self.several(returned, Scope(module, function, scope.depth, scope.element))
        return list(dict.fromkeys(found)) or [VALUE]


def _import(module: SourceModule, name: str) -> tuple[SourceModule, str]:
    where, original = module.imported[name]
    return modules().get(f"{where}.py") or modules().get(f"{where}/__init__.py") or module, original


def _joined(parts: Sequence[list[str]]) -> list[str]:
    made = ["".join(each) for each in product(*parts)]
    assert len(made) <= _MOST, f"a text with {len(made)} forms: {made[0]!r}"
    return list(dict.fromkeys(made))


def _is_choice(texts: Sequence[str]) -> bool:
    if len(texts) > _CLAUSES or not all(re.match(r"[A-Za-z,; (]", text) for text in texts if text):
        return False
    if any(" " in text for text in texts):
        return True
    return len(texts) <= _WORDS and all(VALUE not in text for text in texts)


_READERS: Final[Mapping[type[ast.AST], Callable[[Texts, Any, Scope], list[str]]]] = {
    ast.Constant: Texts.constant,
    ast.JoinedStr: Texts.f_string,
    ast.BinOp: Texts.of_sum,
    ast.IfExp: Texts.condition,
    ast.BoolOp: Texts.values,
    ast.Dict: Texts.values,
    ast.NamedExpr: Texts.inner,
    ast.Starred: Texts.inner,
    ast.Tuple: Texts.of_tuple,
    ast.List: Texts.of_list,
    ast.Subscript: Texts.of_element,
    ast.Name: Texts.variable,
    ast.Call: Texts.call,
}
