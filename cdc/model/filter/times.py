"""Times and spans of time, read from texts and written as texts."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from cdc.model.filter.arithmetic import moment, span
from cdc.model.filter.values import Span, Time

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


def time_of(text: str) -> Time:
    """From a text as RFC 3339 writes it.  Raises `ValueError`."""
    found = _TIME.fullmatch(text)
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
    """From a text such as ``1h30m`` or ``-1.5s``.  Raises `ValueError`."""
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if rest == "0":
        return Span(0)
    total, place = 0, 0
    while found := _PART.match(rest, place):
        total += int(Decimal(found[1][:40]) * _UNITS[found[2]])
        place = found.end()
    if not place or place != len(rest):
        raise ValueError
    return span(sign * total)


def text_of_span(length: Span) -> str:
    """As Go writes it: ``1h0m0s``, ``1.5s``, ``20ms``."""
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
