"""A filter, ready to be evaluated."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from cdc.model.errors import UsageError
from cdc.model.filter.compiler import Compiler
from cdc.model.filter.limits import LONGEST, LOOPS, NESTED, FilterLimit, Meter
from cdc.model.filter.parser import NestedTooDeep, parse
from cdc.model.filter.tokens import NotAnExpression
from cdc.model.filter.tree import Node, loops
from cdc.model.filter.values import METER

_LANGUAGE: Final = "The language: https://cel.dev; its variables here: {}."


class Program:
    """``variables``: those that the filter uses, of those that there are."""

    def __init__(self, text: str, variables: Collection[str]) -> None:
        """Raises `UsageError`."""
        if len(text) > LONGEST:
            raise FilterLimit(f"The filter has {len(text)} characters.", f"It has at most {LONGEST}.")
        tree = _parsed(text, variables)
        if loops(tree) > LOOPS:
            raise FilterLimit("The filter nests exists, all, map or filter too deep.", f"{LOOPS} levels are possible.")
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
            f"The filter is no expression: {error.what} (line {line}, character {column}).",
            _LANGUAGE.format(", ".join(variables)),
        ) from None
    except NestedTooDeep:
        raise FilterLimit("The filter has too many parentheses in each other.", f"{NESTED} are possible.") from None
