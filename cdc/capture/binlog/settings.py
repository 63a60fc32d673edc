"""Settings of the server: those that a complete log requires, with the statements that set them, and its time zone.

The zone is UTC offsets that were measured, not guessed from a name.  A log holds TIMESTAMPs as seconds since 1970 while
triggers and queries see local time.  How the server renders a moment is asked of the server itself: at a moment a week,
then between two weeks that differ.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import orjson
from pymysql.connections import Connection

from cdc.database import sqlfile
from cdc.database.mysql_connection import rows
from cdc.extras import has_zstandard, install_hint

_CONFIGURATION = "and put it into the server's configuration file"


@dataclass(frozen=True, slots=True)
class WrongSetting:
    """``check``: the setting's name.  ``detail``: a sentence.  ``fix``: a statement, or what to do."""

    check: str
    detail: str
    fix: str


def read_settings(connection: Connection[Any]) -> dict[str, str]:
    """Name → value of the global settings that matter, those that this server has."""
    return {str(name).lower(): str(value) for name, value in rows(connection, sqlfile.load("mysql/log_settings.sql"))}


def refused(settings: Mapping[str, str]) -> Iterator[WrongSetting]:
    """Settings with which reading the log makes no sense."""
    if settings.get("log_bin") != "ON":
        detail = "The server writes no binary log."
        fix = (
            "Write log_bin = binlog and binlog_format = ROW below [mysqld] in the server's configuration and restart it"
        )
        yield WrongSetting("log_bin", detail, fix)
        return
    for name, wanted, meaning in (
        ("binlog_format", "ROW", "the log holds statements instead of the rows that they changed"),
        ("binlog_row_image", "FULL", "the log leaves columns out of changed rows"),
        ("binlog_row_value_options", "", "the log holds parts of JSON documents instead of the documents"),
    ):
        value = settings.get(name, wanted)
        if value != wanted:
            detail = f"{name} is {value}: {meaning}."
            yield WrongSetting(name, detail, f"SET GLOBAL {name} = '{wanted}'; {_CONFIGURATION}")
    name = "binlog_transaction_compression"
    if settings.get(name, "OFF") != "OFF" and not has_zstandard():
        detail = f"{name} is {settings[name]}, and the package that reads compressed transactions is not installed."
        yield WrongSetting(name, detail, install_hint("zstd"))


_DAY = 86_400


def advised(settings: Mapping[str, str]) -> Iterator[WrongSetting]:
    """Settings with which reading works, and what they cost."""
    metadata = settings.get("binlog_row_metadata", "FULL")
    if metadata != "FULL":
        detail = (
            f"binlog_row_metadata is {metadata}: the log does not name columns, so that a table which is altered twice "
            "while the consumer is away must be read again."
        )
        yield WrongSetting("binlog_row_metadata", detail, f"SET GLOBAL binlog_row_metadata = 'FULL'; {_CONFIGURATION}")
    kept = kept_seconds(settings)
    if kept is not None and kept < _DAY:
        detail = f"The log is kept for {kept / 3600:.2g} hours: a consumer that is away for longer loses changes."
        fix = "SET GLOBAL binlog_expire_logs_seconds = 604800"
        yield WrongSetting("binlog_expire_logs_seconds", detail, f"{fix}; {_CONFIGURATION}")
    size = int(settings.get("max_binlog_total_size", "0"))
    if size:
        detail = f"The log is cut at {size} bytes: a day of many changes may be gone before it is read."
        yield WrongSetting("max_binlog_total_size", detail, f"SET GLOBAL max_binlog_total_size = 0; {_CONFIGURATION}")


def kept_seconds(settings: Mapping[str, str]) -> float | None:
    """Return for how long the server keeps its log; None: until it is purged."""
    if settings.get("binlog_expire_logs_auto_purge", "ON") != "ON":
        return None
    seconds = float(settings.get("binlog_expire_logs_seconds", "0"))
    return seconds or float(settings.get("expire_logs_days", "0")) * _DAY or None


def cascades_in_log(settings: Mapping[str, str]) -> bool:
    """Return whether rows that a foreign key deletes or changes are in the log: since MySQL 9.6, unless InnoDB does
    it."""
    return settings.get("innodb_native_foreign_keys") == "OFF"


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
