"""Parts of MySQL's logs that MariaDB's do not have: GTIDs of servers, compressed transactions.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from struct import Struct

from cdc.capture.binlog.compressed import payload
from cdc.capture.binlog.cursor import UnreadBytes
from cdc.capture.binlog.event import HEADER_BYTES, LogEventType
from cdc.capture.binlog.gtid import GtidSet, parse_gtid, parse_tagged_gtid
from cdc.capture.binlog.item import Item, Layouts
from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.binlog.log_reader import LogReader, moment
from cdc.model.errors import MalformedEvent

_GTID, _TAGGED = int(LogEventType.GTID), int(LogEventType.GTID_TAGGED)
_SERVER_AND_NUMBER = Struct("<x16sq")
_KIND_AND_SIZE = Struct("<4xB4xI")
_LOG_POS = Struct("<13xI")


class MySQLReader(LogReader):
    """Reader of MySQL's log: a GTID event, maybe anonymous, precedes each group; BEGIN marks a transaction."""

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

    def _payload(self, data: bytes, at: int, end: int) -> Iterable[Item]:
        """A whole transaction, compressed."""
        if self._outer:
            raise MalformedEvent("The log has a compressed transaction within another.")
        self._verify(data, at, end)
        return self._inside(data[at + HEADER_BYTES : end], _LOG_POS.unpack_from(data, at)[0])

    def _inside(self, body: bytes, log_pos: int) -> Iterator[Item]:
        checksum_bytes, self.checksum_bytes, self._outer = self.checksum_bytes, 0, log_pos
        rest = UnreadBytes()
        for plain in payload(body):
            yield from self._events(rest, plain)
        if rest:
            raise MalformedEvent("A compressed transaction of the log ends within an event.")
        self.checksum_bytes, self._outer = checksum_bytes, 0

    def _events(self, rest: UnreadBytes, plain: bytes) -> Iterator[Item]:
        """Yield events without packets and checksums."""
        data = rest.joined(plain)
        at, end, need = 0, len(data), HEADER_BYTES
        while end - at >= HEADER_BYTES:
            kind, size = _KIND_AND_SIZE.unpack_from(data, at)
            if size < HEADER_BYTES:
                raise MalformedEvent("A compressed transaction of the log holds something that is not an event.")
            if at + size > end:
                need = size
                break
            yield from self.handlers[kind](data, at, at + size)
            at += size
        if not rest:
            rest.keep(data[at:], need)
