"""Bytes of a replication stream → items.  Pure: the caller supplies the bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from cdc.capture.binlog.cursor import UnreadBytes
from cdc.capture.binlog.item import Item, Layouts
from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.binlog.log_reader import LogReader
from cdc.capture.binlog.mariadb_reader import MariaDBReader
from cdc.capture.binlog.mysql_reader import MySQLReader
from cdc.database.mysql_connection import NO_PRIVILEGE, UNAVAILABLE, Flavour
from cdc.model.errors import LogRefused, MalformedEvent, SourceError, SourceUnavailable

_STATE_MARK = ord("#")
_STATE_BYTES = 6
#: The query was interrupted: KILL, or the server shuts down.
_INTERRUPTED = 1317


def refusal(packet: bytes) -> SourceError:
    """``packet``: an error packet."""
    code = int.from_bytes(packet[1:3], "little")
    start = 3 + (_STATE_BYTES if packet[3:4] == bytes([_STATE_MARK]) else 0)
    words = packet[start:].decode("utf-8", "replace").strip().rstrip(".")
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
    items = _items(chunks, reader)
    if start.offset >= FIRST_UNASKABLE and not start.gtids:
        return (item for item in items if reader.is_behind(start))
    return items


def _items(chunks: Iterable[bytes], reader: LogReader) -> Iterator[Item]:
    packets = _Packets(reader)
    for chunk in chunks:
        try:
            yield from packets.read(chunk)
        except struct.error as error:
            raise MalformedEvent("An event of the log ends before its content does.") from error
        yield from reader.pause()
        if packets.ended:
            return


class _Packets:
    """Cuts the stream into packets and hands each event to its handler: the loop that every byte goes through.

    ``ended``: the server said that this was all.
    """

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader
        self._rest = UnreadBytes()
        self._long: list[bytes] = []
        self.ended = False

    def read(self, chunk: bytes) -> Iterator[Item]:
        data = self._rest.joined(chunk)
        self._reader.unplaced += len(chunk)
        reader, handlers, long = self._reader, self._reader.handlers, self._long
        unpack, least = _PACKET_AND_EVENT.unpack_from, _PACKET_AND_EVENT.size
        at, end = 0, len(data)
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

    def _tail(self, data: bytes, at: int) -> Iterator[Item]:
        """Packets too short for an event, then what is not complete."""
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
            return self._part(packet)
        if not packet:  # behind an event that was exactly as long as a packet may be
            return ()
        if packet[0] == _END_OF_LOG:
            self.ended = True
            return ()
        if packet[0] == _ERROR:
            raise refusal(packet)
        raise MalformedEvent("The server sent something that is not an event of its log.")

    def _part(self, packet: bytes) -> Iterable[Item]:
        """Events over 16 MB come in several packets.  Of those of no interest only the beginning is kept."""
        self._long.append(packet if not self._long or self._reader.wants(self._long[0][1:_LOOK]) else b"")
        if len(packet) == _CONTINUED:
            return ()
        parts, self._long[:] = [self._long[0][1:], *self._long[1:]], []
        return self._reader.whole(b"".join(parts)) if self._reader.wants(parts[0][:_LOOK]) else ()
