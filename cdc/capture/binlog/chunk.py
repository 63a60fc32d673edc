"""Items of a log → chunks: whole transactions that are stored together, cut where the schema may change.

A chunk is read without knowing what its consumer does; after one that carries ``altered`` tables the consumer brings
the schema up to date before it asks for the next.

Statements in the log are never parsed: a table is concerned when its name is anywhere in the text as a word, since a
statement that alters a table must name it.  Only these are recognised by their words: statements that cannot alter any
table; those that empty one; and those that change rows in another way of which the log has no row events.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from cdc.capture.base import HugePart
from cdc.capture.binlog.item import Cascade, Idle, Item, JournalRows, LogTransaction, Missed, RowEvents, SchemaChange
from cdc.capture.binlog.layout import Image, LogLayout, UnreadableTable
from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.spool import Spool
from cdc.model.change import Gap, Operation, RowChange, Transaction, Value
from cdc.model.column import SecretColumns
from cdc.model.errors import LogIncomplete, SourceUnavailable

#: Names that a statement can write in one way only, upper and lower case aside.
_PLAIN = re.compile(r"[0-9A-Za-z_$-]+\Z")
#: Comments that the server does not execute, and white space.
_SPACE = r"(?:\s+|/\*(?![!M]).*?\*/|--\s[^\n]*\n|\#[^\n]*\n)"
#: MariaDB may write settings in front of a statement.
_START = re.compile(rf"{_SPACE}*(?:SET{_SPACE}+STATEMENT\b.*?\bFOR\b{_SPACE}*)?", re.IGNORECASE | re.DOTALL)
_EXECUTED = ("/*!", "/*m!")
_IN_NAME = r"[0-9a-z_$\u0080-\uffff]"
_HARMLESS = re.compile(
    rf"""(?: ANALYZE | OPTIMIZE | CHECK | FLUSH | GRANT | REVOKE | SET | TRUNCATE | INSERT | UPDATE | DELETE
    | REPLACE | LOAD | CALL | XA | USE | DO
    | (?: CREATE | DROP ) {_SPACE}+ (?: OR {_SPACE}+ REPLACE {_SPACE}+ )?
      (?: DEFINER | TRIGGER | VIEW | ALGORITHM | SQL | PROCEDURE | FUNCTION | AGGREGATE | EVENT | USER | ROLE | SERVER )
    )\b""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_NAME = r"(?: `(?:[^`]|``)+` | \"(?:[^\"]|\"\")+\" | [0-9A-Za-z_$\u0080-\uffff]+ )"
_TRUNCATE = re.compile(
    rf"""TRUNCATE (?:{_SPACE}+TABLE\b)? {_SPACE}* (?P<first>{_NAME})
    (?: {_SPACE}* \. {_SPACE}* (?P<second>{_NAME}) )?
    {_SPACE}* (?: WAIT {_SPACE}+ \d+ | NOWAIT )? {_SPACE}* ;? \s* \Z""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_DROP_DATABASE = re.compile(rf"DROP{_SPACE}+(?:DATABASE|SCHEMA)\b", re.IGNORECASE | re.DOTALL)
_DROPPED = re.compile(
    rf"(?:DROP|CREATE{_SPACE}+OR{_SPACE}+REPLACE){_SPACE}+(?:TABLES?|DATABASE|SCHEMA)\b", re.IGNORECASE | re.DOTALL
)
_REPLACED = re.compile(
    rf"""(?: RENAME {_SPACE}+ TABLES? | REPAIR | ALTER {_SPACE}+ (?: ONLINE {_SPACE}+ )? IGNORE
    | ALTER \b .* \b (?: (?: TRUNCATE | DROP | EXCHANGE | CONVERT | REPAIR | IMPORT ) {_SPACE}+ PARTITION
      | CONVERT {_SPACE}+ TABLE | IMPORT {_SPACE}+ TABLESPACE
      | RENAME {_SPACE}* (?! (?:\s|/\*.*?\*/)* (?: COLUMN | INDEX | KEY )\b ) )
    )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def concerned(statement: str, default_database: str, database: str, tables: Iterable[str]) -> frozenset[str]:
    """Return our tables (of ``database``) whose columns the statement may have changed.

    ``default_database``: the one that its session used.
    """
    begin = _begin(statement)
    if _HARMLESS.match(statement, begin):
        return frozenset()
    if _DROP_DATABASE.match(statement, begin):
        return frozenset(tables) if _may_name(statement.lower(), database) else frozenset()
    return mentioned(statement, default_database, database, tables)


def mentioned(statement: str, default_database: str, database: str, tables: Iterable[str]) -> frozenset[str]:
    """Return our tables whose names are in the statement."""
    text = statement.lower()
    if default_database.lower() != database.lower() and not _may_name(text, database):
        return frozenset()
    return frozenset(table for table in tables if _may_name(text, table))


def dropped(statement: str) -> bool:
    """Return whether the statement removes the tables that it concerns, with their rows."""
    return _DROPPED.match(statement, _begin(statement)) is not None


def replaced(statement: str) -> bool:
    """Return whether the statement may change rows of the tables that it concerns, or put others in their place,
    without row events.  So do exchanges of partitions, tablespaces and names."""
    return _REPLACED.match(statement, _begin(statement)) is not None


def truncated(statement: str, default_database: str, database: str, tables: Iterable[str]) -> str | None:
    """The one of our tables that this statement empties, if it does that."""
    found = _TRUNCATE.match(statement, _begin(statement))
    if found is None:
        return None
    first, second = found["first"], found["second"]
    where, table = (default_database, first) if second is None else (_unquoted(first), second)
    if where.lower() != database.lower():
        return None
    name = _unquoted(table)
    known = list(tables)
    return name if name in known else next((each for each in known if each.lower() == name.lower()), None)


def _begin(statement: str) -> int:
    start = _START.match(statement)
    return start.end() if start else 0


def _may_name(text: str, name: str) -> bool:
    """Return whether the statement ``text``, in lower case, may name it."""
    if not _PLAIN.match(name):
        return True
    if name.lower() not in text:
        return False
    if any(mark in text for mark in _EXECUTED):  # the digits before a name there may be a version's
        return True
    return re.search(rf"(?<!{_IN_NAME}){re.escape(name.lower())}(?!{_IN_NAME})", text) is not None


def _unquoted(name: str) -> str:
    quote = name[0]
    return name[1:-1].replace(quote * 2, quote) if quote in '`"' else name


_Pair = tuple[Image | None, Image | None]
#: (before and after images, ordinal of the first, time) → the changes among them.
Build = Callable[[Iterable[_Pair], int, datetime], list[RowChange]]


def builder(layout: LogLayout, secrets: frozenset[str]) -> Build:
    """Return the function that makes row changes of images.  ``secrets``: columns whose values go no further; that
    one changed is said of updates, as triggers do."""
    table = layout.table
    key = tuple((name, layout.names.index(name)) for name in layout.key)
    hidden = tuple((name, index) for index, name in enumerate(layout.names) if name in secrets)
    names, shown = layout.names, tuple((name, n) for n, name in enumerate(layout.names) if name not in secrets)

    def plain(image: Image) -> _Row:
        return dict(zip(names, image, strict=True))

    def stripped(image: Image) -> _Row:
        return {name: image[index] for name, index in shown}

    row = stripped if hidden else plain

    def build(pairs: Iterable[_Pair], ordinal: int, time: datetime) -> list[RowChange]:
        changes = []
        for before, after in pairs:
            if before is None:
                assert after is not None, "a row has an image"
                name = {n: after[i] for n, i in key}
                change = RowChange(Operation.CREATE, table, name, None, row(after), time, ordinal)
            elif after is None:
                name = {n: before[i] for n, i in key}
                change = RowChange(Operation.DELETE, table, name, row(before), None, time, ordinal)
            elif before == after:
                ordinal += 1
                continue
            else:
                name = {n: after[i] for n, i in key}
                changed = frozenset([n for n, i in hidden if before[i] != after[i]]) if hidden else _NONE
                change = RowChange(Operation.UPDATE, table, name, row(before), row(after), time, ordinal, changed)
            ordinal += 1
            changes.append(change)
        return changes

    return build


_NONE: frozenset[str] = frozenset()
_Row = dict[str, Value]
_STATEMENT_FORMAT = (
    "the log has a statement instead of the changed rows; SET GLOBAL binlog_format = 'ROW' prevents that"
)
_ROWS_REPLACED = "a statement changed rows without row events in the log, or put other rows in their place"

#: Seconds that what was read may wait for more while more is at hand.
_LONGEST = 0.1

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LostChanges:
    """A gap, and the transaction it was found in."""

    token: str
    gap: Gap


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Whole transactions, and what the log does not say of them.  ``position``: after all of it, or before a ``huge``
    transaction that is not yet all read.

    ``altered``: tables whose columns may be others from ``reached`` on; ``transactions`` then empty those of them that
    were dropped.  ``caught_up``: nothing more had arrived.
    """

    transactions: tuple[Transaction, ...]
    position: LogPosition
    lost: tuple[LostChanges, ...] = ()
    huge: HugePart | None = None
    altered: frozenset[str] = frozenset()
    reached: LogPosition | None = None
    caught_up: bool = False


@dataclass(frozen=True, slots=True)
class ChunkLimits:
    """Bounds of a chunk.  ``batch``: rows of a chunk.  ``bytes``: of their events, at most about so many.  ``huge``:
    a transaction with more rows, or more bytes than ``bytes``, is spooled and comes in parts."""

    batch: int
    huge: int
    bytes: int = 8 << 20


@dataclass
class ChunkReader:
    """Makes chunks of items.  ``database``, ``secrets``: table → its secret columns, for each captured one.
    ``start``: where the items begin. ``resume``: the huge transaction that the first reading begins in.  ``at_end``:
    nothing more has arrived. ``closed``: reading is to end."""

    source: str
    database: str
    secrets: dict[str, SecretColumns]
    start: LogPosition
    cut: ChunkLimits
    at_end: Callable[[], bool]
    closed: Callable[[], bool]
    resume: HugePart | None = None
    _pending: list[Transaction] = field(default_factory=list)
    _lost: dict[str, LostChanges] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)  # of the transaction that is being read, in the journal
    _rows: int = 0
    _bytes: int = 0
    _flushed_at: float = 0.0
    _builders: dict[LogLayout, Build] = field(default_factory=dict)

    def read(self, items: Iterable[Item]) -> Generator[LogChunk]:
        self._position = self.start
        for item in items:
            if isinstance(item, LogTransaction):
                yield from self._committed(item)
            elif isinstance(item, Idle):
                self._position = item.position
                caught_up = self.at_end()
                if caught_up or time.monotonic() - self._flushed_at > _LONGEST:  # else there is more to store with it
                    yield self._flush(caught_up=caught_up)
            elif isinstance(item, SchemaChange):
                yield from self._statement(item)
            else:
                for table in self.secrets:
                    self._lose(table, Operation.UPDATE, item, item.reason)
                self._position = item.position

    def _flush(self, *, caught_up: bool = False) -> LogChunk:
        chunk = LogChunk(tuple(self._pending), self._position, tuple(self._lost.values()), caught_up=caught_up)
        self._pending, self._lost = [], {}
        self._rows = self._bytes = 0
        self._flushed_at = time.monotonic()
        return chunk

    # -- rows -------------------------------------------------------------------------------------------------------

    def _committed(self, item: LogTransaction) -> Iterator[LogChunk]:
        resumed = self.resume is not None and self.resume.token == item.token
        behind = self.resume.records if self.resume is not None and resumed else 0
        self.resume = None
        changes: list[RowChange] = []
        self._names = set()
        size = 0
        with ExitStack() as stack:
            spool = stack.enter_context(Spool()) if resumed else None
            for part, length in self._decoded(item):
                size += length
                if spool is None and (len(changes) + len(part) > self.cut.huge or size > self.cut.bytes):
                    spool = stack.enter_context(Spool())
                    for change in changes:
                        spool.add(change)
                    changes = []
                if spool is None:
                    changes += part
                    continue
                for change in part:
                    spool.add(change)
            if spool is not None:
                yield from self._parts(item, spool, behind)
                return
        self._position = item.position
        if changes or self._names:
            self._pending.append(Transaction(item.token, tuple(changes), tuple(sorted(self._names))))
        self._rows += len(changes)
        self._bytes += size
        if self._rows >= self.cut.batch or self._bytes >= self.cut.bytes:
            yield self._flush()

    def _parts(self, item: LogTransaction, spool: Spool, behind: int) -> Iterator[LogChunk]:
        """Yield the waiting transactions, then the huge one part by part."""
        lost, self._lost = self._lost, {}  # those of this transaction among them: with its last part
        if self._pending:
            yield self._flush()
        for part in spool.parts(self.cut.batch, behind):
            journalled = tuple(sorted(self._names))
            transaction = Transaction(item.token, part.changes, journalled, more=not part.final)
            transactions = (transaction,) if part.changes else ()
            if part.final:
                self._position = item.position
                yield LogChunk(transactions, item.position, tuple(lost.values()))
            else:
                yield LogChunk(transactions, self._position, huge=HugePart(item.token, part.records))

    def _decoded(self, item: LogTransaction) -> Iterator[tuple[list[RowChange], int]]:
        """The changes of each event, and the bytes that it took.

        An ordinal is a row's number among the rows of captured tables in its transaction: a function of the log alone.
        """
        ordinal = 0
        foreign: set[int] | None = None
        for layout, event_type, body, begun in item.rows:
            if self.closed():
                raise SourceUnavailable("Closed while a transaction was being read.")
            if isinstance(layout, JournalRows):
                names, cascades = layout.read(body, event_type, begun)
                self._names |= names
                if foreign is None and any(each.doubtful for each in cascades):
                    foreign = self._foreign(item)
                cascades = [each for each in cascades if not each.doubtful or each.number in (foreign or ())]
                yield self._cascaded(cascades, ordinal, item), len(body) if cascades else 0
                ordinal += len(cascades)
                continue
            if isinstance(layout, UnreadableTable):
                self._lose(layout.table, Operation.UPDATE, item, layout.reason)
                ordinal += layout.bare.count(body, event_type) if layout.bare else 0
                continue
            try:
                pairs = layout.rows(body, event_type)
            except LogIncomplete as error:
                self._lose(layout.table, Operation.UPDATE, item, str(error))
                ordinal += layout.count(body, event_type)
                continue
            yield self._build(layout)(pairs, ordinal, item.time), len(body)
            ordinal += len(pairs)

    def _foreign(self, item: LogTransaction) -> set[int]:
        """Return the numbers of those doubtful rows of the journal that are changes of foreign keys.

        A table whose rows the log does not have whole is read again anyway.
        """
        events, found, lost = RowEvents(), set(), set()
        for layout, event_type, body, begun in item.rows:
            if isinstance(layout, JournalRows):
                _, cascades = layout.read(body, event_type, begun)
                left = [each for each in cascades if each.doubtful and each.table not in lost]
                found |= {each.number for each in left if not events.take(each)}
            elif isinstance(layout, LogLayout):
                try:
                    events.add(self._build(layout)(layout.rows(body, event_type), 0, item.time))
                except LogIncomplete:
                    lost.add(layout.table)
        return found

    def _cascaded(self, cascades: Iterable[Cascade], ordinal: int, item: LogTransaction) -> list[RowChange]:
        changes = []
        for number, each in enumerate(cascades, ordinal):
            if not each.table:
                for table in self.secrets:
                    self._lose(table, each.operation, item, "the journal's shapes are gone, with the triggers")
                continue
            if each.table not in self.secrets:
                continue
            if each.gap:
                self._lose(each.table, each.operation, item, "a trigger could not record what a foreign key did")
                if each.before is None:
                    continue
            images = (each.before, each.after)
            changes.append(
                RowChange(each.operation, each.table, each.key, *images, item.time, number, each.secrets_changed)
            )
        return changes

    def _build(self, layout: LogLayout) -> Build:
        found = self._builders.get(layout)
        if found is None:
            found = self._builders[layout] = builder(layout, self.secrets[layout.table].of(layout.names, layout.key))
        return found

    # -- changes without rows ---------------------------------------------------------------------------------------

    def _lose(
        self, table: str, operation: Operation, item: LogTransaction | SchemaChange | Missed, reason: str
    ) -> None:
        """One gap a table and chunk."""
        if table not in self._lost:
            log.warning("gap", source=self.source, table=table, reason=reason, action="reading the table again")
            message = (
                f"Changes of the table {table} of source {self.source} could not be read from the log: "
                f"{reason.rstrip('.')}. The table is read again, which gives its rows as they are now (events .read)."
            )
            self._lost[table] = LostChanges(item.token, Gap(table, operation, item.time, message))

    def _statement(self, item: SchemaChange) -> Iterator[LogChunk]:
        if item.changes_rows:
            for table in mentioned(item.statement, item.database, self.database, self.secrets):
                self._lose(table, Operation.UPDATE, item, _STATEMENT_FORMAT)
            self._position = item.position
            return
        altered = concerned(item.statement, item.database, self.database, self.secrets)
        emptied = truncated(item.statement, item.database, self.database, self.secrets)
        if altered:
            if self._pending or self._lost:
                yield self._flush()
            self._builders.clear()
            transactions = (_emptied(item, sorted(altered)),) if dropped(item.statement) else ()
            if replaced(item.statement):
                for table in sorted(altered):
                    self._lose(table, Operation.UPDATE, item, _ROWS_REPLACED)
            lost, self._lost, self._position = tuple(self._lost.values()), {}, item.position
            yield LogChunk(transactions, item.position, lost, altered=altered, reached=item.reached)
        elif emptied is not None:
            self._pending.append(_emptied(item, [emptied]))
        self._position = item.position


def _emptied(item: SchemaChange, tables: Sequence[str]) -> Transaction:
    changes = [RowChange(Operation.TRUNCATE, name, {}, None, None, item.time, n) for n, name in enumerate(tables)]
    return Transaction(item.token, tuple(changes))
