"""Parts of MariaDB's logs that MySQL's do not have: GTIDs of domains, compressed statements.  Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from struct import Struct

from cdc.capture.binlog.compressed import plain_statement
from cdc.capture.binlog.event import HEADER_BYTES, LogEventType, Query, parse_query
from cdc.capture.binlog.gtid import DomainState
from cdc.capture.binlog.item import Item, Layouts
from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.binlog.log_reader import LogReader
from cdc.model.errors import MalformedEvent

#: Time and server of the header, number, domain, flags.
_GTID = Struct("<IxI10xQIB")
_STANDALONE = 1
_LOG_POS = Struct("<13xI")


class MariaDBReader(LogReader):
    """A GTID event opens each group; it also says whether the group is a single statement."""

    def __init__(self, layouts: Layouts, start: LogPosition, server: str, spill_bytes: int) -> None:
        super().__init__(layouts, start, server, spill_bytes)
        self._state = DomainState.parse(start.gtids)
        self._complete = bool(start.gtids)
        #: (time, server, number, domain, flags) of the group that is open or has just ended.
        self._group: tuple[int, int, int, int, int] | None = None
        self._second = 0, datetime.fromtimestamp(0, UTC)
        self._handle([LogEventType.MARIADB_GTID], self._gtid)
        self._handle([LogEventType.GTID_LIST], self._gtid_list)
        self._handle([LogEventType.QUERY_COMPRESSED], self._compressed_query)
        kinds = (LogEventType.ANNOTATE_ROWS, LogEventType.BINLOG_CHECKPOINT, LogEventType.START_ENCRYPTION)
        self._handle(kinds, self._nothing)

    def gtids(self) -> str:
        return self._state.text() if self._complete else ""

    def _gtid(self, data: bytes, at: int, end: int) -> Iterable[Item]:
        if end - at < _GTID.size:
            raise MalformedEvent("A GTID in the log is too short.")
        self._rows = None  # what came before without an end did not happen
        self._group = group = _GTID.unpack_from(data, at)
        self._open = not group[4] & _STANDALONE
        return ()

    def _count(self) -> None:
        group = self._group
        if group is not None:
            self._state.last[group[3]] = group[1], group[2]

    def _name(self, data: bytes, at: int) -> tuple[str, datetime]:
        if self._group is None:
            seconds = int.from_bytes(data[at : at + 4], "little")
            return self._place_token(seconds * 1_000_000), datetime.fromtimestamp(seconds, UTC)
        seconds, server, number, domain, _ = self._group
        if seconds != self._second[0]:  # many transactions have the same
            self._second = seconds, datetime.fromtimestamp(seconds, UTC)
        return f"{domain}-{server}-{number}", self._second[1]

    def _gtid_list(self, data: bytes, at: int, end: int) -> Iterable[Item]:
        """The state where a file begins.  It is needed only when reading began without one."""
        if not self._complete and _LOG_POS.unpack_from(data, at)[0] > self._offset:
            self._state, self._complete = DomainState.decode(data[at + HEADER_BYTES : end]), True
        return ()

    def _compressed_query(self, data: bytes, at: int, end: int) -> Iterable[Item]:
        query = parse_query(data[at + HEADER_BYTES : end])
        plain = Query(query.database, plain_statement(query.statement), query.charset)
        return self._other_query(plain, data, at)
