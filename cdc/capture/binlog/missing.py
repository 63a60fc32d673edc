"""Reasons why a server's log does not continue a position: parts that are no longer in it, or never were."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pymysql
from pymysql.connections import Connection

from cdc.capture.binlog.log_position import DomainState, LogPosition
from cdc.database.mysql_connection import Flavour, rows
from cdc.model.errors import LogPurged, SourceError, SourceUnavailable

_HINT = (
    'With on_purged = "reread" the captured tables are read again and reading goes on at the end of the log; what '
    "happened in between is not seen.  Keep the log for longer: binlog_expire_logs_seconds."
)
_LONGEST = 300


def missing(
    connection: Connection[Any], flavour: Flavour, position: LogPosition, *, by_gtids: bool
) -> SourceError | None:
    """Return the reason why reading cannot continue at ``position``; None when the server has everything after it."""
    if not by_gtids:
        return _missing_place(connection, position)
    ask = _missing_in_set if flavour is Flavour.MYSQL else _missing_in_domains
    error = ask(connection, position)
    if error is None and position.file:
        error = _missing_place(connection, position)
        # asked last: what is purged in between is nothing that was not read
        return None if error is not None and begins_after(connection, flavour, position) else error
    return error


def another_history(position: LogPosition, begun: int) -> SourceError:
    """Return the error for a log whose file of this name was ``begun`` at another time than the one that was read."""
    was, now = (f"{datetime.fromtimestamp(each, UTC):%Y-%m-%d %H:%M:%S} UTC" for each in (position.begun, begun))
    return _purged(
        f"The log is not the one that was read: its file {position.file} was begun at {now} instead of {was}; it was "
        "reset, or the server was put back to an older copy."
    )


def _missing_place(connection: Connection[Any], position: LogPosition) -> SourceError | None:
    sizes = {str(name): int(size) for name, size, *_ in rows(connection, "SHOW BINARY LOGS")}
    place = f"{position.file}, offset {position.offset}"
    if position.file not in sizes:
        oldest = next(iter(sizes), "none")
        return _purged(f"The log is needed from {place} on, but that file is gone; the oldest there is: {oldest}.")
    if position.offset > sizes[position.file]:
        return _purged(
            f"The log is needed from {place} on, but it ends before that: it was reset, or the server was put back to "
            "an older copy."
        )
    return None


def begins_after(connection: Connection[Any], flavour: Flavour, position: LogPosition) -> bool:
    """Return whether the oldest file of the log begins after all that was read: then no place before the position is in
    the log, and the GTIDs say all."""
    if flavour is Flavour.MYSQL:
        ((rest,),) = rows(connection, "SELECT GTID_SUBTRACT(%s, @@gtid_purged)", (position.gtids,))
        return not rest
    first = _first_state(connection)[1]
    asked = _asked(_logged(connection), position)
    return all(first.get(domain, (0, 0))[1] >= number for domain, (_, number) in asked.items())


def _first_state(connection: Connection[Any]) -> tuple[str, dict[int, tuple[int, int]]]:
    """Return MariaDB's oldest file, and the last transaction of each domain before it.

    Of a file that is purged between two queries the server says nothing, or that it is not found.
    """
    while True:
        oldest = _oldest(connection)
        try:
            ((begin,),) = rows(connection, "SELECT BINLOG_GTID_POS(%s, 4)", (oldest,))
        except pymysql.err.InternalError:
            if _oldest(connection) == oldest:
                raise
            continue
        if _oldest(connection) == oldest:
            return oldest, DomainState.parse(str(begin or "")).last


def _oldest(connection: Connection[Any]) -> str:
    return str(rows(connection, "SHOW BINARY LOGS")[0][0])


def _missing_in_set(connection: Connection[Any], position: LogPosition) -> SourceError | None:
    query = "SELECT GTID_SUBTRACT(@@gtid_purged, %s), GTID_SUBTRACT(%s, @@gtid_executed), @@server_uuid"
    (purged, ahead, server), *_ = rows(connection, query, (position.gtids, position.gtids))
    if purged:
        return _purged(f"The server has purged transactions from its log that were not read: {_short(purged)}.")
    if server in ahead:
        return _purged(
            f"The server does not know transactions of its own that were read: its log was reset ({_short(ahead)})."
        )
    return None


def _missing_in_domains(connection: Connection[Any], position: LogPosition) -> SourceError | None:
    ((own,),) = rows(connection, "SELECT @@server_id")
    logged = _logged(connection)
    asked = DomainState.parse(position.gtids).last
    oldest, first = _first_state(connection)
    for domain, (_, number) in first.items():
        if number > asked.get(domain, (0, 0))[1]:
            from_ = f"{domain}-{asked[domain][0]}-{asked[domain][1]}" if domain in asked else f"domain {domain}"
            return _purged(
                f"The log is needed from {from_} on, but the oldest file there is, {oldest}, begins behind "
                f"{domain}-{first[domain][0]}-{number}."
            )
    for domain, (server, number) in _asked(logged, position).items():
        if logged.get((domain, server), 0) < number:
            return _not_logged(f"{domain}-{server}-{number}", server == int(own), _last_of(logged, domain) < number)
    return None


def _not_logged(gtid: str, its_own: bool, behind: bool) -> SourceError:
    if its_own:
        return _purged(
            f"The server does not know its own transaction {gtid}, which was read: its log was reset, or lost its end "
            "in a crash (sync_binlog = 1 prevents that)."
        )
    if behind:
        return SourceUnavailable(f"The server does not have transaction {gtid} yet.", "Has its replication stopped?")
    return _purged(f"The log of this server does not hold transaction {gtid}, after which reading would continue.")


def _logged(connection: Connection[Any]) -> dict[tuple[int, int], int]:
    """Return MariaDB's (domain, server) → its last number."""
    ((state,),) = rows(connection, "SELECT @@gtid_binlog_state")
    members = [member.split("-") for member in str(state).split(",") if member]
    return {(int(domain), int(server)): int(number) for domain, server, number in members}


def _asked(logged: dict[tuple[int, int], int], position: LogPosition) -> dict[int, tuple[int, int]]:
    """Return what was read of each domain, except domains of which the log holds nothing: an administrator deletes
    them (DELETE_DOMAIN_ID).  A log that knows no domain at all was reset."""
    domains = {domain for domain, _ in logged}
    last = DomainState.parse(position.gtids).last
    return {domain: each for domain, each in last.items() if domain in domains or not domains}


def _last_of(logged: dict[tuple[int, int], int], domain: int) -> int:
    return max((number for (of, _), number in logged.items() if of == domain), default=0)


def _purged(sentence: str) -> LogPurged:
    return LogPurged(sentence, _HINT)


def _short(gtids: str) -> str:
    text = "".join(gtids.split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
