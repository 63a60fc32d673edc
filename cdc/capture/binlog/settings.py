"""Settings of the server: those that a complete log requires, with the statements that set them, and its time zone.

The zone is UTC offsets that were measured, not guessed from a name.  A log holds TIMESTAMPs as seconds since 1970 while
triggers and queries see local time.  How the server renders a moment is asked of the server itself: at a moment a week,
then between two weeks that differ.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import orjson
import pymysql
from pymysql.connections import Connection

from cdc.capture.binlog.connection import log_status
from cdc.capture.journal.mysql_rows import journals_cascades
from cdc.database import sqlfile
from cdc.database.mysql_connection import NO_PRIVILEGE, code_of, rows
from cdc.database.mysql_replication import read_replication, replica_of_log
from cdc.extras import has_zstandard, install_hint
from cdc.model.finding import Finding, Severity

_RESTART = "the server's configuration and restart it"
_CONFIGURATION = "and put it into the server's configuration file"
_UNLOGGED_SESSIONS = re.compile(r"sql_log_bin\s*:?=\s*(0|off|false)", re.IGNORECASE)


def read_settings(connection: Connection[Any]) -> dict[str, str]:
    """Name → value of the global settings that matter, those that this server has."""
    return {str(name).lower(): str(value) for name, value in rows(connection, sqlfile.load("mysql/log_settings.sql"))}


def written(settings: Mapping[str, str]) -> bool:
    """Return whether the server writes a binary log."""
    return settings.get("log_bin") == "ON"


def refused(settings: Mapping[str, str]) -> Iterator[Finding]:
    """Settings with which reading the log makes no sense."""
    if not written(settings):
        detail = "The server writes no binary log."
        fix = (
            "Write log_bin = binlog and binlog_format = ROW below [mysqld] in the server's configuration and restart it"
        )
        yield Finding("log_bin", Severity.WRONG, detail, fix)
        return
    for name, wanted, meaning in (
        ("binlog_format", "ROW", "the log holds statements instead of the rows that they changed"),
        ("binlog_row_image", "FULL", "the log leaves columns out of changed rows"),
        ("binlog_row_value_options", "", "the log holds parts of JSON documents instead of the documents"),
    ):
        value = settings.get(name, wanted)
        if value != wanted:
            detail = f"The setting {name} is {value}: {meaning}."
            yield Finding(name, Severity.WRONG, detail, f"SET GLOBAL {name} = '{wanted}'; {_CONFIGURATION}")
    if _UNLOGGED_SESSIONS.search(settings.get("init_connect", "")):
        detail = "init_connect sets sql_log_bin = 0: the log lacks the changes of all sessions that run it."
        fix = "Remove sql_log_bin from init_connect, also in the server's configuration file"
        yield Finding("init_connect", Severity.WRONG, detail, fix)
    compression = settings.get("binlog_transaction_compression", "OFF")
    if compression != "OFF" and not has_zstandard():
        detail = (
            f"binlog_transaction_compression is {compression}, and the package that reads compressed transactions is "
            "not installed."
        )
        yield Finding("binlog_transaction_compression", Severity.WRONG, detail, install_hint("zstd"))


def log_findings(
    connection: Connection[Any], database: str, settings: Mapping[str, str], *, replica: bool
) -> list[Finding]:
    """Return what is wrong with the log and what could be better.  ``replica``: the server may be one whose log lacks
    what it receives."""
    found = list(refused(settings))
    if written(settings):
        found += [*advised(settings), *_scope(connection, database, settings, replica=replica)]
    return found


def _scope(
    connection: Connection[Any], database: str, settings: Mapping[str, str], *, replica: bool
) -> Iterator[Finding]:
    """Yield what keeps changes of the database out of the log."""
    cascades = not cascades_in_log(settings) and journals_cascades(connection)
    received = replica_of_log(read_replication(connection), cascades=cascades, accepted=replica)
    yield from [received] if received else []
    try:
        _, _, only, without, *_ = log_status(connection)
    except pymysql.err.MySQLError as error:
        if code_of(error) not in NO_PRIVILEGE:  # which is a finding of its own
            raise
        return
    ((folds,),) = rows(connection, "SELECT @@lower_case_table_names")
    name = database.lower() if folds else database
    inside, outside = (_names(text, folds=bool(folds)) for text in (only, without))
    if inside and name not in inside:
        detail = f"binlog_do_db is {only}: the log does not hold the changes of database {database}."
        yield Finding("binlog_do_db", Severity.WRONG, detail, f"Add binlog_do_db = {database} to {_RESTART}")
    elif not inside and name in outside:
        detail = f"binlog_ignore_db is {without}: the log does not hold the changes of database {database}."
        yield Finding("binlog_ignore_db", Severity.WRONG, detail, f"Remove {database} from it in {_RESTART}")
    elif inside or outside:
        detail = (
            "The log is filtered (binlog_do_db, binlog_ignore_db): it lacks an ALTER TABLE run from another database."
        )
        yield Finding("log filters", Severity.WARNING, detail, f"Remove them from {_RESTART}")


def _names(text: object, *, folds: bool) -> set[str]:
    names = {name.strip() for name in str(text or "").split(",")} - {""}
    return {name.lower() for name in names} if folds else names


_DAY = 86_400


def advised(settings: Mapping[str, str]) -> Iterator[Finding]:
    """Settings with which reading works, and what they cost."""
    metadata = settings.get("binlog_row_metadata", "FULL")
    if metadata != "FULL":
        detail = (
            f"binlog_row_metadata is {metadata}: the log does not name columns, so that a table which is altered twice "
            "while the consumer is away must be read again."
        )
        yield Finding(
            "binlog_row_metadata",
            Severity.WARNING,
            detail,
            f"SET GLOBAL binlog_row_metadata = 'FULL'; {_CONFIGURATION}",
        )
    kept = kept_seconds(settings)
    if kept is not None and kept < _DAY:
        detail = f"The log is kept for {kept / 3600:.2g} hours: a consumer that is away for longer loses changes."
        fix = "SET GLOBAL binlog_expire_logs_seconds = 604800"
        yield Finding("binlog_expire_logs_seconds", Severity.WARNING, detail, f"{fix}; {_CONFIGURATION}")
    size = int(settings.get("max_binlog_total_size", "0"))
    if size:
        detail = f"The log is cut at {size} bytes: a day of many changes may be gone before it is read."
        yield Finding(
            "max_binlog_total_size", Severity.WARNING, detail, f"SET GLOBAL max_binlog_total_size = 0; {_CONFIGURATION}"
        )


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
