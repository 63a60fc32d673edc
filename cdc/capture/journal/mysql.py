"""The journal in a MariaDB or MySQL database, its rows decoded with the shapes that wrote them; see
`cdc.capture.journal.database.JournalDatabase` for its contract."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import orjson
import pymysql
from pymysql.connections import Connection

from cdc.capture.base import SILENT_SECONDS, LockHolder
from cdc.capture.journal.database import (
    NO_MARKER,
    JournalPage,
    JournalRow,
    Marker,
    TransactionHead,
    heads_of,
    in_slices,
    unreadable,
)
from cdc.capture.journal.mysql_watch import LATE, Awaited, JournalWatch, Watched
from cdc.capture.mysql_lookup import MySQLLookup, table_names
from cdc.capture.mysql_session import SLICE, MySQLProbe, MySQLSession
from cdc.capture.pages import PageRequest, TablePage
from cdc.capture.probe import Backlog
from cdc.database import sqlfile
from cdc.database.mysql_connection import (
    BAD_COLUMN,
    LOCK_CONFLICTS,
    MISSING_TABLE,
    NO_PRIVILEGE,
    REGISTRY_SECONDS,
    Flavour,
    code_of,
    open_registry,
    rows,
)
from cdc.database.mysql_inspect import read_replication, replica_of_triggers
from cdc.database.mysql_journal import (
    CASCADES_ROW,
    JOURNAL,
    OPERATIONS,
    VERSION,
    JournalShape,
    Tokens,
    captures_from_json,
    image_reader,
)
from cdc.model.change import Operation, Position, Row, RowChange, Value
from cdc.model.column import Capture, SecretColumns, Table
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import JournalMissing, SourceError, SourceUnavailable
from cdc.model.finding import Finding, Severity
from cdc.model.image import Image, ImageReader, key_in

_NEEDS_BEFORE = (Operation.UPDATE, Operation.DELETE)
_NEEDS_AFTER = (Operation.CREATE, Operation.UPDATE)
_NOTHING: frozenset[str] = frozenset()
#: A row as the statement selects it: its short columns, the image before, the image after.
Record = tuple[list[str], str | None, str | None]


class KnownShape(NamedTuple):
    """The reader of journal rows that name this shape.  ``keys``: the keys in gaps."""

    shape: JournalShape
    images: ImageReader
    keys: ImageReader


def journals_cascades(connection: Connection[Any]) -> bool:
    """Return whether triggers journal cascades and nothing else, as far as this account may know."""
    sql = "SELECT 1 FROM `cdc_installation` FORCE INDEX (PRIMARY) WHERE `id` = %s"
    try:
        return bool(rows(connection, sql, (CASCADES_ROW,)))
    except (pymysql.err.OperationalError, pymysql.err.ProgrammingError) as error:
        if code_of(error) != MISSING_TABLE and code_of(error) not in NO_PRIVILEGE:
            raise
        return False


def read_shapes(connection: Connection[Any]) -> dict[int, KnownShape]:
    """Return shapes by number.  They never change."""
    found = {}
    sql = "SELECT `id`, `table_name`, `layout` FROM `cdc_shape` FORCE INDEX (PRIMARY)"
    for number, table, layout in rows(connection, sql):
        shape = JournalShape.from_json(table, layout)
        columns = {column.name: column for column in shape.columns}
        keys = JournalShape(table, tuple(columns[name] for name in shape.key), shape.key)
        found[number] = KnownShape(shape, image_reader(shape), image_reader(keys))
    return found


class JournalOrigin(NamedTuple):
    """The beginning of a journal that MariaDB versions by transaction: when it was created, and the transaction that
    wrote the probe, which otherwise precedes every journal row.  ``latest``: the greatest row and transaction deleted
    before that time changed.

    A dump that is restored puts rows back under the name of the transaction that restores them: their events would have
    other ids than before.  They are older than the journal and than the probe; until the dump has put back the probe,
    too, they come `late`.  An ALTER TABLE changes the time alone, a probe that an installation creates again the
    transaction alone."""

    created: datetime
    probe: int
    latest: tuple[int, int] = (0, 0)

    def precedes(self, record: Record) -> bool:
        """Return whether a dump put this row back."""
        renamed = int(record[0][1]) < self.probe or late(record, self.latest)
        # a whole second: what an installation sees at once is not
        return renamed and _moment(record[0][5]) < self.created


def _moment(at: str) -> datetime:
    return datetime.fromisoformat(f"{at}+00:00")


def late(record: Record, latest: tuple[int, int]) -> bool:
    """Return whether the row has a lesser number, and the name of a later transaction, than those deleted before."""
    return int(record[0][0]) <= latest[0] and int(record[0][1]) > latest[1]


def read_origin(connection: Connection[Any]) -> JournalOrigin | None:
    """None: the journal is not there at this moment."""
    created = [made for (made,) in rows(connection, sqlfile.load("mysql/journal_created.sql")) if made is not None]
    try:
        probe = rows(connection, "SELECT `txn` FROM `cdc_probe` FORCE INDEX (PRIMARY) WHERE `id` = 0")
    except pymysql.err.MySQLError as error:
        if code_of(error) not in (BAD_COLUMN, MISSING_TABLE, *NO_PRIVILEGE):  # an earlier installation, or account
            raise
        probe = []
    return JournalOrigin(created[0], probe[0][0] if probe else 0) if created else None


class Images(NamedTuple):
    """A change as a journal row holds it.  ``gap``: the trigger could not record the change.  Then there are no
    images, unless a record is gone by the key that it had: its row was deleted, or has another key now."""

    operation: Operation
    key: Row
    before: Image | None
    after: Image | None
    gap: bool


def images_of(known: KnownShape, operation: Operation, before: str | None, after: str | None, *, gap: bool) -> Images:
    """An image that the server could not build (longer than max_allowed_packet) is null: a gap like the others."""
    if gap and before is not None and before != after:
        key = Image(before, known.keys)
        return Images(Operation.DELETE, key_in(key, known.keys), key, None, gap=True)
    lost = (before is None and operation in _NEEDS_BEFORE) or (after is None and operation in _NEEDS_AFTER)
    if gap or lost:
        return Images(operation, {}, None, None, gap=True)
    old = None if before is None else Image(before, known.images)
    new = None if after is None else Image(after, known.images)
    return Images(operation, key_in(old if new is None else new, known.images), old, new, gap=False)


def secrets_of(shape: JournalShape, indexes: str | None) -> frozenset[str]:
    return frozenset(shape.secrets[int(index)] for index in indexes.split(",")) if indexes else _NOTHING


class RowReader:
    """Shapes are read when a row names one that is not known yet: they never change.

    ``latest``: the greatest id read so far.  ``read_at``: when rows were read last (monotonic).  ``complete``: token →
    ids of transactions that an answer held entirely, which spares looking for them when they are forgotten.
    ``origin``: rows that precede it become gaps, so that their tables are read again.
    """

    def __init__(self) -> None:
        self.origin: JournalOrigin | None = None
        self.latest = 0
        self.read_at = float("-inf")
        self.complete: dict[str, list[int]] = {}
        self._shapes: dict[int, KnownShape] = {}

    def read(self, connection: Connection[Any], which: str, parameters: Sequence[Any], most: int = 0) -> list[Record]:
        """Read rows, in the connection's thread.  ``which``: of the journal's rows.  ``most``: the statement's limit;
        fewer rows (or no limit) are whole transactions."""
        sql = sqlfile.render("mysql/journal_rows.sql", which=which)
        found = [(short.split("|"), before, after) for short, before, after in rows(connection, sql, parameters)]
        if not {int(short[2]) for short, _, _ in found} <= self._shapes.keys():
            self._shapes = read_shapes(connection)
        if found:
            self.latest = max(self.latest, *(int(short[0]) for short, _, _ in found))
            self.read_at = time.monotonic()
            if not most or len(found) < most:
                ids: dict[str, list[int]] = {}
                for (number, token, *_), _before, _after in found:
                    ids.setdefault(token, []).append(int(number))
                self.complete.update(ids)
        return found

    def rows(self, found: list[Record]) -> Iterator[JournalRow]:
        for record in found:
            (number, token, shape_id, op, gap, at, *secrets), before, after = record
            known = self._shapes.get(int(shape_id))
            if known is None:  # whose row it is, is not known: one for each table
                missing = SourceError(f"A row of the journal names shape {int(shape_id)}, which is not in cdc_shape.")
                for table in sorted({each.shape.table for each in self._shapes.values()}) or ["?"]:
                    yield unreadable(token, table, datetime.now(UTC), int(number), missing)
                continue
            try:
                operation, key, old, new, lost = images_of(known, OPERATIONS[int(op)], before, after, gap=gap != "0")
                changed = secrets_of(known.shape, secrets[0]) if secrets else _NOTHING
                moment = _moment(at)
                if self.origin is not None and self.origin.precedes(record):
                    key, old, new, lost = {}, None, None, True
                change = RowChange(operation, known.shape.table, key, old, new, moment, int(number), changed)
                row = JournalRow(token, change, lost)
            except MemoryError:  # says nothing of the row: it is read again
                raise
            except Exception as error:  # noqa: BLE001 - whatever a forged row does to its reader: it becomes a gap
                row = unreadable(token, known.shape.table, datetime.now(UTC), int(number), error)
            yield row


_INTERRUPTED = 1317
#: Seconds between two looks at the journal within `_BUSY` seconds of the last rows, and (unless it is said) after that.
_QUICK, _SLOW = 0.005, 0.03
_BUSY = 2.0
#: Deleted rows after which a system-versioned journal's history is removed (else while waiting).  To remove it, the
#: server goes through the whole journal, what waits in it included: rarely, then, of a backlog.
_HISTORY = 50_000
#: Seconds before another try to remove history.
_HISTORY_PAUSE = 1.0
#: Seconds between two writes of the marker while there is work; it is also written when the journal has been emptied.
#: A write is a commit of its own.
_MARK = 0.25
#: Rows deleted by one statement and transaction.
_DELETE = 2000


class MySQLJournal:
    """A `cdc.capture.journal.database.JournalDatabase`.  ``captures``: what the consumer wants; secret columns are
    those of these and of what is installed.  ``look``: seconds between two looks at a journal that is quiet;
    ``quick``: at a busy one.  ``slice_``: of one round trip of waiting.  ``watch``: waits for this journal together
    with others of the server.  ``replica``: the server may be one on which triggers do not run for what it
    receives."""

    def __init__(
        self,
        info: ConnectionInfo,
        captures: Sequence[Capture] = (),
        *,
        look: float = _SLOW,
        quick: float = _QUICK,
        slice_: float = SLICE,
        watch: JournalWatch | None = None,
        replica: bool = False,
    ) -> None:
        self._replica = replica
        self._look_pause, self._quick_pause = look, quick
        self._slice = slice_
        self._watch = watch
        self._watched: Watched | None = None
        self._info = info
        self._captures = tuple(captures)
        self._session = MySQLSession(info)
        self._reader = RowReader()
        self._lookup = MySQLLookup({})
        self._installed: tuple[Capture, ...] = ()
        self._versioned = False
        self._history = 0
        self._history_at = 0.0
        self._registry_at = -math.inf
        self._blocks = False
        self._markable = False
        self._unmarked: Marker | None = None
        self.noted = 0
        self._journal_made: object = None
        self._origin: JournalOrigin | None = None  # of a versioned journal, over all connections, as the next
        self._latest_deleted = (0, 0)
        self._marked_at = -math.inf

    # -- connection -------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        await self._session.connect(self._prepare)
        if self._watch is not None:
            self._watched = self._watch.join(self._info, versioned=self._versioned)

    def _prepare(self, connection: Connection[Any]) -> None:
        rows(connection, sqlfile.load("mysql/journal_session.sql"))
        rows(connection, "SELECT 1 FROM `cdc_journal` FORCE INDEX (PRIMARY) LIMIT 0")  # MISSING_TABLE: `JournalMissing`
        rows(connection, "SELECT 1 FROM `cdc_shape` FORCE INDEX (PRIMARY) LIMIT 0")
        sql = "SELECT `id`, `version`, `tokens`, `captures` FROM `cdc_installation` FORCE INDEX (PRIMARY)"
        installed = rows(connection, sql)
        if any(row[0] == CASCADES_ROW for row in installed):
            raise JournalMissing(
                f"Only cascades are journaled in {self._info.describe()}, for a consumer that reads the binlog.",
                "Run `cdc install-triggers`.",
            )
        found = [row[1:] for row in installed if row[0] == 1]
        if not found or found[0][0] != VERSION:
            there = f"has version {found[0][0]}" if found else "is not complete"
            raise JournalMissing(
                f"The journal in {self._info.describe()} {there}, this program reads version {VERSION}.",
                "Run `cdc install-triggers`.",
            )
        _, tokens, captures = found[0]
        replica = replica_of_triggers(read_replication(connection), Tokens(tokens), accepted=self._replica)
        if replica is not None and replica.severity is Severity.WRONG:
            raise SourceError(f"{self._info.describe()}: {replica.detail}", f"{replica.fix}.")
        self._installed = tuple(captures_from_json(captures))
        self._versioned = tokens == Tokens.ROW_START
        self._history = 1  # of an earlier consumer, perhaps
        self._journal_made = None
        self._registry_at = -math.inf
        self._open_registry(connection)
        self._blocks = Flavour.MARIADB.value in str(connection.get_server_info()).lower()
        self._reader = RowReader()
        self._lookup = MySQLLookup(self._secrets())
        if self._versioned:
            self._find_origin(connection)

    def _find_origin(self, connection: Connection[Any]) -> None:
        found, known = read_origin(connection), self._origin
        if found is not None and known is not None and found.created != known.created:
            self._origin = found._replace(latest=self._latest_deleted)
            self._latest_deleted = (0, 0)
        elif found is not None:
            self._origin = found._replace(latest=known.latest if known else (0, 0))
        self._reader.origin = self._origin

    def _secrets(self) -> dict[str, SecretColumns]:
        secrets: dict[str, SecretColumns] = {}
        for capture in (*self._installed, *self._captures):
            secrets[capture.table] = secrets.get(capture.table, SecretColumns()) | capture.hidden
        return secrets

    async def disconnect(self) -> None:
        if self._watch is not None and (watched := self._watched) is not None:
            self._watched = None
            await self._watch.leave(watched)
        await self._session.disconnect()

    async def try_lock(self, seconds: float, silent: int = SILENT_SECONDS) -> bool:
        return await self._session.try_lock(seconds, silent)

    async def lock_holder(self) -> LockHolder | None:
        return await self._session.lock_holder()

    # -- reading ----------------------------------------------------------------------------------------------------

    async def _journal_rows(self, which: str, parameters: Sequence[Any], most: int = 0) -> list[JournalRow]:
        def read(connection: Connection[Any]) -> list[Record]:
            found = self._reader.read(connection, which, parameters, most)
            if self._versioned and any(late(record, self._latest_deleted) for record in found):
                self._find_origin(connection)
            return found

        return await in_slices(self._reader.rows(await self._session.run(read)))

    async def peek(self, limit: int) -> list[JournalRow]:
        return await self._journal_rows("ORDER BY `id` LIMIT %s", (limit,), limit)

    async def heads(self, limit: int) -> list[TransactionHead]:
        return (await self._session.run(partial(list_heads, limit=limit)))[0]

    async def transaction_rows(self, tokens: Sequence[str]) -> list[JournalRow]:
        if not tokens:
            return []
        return await self._journal_rows("WHERE `txn` IN %s ORDER BY `txn`, `id`", (_numbers(tokens),))

    async def rows_after(self, token: str, ordinal: int, limit: int) -> list[JournalRow]:
        which = "WHERE `txn` = %s AND `id` > %s ORDER BY `id` LIMIT %s"
        return await self._journal_rows(which, (int(token), max(ordinal, 0), limit), 1)

    async def rows_at(self, token: str, ordinals: Sequence[int]) -> list[JournalRow]:
        if not ordinals:
            return []
        which = "WHERE `id` IN %s AND `txn` = %s ORDER BY `id`"
        return await self._journal_rows(which, (tuple(ordinals), int(token)), 1)

    async def page(self, wanted: PageRequest, most: int) -> JournalPage | None:
        def read(connection: Connection[Any]) -> tuple[TablePage, tuple[list[TransactionHead], bool]]:
            return self._lookup.page(connection, wanted, lambda: list_heads(connection, most + 1))

        page, (heads, cut) = await self._session.run(read)
        return None if cut or len(heads) > most else JournalPage(page, frozenset(head.token for head in heads))

    async def rows(self, table: str, column: str, values: Sequence[Value]) -> list[Row]:
        if not values:
            return []
        return await self._session.run(lambda connection: self._lookup.rows(connection, table, column, values))

    async def all_rows(self, table: str) -> list[Row]:
        return await self._session.run(lambda connection: self._lookup.all_rows(connection, table))

    async def site_url(self) -> str:
        return await self._session.run(self._lookup.site_url)

    async def table_names(self) -> list[str]:
        return await self._session.run(table_names)

    async def installed(self) -> list[str]:
        sql = "SELECT `captures` FROM `cdc_installation` FORCE INDEX (PRIMARY) WHERE `id` = 1"
        found = await self._session.run(lambda connection: rows(connection, sql))
        return [capture.table for (captures,) in found for capture in captures_from_json(captures)]

    def capture(self, captures: Sequence[Capture]) -> None:
        self._captures = (*self._captures, *captures)
        self._lookup.hide(self._secrets())

    async def definitions(self) -> object:
        names = (JOURNAL, *(capture.table for capture in self._installed))
        sql = sqlfile.load("mysql/definitions.sql")
        found = dict(await self._session.run(partial(rows, sql=sql, parameters=(names,))))
        made = found.pop(JOURNAL, None)
        if self._journal_made not in (None, made):  # its shapes may be others, and its numbers begin again
            raise SourceUnavailable(f"The journal in {self._info.describe()} was created again.")
        self._journal_made = made
        return found

    async def tables(self) -> dict[str, Table]:
        found = await self._session.run(self._lookup.tables)
        captured = {capture.table for capture in (*self._installed, *self._captures)}
        return {name: table.as_table for name, table in found.items() if name in captured}

    # -- forgetting and waiting -------------------------------------------------------------------------------------

    async def marker(self) -> Marker | None:
        found = await self._session.run(_read_marker)
        self._markable = found is not None
        self._unmarked, self._marked_at = None, -math.inf
        return found

    async def delete(self, tokens: Sequence[str], marker: Marker = NO_MARKER) -> None:
        for start in range(0, len(tokens), _DELETE):
            some = tokens[start : start + _DELETE]
            await self._session.run(partial(self._delete, tokens=some, marker=marker))

    def _delete(self, connection: Connection[Any], tokens: Sequence[str], marker: Marker) -> None:
        known = self._reader.complete
        unknown = _numbers([token for token in tokens if token not in known])
        ids = [number for token in tokens for number in known.pop(token, ())]
        if self._markable and marker.outbox:
            self._unmarked = marker
            if time.monotonic() - self._marked_at >= _MARK:
                self._mark(connection)
        self._open_registry(connection)
        _delete_rows(connection, ids)
        deleted, greatest = len(ids), max(ids, default=0)
        while unknown and (found := rows(connection, sqlfile.load("mysql/journal_ids.sql"), (unknown, _DELETE))):
            _delete_rows(connection, [row[0] for row in found])
            deleted += len(found)
            greatest = max(greatest, found[-1][0])
        self._history += deleted
        if self._versioned and tokens:
            number, transaction = self._latest_deleted
            self._latest_deleted = max(number, greatest), max((transaction, *map(int, tokens)))
        if self._versioned and self._history >= _HISTORY:
            self._forget_history(connection)

    def _mark(self, connection: Connection[Any]) -> None:
        """Write the marker if it is not the one in the database."""
        if self._unmarked is not None:
            rows(connection, sqlfile.load("mysql/set_marker.sql"), self._unmarked)
            self.noted = self._unmarked.batch
            self._unmarked, self._marked_at = None, time.monotonic()

    def _open_registry(self, connection: Connection[Any]) -> None:
        """Open the registry that a system-versioned journal needs, at most every `REGISTRY_SECONDS`."""
        if self._versioned and time.monotonic() >= self._registry_at:
            opened = open_registry(connection, self._info.database)
            self._registry_at = time.monotonic() + REGISTRY_SECONDS if opened else math.inf

    def _forget_history(self, connection: Connection[Any]) -> None:
        """Remove what deletions leave in a system-versioned journal.  The server refuses while a transaction that has
        written to the journal is open; then it is tried again after a pause."""
        if time.monotonic() < self._history_at:
            return
        try:
            rows(connection, "SET STATEMENT innodb_lock_wait_timeout = 0 FOR DELETE HISTORY FROM `cdc_journal`")
        except pymysql.err.OperationalError as error:
            if code_of(error) not in LOCK_CONFLICTS:
                raise
            self._history_at = time.monotonic() + _HISTORY_PAUSE
        else:
            self._history = 0

    async def wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        if (watch := self._watch) is not None and (watched := self._watched) is not None:
            if self._unmarked is not None or self._versioned:
                await self._session.run(self._tidy)
            awaited = Awaited.WRITTEN
            while awaited is Awaited.WRITTEN:
                awaited = await watch.wait(watched, self._reader.latest, end - time.monotonic())
                after = (max(self._reader.latest - LATE, 0),)
                look = partial(rows, sql=sqlfile.load("mysql/wait.sql#look"), parameters=after)
                if awaited is Awaited.WRITTEN and bool(await self._session.run(look)):
                    return
            if awaited is Awaited.OVER:
                return
        rest = end - time.monotonic()
        while rest > 0 and not self._session.closing.is_set():
            if await self._session.run(partial(self._look, seconds=min(rest, self._slice))):
                return
            rest -= self._slice

    def _tidy(self, connection: Connection[Any]) -> None:
        self._mark(connection)
        self._open_registry(connection)
        if self._versioned and self._history:
            self._forget_history(connection)

    def _look(self, connection: Connection[Any], seconds: float) -> bool:
        """Return whether the journal has rows, within about ``seconds``."""
        self._tidy(connection)
        pause = self._quick_pause if time.monotonic() - self._reader.read_at < _BUSY else self._look_pause
        pause = min(pause, seconds)
        try:
            if not self._blocks:
                return self._take_turns(connection, seconds, pause)
            parameters = (self._reader.latest, seconds, pause, pause)
            return bool(rows(connection, sqlfile.load("mysql/wait.sql#block"), parameters)[0][0])
        except pymysql.err.MySQLError as error:
            if code_of(error) != _INTERRUPTED:
                raise
            return True

    def _take_turns(self, connection: Connection[Any], seconds: float, pause: float) -> bool:
        """Wait on MySQL, which runs no block outside a routine.  A row that is not committed ends the statement, too:
        from then on each turn is one of its own."""
        end = time.monotonic() + seconds
        turns = orjson.dumps(list(range(math.ceil(seconds / pause)))).decode()
        rows(connection, "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED")
        if not rows(connection, sqlfile.load("mysql/wait.sql#turns"), (turns, self._reader.latest, pause)):
            return False
        turn = 0
        while not rows(connection, sqlfile.load("mysql/wait.sql#look"), (self._reader.latest if turn % 5 else 0,)):
            if time.monotonic() + pause > end:
                return False
            time.sleep(pause)  # in the connection's own thread
            turn += 1
        return True


def _read_marker(connection: Connection[Any]) -> Marker | None:
    """Return the marker if it is there and this account may change it, which is tried."""
    try:
        rows(connection, "UPDATE `cdc_marker` FORCE INDEX (PRIMARY) SET `batch` = `batch` WHERE `id` = 1")
        found = rows(connection, "SELECT `outbox`, `batch` FROM `cdc_marker` FORCE INDEX (PRIMARY) WHERE `id` = 1")
    except pymysql.err.MySQLError as error:
        if code_of(error) == MISSING_TABLE or code_of(error) in NO_PRIVILEGE:
            return None
        raise
    return Marker(*found[0]) if found else None


def list_heads(connection: Connection[Any], limit: int) -> tuple[list[TransactionHead], bool]:
    """The first ``limit``, and whether there are fewer because the server does not give a text of that length."""
    tokens, counts, length = rows(connection, sqlfile.load("mysql/journal_heads.sql"), (limit,))[0]
    if tokens is None:
        return [], False
    if len(tokens) + len(counts) == length:
        return heads_of(tokens, counts), False
    return heads_of(tokens.rpartition(",")[0], counts.rpartition(",")[0]), True  # the last one may be half of one


def _numbers(tokens: Sequence[str]) -> tuple[int, ...]:
    return tuple(int(token) for token in tokens)


def _delete_rows(connection: Connection[Any], ids: Sequence[int]) -> None:
    for start in range(0, len(ids), _DELETE):
        some = orjson.dumps(ids[start : start + _DELETE]).decode()
        rows(connection, sqlfile.load("mysql/journal_delete.sql"), (some,))


class MySQLJournalProbe(MySQLProbe):
    async def ask(self, _position: Position | None, /) -> Backlog:
        sql = sqlfile.load("mysql/journal_waiting.sql")
        ((transactions, seconds),) = await self.run(partial(rows, sql=sql))
        return await self._with_problems(Backlog(max(float(seconds), 0.0), transactions))

    def _findings(self, connection: Connection[Any]) -> Iterable[Finding]:
        for (tokens,) in rows(
            connection, "SELECT `tokens` FROM `cdc_installation` FORCE INDEX (PRIMARY) WHERE `id` = 1"
        ):
            found = replica_of_triggers(read_replication(connection), Tokens(tokens), accepted=self._replica)
            yield from [found] if found else []
