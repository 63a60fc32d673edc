"""Values of filters beside JSON's: unsigned numbers, times, spans of time, types; how values compare; and ``+ - * / %``
with the bounds of 64-bit numbers.  Limits of filters, and of one evaluation.

All operations raise `TypeError`, `LookupError`, `ArithmeticError` or `ValueError` where they are not possible.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

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


#: Variables by name; under `METER`, the meter of the evaluation.
Env = dict[str, Any]
Run = Callable[[Env], Any]
METER: Final = "#"

LARGEST_INT: Final = 2**63 - 1
SMALLEST_INT: Final = -(2**63)
LARGEST_UINT: Final = 2**64 - 1
#: Texts of so many characters are compared and searched within one step.
PER_STEP: Final = 256


class UInt(int):
    """``1u``; numbers of an event are plain ones, whatever their size."""


class Time(NamedTuple):
    """``nanoseconds`` since 1970, and the offset (minutes) that it was written with."""

    nanoseconds: int
    offset: int


class Span(NamedTuple):
    nanoseconds: int


class Type(NamedTuple):
    name: str


NUMBERS: Final = frozenset((int, float, UInt))
ERRORS: Final = (TypeError, LookupError, ArithmeticError, ValueError)
#: Steps to compare one pair of values of two lists or maps.
_EACH: Final = 3
#: What may be ordered beside numbers.
_ORDERED: Final = frozenset((str, bool, bytes, Time, Span))
#: The types that may be keys of a map; of an event, all are texts.
_KEYS: Final = frozenset((str, int, UInt))
_TYPE_NAMES: Final[Mapping[type, str]] = {
    bool: "bool",
    bytes: "bytes",
    float: "double",
    int: "int",
    list: "list",
    type(None): "null_type",
    str: "string",
    Type: "type",
    UInt: "uint",
    Time: "google.protobuf.Timestamp",
    Span: "google.protobuf.Duration",
}


def mistyped() -> TypeError:
    return TypeError("values of other types are needed")


def type_of(value: Any) -> Type:
    return Type("map" if isinstance(value, Mapping) else _TYPE_NAMES[type(value)])


def equal(one: Any, other: Any, meter: Meter) -> bool:
    """Numbers by their values, whatever their types; values of other types never."""
    kind = type(one)
    if kind in NUMBERS:
        return type(other) in NUMBERS and bool(one == other)
    if kind is list:
        return type(other) is list and _equal_lists(one, other, meter)
    if isinstance(one, Mapping):
        return isinstance(other, Mapping) and _equal_maps(one, other, meter)
    if kind is not type(other):
        return False
    if kind is str and len(one) > PER_STEP:
        meter.spend(len(one) // PER_STEP)
    return bool(one.nanoseconds == other.nanoseconds if kind is Time else one == other)


def _equal_lists(one: list[Any], other: list[Any], meter: Meter) -> bool:
    meter.spend(1 + _EACH * min(len(one), len(other)))
    return len(one) == len(other) and all(equal(*pair, meter) for pair in zip(one, other, strict=True))


def _equal_maps(one: Mapping[Any, Any], other: Mapping[Any, Any], meter: Meter) -> bool:
    meter.spend(1 + _EACH * min(len(one), len(other)))
    return len(one) == len(other) and all(
        name in other and equal(value, other[name], meter) for name, value in one.items()
    )


def ordered(one: Any, other: Any, meter: Meter) -> tuple[Any, Any]:
    """Two values that are no numbers, as Python orders them."""
    kind = type(one)
    if kind is not type(other) or kind not in _ORDERED:
        raise mistyped()
    if kind is str and len(one) > PER_STEP:
        meter.spend(len(one) // PER_STEP)
    return (one.nanoseconds, other.nanoseconds) if kind is Time else (one, other)


def contained(value: Any, values: Any, meter: Meter) -> bool:
    """``value in values``."""
    if isinstance(values, Mapping):
        return is_key(value) and value in values
    if type(values) is not list:
        raise mistyped()
    if type(value) is str:
        meter.spend(len(values) // 8)
        return value in values
    meter.spend(_EACH * len(values))
    return any(equal(value, each, meter) for each in values)


def is_key(value: Any) -> bool:
    """False for a truth value, which is never a key here.  Raises `TypeError` for what cannot be one."""
    if type(value) in _KEYS:
        return True
    if type(value) is bool:
        return False
    raise mistyped()


def element(values: Any, key: Any) -> Any:
    """``values[key]``."""
    if isinstance(values, Mapping):
        if not is_key(key):
            raise KeyError(key)
        return values[key]
    if type(values) is not list or type(key) not in (int, UInt):
        raise mistyped()
    if key < 0:
        raise IndexError(key)
    return values[key]


def field(row: Any, name: str) -> Any:
    """``row.name``."""
    if type(row) is dict or isinstance(row, Mapping):
        return row[name]
    raise mistyped()


#: Steps for each element of a list.
_NULLS_EACH: Final = 5


class WithoutNulls(Mapping[Any, Any]):
    """A row, and those in it, without what is null; made as far as it is asked for."""

    __slots__ = ("_meter", "_row", "_seen")

    def __init__(self, row: Mapping[Any, Any], meter: Meter) -> None:
        self._row = row
        self._meter = meter
        self._seen: dict[Any, Any] | None = None

    def __getitem__(self, name: Any) -> Any:
        value = self._row[name]
        if value is None:
            raise KeyError(name)
        if type(value) not in (dict, list):
            return value
        if self._seen is None:
            self._seen = {}
        if name not in self._seen:
            self._seen[name] = without_nulls(value, self._meter)
        return self._seen[name]

    def __iter__(self) -> Iterator[Any]:
        return (name for name, value in self._row.items() if value is not None)

    def __len__(self) -> int:
        return sum(value is not None for value in self._row.values())


def without_nulls(value: Any, meter: Meter) -> Any:
    if isinstance(value, Mapping):
        return WithoutNulls(value, meter)
    if type(value) is not list:
        return value
    meter.spend(_NULLS_EACH * len(value))
    return [WithoutNulls(each, meter) if type(each) is dict else without_nulls(each, meter) for each in value]


#: Characters that one step allocates.
TEXT_PER_STEP: Final = 64
_SECOND: Final = 1_000_000_000
#: From the year 1 to 9999.
_FIRST_TIME: Final = -62_135_596_800 * _SECOND
_END_OF_TIME: Final = 253_402_300_800 * _SECOND
_LONGEST_SPAN: Final = 315_576_000_000 * _SECOND


def whole(number: int) -> int:
    """Raises `OverflowError` for a number beyond 64 bits."""
    if SMALLEST_INT <= number <= LARGEST_INT:
        return number
    raise OverflowError


def unsigned(number: int) -> UInt:
    """Return the number as an unsigned integer.  Raises `OverflowError` when it is out of range."""
    if 0 <= number <= LARGEST_UINT:
        return UInt(number)
    raise OverflowError


def moment(nanoseconds: int, offset: int) -> Time:
    """Raises `OverflowError` for a time outside the years 1 to 9999."""
    if _FIRST_TIME <= nanoseconds < _END_OF_TIME:
        return Time(nanoseconds, offset)
    raise OverflowError


def span(nanoseconds: int) -> Span:
    """Raises `OverflowError` for more than 10,000 years."""
    if abs(nanoseconds) <= _LONGEST_SPAN:
        return Span(nanoseconds)
    raise OverflowError


def _of_numbers(one: Any, other: Any, operation: Callable[[Any, Any], Any]) -> Any:
    kind = type(one)
    if kind is not type(other):
        raise mistyped()
    if kind is int:
        return whole(operation(one, other))
    if kind is UInt:
        return unsigned(operation(int(one), int(other)))
    if kind is float:
        return operation(one, other)
    raise mistyped()


def _sum(one: Any, other: Any, meter: Meter) -> Any:
    match one, other:
        case (str(), str()) | (bytes(), bytes()):
            meter.spend((len(one) + len(other)) // TEXT_PER_STEP)
            return one + other
        case list(), list():
            meter.spend(len(one) + len(other))
            return one + other
        case (Time(time, offset), Span(length)) | (Span(length), Time(time, offset)):
            return moment(time + length, offset)
        case Span(length), Span(more):
            return span(length + more)
    return _of_numbers(one, other, lambda a, b: a + b)


def _difference(one: Any, other: Any, _: Meter) -> Any:
    match one, other:
        case Time(time, offset), Span(length):
            return moment(time - length, offset)
        case Time(time, _), Time(earlier, _):
            return span(time - earlier)
        case Span(length), Span(less):
            return span(length - less)
    return _of_numbers(one, other, lambda a, b: a - b)


def _product(one: Any, other: Any, _: Meter) -> Any:
    return _of_numbers(one, other, lambda a, b: a * b)


def _quotient(one: Any, other: Any, _: Meter) -> Any:
    return _of_numbers(one, other, _divided)


def _divided(one: Any, other: Any) -> Any:
    if type(one) is int:
        quotient = abs(one) // abs(other)
        return quotient if (one < 0) == (other < 0) else -quotient
    if other:
        return one / other
    return math.nan if one == 0 or math.isnan(one) else math.copysign(math.inf, one) * math.copysign(1.0, other)


def _remainder(one: Any, other: Any, _: Meter) -> Any:
    if type(one) is float:
        raise mistyped()
    return _of_numbers(one, other, lambda a, b: int(math.copysign(1, a)) * (abs(a) % abs(b)))


def negated(value: Any) -> Any:
    if type(value) is int:
        return whole(-value)
    if type(value) is float:
        return -value
    if type(value) is bool:
        return not value  # as other implementations do
    raise mistyped()


OPERATIONS: Final[dict[str, Callable[[Any, Any, Meter], Any]]] = {
    "+": _sum,
    "-": _difference,
    "*": _product,
    "/": _quotient,
    "%": _remainder,
}
