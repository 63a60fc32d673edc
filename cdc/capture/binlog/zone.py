"""The server's time zone as it renders TIMESTAMPs: UTC offsets that were measured, not guessed from a name.

A log holds TIMESTAMPs as seconds since 1970 while triggers and queries see local time.  What the server makes of a
moment is asked of the server itself: at a moment a week, then between two weeks that differ.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import orjson
from pymysql.connections import Connection

from cdc import sqlfile
from cdc.database.mysql_connection import rows

_WEEK = 7 * 86_400
#: What four bytes hold; offsets of later moments are the last one's.
_END = 2**32

#: Moments (seconds since 1970) → seconds that local time is ahead of UTC; None where the server does not say.
Ask = Callable[[Sequence[int]], Sequence[int | None]]


@dataclass(frozen=True, slots=True)
class Zone:
    """``starts``: moments from which on the offset of the same index holds; the first one holds before, too."""

    starts: tuple[int, ...]
    offsets: tuple[int, ...]

    def offset(self, moment: int) -> int:
        """Seconds that local time is ahead of UTC at a moment (seconds since 1970)."""
        return self.offsets[max(bisect_right(self.starts, moment) - 1, 0)]


def measure(ask: Ask) -> Zone:
    """Determine the offsets of a time zone with about twenty queries, however long its history."""
    moments = list(range(1, _END, _WEEK))
    known = [(moment, offset) for moment, offset in zip(moments, ask(moments), strict=True) if offset is not None]
    changes = [(left, right) for left, right in pairwise(known) if left[1] != right[1]]
    while any(right[0] - left[0] > 1 for left, right in changes):
        middles = [(left[0] + right[0]) // 2 for left, right in changes]
        changes = [
            _half(change, middle, offset) for change, middle, offset in zip(changes, middles, ask(middles), strict=True)
        ]
    first = known[0] if known else (0, 0)
    return Zone((first[0], *(right[0] for _, right in changes)), (first[1], *(right[1] for _, right in changes)))


_Moment = tuple[int, int]


def _half(change: tuple[_Moment, _Moment], middle: int, offset: int | None) -> tuple[_Moment, _Moment]:
    """The half in which the last change to the right-hand offset is."""
    left, right = change
    if right[0] - left[0] <= 1:
        return change
    if offset == right[1]:
        return left, (middle, right[1])
    return (middle, left[1] if offset is None else offset), right


def measure_server(connection: Connection[Any]) -> Zone:
    """The zone of a session that sets none, as FacturaScripts' are."""
    sql = sqlfile.load("mysql/zone_offsets.sql")

    def ask(moments: Sequence[int]) -> list[int | None]:
        return [offset for (offset,) in rows(connection, sql, (orjson.dumps(moments).decode(),))]

    return measure(ask)
