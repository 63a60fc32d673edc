"""The parsed form of a filter, its limits, and those of one evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from cdc.model.errors import UsageError

#: Characters of a filter.
LONGEST: Final = 2000
#: Levels of parentheses, calls, lists and choices: each is a Python frame or two of the evaluation.
NESTED: Final = 64
#: Levels of ``exists``, ``all``, ``map`` and ``filter`` within each other.
LOOPS: Final = 2
#: The weight of all regular expressions of a filter (`cdc.model.filter.regex`): about microseconds to build them.
REGEX_WEIGHT: Final = 6_000
#: Steps of one evaluation, of about a tenth of a microsecond each.
STEPS: Final = 50_000
#: Steps of an evaluation, on average of many.
AVERAGE: Final = 10_000
#: Steps above the average that a filter may take at once: dozens of large documents.
BURST: Final = 1_000_000


class FilterLimit(UsageError):
    """The filter is larger, or takes longer, than a filter may."""


class OutOfSteps(Exception):
    """An evaluation took its steps.  No error of the expression: ``||`` does not absorb it."""


class Meter:
    """The steps that an evaluation has left.  What it allocates is counted as steps too, so they bound its memory."""

    __slots__ = ("left",)

    def __init__(self, steps: int = STEPS) -> None:
        self.left = steps

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise OutOfSteps


@dataclass(frozen=True, slots=True)
class Literal:
    """``text``: of a number with a fraction, which may have more digits than its value."""

    value: Any
    text: str = ""

    def children(self) -> tuple[Node, ...]:
        return ()


@dataclass(frozen=True, slots=True)
class Name:
    name: str

    def children(self) -> tuple[Node, ...]:
        return ()


@dataclass(frozen=True, slots=True)
class Select:
    """``operand.first.second``.  ``test``: within ``has()``, which asks for the last of the fields."""

    operand: Node
    fields: tuple[str, ...]
    test: bool = False

    def children(self) -> tuple[Node, ...]:
        return (self.operand,)


@dataclass(frozen=True, slots=True)
class Index:
    operand: Node
    key: Node

    def children(self) -> tuple[Node, ...]:
        return (self.operand, self.key)


@dataclass(frozen=True, slots=True)
class Call:
    """A function of its arguments; ``target``: the value before the point, None without one."""

    name: str
    target: Node | None
    arguments: tuple[Node, ...]

    def children(self) -> tuple[Node, ...]:
        return self.arguments if self.target is None else (self.target, *self.arguments)


@dataclass(frozen=True, slots=True)
class Unary:
    """``sign``: ``!`` or ``-``."""

    sign: str
    operand: Node

    def children(self) -> tuple[Node, ...]:
        return (self.operand,)


@dataclass(frozen=True, slots=True)
class Chain:
    """``first sign second sign third …``, of signs of the same precedence, from left to right."""

    first: Node
    rest: tuple[tuple[str, Node], ...]

    def children(self) -> tuple[Node, ...]:
        return (self.first, *(each for _, each in self.rest))


@dataclass(frozen=True, slots=True)
class Logical:
    """Operands of ``&&`` (``every``) or ``||``."""

    every: bool
    operands: tuple[Node, ...]

    def children(self) -> tuple[Node, ...]:
        return self.operands


@dataclass(frozen=True, slots=True)
class Choice:
    condition: Node
    then: Node
    otherwise: Node

    def children(self) -> tuple[Node, ...]:
        return (self.condition, self.then, self.otherwise)


@dataclass(frozen=True, slots=True)
class ListOf:
    items: tuple[Node, ...]

    def children(self) -> tuple[Node, ...]:
        return self.items


@dataclass(frozen=True, slots=True)
class MapOf:
    entries: tuple[tuple[Node, Node], ...]

    def children(self) -> tuple[Node, ...]:
        return tuple(each for entry in self.entries for each in entry)


@dataclass(frozen=True, slots=True)
class Loop:
    """``values.kind(variable, …)``; ``body``: the arguments after the variable."""

    kind: str
    values: Node
    variable: str
    body: tuple[Node, ...]

    def children(self) -> tuple[Node, ...]:
        return (self.values, *self.body)


Node = Literal | Name | Select | Index | Call | Unary | Chain | Logical | Choice | ListOf | MapOf | Loop


def size(node: Node) -> int:
    """The nodes of a tree."""
    return 1 + sum(size(each) for each in node.children())


def loops(node: Node) -> int:
    """Return how deep the bodies of loops are nested."""
    if isinstance(node, Loop):
        return max(loops(node.values), 1 + max(map(loops, node.body)))
    return max(map(loops, node.children()), default=0)
