"""The connection on which a server sends its log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self

from pymysql.connections import Connection

from cdc.connection import ConnectionInfo
from cdc.database.mysql_connection import Flavour
from cdc.source.binlog.item import Item
from cdc.source.binlog.layout import Layout
from cdc.source.binlog.log_position import LogPosition
from cdc.source.binlog.table_map import TableMap


class LogConnection:
    """Opened and read in one thread; `close` may be called from any."""

    flavour: Flavour
    server: str  # its uuid (MySQL), else its id: file and offset of a position are good on this server only

    @classmethod
    def open(cls, info: ConnectionInfo, position: LogPosition, heartbeat: float, *, follow: bool = True) -> Self:
        """Ask for the log behind ``position``: by its GTIDs where the server has them, else by file and offset.

        ``heartbeat``: seconds; a server with nothing to say must say so that often, and one silent for two and a half
        times as long is dead.  ``follow``: wait for what will be written; else the stream ends at the log's end.
        Raises `SourceUnavailable`, `SourceError` (no grant, no log).
        """
        raise NotImplementedError

    def chunks(self) -> Iterator[bytes]:
        """Bytes for `read_log`.  Ends when `close` was called.

        Raises `SourceUnavailable` when the server is silent or gone.
        """
        raise NotImplementedError

    def items(self, layouts: Callable[[TableMap], Layout | None]) -> Iterator[Item]:
        """`read_log` over the chunks.  If it is the position that is refused: `LogPurged`, which says what is gone."""
        raise NotImplementedError

    def at_end(self) -> bool:
        """Nothing more has arrived yet.  Ask it upon an `Idle`: before, `read_log` itself may have more in hand."""
        raise NotImplementedError

    def close(self) -> None:
        """From any thread, in any state, as often as wanted; unblocks `chunks`."""
        raise NotImplementedError


def log_head(connection: Connection[Any]) -> LogPosition:
    """The end of the log now."""
    raise NotImplementedError
