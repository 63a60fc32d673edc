"""Events of a server's binlog as they come over the wire."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from support.database import Database

TABLE_MAP = 19
ROWS = frozenset({23, 24, 25, 30, 31, 32})
_HEADER = 19
_CHECKSUM = 4
_DUMP_COMMAND = 0x12
_END_OF_LOG_ENDS_IT = 1
_SERVER_ID = 4242


@dataclass(frozen=True, slots=True)
class Event:
    """``packet``: as the server sent it, with header and checksum; ``body`` is without."""

    type: int
    packet: bytes

    @property
    def body(self) -> bytes:
        return self.packet[_HEADER:-_CHECKSUM]


def end_of_log(database: Database) -> tuple[str, int]:
    """File and offset."""
    statement = "SHOW MASTER STATUS" if database.flavour == "mariadb" else "SHOW BINARY LOG STATUS"
    file, offset = database.execute(statement)[0][:2]
    return file, offset


def events_since(database: Database, start: tuple[str, int]) -> Iterator[Event]:
    """Yield the events from ``start`` to the end of the log."""
    assert database.execute("SELECT @@GLOBAL.binlog_checksum") == [("CRC32",)]
    connection = database.connect(autocommit=True)
    cursor = connection.cursor()
    cursor.execute("SET @master_binlog_checksum = @@GLOBAL.binlog_checksum, @source_binlog_checksum = 'CRC32'")
    cursor.execute("SET @mariadb_slave_capability = 4")
    file, offset = start
    command = struct.pack("<IHI", offset, _END_OF_LOG_ENDS_IT, _SERVER_ID) + file.encode()
    connection._execute_command(_DUMP_COMMAND, command)
    while not (packet := connection._read_packet()).is_eof_packet():
        data = packet.get_all_data()[1:]
        yield Event(data[4], data)
    connection.close()


def rows_events(database: Database, start: tuple[str, int], table: str) -> list[Event]:
    """TABLE_MAP and rows events of one table of this database.  Those of other tables may stand between the two."""
    names = b"".join(bytes([len(name)]) + name.encode() + b"\0" for name in (database.name, table))
    wanted: dict[bytes, bool] = {}
    found = []
    for event in events_since(database, start):
        if event.type == TABLE_MAP:
            wanted[event.body[:6]] = event.body[8:].startswith(names)
        if event.type in ROWS | {TABLE_MAP} and wanted[event.body[:6]]:
            found.append(event)
    return found
