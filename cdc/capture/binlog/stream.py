"""Bytes of a replication stream → items.  Pure: the caller supplies the bytes.

A reader for each flavour: GTIDs of servers and compressed transactions are MySQL's, GTIDs of domains and compressed
statements MariaDB's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from struct import Struct

from cdc.capture.binlog.event import HEADER_BYTES, LogEventType, Query, UnreadBytes, parse_query
from cdc.capture.binlog.item import Item, Layouts
from cdc.capture.binlog.log_position import FILE_START, DomainState, GtidSet, LogPosition, parse_gtid, parse_tagged_gtid
from cdc.capture.binlog.log_reader import LogReader, inflated, moment, payload
from cdc.database.mysql_connection import NO_PRIVILEGE, UNAVAILABLE, Flavour
from cdc.model.errors import LogRefused, MalformedEvent, SourceError, SourceUnavailable

_GTID, _TAGGED = int(LogEventType.GTID), int(LogEventType.GTID_TAGGED)
_SERVER_AND_NUMBER = Struct("<x16sq")
_KIND_AND_SIZE = Struct("<4xB4xI")
_LOG_POS = Struct("<13xI")


class MySQLReader(LogReader):
    """Reader of MySQL's log: a GTID event, maybe anonymous, precedes each group; BEGIN marks a transaction."""

    flavour = Flavour.MYSQL

    def __init__(self, layouts: Layouts, start: LogPosition, server: str, spill_bytes: int) -> None:
        super().__init__(layouts, start, server, spill_bytes)
        self._set = GtidSet.parse(start.gtids)
        self._complete = bool(start.gtids)
        #: Kind and body of the event before the group that is open or has just ended.
        self._kind, self._gtid_body = 0, b""
        for kind in (LogEventType.GTID, LogEventType.ANONYMOUS_GTID, LogEventType.GTID_TAGGED):
            self._handle([kind], self._gtid)
        self._handle([LogEventType.PREVIOUS_GTIDS], self._previous_gtids)
        self._handle([LogEventType.TRANSACTION_PAYLOAD], self._payload)
        self._handle((LogEventType.TRANSACTION_CONTEXT, LogEventType.VIEW_CHANGE), self._nothing)

    def gtids(self) -> str:
        return self._set.text() if self._complete else ""

    def _gtid(self, data: bytes, at: int, end: int) -> Iterable[Item]:
        self._rows, self._open = None, False  # what came before without an end did not happen
        self._kind, self._gtid_body = data[at + 4], data[at + HEADER_BYTES : end]
        return ()

    def _count(self) -> None:
        if self._kind == _GTID:
            server, number = _SERVER_AND_NUMBER.unpack_from(self._gtid_body)
            tag = ""
        elif self._kind == _TAGGED:
            server, number, tag, _ = parse_tagged_gtid(self._gtid_body)
        else:
            self._complete = False  # a server with such transactions cannot be asked by GTIDs
            return
        try:
            self._set.add(server, tag, number)
        except ValueError as error:
            raise MalformedEvent("A transaction in the log has an invalid GTID.") from error

    def _name(self, data: bytes, at: int) -> tuple[str, datetime]:
        micros = 0
        if self._kind:
            gtid = (parse_tagged_gtid if self._kind == _TAGGED else parse_gtid)(self._gtid_body)
            micros = gtid.micros
        micros = micros or int.from_bytes(data[at : at + 4], "little") * 1_000_000
        return gtid.text() if self._kind in (_GTID, _TAGGED) else self._place_token(micros), moment(micros)

    def _previous_gtids(self, data: bytes, at: int, end: int) -> Iterable[Item]:
        """Take over the GTIDs before this file: all were read, or were never in the log of this server."""
        if _LOG_POS.unpack_from(data, at)[0] > self._offset:
            before = GtidSet.decode(data[at + HEADER_BYTES : end])
            if self._complete:
                self._set.update(before)
            else:
                self._set, self._complete = before, True
        return ()

    def _payload(self, data: bytes, at: int, end: int) -> Iterator[Item]:
        """Yield the items of a compressed transaction, whose events come without packets and checksums."""
        if self._outer:
            raise MalformedEvent("The log has a compressed transaction within another.")
        self._verify(data, at, end)
        checksum_bytes, self.checksum_bytes = self.checksum_bytes, 0
        (self._outer,) = _LOG_POS.unpack_from(data, at)
        rest = UnreadBytes()
        for plain in payload(data[at + HEADER_BYTES : end]):
            events = rest.joined(plain)
            place, need = 0, HEADER_BYTES
            while len(events) - place >= HEADER_BYTES:
                kind, size = _KIND_AND_SIZE.unpack_from(events, place)
                if size < HEADER_BYTES:
                    raise MalformedEvent("A compressed transaction of the log holds something that is not an event.")
                if place + size > len(events):
                    need = size
                    break
                yield from self.handlers[kind](events, place, place + size)
                place += size
            if not rest:
                rest.keep(events[place:], need)
        if rest:
            raise MalformedEvent("A compressed transaction of the log ends within an event.")
        self.checksum_bytes, self._outer = checksum_bytes, 0


#: Time and server of the header, number, domain, flags.
_GROUP_GTID = Struct("<IxI10xQIB")
_STANDALONE = 1


class MariaDBReader(LogReader):
    """A GTID event opens each group; it also says whether the group is a single statement."""

    flavour = Flavour.MARIADB

    def __init__(self, layouts: Layouts, start: LogPosition, server: str, spill_bytes: int) -> None:
        super().__init__(layouts, start, server, spill_bytes)
        self._state = DomainState.parse(start.gtids)
        self._complete = bool(start.gtids)
        #: (time, server, number, domain, flags) of the group that is open or has just ended.
        self._group: tuple[int, int, int, int, int] | None = None
        self._second = 0, datetime.fromtimestamp(0, UTC)
        self._handle([LogEventType.MARIADB_GTID], self._gtid)
        self._handle([LogEventType.GTID_LIST], self._gtid_list)
        self._handle([LogEventType.QUERY_COMPRESSED], self._compressed_query)
        kinds = (LogEventType.ANNOTATE_ROWS, LogEventType.BINLOG_CHECKPOINT, LogEventType.START_ENCRYPTION)
        self._handle(kinds, self._nothing)

    def gtids(self) -> str:
        return self._state.text() if self._complete else ""

    def _gtid(self, data: bytes, at: int, end: int) -> Iterable[Item]:
        if end - at < _GROUP_GTID.size:
            raise MalformedEvent("A GTID in the log is too short.")
        self._rows = None  # what came before without an end did not happen
        self._group = group = _GROUP_GTID.unpack_from(data, at)
        self._open = not group[4] & _STANDALONE
        return ()

    def _count(self) -> None:
        group = self._group
        if group is not None:
            self._state.last[group[3]] = group[1], group[2]

    def _name(self, data: bytes, at: int) -> tuple[str, datetime]:
        if self._group is None:
            seconds = int.from_bytes(data[at : at + 4], "little")
            return self._place_token(seconds * 1_000_000), datetime.fromtimestamp(seconds, UTC)
        seconds, server, number, domain, _ = self._group
        if seconds != self._second[0]:  # many transactions have the same
            self._second = seconds, datetime.fromtimestamp(seconds, UTC)
        return f"{domain}-{server}-{number}", self._second[1]

    def _gtid_list(self, data: bytes, at: int, end: int) -> Iterable[Item]:
        """The state where a file begins.  It is needed only when reading began without one."""
        if not self._complete and _LOG_POS.unpack_from(data, at)[0] > self._offset:
            self._state, self._complete = DomainState.decode(data[at + HEADER_BYTES : end]), True
        return ()

    def _compressed_query(self, data: bytes, at: int, end: int) -> Iterable[Item]:
        query = parse_query(data[at + HEADER_BYTES : end])
        plain = Query(query.database, inflated(query.statement, 0), query.charset)
        return self._other_query(plain, data, at)


#: Bytes of the state in an error packet, the first of which is "#".
_STATE_BYTES = 6
#: The query was interrupted: KILL, or the server shuts down.
_INTERRUPTED = 1317


def refusal(code: int, message: str) -> SourceError:
    """Return the error for the one that the server sent instead of its log."""
    words = message.strip().rstrip(".")
    if code in UNAVAILABLE or code == _INTERRUPTED:
        return SourceUnavailable(
            f"The server stopped sending its log: {words} (error {code}).", "cdc tries again; see the server's log."
        )
    if code in NO_PRIVILEGE:
        return SourceError(
            f"The server does not let this account read its log: {words} (error {code}).",
            "GRANT REPLICATION SLAVE ON *.* TO the account.",
        )
    return LogRefused(f"The server does not give its log: {words} (error {code}).")


#: Rows of one transaction beyond so many bytes are kept on disk.
SPILL_BYTES = 16 << 20
#: Offsets from here on cannot be asked for without GTIDs: the file is read from its beginning instead.
FIRST_UNASKABLE = 1 << 32

#: Length (3 bytes) and number of a packet, its status, and of the event behind that the kind and the length.
_PACKET_AND_EVENT = struct.Struct("<IB4xB4xI")
_PACKET_HEAD = 4
_EVENT = _PACKET_HEAD + 1
#: A packet of this length is continued by the next one.
_CONTINUED = 0xFFFFFF
#: Bytes of a long event that suffice to decide whether it is wanted.
_LOOK = 64
_END_OF_LOG, _ERROR = 0xFE, 0xFF


def read_log(
    chunks: Iterable[bytes],
    layouts: Layouts,
    start: LogPosition,
    flavour: Flavour,
    *,
    server: str = "",
    spill_bytes: int = SPILL_BYTES,
) -> Iterator[Item]:
    """Yield the items after ``start``, pulling chunks lazily, until they end or the server says that its log ends.

    ``chunks``: the bytes that the server sends after the dump command, cut anywhere (`LogConnection.chunks`).
    ``layouts``: how rows of a table are read; None for tables of no interest, which are then skipped undecoded.  Asked
    once for each table map, and again after each `SchemaChange`.
    ``server``: the server's uuid, part of the tokens of transactions without GTID.
    Raises `MalformedEvent`, `LogIncomplete` (the log does not hold the changed rows) and `LogRefused` (the
    server's own error; `LogConnection.items` turns it into `LogPurged` where that is the reason).
    """
    make = MariaDBReader if flavour is Flavour.MARIADB else MySQLReader
    reader = make(layouts, start, server, spill_bytes)
    items = _Packets(reader).read(chunks)
    if start.offset >= FIRST_UNASKABLE and not start.gtids:
        return (item for item in items if reader.has_passed(start))  # the file is read from its beginning
    return items


def file_begun(chunks: Iterable[bytes], file: str, flavour: Flavour) -> int:
    """Return `LogPosition.begun` of ``file``, from the bytes of a log that is read from that file's start.

    They are read one by one: a chunk may hold the whole file and the beginning of the next.
    """
    pieces = (chunk[at : at + 1] for chunk in chunks for at in range(len(chunk)))
    start = LogPosition(file, FILE_START, "")
    for item in read_log(pieces, lambda _: None, start, flavour):
        if item.position.begun and item.position.file == file:
            return item.position.begun
    raise SourceUnavailable(f"The server did not say when it started log file {file}.")


class _Packets:
    """Cuts the stream into packets and hands each event to its handler: the loop that every byte goes through."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader
        self._rest = UnreadBytes()
        self._long: list[bytes] = []
        self._ended = False  # the server said that this was all

    def read(self, chunks: Iterable[bytes]) -> Iterator[Item]:
        reader, handlers, long = self._reader, self._reader.handlers, self._long
        unpack, least = _PACKET_AND_EVENT.unpack_from, _PACKET_AND_EVENT.size
        for chunk in chunks:
            data = self._rest.joined(chunk)
            reader.unplaced += len(chunk)
            at, end = 0, len(data)
            try:
                while end - at >= least:
                    head, status, kind, size = unpack(data, at)
                    following = at + _PACKET_HEAD + (head & 0xFFFFFF)
                    if following > end:
                        break
                    if status or size != (head & 0xFFFFFF) - 1 or long:
                        items = self._other(data[at + _PACKET_HEAD : following])
                    else:
                        items = handlers[kind](data, at + _EVENT, following - reader.checksum_bytes)
                    if items:
                        yield from items
                    at = following
                yield from self._tail(data, at)
            except struct.error as error:
                raise MalformedEvent("An event of the log ends before its content does.") from error
            yield from reader.pause()
            if self._ended:
                return

    def _tail(self, data: bytes, at: int) -> Iterator[Item]:
        """Yield the items of packets too short for an event; store what is not complete."""
        need = _PACKET_HEAD
        while len(data) - at >= _PACKET_HEAD:
            following = at + _PACKET_HEAD + int.from_bytes(data[at : at + 3], "little")
            if following > len(data):
                need = following - at
                break
            yield from self._other(data[at + _PACKET_HEAD : following])
            at = following
        if not self._rest:
            self._rest.keep(data[at:], need)

    def _other(self, packet: bytes) -> Iterable[Item]:
        """A packet that is no whole event."""
        if self._long or len(packet) == _CONTINUED:
            # events over 16 MB come in several packets; of those of no interest only the beginning is stored
            self._long.append(packet if not self._long or self._reader.wants(self._long[0][1:_LOOK]) else b"")
            if len(packet) == _CONTINUED:
                return ()
            parts, self._long[:] = [self._long[0][1:], *self._long[1:]], []
            return self._reader.whole(b"".join(parts)) if self._reader.wants(parts[0][:_LOOK]) else ()
        if not packet:  # behind an event that was exactly as long as a packet may be
            return ()
        if packet[0] == _END_OF_LOG:
            self._ended = True
            return ()
        if packet[0] == _ERROR:
            message = packet[3 + (_STATE_BYTES if packet[3:4] == b"#" else 0) :]
            raise refusal(int.from_bytes(packet[1:3], "little"), message.decode("utf-8", "replace"))
        raise MalformedEvent("The server sent something that is not an event of its log.")
