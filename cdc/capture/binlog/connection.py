"""The connection on which a server sends its log, the command that asks for it, and how the log that was read is known
from another one, which a reset or an older copy of the server has put in its place."""

from __future__ import annotations

import asyncio
import secrets
import selectors
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from struct import Struct
from typing import Any, Self

import pymysql
from pymysql.connections import Connection

from cdc.capture.binlog.chunk import LogChunk
from cdc.capture.binlog.item import Idle, Item, Layouts, SchemaChange
from cdc.capture.binlog.log_position import FILE_START, GtidSet, LogPosition, another_history, begins_after, missing
from cdc.capture.binlog.stream import FIRST_UNASKABLE, file_begun, read_log
from cdc.database.mysql_connection import (
    Flavour,
    code_of,
    connect,
    cut,
    errors_of,
    rows,
    server_of,
    shut_down,
    socket_of,
)
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import LogPurged, LogRefused, SourceError, SourceUnavailable

_DUMP, _DUMP_BY_GTIDS = 0x12, 0x1E
#: Command, offset, flags, server id; the file's name follows.
_BY_PLACE = Struct("<BIHI")
#: Command, flags, server id, length of the (empty) file's name, offset, length of the set; the set follows.
_BY_GTIDS = Struct("<BHIIQI")
#: End the stream where the log ends.
_DO_NOT_WAIT = 1
#: Heartbeats with 64-bit offsets; MariaDB means something else by it.
_HEARTBEATS_2 = 2
_NANOSECONDS = 1_000_000_000
#: Seconds for which a consumer that is held up may leave the server's bytes unread.
_LONGEST_WAIT = 600


def dump_command(flavour: Flavour, position: LogPosition, server_id: int, *, by_gtids: bool, follow: bool) -> bytes:
    """Return the command that asks for the log.  ``by_gtids``: from those of ``position``; MariaDB takes them from a
    variable instead.  ``server_id``: ours."""
    flags = (0 if follow else _DO_NOT_WAIT) | (_HEARTBEATS_2 if flavour is Flavour.MYSQL else 0)
    if by_gtids and flavour is Flavour.MYSQL:
        known = GtidSet.parse(position.gtids).encode()
        return _BY_GTIDS.pack(_DUMP_BY_GTIDS, flags, server_id, 0, FILE_START, len(known)) + known
    offset = position.offset if position.offset < FIRST_UNASKABLE else FILE_START
    return _BY_PLACE.pack(_DUMP, offset, flags, server_id) + position.file.encode()


def session_settings(flavour: Flavour, position: LogPosition, heartbeat: float, *, by_gtids: bool) -> dict[str, object]:
    """Return the variables to be set in the session before: name → value.

    Each has the name that old servers know and the one that new servers know.  A position by GTIDs that the log does
    not hold must be an error (strict mode), not the next best place.
    """
    period = round(heartbeat * _NANOSECONDS)
    settings: dict[str, object] = {"net_write_timeout": _LONGEST_WAIT, "@master_heartbeat_period": period}
    if flavour is Flavour.MYSQL:
        settings["@source_heartbeat_period"] = period
    else:
        settings["@mariadb_slave_capability"] = 4  # GTIDs
    if flavour is Flavour.MARIADB and by_gtids:
        settings |= {"@slave_connect_state": position.gtids, "@slave_gtid_strict_mode": 1}
    return settings


#: Seconds, where nobody sets others.
HEARTBEAT = 5.0
#: Bytes received at a time, at most.
_BUFFER = 1 << 20
#: Seconds for an answer while the connection is being set up.
_SET_UP = 10.0
#: Heartbeats without a byte after which a server is taken for dead.
SILENT_HEARTBEATS = 2.5
#: Upper half of server ids: those of real servers are small.
OUR_IDS = 1 << 31
_SYNTAX = 1064
_HEAD_ATTEMPTS = 20


class LogConnection:
    """A connection that reads the log.  It is opened and read in one thread; `close` may be called from any.

    ``server``: its uuid (MySQL), else its id: file and offset of a position are good on this server only.
    ``by_gtids``: reading began by the GTIDs of the position, not by file and offset.
    """

    def __init__(
        self, info: ConnectionInfo, connection: Connection[Any], position: LogPosition, heartbeat: float
    ) -> None:
        found = server_of(connection)
        if not found.binlog:
            raise SourceError(
                f"The server of {info.describe()} writes no binary log.",
                "Set log_bin and binlog_format = ROW in its configuration and restart it.",
            )
        self.flavour = found.flavour
        self.server, gtids = log_owner(connection, self.flavour)
        self.by_gtids = bool(position.gtids) and gtids
        self._info, self._position = info, position
        self._connection = connection
        self._socket = socket_of(connection)
        self._silence = heartbeat * SILENT_HEARTBEATS
        self._buffer = memoryview(bytearray(_BUFFER))
        self._lock = threading.Lock()
        self._closed = self._receiving = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)

    @classmethod
    def open(cls, info: ConnectionInfo, position: LogPosition, heartbeat: float, *, follow: bool = True) -> Self:
        """Ask for the log behind ``position``: by its GTIDs where the server has them, else by file and offset.

        ``heartbeat``: seconds; a server with nothing to say must say so that often, and one silent for two and a half
        times as long is dead.  ``follow``: wait for what will be written; else the stream ends at the log's end.
        Raises `SourceUnavailable`, `SourceError` (no grant, no log).
        """
        connection = connect(info, read_timeout=_SET_UP)
        try:
            with errors_of(info):
                opened = cls(info, connection, position, heartbeat)
                flavour, by_gtids = opened.flavour, opened.by_gtids
                settings = session_settings(flavour, position, heartbeat, by_gtids=by_gtids)
                names = ", ".join(f"{name} = %s" for name in settings)
                rows(connection, f"SET {names}", tuple(settings.values()))
                # the server's own setting: then events come as they are in its files
                rows(connection, "SET @master_binlog_checksum = @@GLOBAL.binlog_checksum")
                rows(connection, "SET @source_binlog_checksum = @@GLOBAL.binlog_checksum")
                our_id = OUR_IDS + secrets.randbelow(OUR_IDS)  # a server ends an older stream to the same id
                command = dump_command(flavour, position, our_id, by_gtids=by_gtids, follow=follow)
                opened._socket.settimeout(opened._silence)
                opened._socket.sendall(len(command).to_bytes(3, "little") + b"\0" + command)
        except BaseException:
            cut(connection)
            raise
        return opened

    def items(self, layouts: Layouts) -> Iterator[Item]:
        """Yield the items of `read_log` over the chunks.  Raises `LogPurged`, which says what is gone, when the
        position is refused."""
        start = self._position if self.by_gtids else self._position._replace(gtids="")
        try:
            yield from read_log(self.chunks(), layouts, start, self.flavour, server=self.server)
        except LogRefused as refused:
            raise self._explained(refused) from refused

    def begun(self) -> int:
        """Return `file_begun` of the position's file, at whose start reading begins.  Raises as `items` does."""
        try:
            return file_begun(self.chunks(), self._position.file, self.flavour)
        except LogRefused as refused:
            raise self._explained(refused) from refused

    def _explained(self, refused: LogRefused) -> SourceError:
        """Return the reason of a refusal, read over another connection: this one is of no more use."""
        try:
            with closing(connect(self._info, read_timeout=_SET_UP)) as connection, errors_of(self._info):
                return missing(connection, self.flavour, self._position, by_gtids=self.by_gtids) or refused
        except pymysql.err.MySQLError as error:
            detail = f"{refused.message} The reason cannot be queried (error {code_of(error)})."
            return LogRefused(detail, "GRANT REPLICATION CLIENT (MariaDB: BINLOG MONITOR) ON *.* TO the account.")

    def chunks(self) -> Iterator[bytes]:
        """Yield bytes for `read_log`.  Ends when `close` was called.

        Raises `SourceUnavailable` when the server is silent or gone.
        """
        failure: OSError | None = None
        while True:
            with self._lock:
                if self._closed:
                    return
                self._receiving = True
            count = 0
            try:
                count = self._socket.recv_into(self._buffer)
            except OSError as error:
                failure = error
            with self._lock:
                self._receiving = False
                if self._closed:
                    self._release()
                    return
            if not count:
                break
            yield bytes(self._buffer[:count])
        if isinstance(failure, TimeoutError):
            reason = f"has been silent for {self._silence:.3g} seconds, in spite of heartbeats"
        else:
            reason = f"broke off ({failure.strerror or failure})" if failure else "was ended by the server"
        raise SourceUnavailable(
            f"The log of {self._info.describe()} {reason}.", "cdc tries again. Is the server running and reachable?"
        ) from failure

    def at_end(self) -> bool:
        """Return whether nothing more has arrived yet.  Call it upon an `Idle`: before, `read_log` itself may hold
        more."""
        with self._lock:
            if self._closed:
                return True
            pending = getattr(self._socket, "pending", None)  # of TLS: decrypted, not yet received
            return not (pending and pending()) and not self._selector.select(0)

    def close(self) -> None:
        """Close, from any thread, in any state, as often as wanted; this unblocks `chunks`."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            shut_down(self._connection)
            if not self._receiving:
                self._release()

    def _release(self) -> None:
        """Close the socket, only when nobody receives: its number may be given to another socket at once."""
        self._selector.close()
        cut(self._connection)


def log_owner(connection: Connection[Any], flavour: Flavour) -> tuple[str, bool]:
    """Return the name of the server whose log it is, and whether the log can be asked for by GTIDs.

    Nodes of a Galera cluster may have one server id, and each has a log of its own.
    """
    if flavour is Flavour.MYSQL:
        ((server, mode),) = rows(connection, "SELECT @@server_uuid, @@gtid_mode")
        return str(server), mode == "ON"
    ((server,),) = rows(connection, "SELECT @@server_id")
    found = rows(connection, "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('wsrep_on', 'wsrep_node_name')")
    galera = {str(name): str(value) for name, value in found}
    return f"{server}/{galera['wsrep_node_name']}" if galera.get("wsrep_on") == "ON" else str(server), True


def log_head(connection: Connection[Any]) -> LogPosition:
    """The end of the log now.

    A server whose log has no transaction yet is read from the beginning of its file, which says that there are none:
    so the GTIDs of what follows are complete.
    """
    if server_of(connection).flavour is Flavour.MYSQL:
        file, offset, _, _, executed, *_ = log_status(connection)
        ((mode,),) = rows(connection, "SELECT @@gtid_mode")
        gtids = "".join(str(executed).split())
        known = mode == "ON"
        return LogPosition(str(file), int(offset) if gtids or not known else FILE_START, gtids if known else "")
    # MariaDB: no statement gives place and GTIDs together; on a server so busy that they never agree, a slow one does
    for _ in range(_HEAD_ATTEMPTS):
        before, *_ = rows(connection, "SELECT @@gtid_binlog_pos")
        file, offset, *_ = rows(connection, "SHOW MASTER STATUS")[0]
        if rows(connection, "SELECT @@gtid_binlog_pos") == [before]:
            gtids = str(before[0])
            break
    else:
        gtids = str(rows(connection, "SELECT BINLOG_GTID_POS(%s, %s)", (file, offset))[0][0] or "")
    return LogPosition(str(file), int(offset) if gtids else FILE_START, gtids)


def log_end(connection: Connection[Any]) -> LogPosition:
    """The place of the log's end now, without GTIDs."""
    file, offset, *_ = log_status(connection)
    return LogPosition(str(file), int(offset), "")


def log_status(connection: Connection[Any]) -> tuple[Any, ...]:
    """Return file and offset of the log's end now, the databases that it holds, and those that it leaves out."""
    try:
        return rows(connection, "SHOW BINARY LOG STATUS")[0]
    except pymysql.err.ProgrammingError as error:
        if code_of(error) != _SYNTAX:
            raise
        return rows(connection, "SHOW MASTER STATUS")[0]  # MySQL 8.0


class LogHistory:
    """Asks the server of ``info`` for its log, over connections of class ``log``."""

    def __init__(self, info: ConnectionInfo, log: type[LogConnection] = LogConnection) -> None:
        self._info, self._log = info, log

    def head(self, connection: Connection[Any]) -> LogPosition:
        """Return `log_head` with the time at which its file was begun: a position that can be kept.

        The file is asked for its beginning first: of a log that is reset in between, the position is not valid.
        """
        while True:
            file = log_end(connection).file
            try:
                begun = self._begun(file)
            except LogPurged:
                if log_end(connection).file == file:
                    raise
                continue  # it is no longer the last file
            head = log_head(connection)
            if head.file == file:
                return head._replace(begun=begun)

    def error(self, connection: Connection[Any], position: LogPosition) -> SourceError | None:
        """Return why the server's log is not the one that was read up to ``position``; None when it is.

        `LogPurged` asks for a loss, so it must be found twice, the second time over a connection of its own: files may
        be begun and purged between two queries.
        """
        error = self._error(connection, position)
        if isinstance(error, LogPurged):
            with errors_of(self._info), closing(connect(self._info)) as second:
                error = self._error(second, position)
        return error

    def _error(self, connection: Connection[Any], position: LogPosition) -> SourceError | None:
        flavour = server_of(connection).flavour
        _, gtids = log_owner(connection, flavour)
        by_gtids = bool(position.gtids) and gtids
        error = missing(connection, flavour, position, by_gtids=by_gtids)
        if error is not None or not position.begun:
            return error
        try:
            begun = self._begun(position.file)
        except LogPurged as purged:
            error = purged
        else:
            error = None if begun == position.begun else another_history(position, begun)
        return None if error is not None and by_gtids and begins_after(connection, flavour, position) else error

    def _begun(self, file: str) -> int:
        start = LogPosition(file, FILE_START, "")
        with closing(self._log.open(self._info, start, HEARTBEAT, follow=False)) as opened:
            return opened.begun()


#: A statement → our tables whose columns it may have changed.
Concerned = Callable[[SchemaChange], frozenset[str]]
#: An open connection → what is read over it, lazily.
Read = Callable[[LogConnection], Generator[LogChunk]]


class LogThread:
    """Reads the log in a thread of its own.  Used once: opened, read, closed."""

    def __init__(self, info: ConnectionInfo, concerned: Concerned, log: type[LogConnection] = LogConnection) -> None:
        self._info, self._log, self._concerned = info, log, concerned
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cdc-log")
        self._connection: LogConnection | None = None
        self._chunks: Generator[LogChunk] | None = None
        self._fetch: asyncio.Future[LogChunk | None] | None = None
        self._finished = False
        self.closed = False
        #: A second connection, which reads ahead, the statements found (place, tables), and up to where.
        self._ahead: LogConnection | None = None
        self._statements: list[tuple[tuple[int, int], frozenset[str]]] = []
        self._read_to: LogPosition | None = None

    async def open(self, start: LogPosition, heartbeat: float, read: Read) -> None:
        def opened() -> None:
            self._connection = connection = self._log.open(self._info, start, heartbeat)
            if self.closed:
                connection.close()
            self._chunks = read(connection)

        await asyncio.get_running_loop().run_in_executor(self._thread, opened)

    async def next(self, seconds: float) -> LogChunk | None:
        """Return the next chunk, or None when there is none within ``seconds``.

        The one after it begins to be read at once, unless the schema may change in between.
        """
        fetch = self._fetch = self._fetch or self._next()
        done, _ = await asyncio.wait({fetch}, timeout=seconds)
        if not done:
            return None
        self._fetch = None
        chunk = fetch.result()
        if chunk is None:
            raise SourceUnavailable(f"The log of {self._info.describe()} ended.", "Was the server shut down?")
        if not chunk.altered:
            self._fetch = self._next()
        return chunk

    def _next(self) -> asyncio.Future[LogChunk | None]:
        assert self._chunks is not None, "opened"
        return asyncio.get_running_loop().run_in_executor(self._thread, next, self._chunks, None)

    async def altered(self, after: LogPosition, head: LogPosition) -> frozenset[str]:
        """Return the tables that statements between the two concern; not while a chunk is being read.

        Successive calls come in the order of the log.  It is read over a second connection, rows skipped; what was
        read once is remembered, so that a series of alterations costs one reading.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._altered, after, head)

    def _altered(self, after: LogPosition, head: LogPosition) -> frozenset[str]:
        start = after
        if self._read_to is not None and self._read_to.place() > after.place():
            start = self._read_to
        if head.place() > start.place():
            with closing(self._log.open(self._info, start, HEARTBEAT, follow=False)) as self._ahead:
                if self.closed:
                    self._ahead.close()
                for item in self._ahead.items(lambda _: None):
                    if isinstance(item, SchemaChange) and (tables := self._concerned(item)):
                        self._statements.append((item.reached.place(), tables))
                    if isinstance(item, Idle | SchemaChange) and item.reached.place() >= head.place():
                        break
            self._ahead, self._read_to = None, head
        self._statements = [each for each in self._statements if each[0] > after.place()]
        return frozenset().union(*(tables for _, tables in self._statements))

    async def close(self) -> None:
        """End the reading, in the thread with an error.  It may be called more than once."""
        self.closed = True
        for connection in (self._ahead, self._connection):
            if connection is not None:
                connection.close()
        fetch, self._fetch = self._fetch, None
        if fetch is not None:
            await asyncio.gather(fetch, return_exceptions=True)  # how it ended matters to nobody
        if not self._finished:
            self._finished = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._finish)
            self._thread.shutdown(wait=False)

    def _finish(self) -> None:
        """Close the resources of an interrupted read, in the thread that created them."""
        if self._chunks is not None:
            self._chunks.close()
        if self._connection is not None:
            self._connection.close()
