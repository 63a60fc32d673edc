"""Events of a server's binlog as they come over the wire, and mysql-replication's reading of them: for comparing."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from pymysql.protocol import MysqlPacket
from pymysqlreplication.packet import BinLogPacketWrapper
from pymysqlreplication.row_event import DeleteRowsEvent, TableMapEvent, UpdateRowsEvent, WriteRowsEvent

from support.database import Database

TABLE_MAP = 19
ROWS = frozenset({23, 24, 25, 30, 31, 32})
_HEADER = 19
_CHECKSUM = 4
_DUMP_COMMAND = 0x12
_END_OF_LOG_ENDS_IT = 1
_SERVER_ID = 4242
_ALLOWED = frozenset({TableMapEvent, WriteRowsEvent, UpdateRowsEvent, DeleteRowsEvent})


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
    """To the end of the log."""
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
    """TABLE_MAP and rows events of one table of this database."""
    wanted, found = False, []
    names = b"".join(bytes([len(name)]) + name.encode() + b"\0" for name in (database.name, table))
    for event in events_since(database, start):
        if event.type == TABLE_MAP:
            wanted = event.body[8:].startswith(names)
        if wanted and (event.type == TABLE_MAP or event.type in ROWS):
            found.append(event)
    return found


def replication_rows(
    events: Iterable[Event], flavour: str, *, freeze_schema: bool = False
) -> Iterator[tuple[dict[str, Any] | None, dict[str, Any] | None]]:
    """(before, after) of each row, as mysql-replication gives them."""
    tables: dict[int, Any] = {}
    for event in events:
        found = _event(event.packet, tables, flavour, freeze_schema=freeze_schema)
        if event.type == TABLE_MAP:
            if found is not None:  # otherwise the frozen schema has it already
                tables[found.table_id] = found.get_table()
            continue
        for row in found.rows:
            if isinstance(found, UpdateRowsEvent):
                yield row["before_values"], row["after_values"]
            elif isinstance(found, WriteRowsEvent):
                yield None, row["values"]
            else:
                yield row["values"], None


def _event(packet: bytes, tables: dict[int, Any], flavour: str, *, freeze_schema: bool) -> Any:
    return BinLogPacketWrapper(
        MysqlPacket(b"\0" + packet, "utf8mb4"),
        tables,
        SimpleNamespace(charset="utf8mb4", _get_dbms=lambda: flavour),
        (0, 0, 0),
        use_checksum=True,
        allowed_events=_ALLOWED,
        only_tables=None,
        ignored_tables=None,
        only_schemas=None,
        ignored_schemas=None,
        freeze_schema=freeze_schema,
        ignore_decode_errors=False,
        verify_checksum=False,
        optional_meta_data=True,
        enable_logging=False,
    ).event
