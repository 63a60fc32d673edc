"""Regular expressions of filters: Rust's, which search in a time that grows with the text and never back-track.

How long one takes to build is bounded before it is built: classes of Unicode are automata of hundreds of states, and a
repetition count multiplies them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import lru_cache, reduce
from typing import Final, NamedTuple

from pydantic_core import SchemaError, SchemaValidator, core_schema

from cdc.model.filter.limits import LONGEST, REGEX_WEIGHT, Meter, OutOfSteps

#: Weights: about microseconds.
_UNICODE: Final = 350
_DIGITS: Final = 80
_ANY: Final = 6
_PLAIN: Final = 1
#: A class that ignores case, or is negated, has more ranges.
_CLASS_FACTOR: Final = 6
_STEPS_PER_WEIGHT: Final = 10
#: Below so many repeated classes the automaton of a search has few states, and searches at full speed.
_FEW_CLASSES: Final = 10
_SHORT_TEXT: Final = 256
_NANOSECONDS_PER_STEP: Final = 100
#: The most work of one search, in characters times classes: 40 ms.
_LARGEST_SEARCH: Final = 400_000

_FLAGS: Final = re.compile(r"\(\?([a-zA-Z]*)")
#: Expressions that are kept as they were built: of the largest, 200 MB.
_BUILT: Final = 128
_TOKEN: Final = re.compile(
    r"""
    (?P<unicode>\\(?:[wW]|[pP](?:\{[^}]*\}|.)))
  | (?P<digits>\\[dDsS])
  | (?P<escape>\\(?:[xuU]\{[^}]*\}|[bB]\{[a-z-]*\}|.))
  | (?P<open>\((?:\?(?:P?<[^>]*>|[a-zA-Z-]*[:)]))?)
  | (?P<close>\))
  | (?P<class>\[\^?\]?)
  | (?P<repeat>\{\s*(?P<least>[0-9]*)\s*(?:,\s*(?P<most>[0-9]*)\s*)?\})
  | (?P<sign>[*+?|^$])
  | (?P<any>\.)
  | (?P<plain>[^\[{\\])
    """,
    re.VERBOSE | re.DOTALL,
)
_IN_CLASS: Final = re.compile(
    r"(?P<unicode>\\(?:[wW]|[pP](?:\{[^}]*\}|.)))|(?P<digits>\\[dDsS]|\[:[^\]]*:\])|(?P<open>\[\^?\]?)|(?P<close>\])"
    r"|(?P<plain>\\[xuU]\{[^}]*\}|\\.|[^\\])",
    re.DOTALL,
)


class RegexTooLarge(Exception):
    """The expression is heavier than `REGEX_WEIGHT`."""


class Size(NamedTuple):
    """``weight``: to build it.  ``classes``: of characters, repeated as often as they can be."""

    weight: int
    classes: int

    def plus(self, other: Size) -> Size:
        return Size(self.weight + other.weight, self.classes + other.classes)

    def times(self, count: int) -> Size:
        return Size(self.weight * count, self.classes * count)


_NOTHING: Final = Size(0, 0)
_UNREADABLE: Final = Size(REGEX_WEIGHT + 1, 1)
_WEIGHTS: Final = {
    "unicode": Size(_UNICODE, 1),
    "digits": Size(_DIGITS, 1),
    "any": Size(_ANY, 1),
    "escape": Size(_PLAIN, 0),
    "plain": Size(_PLAIN, 0),
    "sign": Size(_PLAIN, 0),
}


class Regex(NamedTuple):
    pattern: str
    size: Size

    def found_in(self, text: str, meter: Meter) -> bool:
        """Costs what it takes; raises `OutOfSteps` before a search that might take too long."""
        search = _search(self.pattern)
        if len(text) <= _SHORT_TEXT:
            meter.spend(1 + self.size.classes * len(text) // _SHORT_TEXT)
            return search(text)
        classes = self.size.classes if self.size.classes > _FEW_CLASSES else 1
        if len(text) * classes > _LARGEST_SEARCH:
            raise OutOfSteps
        before = time.thread_time_ns()
        found = search(text)
        meter.spend(1 + (time.thread_time_ns() - before) // _NANOSECONDS_PER_STEP)
        return found


def computed(pattern: str, meter: Meter) -> Regex:
    """Compile a pattern that is not in the text of the filter.  Raises `ValueError` for what is no regular expression,
    and `OutOfSteps`."""
    size = size_of(pattern)
    meter.spend(size.weight * _STEPS_PER_WEIGHT)
    _search(pattern)
    return Regex(pattern, size)


def regex(pattern: str) -> Regex:
    """Raises `ValueError` for what is no regular expression, `RegexTooLarge`."""
    size = size_of(pattern)
    if size.weight > REGEX_WEIGHT:
        raise RegexTooLarge
    _search(pattern)
    return Regex(pattern, size)


@lru_cache(maxsize=_BUILT)
def _search(pattern: str) -> Callable[[str], bool]:
    """Build it; its size is known to be bearable."""
    try:
        schema = core_schema.str_schema(pattern=pattern, regex_engine="rust-regex")
        return SchemaValidator(schema).isinstance_python
    except SchemaError:
        raise ValueError from None


def size_of(pattern: str) -> Size:
    """Return the least size of a pattern; over `REGEX_WEIGHT` for one that cannot be read or has the flag ``x``."""
    if len(pattern) > LONGEST:
        return _UNREADABLE
    flags = "".join(_FLAGS.findall(pattern))
    if "x" in flags:
        return _UNREADABLE
    measure = _Measure(pattern, ignoring_case="i" in flags)
    while measure.place < len(pattern):
        if not measure.step() or measure.weight > REGEX_WEIGHT:
            return _UNREADABLE
    return measure.size()


class _Measure:
    """Reads a pattern once.  ``_atom``: what a count that follows would repeat."""

    def __init__(self, pattern: str, *, ignoring_case: bool) -> None:
        self._pattern = pattern
        self._factor = _CLASS_FACTOR if ignoring_case else 1
        self._outer: list[Size] = []
        self._before = _NOTHING
        self._atom = _NOTHING
        self.place = 0

    @property
    def weight(self) -> int:
        return self._before.weight + self._atom.weight

    def size(self) -> Size:
        inner = self._before.plus(self._atom)
        return reduce(Size.plus, self._outer, inner)

    def step(self) -> bool:
        """Read a token; whether it could be read."""
        found = _TOKEN.match(self._pattern, self.place)
        if found is None:
            return False
        self.place = found.end()
        if found["open"]:
            self._open(found["open"])
        elif found["close"]:
            self._close()
        elif found["repeat"]:
            counts = [int(digits[:9]) for digits in (found["least"], found["most"]) if digits]
            self._atom = self._atom.times(max(1, *counts) if counts else 1)
        elif found["sign"] in ("*", "+", "?"):
            self._atom = self._atom.plus(Size(_PLAIN, 0))
        elif found["class"]:
            return self._class(negated="^" in found["class"])
        else:
            self._add(_WEIGHTS[str(found.lastgroup)])
        return True

    def _add(self, atom: Size) -> None:
        self._before = self._before.plus(self._atom)
        self._atom = atom

    def _open(self, text: str) -> None:
        if not text.endswith(")"):  # else it sets flags
            self._add(Size(_PLAIN, 0))
            self._outer.append(self._before)
            self._before = self._atom
            self._atom = _NOTHING

    def _close(self) -> None:
        self._atom = self._before.plus(self._atom)
        self._before = self._outer.pop() if self._outer else _NOTHING

    def _class(self, *, negated: bool) -> bool:
        """Read a class of characters to its end, with those in it."""
        weight, depth = (_ANY if negated else _PLAIN), 1
        while depth:
            found = _IN_CLASS.match(self._pattern, self.place)
            if found is None:
                return False
            self.place = found.end()
            depth += 1 if found["open"] else -1 if found["close"] else 0
            if found["unicode"] or found["digits"]:
                weight += _WEIGHTS[str(found.lastgroup)].weight
            else:
                weight += self._factor * (_PLAIN if found.group().isascii() and "{" not in found.group() else _ANY)
        self._add(Size(weight, 1))
        return True
