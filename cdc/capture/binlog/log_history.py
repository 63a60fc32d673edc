"""Tell the log that was read from another, which a reset or an older copy of the server has put in its place."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from pymysql.connections import Connection

from cdc.capture.binlog.connection import HEARTBEAT, LogConnection, log_end, log_head, log_owner
from cdc.capture.binlog.dump_command import FILE_START
from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.binlog.missing import another_history, begins_after, missing
from cdc.database.mysql_connection import server_of
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import SourceError


class LogHistory:
    """Asks the server of ``info`` for its log, over connections of class ``log``."""

    def __init__(self, info: ConnectionInfo, log: type[LogConnection] = LogConnection) -> None:
        self._info, self._log = info, log

    def head(self, connection: Connection[Any]) -> LogPosition:
        """Return `log_head` with the time at which its file was begun: a position that can be kept.

        The file is asked for its beginning first: of a log that is reset meanwhile, the position does not hold.
        """
        while True:
            file = log_end(connection).file
            begun = self._begun(file)
            head = log_head(connection)
            if head.file == file:
                return head._replace(begun=begun)

    def error(self, connection: Connection[Any], position: LogPosition) -> SourceError | None:
        """Return why the server's log is not the one that was read up to ``position``; None when it is."""
        flavour = server_of(connection).flavour
        _, gtids = log_owner(connection, flavour)
        by_gtids = bool(position.gtids) and gtids
        error = missing(connection, flavour, position, by_gtids=by_gtids)
        if error is not None or not position.begun:
            return error
        if by_gtids and begins_after(connection, flavour, position):
            return None
        begun = self._begun(position.file)
        return None if begun == position.begun else another_history(position, begun)

    def _begun(self, file: str) -> int:
        """Return when the server began ``file``, as its first event says: see `LogPosition.begun`."""
        start = LogPosition(file, FILE_START, "")
        with closing(self._log.open(self._info, start, HEARTBEAT, follow=False)) as opened:
            times = (item.position.begun for item in opened.items(lambda _: None))
            return next((time for time in times if time), 0)
