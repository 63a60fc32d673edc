"""PostgreSQL's timestamps in normal form, of years before Christ and behind 9999 too, which Python's own times cannot
hold.  Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, tzinfo

from cdc.model import normal
from cdc.model.change import Value

#: The database's local time; asked for only when a value needs it.
Zone = Callable[[], tzinfo]

#: Date and time as PostgreSQL and its JSON write them, with an offset, and an era when it is not ours.
_MOMENT = re.compile(r"(\d+)(-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?)([+-]\d\d(?::\d\d){0,2}|Z)( BC)?")
#: The calendar repeats after so many years.
_CYCLE = 400
_LAST = 9999


def local(text: str, zone: Zone) -> Value:
    """A text with an offset in the database's local time; any other (no zone, infinity) as `without_zone` has it."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        return without_zone(text)
    year = 1 - int(found[1]) if found[4] else int(found[1])
    shift = _shift(year)
    moment = datetime.fromisoformat(f"{year + shift:04}{found[2]}{found[3]}").astimezone(zone()).replace(tzinfo=None)
    year = moment.year - shift
    written = normal.timestamp(f"{year if year > 0 else 1 - year:04}{moment.isoformat()[4:]}")
    return written if year > 0 else f"{written} BC"


def without_zone(text: str) -> Value:
    return f"{normal.timestamp(text[:-3])} BC" if text.endswith(" BC") else normal.timestamp(text)


def _shift(year: int) -> int:
    """Years to add, a whole number of cycles, so that a day more or less is still within Python's years."""
    if year <= 1:
        return (2 - year + _CYCLE - 1) // _CYCLE * _CYCLE
    if year >= _LAST:
        return -((year - _LAST + _CYCLE) // _CYCLE * _CYCLE)
    return 0
