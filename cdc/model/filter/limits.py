"""Limits of a filter: what it may be, and what one evaluation may take."""

from __future__ import annotations

from typing import Final

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
