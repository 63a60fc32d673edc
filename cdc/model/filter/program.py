"""A filter, ready to be evaluated."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import get_close_matches
from operator import itemgetter
from typing import Any, Final

from cdc.model.errors import UsageError
from cdc.model.filter import operators
from cdc.model.filter.functions import FUNCTIONS, METHODS, PROPERTIES
from cdc.model.filter.parser import (
    Call,
    Chain,
    Choice,
    Index,
    ListOf,
    Literal,
    Logical,
    Loop,
    MapOf,
    Name,
    NestedTooDeep,
    Node,
    NotAnExpression,
    Select,
    Unary,
    loops,
    parse,
    size,
)
from cdc.model.filter.regex import Regex, RegexTooLarge, UnicodeBoundary, regex
from cdc.model.filter.values import LONGEST, LOOPS, METER, NESTED, REGEX_WEIGHT, Env, FilterLimit, Meter, Run, Type

#: Names that mean a type, in ``type(data.total) == double``.
TYPES: Final = ("bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint")
_MACROS: Final = ("has", "all", "exists", "exists_one", "map", "filter")
_CALLED: Final = tuple(dict.fromkeys((*FUNCTIONS, *PROPERTIES, *METHODS, "matches", "replace", *_MACROS)))


def unknown_name(name: str, variables: Collection[str]) -> UsageError:
    return UsageError(f"The expression uses {name}, which events do not have.", _near(name, variables))


def unknown_function(name: str) -> UsageError:
    if name in _CALLED:
        return UsageError(f"The expression calls {name}() with the wrong arguments.", _USES.get(name, ""))
    return UsageError(f"The expression calls {name}(), which does not exist.", _near(name, _CALLED))


def _near(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."


_USES: Final = (
    {name: f"It is used so: {name}(value)" for name in FUNCTIONS}
    | {name: f"It is used so: value.{name}()" for name in PROPERTIES}
    | {name: f'It is used so: text.{name}("text")' for name in (*METHODS, "matches")}
    | {name: f"It is used so: rows.{name}(row, row.total > 0.0)" for name in _MACROS}
    | {"join": 'It is used so: texts.join(", ")', "replace": 'It is used so: text.replace("old", "new")'}
    | {"has": "It is used so: has(data.total)", "size": "It is used so: size(value)"}
)


class Compiler:
    """``variables``: the names that an evaluation is given; ``used``: those that the filter has."""

    def __init__(self, variables: Collection[str]) -> None:
        self._variables = variables
        self._weight = 0
        self.used: dict[str, None] = {}

    def run(self, node: Node, bound: frozenset[str] = frozenset()) -> Run:
        """``bound``: names of the loops around.  Raises `UsageError`."""
        return _NODES[type(node)](self, node, bound)

    def runs(self, nodes: Iterable[Node], bound: frozenset[str]) -> list[Run]:
        return [self.run(each, bound) for each in nodes]

    def literal(self, node: Literal, _: frozenset[str]) -> Run:
        value = node.value
        return lambda _: value

    def select(self, node: Select, bound: frozenset[str]) -> Run:
        return operators.select(self.run(node.operand, bound), node.fields, test=node.test)

    def index(self, node: Index, bound: frozenset[str]) -> Run:
        return operators.index(self.run(node.operand, bound), self.run(node.key, bound))

    def unary(self, node: Unary, bound: frozenset[str]) -> Run:
        return operators.unary(node.sign, self.run(node.operand, bound))

    def chain(self, node: Chain, bound: frozenset[str]) -> Run:
        lefts = [node.first, *[None] * (len(node.rest) - 1)]
        steps = [
            (operators.operation(sign, left, each), self.run(each, bound))
            for left, (sign, each) in zip(lefts, node.rest, strict=True)
        ]
        return operators.chain(self.run(node.first, bound), steps)

    def logical(self, node: Logical, bound: frozenset[str]) -> Run:
        return operators.logical(self.runs(node.operands, bound), every=node.every)

    def choice(self, node: Choice, bound: frozenset[str]) -> Run:
        return operators.choice(*self.runs(node.children(), bound))

    def map_of(self, node: MapOf, bound: frozenset[str]) -> Run:
        return operators.map_of([(self.run(key, bound), self.run(value, bound)) for key, value in node.entries])

    def name(self, node: Name, bound: frozenset[str]) -> Run:
        name = node.name
        if name not in bound and name not in self._variables:
            if name not in TYPES:
                raise unknown_name(name, self._variables)
            value = Type(name)
            return lambda _: value
        if name not in bound:
            self.used[name] = None
        return itemgetter(name)

    def list_of(self, node: ListOf, bound: frozenset[str]) -> Run:
        constant = [each.value for each in node.items if isinstance(each, Literal)]
        if len(constant) == len(node.items):
            return lambda _: constant
        runs = self.runs(node.items, bound)
        return lambda env: [run(env) for run in runs]

    def loop(self, node: Loop, bound: frozenset[str]) -> Run:
        values = self.run(node.values, bound)
        inner = self.runs(node.body, bound | {node.variable})
        return operators.LOOP_KINDS[node.kind](
            values, node.variable, inner, operators.ROUND + sum(map(size, node.body))
        )

    def call(self, node: Call, bound: frozenset[str]) -> Run:
        arguments = self.runs(node.arguments, bound)
        if node.target is None:
            if node.name not in FUNCTIONS or len(arguments) != 1:
                raise unknown_function(node.name)
            return operators.applied(FUNCTIONS[node.name], arguments[0])
        target = self.run(node.target, bound)
        if node.name == "matches" and len(arguments) == 1:
            return self._matches(target, node.arguments[0], arguments[0])
        if node.name in PROPERTIES and not arguments:
            return operators.applied(PROPERTIES[node.name], target)
        if node.name in METHODS and len(arguments) == 1:
            return operators.method(METHODS[node.name], target, arguments[0])
        if node.name == "replace" and len(arguments) == 2:  # noqa: PLR2004 - what to replace, and with what
            return operators.replaced(target, *arguments)
        raise unknown_function(node.name)

    def _matches(self, target: Run, pattern: Node, run: Run) -> Run:
        if not isinstance(pattern, Literal):
            return operators.method(operators.matched, target, run)
        known = self._regex(pattern.value)

        def matches(env: Env) -> bool:
            text = target(env)
            if type(text) is not str:
                raise ValueError
            return known.found_in(text, env[METER])

        return matches

    def _regex(self, pattern: Any) -> Regex:
        try:
            if not isinstance(pattern, str):
                raise ValueError  # noqa: TRY004, TRY301 - one refusal for both
            known = regex(pattern)
            self._weight += known.weight
            if self._weight > REGEX_WEIGHT:
                raise RegexTooLarge  # noqa: TRY301 - one refusal for one expression and for all
        except ValueError:
            raise UsageError(
                "The expression has an invalid regular expression after matches.",
                "The syntax, without look-around and back-references: https://docs.rs/regex",
            ) from None
        except UnicodeBoundary:
            raise FilterLimit(
                "The regular expression after matches has a Unicode word boundary, which takes long to search for.",
                r"Write (?-u:\b), which knows ASCII letters only, or (^|\P{L})word(\P{L}|$).",
            ) from None
        except RegexTooLarge:
            raise FilterLimit(
                "The regular expressions after matches are too large.",
                "Count fewer repetitions, above all of \\w, \\p{…} and other classes of Unicode.",
            ) from None
        return known


#: The method for each kind of node.
_NODES: Final[Mapping[type[Node], Callable[[Compiler, Any, frozenset[str]], Run]]] = {
    Literal: Compiler.literal,
    Name: Compiler.name,
    Select: Compiler.select,
    Index: Compiler.index,
    Call: Compiler.call,
    Unary: Compiler.unary,
    Chain: Compiler.chain,
    Logical: Compiler.logical,
    Choice: Compiler.choice,
    ListOf: Compiler.list_of,
    MapOf: Compiler.map_of,
    Loop: Compiler.loop,
}


_LANGUAGE: Final = "The language: https://cel.dev; its variables here: {}."


class Program:
    """``variables``: those that the filter uses, of those that there are."""

    def __init__(self, text: str, variables: Collection[str]) -> None:
        """Raises `UsageError`."""
        if len(text) > LONGEST:
            raise FilterLimit(f"The expression has {len(text)} characters.", f"It has at most {LONGEST}.")
        tree = _parsed(text, variables)
        if loops(tree) > LOOPS:
            raise FilterLimit(
                "The expression nests exists, all, map or filter too deeply.", f"{LOOPS} levels are possible."
            )
        compiler = Compiler(variables)
        self._run = compiler.run(tree)
        self.variables = tuple(compiler.used)

    def execute(self, given: Mapping[str, Any], meter: Meter) -> Any:
        """Raises `OutOfSteps`; errors of the expression as `cdc.model.filter.values.ERRORS`; and `RecursionError` for
        values nested too deep."""
        return self._run({**given, METER: meter})


def _parsed(text: str, variables: Collection[str]) -> Node:
    try:
        return parse(text)
    except NotAnExpression as error:
        before = text[: error.place]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise UsageError(
            f"This is not a valid expression: {error.what} (line {line}, character {column}).",
            _LANGUAGE.format(", ".join(variables)),
        ) from None
    except NestedTooDeep:
        raise FilterLimit("The expression nests parentheses too deeply.", f"{NESTED} are possible.") from None


def problem(error: Exception) -> str:
    """Return a sentence of our own about one of `cdc.model.filter.values.ERRORS`: Python's may quote values."""
    if isinstance(error, TypeError):
        return "The expression compares or computes with values of different types."
    if isinstance(error, ArithmeticError):
        return "The expression computes a number that does not exist, such as 1 / 0."
    if isinstance(error, LookupError):
        return "The expression asks for a field or an element that the event does not have."
    return "The expression passes a value to a function that does not accept it."
