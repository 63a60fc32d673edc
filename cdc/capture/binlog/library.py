"""The server's log over the package mysql-replication: its connection and its way to ask, our way to read.

A choice for who meets a server that our own connection does not get along with.  What the package makes of events is
passed over, because it drops or changes some of them; it is slower, since it takes every event apart all the same.
What it cannot do is refused: tagged GTIDs, places beyond 4 GB without GTIDs.
"""

from __future__ import annotations

import logging
import secrets
import select
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Self

import pymysql
from pymysql.connections import Connection
from pymysqlreplication import BinLogStreamReader

from cdc.capture.binlog.connection import OUR_IDS, SILENT_HEARTBEATS, LogConnection, log_owner
from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.binlog.stream import refusal
from cdc.database.mysql_connection import Flavour, code_of, connect, cut, server_of, shut_down, socket_of, tap
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import SourceError, SourceUnavailable

#: COM_BINLOG_DUMP and COM_BINLOG_DUMP_GTID: the log follows them.
_DUMP = frozenset({0x12, 0x1E})
_LONGEST_PACKET = 0xFFFFFF
#: What the package advises concerns how it reads rows.
logging.getLogger("pymysqlreplication").setLevel(logging.ERROR)


class LibraryConnection(LogConnection):
    """A `LogConnection` whose bytes are those that the package receives."""

    _stream: Any

    def __init__(
        self, info: ConnectionInfo, connection: Connection[Any], position: LogPosition, heartbeat: float
    ) -> None:
        self._info, self._position = info, position
        self.flavour = server_of(connection).flavour
        self.server, gtids = log_owner(connection, self.flavour)
        self.by_gtids = bool(position.gtids) and gtids
        self._silence = heartbeat * SILENT_HEARTBEATS
        self._connections: list[Connection[Any]] = []
        self._received: list[bytes] = []
        self._dumping = self._ended = False

    @classmethod
    def open(cls, info: ConnectionInfo, position: LogPosition, heartbeat: float, *, follow: bool = True) -> Self:
        with closing(connect(info)) as connection:
            made = cls(info, connection, position, heartbeat)
        made._stream = BinLogStreamReader(
            {},
            server_id=OUR_IDS + secrets.randbelow(OUR_IDS),
            blocking=follow,
            resume_stream=True,
            log_file=position.file,
            log_pos=position.offset,
            auto_position=position.gtids if made.by_gtids else None,
            is_mariadb=made.by_gtids and made.flavour is Flavour.MARIADB,
            slave_heartbeat=heartbeat,
            filter_non_implemented_events=False,
            pymysql_wrapper=made._connect,
            enable_logging=False,
        )
        return made

    def _connect(self, **settings: Any) -> Connection[Any]:
        """Connect for the package: for the log, then for its questions about columns.  A third time it would reconnect
        from its own position: that is refused, since the position is ours."""
        if len(self._connections) > 1 or self._ended:
            raise SourceUnavailable(
                f"The log of {self._info.describe()} broke off.", "cdc tries again. Is the server running?"
            )
        connection = connect(self._info, read_timeout=self._silence)
        if "cursorclass" in settings:
            connection.cursorclass = settings["cursorclass"]
        if not self._connections:
            tap(connection, self._sent, self._arrived)
        self._connections.append(connection)
        return connection

    def _sent(self, data: bytes) -> None:
        self._dumping = self._dumping or data[4] in _DUMP

    def _arrived(self, packet: bytes) -> None:
        """Store a packet of the log as the server sent it: long ones in parts."""
        if self._dumping:
            for start in range(0, len(packet) + 1, _LONGEST_PACKET):
                part = packet[start : start + _LONGEST_PACKET]
                self._received += (len(part).to_bytes(3, "little"), b"\0", part)

    def chunks(self) -> Iterator[bytes]:
        try:
            while not self._ended:
                event = self._next()
                received, self._received = self._received, []
                yield b"".join(received)
                if event is None:
                    return
        finally:
            for connection in self._connections:
                cut(connection)

    def _next(self) -> Any:
        """Read a packet; return None at the end."""
        try:
            return self._stream.fetchone()
        except (pymysql.err.MySQLError, SourceUnavailable, OSError) as error:
            if self._ended:
                return None
            if isinstance(error, pymysql.err.MySQLError):
                raise refusal(code_of(error), str(error.args[-1])) from error
            if isinstance(error, SourceUnavailable):
                raise
            raise SourceUnavailable(f"The log of {self._info.describe()} broke off.") from error
        except Exception as error:  # the package finds something wrong with an event
            if self._received:  # it has arrived, and is for us to read
                return self._received
            raise SourceError(
                f"The package mysql-replication fails on {self._info.describe()} ({type(error).__name__}).",
                'Write reader = "native".',
            ) from error

    def at_end(self) -> bool:
        """Return whether nothing waits, as far as the socket shows: PyMySQL may have more in hand, which is read all
        the same."""
        if self._ended or not self._connections:
            return True
        try:
            return not select.select([socket_of(self._connections[0])], [], [], 0)[0]
        except (OSError, ValueError):  # it was closed by another thread
            return True

    def close(self) -> None:
        self._ended = True
        for connection in self._connections:
            shut_down(connection)
