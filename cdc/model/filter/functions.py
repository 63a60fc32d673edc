"""The functions of the language.  They raise `ValueError` for a value that they do not take."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from cdc.model.filter.arithmetic import unsigned, whole
from cdc.model.filter.limits import Meter
from cdc.model.filter.times import PARTS, part, span_of, text_of_span, text_of_time, time_of
from cdc.model.filter.values import PER_STEP, Span, Time, UInt, type_of

Function = Callable[[Any, Meter], Any]
Method = Callable[[Any, Any, Meter], bool]

#: Steps to read or write a time, a span of time or a number, and for a part of a time.
_READING: Final = 30
_PART: Final = 10
_WHOLE: Final = re.compile(r"[+-]?[0-9]+")
_UNSIGNED: Final = re.compile(r"\+?[0-9]+")
_DOUBLE: Final = re.compile(
    r"[+-]?(?:inf|infinity|nan|(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?)", re.IGNORECASE
)


def _size(value: Any, _: Meter) -> int:
    if isinstance(value, str | bytes | list | Mapping):
        return len(value)
    raise ValueError


def _string(value: Any, meter: Meter) -> str:
    match value:
        case str():
            return value
        case bytes():
            meter.spend(len(value) // PER_STEP)
            return value.decode()
        case Time() | Span() | float():
            meter.spend(_READING)
            return _written(value)
    if type(value) in (int, UInt):
        return str(int(value))
    raise ValueError


def _written(value: Time | Span | float) -> str:
    if isinstance(value, Time):
        return text_of_time(value)
    if isinstance(value, Span):
        return text_of_span(value)
    shown = str(value)
    if shown in ("inf", "-inf", "nan"):
        return shown.replace("nan", "NaN")
    return f"{Decimal(shown):f}".removesuffix(".0")


def _bytes(value: Any, meter: Meter) -> bytes:
    if isinstance(value, str):
        meter.spend(len(value) // PER_STEP)
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise ValueError


def _int(value: Any, meter: Meter) -> int:
    if type(value) in (int, UInt):
        return whole(int(value))
    if type(value) is float:
        return whole(_truncated(value))
    return whole(int(_shaped(value, _WHOLE, meter)))


def _uint(value: Any, meter: Meter) -> UInt:
    if type(value) in (int, UInt):
        return unsigned(int(value))
    if type(value) is float:
        if value < 0:
            raise OverflowError
        return unsigned(_truncated(value))
    return unsigned(int(_shaped(value, _UNSIGNED, meter)))


def _truncated(value: float) -> int:
    if math.isnan(value):
        raise OverflowError
    return int(value)


def _double(value: Any, meter: Meter) -> float:
    if type(value) in (int, UInt, float):
        return float(value)
    return float(_shaped(value, _DOUBLE, meter))


def _shaped(value: Any, shape: re.Pattern[str], meter: Meter) -> str:
    if not isinstance(value, str):
        raise ValueError  # noqa: TRY004 - a TypeError is one of an operator here
    meter.spend(_READING + len(value) // PER_STEP)
    if not shape.fullmatch(value):
        raise ValueError
    return value


def _timestamp(value: Any, meter: Meter) -> Time:
    if isinstance(value, str):
        meter.spend(_READING)
        return time_of(value)
    if isinstance(value, Time):
        return value
    raise ValueError


def _duration(value: Any, meter: Meter) -> Span:
    if isinstance(value, str):
        meter.spend(_READING)
        return span_of(value)
    if isinstance(value, Span):
        return value
    raise ValueError


def _searched(search: Callable[[str, str], bool]) -> Method:
    def method(text: Any, wanted: Any, meter: Meter) -> bool:
        if type(text) is not str or type(wanted) is not str:
            raise ValueError
        if len(text) > PER_STEP:
            meter.spend((len(text) + len(wanted)) // PER_STEP)
        return search(text, wanted)

    return method


def _part(name: str) -> Function:
    def property_of(value: Any, meter: Meter) -> int:
        meter.spend(_PART)
        return part(name, value)

    return property_of


#: Called with one value: ``size(x)``.
FUNCTIONS: Final[Mapping[str, Function]] = {
    "size": _size,
    "string": _string,
    "bytes": _bytes,
    "int": _int,
    "uint": _uint,
    "double": _double,
    "timestamp": _timestamp,
    "duration": _duration,
    "type": lambda value, _: type_of(value),
    "dyn": lambda value, _: value,
}
#: Called on a value: ``x.size()``.
PROPERTIES: Final[Mapping[str, Function]] = {"size": _size} | {name: _part(name) for name in PARTS}
#: Called on a value with another one: ``x.contains("y")``; ``matches`` is apart.
METHODS: Final[Mapping[str, Method]] = {
    "contains": _searched(lambda text, wanted: wanted in text),
    "startsWith": _searched(str.startswith),
    "endsWith": _searched(str.endswith),
}
