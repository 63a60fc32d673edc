"""Replication streams of our own making, byte for byte as servers send them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from struct import pack, unpack_from
from zlib import crc32

from cdc.database.mysql_connection import Flavour

#: Of the packets that a stream is cut into; longer events are continued.
LONGEST_PACKET = 0xFFFFFF
TIME = 1_700_000_000
SERVER = bytes(range(16))
SERVER_TEXT = "00010203-0405-0607-0809-0a0b0c0d0e0f"


def packets(payload: bytes) -> bytes:
    parts: list[bytes] = []
    while True:
        part, payload = payload[:LONGEST_PACKET], payload[LONGEST_PACKET:]
        parts.append(len(part).to_bytes(3, "little") + bytes([len(parts) & 0xFF]) + part)
        if len(part) < LONGEST_PACKET:
            return b"".join(parts)


def table_map(table_id: int, database: str, table: str) -> bytes:
    """Return the map of a table with one INT column."""
    names = b"".join(bytes([len(name)]) + name.encode() + b"\0" for name in (database, table))
    return table_id.to_bytes(6, "little") + b"\1\0" + names + b"\1\3\0\1"


def rows(table_id: int, *values: int) -> bytes:
    """WRITE_ROWS, version 1, of such a table."""
    return table_id.to_bytes(6, "little") + b"\1\0\1\xff" + pack("<" + "xi" * len(values), *values)


def query(statement: bytes, database: str = "", variables: bytes = b"") -> bytes:
    return pack("<IIBHH", 1, 0, len(database), 0, len(variables)) + variables + database.encode() + b"\0" + statement


class LogStream:
    """Grows event by event; ``bytes`` is what the server sends.

    ``offset``: where the next event begins in the file.  ``ends``: where the packets of each event end in the bytes.
    """

    def __init__(
        self, flavour: Flavour, *, checksums: bool = True, file: str = "log.000001", offset: int = 4, begun: int = 0
    ) -> None:
        self.flavour, self.checksums, self.file = flavour, False, file
        self.bytes = b""
        self.ends: list[int] = []
        self.offset = offset
        self.rotated(file, offset, made_up=True)
        self.offset = 4
        self.format(checksums=checksums, time=begun)
        self.offset = max(offset, self.offset)
        self._number = 0

    def event(
        self,
        kind: int,
        body: bytes,
        *,
        time: int = 1,
        flags: int = 0,
        made_up: bool = False,
        log_pos: int | None = None,
    ) -> None:
        """Add an event.  ``made_up``: it is in no file."""
        data = self.raw_event(kind, body, time=time, flags=flags, made_up=made_up, log_pos=log_pos)
        if not made_up:
            self.offset += len(data)
        self.packet(b"\0" + data)

    def raw_event(
        self,
        kind: int,
        body: bytes,
        *,
        time: int = 1,
        flags: int = 0,
        made_up: bool = False,
        log_pos: int | None = None,
    ) -> bytes:
        size = 19 + len(body) + (4 if self.checksums else 0)
        end = 0 if made_up else (self.offset + size) & 0xFFFFFFFF
        head = pack(
            "<IBIIIH", time, kind, 1, size, end if log_pos is None else log_pos, flags | (0x20 if made_up else 0)
        )
        return head + body + (pack("<I", crc32(head + body)) if self.checksums else b"")

    def packet(self, payload: bytes) -> None:
        self.bytes += packets(payload)
        self.ends.append(len(self.bytes))

    def rotated(self, file: str, offset: int = 4, *, made_up: bool = False) -> None:
        self.event(4, pack("<Q", offset) + file.encode(), made_up=made_up)
        self.file, self.offset = file, offset

    def format(self, *, checksums: bool, time: int = 0) -> None:
        """``time``: when the file was begun."""
        version = b"11.8.0-MariaDB" if self.flavour is Flavour.MARIADB else b"9.7.0"
        self.checksums = True  # of this event, always
        self.event(15, pack("<H50sIB", 4, version, 1, 19) + bytes(40) + bytes([checksums]), time=time)
        self.checksums = checksums

    def gtid(self, number: int, *, time: int = TIME, standalone: bool = False, domain: int = 0, tag: str = "") -> None:
        if self.flavour is Flavour.MARIADB:
            self.event(162, pack("<QIB6x", number, domain, 1 if standalone else 12), time=time)
        elif tag:
            self.event(42, tagged(number, tag, time * 1_000_000))
        else:
            body = pack("<B16sqB16x", 0, SERVER, number, 2) + (time * 1_000_000).to_bytes(7, "little")
            self.event(33, body + b"\x40" + pack("<I", 90_700))

    def begin(self, number: int = 0, *, time: int = TIME, domain: int = 0) -> None:
        self._number = number or self._number + 1
        self.gtid(self._number, time=time, domain=domain)
        if self.flavour is Flavour.MYSQL:
            self.event(2, query(b"BEGIN"), flags=8)

    def change(self, table: str, *values: int, table_id: int = 7) -> None:
        self.event(19, table_map(table_id, "shop", table))
        self.event(23, rows(table_id, *values))

    def commit(self) -> None:
        self.event(16, pack("<Q", 1))

    def transaction(self, table: str, *values: int, number: int = 0, domain: int = 0) -> None:
        self.begin(number, domain=domain)
        self.change(table, *values)
        self.commit()

    def statement(self, text: bytes, database: str = "shop", *, time: int = TIME) -> None:
        """One that commits by itself."""
        self._number += 1
        self.gtid(self._number, time=time, standalone=True)
        self.event(2, query(text, database))

    def error(self, code: int, words: str) -> None:
        self.packet(b"\xff" + pack("<H", code) + b"#HY000" + words.encode())

    def end(self) -> None:
        self.packet(b"\xfe\0\0\2\0")


@dataclass
class LogFile:
    """``before``: transactions before it.  ``ends``: number of a transaction → where it ends."""

    begun: int
    stream: LogStream
    before: int
    ends: dict[int, int] = field(default_factory=dict)


class LogFiles:
    """The log of a server over its life, and what the server sends of it.  A transaction's value is its number."""

    def __init__(self, flavour: Flavour, begun: int) -> None:
        self.flavour = flavour
        self.files: dict[str, LogFile] = {}
        self.last = self._count = 0
        self._begin(begun)

    def _begin(self, begun: int) -> None:
        self._count += 1
        name = f"log.{self._count:06}"
        stream = LogStream(self.flavour, file=name, begun=begun)
        self.files[name] = LogFile(begun, stream, self.last)
        if self.flavour is Flavour.MARIADB:
            stream.event(163, pack("<I", 1) + pack("<IIQ", 0, 1, self.last) if self.last else pack("<I", 0))
        else:
            intervals = pack("<QQQ", 1, 1, self.last + 1)
            stream.event(35, pack("<Q", 1) + SERVER + intervals if self.last else pack("<Q", 0))

    def _current(self) -> LogFile:
        return next(reversed(self.files.values()))

    def commit(self) -> None:
        self.last += 1
        file = self._current()
        file.stream.transaction("ours", self.last, number=self.last)
        file.ends[self.last] = file.stream.offset

    def rotate(self, begun: int) -> None:
        self._current().stream.event(4, pack("<Q", 4) + f"log.{self._count + 1:06}".encode())
        self._begin(begun)

    def restart(self, begun: int, *, killed: bool) -> None:
        if not killed:
            self._current().stream.event(3, b"")
        self._begin(begun)

    def purge(self) -> None:
        """Remove the oldest file, unless it is the only one."""
        if len(self.files) > 1:
            del self.files[next(iter(self.files))]

    def reset(self, begun: int) -> None:
        self.files.clear()
        self.last = self._count = 0
        self._begin(begun)

    def sent(self, file: str, offset: int = 4) -> bytes:
        """What is sent from a place on, to the end of the log."""
        first, *others = [each.stream for name, each in self.files.items() if name >= file]
        begin = LogStream(self.flavour, file=file, offset=offset, begun=self.files[file].begun)
        return begin.bytes + _events(first, offset) + b"".join(each.bytes for each in others) + _END

    def sent_after(self, number: int) -> bytes:
        """What is sent to a client that knows the transactions up to this one, from the start of a file on."""
        name = [name for name, each in self.files.items() if each.before <= number][-1]
        first, *others = [each for each_name, each in self.files.items() if each_name >= name]
        head = 2 + 1  # rotation, format, the transactions before
        begin = first.stream.bytes[: first.stream.ends[head - 1]]
        rest = _events(first.stream, first.ends.get(number, 4), head)
        return begin + rest + b"".join(each.stream.bytes for each in others) + _END


def _events(stream: LogStream, offset: int, head: int = 2) -> bytes:
    """The packets of the events that begin at ``offset`` or later, without the first ``head``."""
    packets = [stream.bytes[start:end] for start, end in pairwise(stream.ends)][head - 1 :]
    return b"".join(each for each in packets if unpack_from("<I", each, 18)[0] > offset)


_END = b"\x05\0\0\0\xfe\0\0\2\0"


def tagged(number: int, tag: str, micros: int) -> bytes:
    """Body of a GTID event with a tag."""
    fields = [b"\0\0", b"\2" + b"".join(packed(byte) for byte in SERVER), b"\4" + packed(number << 1)]
    fields += [b"\6" + packed(len(tag)) + tag.encode(), b"\x08\0", b"\x0a\0", b"\x0c" + packed(micros), b"\x10\x04"]
    body = b"".join(fields)
    return b"\2" + packed(len(body) + 3) + b"\0" + body


def packed(number: int) -> bytes:
    """MySQL's packed integers."""
    more = max(0, (number.bit_length() - 1) // 7) if number else 0
    if more > 7:
        return b"\xff" + number.to_bytes(8, "little")
    return (number << more + 1 | (1 << more) - 1).to_bytes(more + 1, "little")
