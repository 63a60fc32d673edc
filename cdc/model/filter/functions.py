"""The functions of the language.  They raise `ValueError` for a value that they do not take."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from cdc.model.filter.values import (
    PER_STEP,
    TEXT_PER_STEP,
    Meter,
    Span,
    Time,
    UInt,
    moment,
    span,
    type_of,
    unsigned,
    whole,
)

_SECOND: Final = 1_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MINUTE: Final = 59
_DAY_MINUTES: Final = 24 * 60
_TIME: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_UNITS: Final = {
    "h": 3_600 * _SECOND,
    "m": 60 * _SECOND,
    "s": _SECOND,
    "ms": 1_000_000,
    "us": 1_000,
    "µs": 1_000,
    "ns": 1,
}
_PART: Final = re.compile(r"([0-9]*\.?[0-9]+|[0-9]+\.)(h|ms|us|µs|ns|m|s)")


#: Characters of a text that may be read as a number, a time or a duration: these are read as a whole.
LONGEST_READ: Final = 500


def time_of(text: str) -> Time:
    """Return the time that a text in RFC 3339 format names.  Raises `ValueError`."""
    found = _TIME.fullmatch(text) if len(text) <= LONGEST_READ else None
    if found is None:
        raise ValueError
    year, month, day, hour, minute, second, fraction, sign, hours, minutes = found.groups()
    clock = (int(hour), int(minute), int(second))
    offset = 0
    if sign is not None:
        offset = (int(hours) * 60 + int(minutes)) * (-1 if sign == "-" else 1)
    if clock > (23, 59, 59) or max(clock) > _LAST_MINUTE or abs(offset) >= _DAY_MINUTES:
        raise ValueError
    days = date(int(year), int(month), int(day)).toordinal() - _EPOCH.toordinal()
    seconds = ((days * 24 + clock[0]) * 60 + clock[1] - offset) * 60 + clock[2]
    return moment(seconds * _SECOND + int((fraction or "0")[:9].ljust(9, "0")), offset)


def text_of_time(time: Time) -> str:
    local = _local(time)
    fraction = time.nanoseconds % _SECOND
    digits = next((each for each in (0, 3, 6) if not fraction % 10 ** (9 - each)), 9)
    shown = f".{fraction:09d}"[: digits + 1] if digits else ""
    hours, minutes = divmod(abs(time.offset), 60)
    return f"{local:%Y-%m-%dT%H:%M:%S}{shown}{'-' if time.offset < 0 else '+'}{hours:02d}:{minutes:02d}"


def span_of(text: str) -> Span:
    """Return the duration that a text such as ``1h30m`` or ``-1.5s`` names.  Raises `ValueError`."""
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if rest == "0":
        return Span(0)
    total, place = 0, 0
    if len(rest) > LONGEST_READ:
        raise ValueError
    while found := _PART.match(rest, place):
        total += int(Decimal(found[1][:40]) * _UNITS[found[2]])
        place = found.end()
    if not place or place != len(rest):
        raise ValueError
    return span(sign * total)


def text_of_span(length: Span) -> str:
    """Return a duration as Go writes it: ``1h0m0s``, ``1.5s``, ``20ms``."""
    total = abs(length.nanoseconds)
    sign = "-" if length.nanoseconds < 0 else ""
    if total < _SECOND:
        unit = next((name for name in ("ms", "µs", "ns") if total >= _UNITS[name]), "")
        return f"{sign}{_plain(Decimal(total) / _UNITS[unit])}{unit}" if unit else "0s"
    minutes, seconds = divmod(total, 60 * _SECOND)
    hours, minutes = divmod(minutes, 60)
    shown = f"{_plain(Decimal(seconds) / _SECOND)}s"
    if hours:
        return f"{sign}{hours}h{minutes}m{shown}"
    return f"{sign}{minutes}m{shown}" if minutes else f"{sign}{shown}"


def _plain(number: Decimal) -> str:
    shown = f"{number:f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def _local(time: Time) -> datetime:
    return _EPOCH + timedelta(seconds=time.nanoseconds // _SECOND, minutes=time.offset)


def _clock(time: Time) -> int:
    """Seconds since midnight, as the time was written."""
    return (time.nanoseconds // _SECOND + time.offset * 60) % 86_400


_OF_TIMES: Final[dict[str, Callable[[Time], int]]] = {
    "getFullYear": lambda time: _local(time).year,
    "getMonth": lambda time: _local(time).month - 1,
    "getDate": lambda time: _local(time).day,
    "getDayOfMonth": lambda time: _local(time).day - 1,
    "getDayOfWeek": lambda time: _local(time).isoweekday() % 7,
    "getDayOfYear": lambda time: _local(time).timetuple().tm_yday - 1,
    "getHours": lambda time: _clock(time) // 3600,
    "getMinutes": lambda time: _clock(time) % 3600 // 60,
    "getSeconds": lambda time: _clock(time) % 60,
    "getMilliseconds": lambda time: time.nanoseconds % _SECOND // 1_000_000,
}
_OF_SPANS: Final = {"getHours": "h", "getMinutes": "m", "getSeconds": "s", "getMilliseconds": "ms"}
PARTS: Final = tuple(_OF_TIMES)


def part(name: str, value: Any) -> int:
    """``value.getHours()`` and the like.  Raises `ValueError` for a value that has no such part."""
    if isinstance(value, Time):
        return _OF_TIMES[name](value)
    if isinstance(value, Span) and name in _OF_SPANS:
        whole = abs(value.nanoseconds) // _UNITS[_OF_SPANS[name]]
        return whole if value.nanoseconds >= 0 else -whole
    raise ValueError


Function = Callable[[Any, Meter], Any]
Method = Callable[[Any, Any, Meter], Any]

#: Steps to read or write a time, a span of time or a number, and for a part of a time.
_READING: Final = 30
_PART_STEPS: Final = 10
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
    meter.spend(_READING)
    if len(value) > LONGEST_READ or not shape.fullmatch(value):
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
        meter.spend(_READING + min(len(value), LONGEST_READ))
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


def _joined(texts: Any, separator: Any, meter: Meter) -> str:
    if type(texts) is not list or type(separator) is not str or not all(type(each) is str for each in texts):
        raise ValueError
    meter.spend(len(texts) + (sum(map(len, texts)) + len(separator) * len(texts)) // TEXT_PER_STEP)
    return separator.join(texts)


def replaced(text: Any, old: Any, new: Any, meter: Meter) -> str:
    """``text.replace(old, new)``."""
    if not all(type(each) is str for each in (text, old, new)):
        raise ValueError
    meter.spend(1 + len(text) // PER_STEP)
    meter.spend((len(text) + text.count(old) * len(new)) // TEXT_PER_STEP)
    return str(text.replace(old, new))


def _part(name: str) -> Function:
    def property_of(value: Any, meter: Meter) -> int:
        meter.spend(_PART_STEPS)
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
#: Called on a value with another one: ``x.contains("y")``; ``matches`` and ``replace`` are apart.
METHODS: Final[Mapping[str, Method]] = {
    "contains": _searched(lambda text, wanted: wanted in text),
    "startsWith": _searched(str.startswith),
    "endsWith": _searched(str.endswith),
    "join": _joined,
}
