"""Regular expressions of filters: Rust's, which never back-track.

How long one takes to build is bounded before it is built: classes of Unicode are automata of hundreds of states, and a
repetition count multiplies them.

How long a search takes is bounded before it begins.  With few states, a search is one step of a finite automaton for
each character.  With more than fit into its cache, the library simulates all states at once, for each character: a
search then takes atoms times characters.  At a word boundary of Unicode, it always does so in a text that is not ASCII:
these are refused.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import lru_cache, reduce
from typing import Final, NamedTuple

from pydantic_core import SchemaError, SchemaValidator, core_schema

from cdc.model.filter.values import LONGEST, REGEX_WEIGHT, Meter, OutOfSteps

#: Weights: about microseconds.
_UNICODE: Final = 350
_DIGITS: Final = 80
_ANY: Final = 6
_PLAIN: Final = 1
#: A class that ignores case, or is negated, has more ranges.
_CLASS_FACTOR: Final = 6
_STEPS_PER_WEIGHT: Final = 10
#: An automaton with at most so many states fits into the cache of a search.
_FEW_STATES: Final = 4096
#: The most work of one search for each step that is left, in atoms times characters, of 12 to 20 ns at worst.  With all
#: `STEPS`, a search takes at most 20 ms.
WORK_PER_STEP: Final = 20
#: Less work than this, or than this part of the steps that are left, is not worth being timed, which takes longer than
#: the search: a step each so often.
_UNTIMED: Final = 64
_UNTIMED_PART: Final = 64
_UNTIMED_PER_STEP: Final = 8
_NANOSECONDS_PER_STEP: Final = 100

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


#: What follows the backslash of a word boundary.
_BOUNDARIES: Final = frozenset("bB<>")


class RegexTooLarge(Exception):
    """The expression is heavier than `REGEX_WEIGHT`."""


class UnicodeBoundary(Exception):
    """The expression has a word boundary of Unicode."""


class Size(NamedTuple):
    """``weight``: to build it.  ``atoms``: states that a search may be in at once.  ``branches``: atoms that may take
    more than one character, or may be left out.  All as often as they are repeated."""

    weight: int
    atoms: int
    branches: int = 0

    def plus(self, other: Size) -> Size:
        return Size(self.weight + other.weight, self.atoms + other.atoms, self.branches + other.branches)

    def times(self, count: int, *, fixed: bool) -> Size:
        return Size(self.weight * count, self.atoms * count, self.branches * count + (0 if fixed else count))

    @property
    def per_character(self) -> int:
        """The most work for a character of a text."""
        few = self.branches < _FEW_STATES.bit_length() and self.atoms << self.branches <= _FEW_STATES
        return 1 if few else self.atoms


_NOTHING: Final = Size(0, 0)
_UNREADABLE: Final = Size(REGEX_WEIGHT + 1, 1)
#: A class is several atoms: a character of it is up to four bytes.
_WEIGHTS: Final = {
    "unicode": Size(_UNICODE, 6, 1),
    "digits": Size(_DIGITS, 5, 1),
    "any": Size(_ANY, 4, 1),
    "escape": Size(_PLAIN, 1),
    "plain": Size(_PLAIN, 1),
    "sign": Size(_PLAIN, 1),
}
#: Of ``* + ?`` and ``|``, beside what they are about.
_SIGN: Final = Size(_PLAIN, 1, 1)


class Regex(NamedTuple):
    """``per_character``: as `Size` has it."""

    pattern: str
    weight: int
    per_character: int

    def found_in(self, text: str, meter: Meter) -> bool:
        """Costs what it takes; raises `OutOfSteps` before a search that might take too long."""
        work = self.per_character * len(text)
        if work > WORK_PER_STEP * meter.left:
            raise OutOfSteps
        if work <= _UNTIMED or work <= meter.left // _UNTIMED_PART:
            meter.spend(1 + work // _UNTIMED_PER_STEP)
            return _search(self.pattern)(text)
        before = time.thread_time_ns()
        found = _search(self.pattern)(text)
        meter.spend(1 + (time.thread_time_ns() - before) // _NANOSECONDS_PER_STEP)
        return found


def computed(pattern: str, meter: Meter) -> Regex:
    """Compile a pattern that is not in the text of the filter.  Raises `ValueError` for what is no regular expression,
    or has a word boundary of Unicode, and `OutOfSteps`."""
    try:
        size = size_of(pattern)
    except UnicodeBoundary:
        raise ValueError from None
    meter.spend(size.weight * _STEPS_PER_WEIGHT)
    _search(pattern)
    return Regex(pattern, size.weight, size.per_character)


def regex(pattern: str) -> Regex:
    """Raises `ValueError` for what is no regular expression, `RegexTooLarge`, `UnicodeBoundary`."""
    size = size_of(pattern)
    if size.weight > REGEX_WEIGHT:
        raise RegexTooLarge
    _search(pattern)
    return Regex(pattern, size.weight, size.per_character)


@lru_cache(maxsize=_BUILT)
def _search(pattern: str) -> Callable[[str], bool]:
    """Build it; its size is known to be bearable."""
    try:
        schema = core_schema.str_schema(pattern=pattern, regex_engine="rust-regex")
        return SchemaValidator(schema).isinstance_python
    except SchemaError:
        raise ValueError from None


def size_of(pattern: str) -> Size:
    """Return the size of a pattern; over `REGEX_WEIGHT` for one that cannot be read or has the flag ``x``.  Raises
    `UnicodeBoundary`."""
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
        self._outer: list[tuple[Size, bool]] = []
        self._unicode = True
        self._before = _NOTHING
        self._atom = _NOTHING
        self.place = 0

    @property
    def weight(self) -> int:
        return self._before.weight + self._atom.weight

    def size(self) -> Size:
        inner = self._before.plus(self._atom)
        return reduce(Size.plus, (size for size, _ in self._outer), inner)

    def step(self) -> bool:
        """Read a token; whether it could be read."""
        found = _TOKEN.match(self._pattern, self.place)
        if found is None:
            return False
        self.place = found.end()
        if found["open"]:
            self._open(found["open"])
        elif found["close"]:
            self._atom = self._before.plus(self._atom)
            self._before, self._unicode = self._outer.pop() if self._outer else (_NOTHING, True)
        elif found["repeat"]:
            counts = [int(digits[:9]) for digits in (found["least"], found["most"]) if digits]
            fixed = "," not in found["repeat"]
            self._atom = self._atom.times(max(1, *counts) if counts else 1, fixed=fixed)
        elif found["sign"] in ("*", "+", "?"):
            self._atom = self._atom.plus(_SIGN)
        elif found["class"]:
            return self._class(negated="^" in found["class"])
        elif found["sign"] == "|":
            self._add(_SIGN)
        elif found["escape"] and self._unicode and found["escape"][1] in _BOUNDARIES:
            raise UnicodeBoundary
        else:
            self._add(_WEIGHTS[str(found.lastgroup)])
        return True

    def _add(self, atom: Size) -> None:
        self._before = self._before.plus(self._atom)
        self._atom = atom

    def _open(self, text: str) -> None:
        around = self._unicode
        on, _, off = ("" if "<" in text else text[2:-1]).partition("-")
        self._unicode = "u" not in off and ("u" in on or around)
        if not text.endswith(")"):  # else it sets flags for the rest of the group that it is in
            self._add(Size(_PLAIN, 1))
            self._outer.append((self._before, around))
            self._before = self._atom
            self._atom = _NOTHING

    def _class(self, *, negated: bool) -> bool:
        """Read a class of characters to its end, with those in it."""
        weight, depth, atoms = (_ANY if negated else _PLAIN), 1, _WEIGHTS["any"].atoms
        while depth:
            found = _IN_CLASS.match(self._pattern, self.place)
            if found is None:
                return False
            self.place = found.end()
            depth += 1 if found["open"] else -1 if found["close"] else 0
            if found["unicode"] or found["digits"]:
                weight += _WEIGHTS[str(found.lastgroup)].weight
                atoms = _WEIGHTS["unicode"].atoms
            else:
                weight += self._factor * (_PLAIN if found.group().isascii() and "{" not in found.group() else _ANY)
        self._add(Size(weight, atoms, 1))
        return True
