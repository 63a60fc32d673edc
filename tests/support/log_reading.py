"""Reading the log of a test's database: what was seen, in an order and a form that can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from cdc.capture.binlog.connection import LogConnection, LogHistory
from cdc.capture.binlog.event import TableMap
from cdc.capture.binlog.item import Item, JournalRows, Layouts, LogTransaction, Missed, SchemaChange
from cdc.capture.binlog.layout import UnreadableTable
from cdc.capture.binlog.log_position import LogPosition
from cdc.database.mysql_connection import connect
from cdc.model.connection import ConnectionInfo, Tls
from support.database import Database

HEARTBEAT = 2.0
#: Table id and flags, which say nothing.
_POST_HEADER = 8


@dataclass(frozen=True, slots=True)
class Seen:
    """A transaction (``what``: table, kind, and images with the bytes before them), a statement or a reason.  The
    same whenever it is read; ``position`` is not compared."""

    token: str
    time: datetime
    what: tuple[object, ...]


def head(database: Database) -> LogPosition:
    with closing(connect(database.info)) as connection:
        return LogHistory(database.info).head(connection)


def tables_of(database: str) -> Layouts:
    """All tables of this database are wanted, and none is decoded."""

    def layouts(table: TableMap) -> UnreadableTable | None:
        return UnreadableTable(table.table, "", None) if table.database == database else None

    return layouts


def seen(item: Item, database: str) -> Seen | None:
    match item:
        case LogTransaction():
            rows = tuple(
                (each.layout.table, each.event_type, each.body[_POST_HEADER:])
                for each in item.rows
                if not isinstance(each.layout, JournalRows)
            )
            return Seen(item.token, item.time, rows)
        case SchemaChange() if item.database == database:
            return Seen(item.token, item.time, (item.statement,))
        case Missed():
            return Seen(item.token, item.time, (item.reason,))
    return None


@contextmanager
def opened(
    info: ConnectionInfo, position: LogPosition, *, heartbeat: float = HEARTBEAT, follow: bool = False
) -> Iterator[LogConnection]:
    with closing(LogConnection.open(info, position, heartbeat, follow=follow)) as connection:
        yield connection


def read(info: ConnectionInfo, position: LogPosition) -> Iterator[tuple[Seen | None, LogPosition]]:
    """Read to the end of the log: yield each item with the position after it."""
    with opened(info, position) as connection:
        for item in connection.items(tables_of(info.database)):
            yield seen(item, info.database), item.position


def read_all(info: ConnectionInfo, position: LogPosition) -> list[Seen]:
    return [each for each, _ in read(info, position) if each is not None]


def once(found: Iterable[Seen]) -> list[Seen]:
    """Drop repetitions: an XA transaction holds the position back, and a second copy is stored once."""
    return list(dict.fromkeys(found))


def plain(info: ConnectionInfo, port: int = 0) -> ConnectionInfo:
    """Return the connection without TLS, perhaps through a proxy."""
    return replace(info, port=port or info.port, tls=Tls("disable"))


def numbers(found: Iterable[Seen]) -> list[list[int]]:
    """Return the last value in each rows event, for each transaction that wrote into tables whose last column is an
    INT."""
    transactions = ([row[2] for row in each.what if isinstance(row, tuple)] for each in found)
    return [[int.from_bytes(body[-4:], "little", signed=True) for body in bodies] for bodies in transactions if bodies]
