"""Which tables are altered further on in the log: whether what they are like now holds for what is read next."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from cdc.capture.binlog.connection import HEARTBEAT, LogConnection
from cdc.capture.binlog.item import Idle, SchemaChange
from cdc.capture.binlog.log_position import LogPosition
from cdc.model.connection import ConnectionInfo

#: A statement → our tables whose columns it may have changed.
Concerned = Callable[[SchemaChange], frozenset[str]]
_Place = tuple[int, int]


class AlteredTablesAhead:
    """Reads the log over a second connection, rows skipped; what was read once is remembered, so that a series of
    alterations costs one reading."""

    def __init__(self, info: ConnectionInfo, concerned: Concerned, log: type[LogConnection] = LogConnection) -> None:
        self._info = info
        self._log = log
        self._concerned = concerned
        self._found: list[tuple[_Place, frozenset[str]]] = []
        self._read_to: LogPosition | None = None
        self._connection: LogConnection | None = None
        self._closed = False

    def altered(self, behind: LogPosition, head: LogPosition) -> frozenset[str]:
        """The tables that statements between the two concern.  Successive calls come in the order of the log."""
        start = behind
        if self._read_to is not None and self._read_to.place() > behind.place():
            start = self._read_to
        if head.place() > start.place():
            self._read(start, head)
        self._found = [(place, tables) for place, tables in self._found if place > behind.place()]
        return frozenset().union(*(tables for _, tables in self._found))

    def close(self) -> None:
        """From any thread: ends a reading that is going on, with an error there."""
        self._closed = True
        if self._connection is not None:
            self._connection.close()

    def _read(self, start: LogPosition, head: LogPosition) -> None:
        with closing(self._log.open(self._info, start, HEARTBEAT, follow=False)) as connection:
            self._connection = connection
            if self._closed:
                connection.close()
            for item in connection.items(lambda _: None):
                if isinstance(item, SchemaChange) and (tables := self._concerned(item)):
                    self._found.append((item.reached.place(), tables))
                if isinstance(item, Idle | SchemaChange) and item.reached.place() >= head.place():
                    break
        self._connection = None
        self._read_to = head
