"""``+ - * / %`` and the minus sign, with the bounds of 64-bit numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from cdc.model.filter.limits import Meter
from cdc.model.filter.values import LARGEST_INT, LARGEST_UINT, SMALLEST_INT, Span, Time, UInt, mistyped

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
