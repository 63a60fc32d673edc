"""Positions in a server's log: file and offset, and global transaction ids (MySQL's sets, with tags; MariaDB's states
of domains), with the events that hold them; and the reasons why a log does not continue a position: parts that are no
longer in it, or never were.  Pure.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from datetime import UTC, datetime
from functools import lru_cache
from struct import Struct
from typing import Any, NamedTuple, Self
from uuid import UUID

import pymysql
from pymysql.connections import Connection

from cdc.capture.binlog.event import EventCursor
from cdc.database.mysql_connection import Flavour, rows
from cdc.model.errors import LogPurged, MalformedEvent, SourceError, SourceUnavailable

#: Where the first event of a file begins.
FILE_START = 4
_NUMBER = re.compile(r"\.(\d+)\Z")


class LogPosition(NamedTuple):
    """The position after a whole transaction.  A tuple, not a dataclass: one is made for each transaction, and this is
    quicker.

    ``file``, ``offset``: place in this server's log, 64 bits; another server's differs.  No file: the place is not
    known on this server, only the GTIDs are.
    ``gtids``: everything read so far, as MySQL's GTID set (``uuid:1-5,uuid:tag:1``) or MariaDB's last GTID of each
    domain (``0-1-5,1-2-7``); good on every server of a replication topology.  Empty when it is not known.
    ``begun``: when the server began the file, in seconds since 1970; 0 when it is not known.  A server begins a file
    whenever it starts and whenever its log is reset, and only appends to it: the file's name and this time say that the
    place is in the log that was read.
    """

    file: str
    offset: int
    gtids: str
    begun: int = 0

    def place(self) -> tuple[int, int]:
        """Return (number of the file, offset), which grows along one server's log, as file names do not beyond
        999999."""
        number = _NUMBER.search(self.file)
        return (int(number[1]) if number else 0, self.offset)

    def describe(self) -> str:
        """Return a description for people."""
        gtids = f" ({self.gtids[:200]})" if self.gtids else ""
        return f"{self.file}:{self.offset}{gtids}"


_UUID_BYTES = 16
_LONGEST_TAG = 32
_LAST = 2**63 - 1
#: Both in the first and in the last of the eight bytes that a set begins with, when it has tags.
_TAGGED = 1
_INTERVAL = Struct("<QQ")
_END_MARK = "\0"
#: Inclusive first and exclusive last.
Intervals = list[list[int]]


class GtidSet:
    """A set of transactions by server, as MySQL counts them; grows with `add`.

    A key is a server's uuid (16 bytes) and a tag ("" for none); its intervals are sorted and do not touch.
    """

    def __init__(self) -> None:
        self._intervals: dict[bytes, dict[str, Intervals]] = {}
        #: The interval that grew last, and the text before and after its end.
        self._growing: list[int] | None = None
        self._frame: tuple[str, str] | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the set that a text such as ``uuid:1-5:7:tag:1-3,uuid:2`` means, in any order and with any white
        space.  Raises `SourceError`."""
        made = cls()
        for member in text.split(","):
            server, *parts = (part.strip() for part in member.split(":"))
            if not server and not parts:
                continue
            try:
                made._add_member(UUID(server).bytes, parts)
            except ValueError as error:
                raise SourceError(
                    "A GTID set is not written as MySQL writes one.",
                    "Such as 3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5.",
                ) from error
        return made

    def _add_member(self, server: bytes, parts: list[str]) -> None:
        tag = ""
        for part in parts:
            if part[:1].isdigit():
                first, _, last = part.partition("-")
                self.add_interval(server, tag, int(first), int(last or first) + 1)
            elif part.isidentifier() and part.isascii() and len(part) <= _LONGEST_TAG:
                tag = part.lower()
            else:
                raise ValueError

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Decode the format of PREVIOUS_GTIDS and of the dump command."""
        reader, made = EventCursor(data), cls()
        head = reader.integer(8)
        tagged = head >> 56 == _TAGGED
        for _ in range(head >> 8 & 0xFFFFFFFFFFFF if tagged else head):
            server = reader.take(_UUID_BYTES)
            tag = reader.text(_number(reader)) if tagged else ""
            for _ in range(reader.integer(8)):
                start, end = _INTERVAL.unpack(reader.take(_INTERVAL.size))
                try:
                    made.add_interval(server, tag, start, end)
                except ValueError as error:
                    raise MalformedEvent("A GTID set in the log has an invalid interval.") from error
        return made

    def encode(self) -> bytes:
        """Return the bytes for the dump command: with tags only if there are any, which servers before 8.3 do not
        know."""
        members = [
            (server, tag, intervals)
            for server, tags in sorted(self._intervals.items())
            for tag, intervals in sorted(tags.items())
        ]
        tagged = any(tag for _, tag, _ in members)
        head = len(members) << 8 | _TAGGED << 56 | _TAGGED if tagged else len(members)
        parts = [head.to_bytes(8, "little")]
        for server, tag, intervals in members:
            parts.append(server)
            if tagged:
                parts.append(bytes([len(tag) << 1]) + tag.encode())  # a length below 128 in their packed form
            parts.append(len(intervals).to_bytes(8, "little"))
            parts += [_INTERVAL.pack(start, end) for start, end in intervals]
        return b"".join(parts)

    def add(self, server: bytes, tag: str, number: int) -> None:
        """One transaction; quick when it is the next one of its server.  Raises `ValueError` when it is none."""
        tags = self._intervals.get(server)
        intervals = tags.get(tag) if tags else None
        if not intervals or intervals[-1][1] != number:
            self.add_interval(server, tag, number, number + 1)
            return
        last = intervals[-1]
        last[1] = number + 1
        if last is not self._growing:
            self._growing, self._frame = last, None

    def add_interval(self, server: bytes, tag: str, start: int, end: int) -> None:
        """Add the transactions from ``start`` to ``end``, which is exclusive.  Raises `ValueError` when it is no
        interval."""
        if not 0 < start < end <= _LAST:
            raise ValueError
        self._growing = self._frame = None
        intervals = self._intervals.setdefault(server, {}).setdefault(tag, [])
        index = bisect_right(intervals, [start])
        if index and intervals[index - 1][1] >= start:
            index -= 1
            start = intervals[index][0]
        after = index
        while after < len(intervals) and intervals[after][0] <= end:
            end = max(end, intervals[after][1])
            after += 1
        intervals[index:after] = [[start, end]]

    def update(self, other: GtidSet) -> None:
        for server, tags in other._intervals.items():
            for tag, intervals in tags.items():
                for start, end in intervals:
                    self.add_interval(server, tag, start, end)

    def contains(self, server: bytes, tag: str, number: int) -> bool:
        intervals = self._intervals.get(server, {}).get(tag, [])
        index = bisect_right(intervals, [number, _LAST + 1])
        return bool(index) and number < intervals[index - 1][1]

    def text(self) -> str:
        """Return the text as the server prints it, on one line."""
        if self._growing is None:
            return self._text(None)
        if self._frame is None:
            before, _, after = self._text(self._growing).partition(_END_MARK)
            self._frame = before, after
        return f"{self._frame[0]}{self._growing[1] - 1}{self._frame[1]}"

    def _text(self, growing: list[int] | None) -> str:
        """Return the text with a mark in the place of the end of that interval."""
        members = []
        for server, tags in sorted(self._intervals.items()):
            parts = [uuid_text(server)]
            for tag, intervals in sorted(tags.items()):
                parts += [tag] if tag else []
                for interval in intervals:
                    start, last = interval[0], interval[1] - 1
                    end = _END_MARK if interval is growing else last
                    parts.append(f"{start}-{end}" if last > start else str(start))
            members.append(":".join(parts))
        return ",".join(members)


@lru_cache(1024)
def uuid_text(server: bytes) -> str:
    text = server.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class MySQLGtid(NamedTuple):
    """A transaction of a MySQL server.  ``micros``: of the commit on the server that it was first made on, since
    1970; 0 when the event does not say."""

    server: bytes
    number: int
    tag: str
    micros: int

    def text(self) -> str:
        server = uuid_text(self.server)
        return f"{server}:{self.tag}:{self.number}" if self.tag else f"{server}:{self.number}"


#: Flags, uuid, number, kind and values of the logical clock, time of the commit.
_GTID = Struct("<x16sq17x7s")
_GTID_WITHOUT_TIME = Struct("<x16sq")
_TIME_BYTES = 7
_BOTH_TIMES = 1 << 55
_EIGHT_MORE = 0xFF  # first byte of a packed integer that eight bytes follow


def parse_gtid(body: bytes) -> MySQLGtid:
    """Return the content of a GTID or ANONYMOUS_GTID event."""
    if len(body) < _GTID.size:
        server, number = _GTID_WITHOUT_TIME.unpack_from(body)
        return MySQLGtid(server, number, "", 0)
    server, number, time = _GTID.unpack_from(body)
    micros = int.from_bytes(time, "little")
    if micros & _BOTH_TIMES:  # this server's time, then the first one's
        micros = int.from_bytes(body[_GTID.size : _GTID.size + _TIME_BYTES], "little")
    return MySQLGtid(server, number, "", micros)


def parse_tagged_gtid(body: bytes) -> MySQLGtid:
    """Return the content of a GTID_TAGGED event: numbered fields, in the order of their numbers; those after the
    times are of no interest here."""
    reader = EventCursor(body)
    _number(reader)  # version
    _number(reader)  # bytes in all
    _number(reader)  # the last field that every reader must know
    server, tag, number, first, original = b"", "", 0, 0, 0
    while reader.left:
        match _number(reader):
            case 1:
                server = bytes(_number(reader) & 0xFF for _ in range(_UUID_BYTES))
            case 2:
                packed = _number(reader)
                number = packed >> 1 ^ -(packed & 1)
            case 3:
                tag = reader.text(_number(reader))
            case 0 | 4 | 5:
                _number(reader)
            case 6:
                first = _number(reader)
            case 7:
                original = _number(reader)
            case _:
                break
    if not server:
        raise MalformedEvent("A transaction in the log has a GTID without a server.")
    return MySQLGtid(server, number, tag, original or first)


def _number(reader: EventCursor) -> int:
    """Return one of MySQL's packed integers: the ones at the low end of the first byte say how many bytes follow."""
    first, more = reader.integer(1), 0
    if first == _EIGHT_MORE:
        return reader.integer(8)
    while first >> more & 1:
        more += 1
    return (first | reader.integer(more) << 8) >> more + 1


_GTID_LIST_ENTRY = Struct("<IIQ")
_GTID_LIST_FLAGS = 28  # bits that count entries
_MARIADB_GTID = re.compile(r"(\d+)-(\d+)-(\d+)", re.ASCII)  # domain, server, number


class DomainState:
    """The last transaction of each of MariaDB's replication domains: domain → (server id, number)."""

    def __init__(self, last: dict[int, tuple[int, int]] | None = None) -> None:
        self.last = last or {}

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the state that a text such as ``0-1-5,1-2-7`` means.  Raises `SourceError`."""
        made = cls()
        for member in text.split(","):
            if not member.strip():
                continue
            written = _MARIADB_GTID.fullmatch(member.strip())
            if written is None:
                raise SourceError("A GTID position is not written as MariaDB writes one.", "Such as 0-1-5,1-2-7.")
            domain, server, number = map(int, written.groups())
            made.last[domain] = server, number
        return made

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Decode a GTID_LIST event.  Several servers of one domain may be in it; the last one that wrote comes last."""
        reader, made = EventCursor(body), cls()
        for _ in range(reader.integer(4) & (1 << _GTID_LIST_FLAGS) - 1):
            domain, server, number = _GTID_LIST_ENTRY.unpack(reader.take(_GTID_LIST_ENTRY.size))
            made.last[domain] = server, number
        return made

    def text(self) -> str:
        return ",".join([f"{domain}-{server}-{number}" for domain, (server, number) in self.last.items()])


_HINT = (
    'With on_purged = "reread" the captured tables are read again and reading continues at the end of the log; what '
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
        if logged.get((domain, server), 0) >= number:
            continue
        gtid = f"{domain}-{server}-{number}"
        if server == int(own):
            return _purged(
                f"The server does not know its own transaction {gtid}, which was read: its log was reset, or lost its "
                "end in a crash (sync_binlog = 1 prevents that)."
            )
        if max((last for (of, _), last in logged.items() if of == domain), default=0) < number:
            return SourceUnavailable(
                f"The server does not have transaction {gtid} yet.", "Has its replication stopped?"
            )
        return _purged(f"The log of this server does not hold transaction {gtid}, after which reading would continue.")
    return None


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


def _purged(sentence: str) -> LogPurged:
    return LogPurged(sentence, _HINT)


def _short(gtids: str) -> str:
    text = "".join(gtids.split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
