"""Definitions of the captured tables at a position of the log: versions, never a guess.  They are part of the position
of a binlog source.

information_schema shows today's tables, while the log may be read far in the past.  Its definitions are valid from a
statement on only if the log has no later one about that table.  Between two such statements a table is *uncertain*:
its rows can be read only as far as the log itself names the columns (``binlog_row_metadata = FULL``) and the
definitions before and after agree on everything else.
"""

from __future__ import annotations

import base64
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pymysql
from pymysql.connections import Connection

from cdc.capture.base import HugePart, SourcePosition, rereads_of, written_by
from cdc.capture.binlog.event import TableMap
from cdc.capture.binlog.layout import KnownTable, LogLayout, layout_of
from cdc.capture.binlog.log_position import LogPosition
from cdc.database import sqlfile
from cdc.database.mysql_connection import MISSING_TABLE, Flavour, code_of, quote, rows
from cdc.database.mysql_inspect import read_tables
from cdc.database.mysql_types import MySQLColumn
from cdc.model.change import Position
from cdc.model.errors import SchemaMismatch, SourceUnavailable


@dataclass(frozen=True, slots=True)
class Version:
    """The definitions of the captured tables from one statement to the next.  ``known``: table → what it is like,
    or, when that is uncertain, what it may be like (several, or none for a table of which nothing is known).  A
    table that is not there at all is not in it."""

    known: Mapping[str, tuple[KnownTable, ...]]
    uncertain: frozenset[str] = frozenset()

    def with_tables(
        self, names: Iterable[str], now: Mapping[str, KnownTable], altered_again: frozenset[str]
    ) -> Version:
        """Return the version after a statement about ``names``, which are now as in ``now``; ``altered_again``:
        between, too."""
        known = dict(self.known)
        uncertain = set(self.uncertain)
        for name in names:
            before = known.pop(name, ())
            after = (now[name],) if name in now else ()
            uncertain.discard(name)
            if name in altered_again:
                uncertain.add(name)
                known[name] = tuple(dict.fromkeys((*before, *after)))
            elif after:
                known[name] = after
        return Version(known, frozenset(uncertain))

    def only(self, names: Iterable[str]) -> Version:
        remaining = set(names)
        known = {name: each for name, each in self.known.items() if name in remaining}
        return Version(known, self.uncertain & remaining)

    def layout(self, table_map: TableMap, name: str, offset_of: Callable[[int], int]) -> LogLayout:
        """Return the layout of the rows.  Raises `SchemaMismatch` when that is not certain."""
        candidates = self.known.get(name, ())
        if not candidates:
            raise SchemaMismatch(f"Nothing is known of table {name} at this place of the log.")
        if name not in self.uncertain:
            return layout_of(table_map, candidates[0], offset_of)
        if any(column.name is None for column in table_map.columns):
            raise SchemaMismatch(
                f"Table {name} was altered more than once in this chunk of the log, which does not name its columns.",
                "SET GLOBAL binlog_row_metadata = 'FULL' makes later ones readable.",
            )
        choices: dict[str, set[MySQLColumn]] = {}
        tables = list(candidates)
        for table in tables:
            for column in table.columns:
                choices.setdefault(column.name, set()).add(column)
        agreed = tuple(column for columns in choices.values() if len(columns) == 1 for column in columns)
        return layout_of(table_map, replace(tables[0], columns=agreed, key=()), offset_of)

    def dump(self) -> str:
        tables = []
        for name, known in sorted(self.known.items()):
            fields = [
                (
                    [[c.name, c.data_type, c.column_type, c.charset, c.extra] for c in table.columns],
                    table.key,
                    table.flavour.value,
                    table.hidden,
                )
                for table in known
            ]
            tables.append([name, name in self.uncertain, fields])
        return base64.b64encode(zlib.compress(orjson.dumps(tables), 9)).decode()

    @staticmethod
    def load(text: str) -> Version:
        """Raises `ValueError`, `TypeError` or `zlib.error` for what `dump` did not write."""
        tables = orjson.loads(zlib.decompress(base64.b64decode(text, validate=True)))
        known = {
            name: tuple(
                KnownTable(
                    name, tuple(MySQLColumn(*column) for column in columns), tuple(key), Flavour(flavour), hidden
                )
                for columns, key, flavour, hidden in each
            )
            for name, _, each in tables
        }
        return Version(known, frozenset(name for name, uncertain, _ in tables if uncertain))


class SchemaHistory:
    """The versions by place, so that a position which lags behind what was read (an XA transaction holds it back) is
    stored with what was known at that position."""

    def __init__(self, version: Version) -> None:
        self.current = version
        self._texts: list[tuple[tuple[int, int], str]] = [((0, 0), version.dump())]

    def change(self, version: Version, reached: LogPosition) -> None:
        """Note that ``version`` holds from ``reached`` on."""
        self.current = version
        self._texts.append((reached.place(), version.dump()))

    def text_at(self, position: LogPosition) -> str:
        """The version to store with a position; no earlier position will be asked for."""
        while len(self._texts) > 1 and self._texts[1][0] <= position.place():
            del self._texts[0]
        return self._texts[0][1]


_LOCK_WAIT_TIMEOUT = 1205
#: Seconds after which waiting for a table that is being altered is tried again.
_WAIT_SECONDS = 1


@dataclass(frozen=True, slots=True)
class SchemaNow:
    """The captured tables as they are now.  ``head``: the end of the log at a moment at which all of ``tables`` were
    as they are here."""

    tables: Mapping[str, KnownTable]
    head: LogPosition


def read_schema(
    connection: Connection[Any],
    flavour: Flavour,
    names: Collection[str],
    head: Callable[[Connection[Any]], LogPosition],
    closing: Callable[[], bool],
) -> SchemaNow:
    """Return the tables that exist; ``head`` returns the log's end.

    A transaction that has touched a table keeps others from altering it (its metadata lock), and waits for who is
    altering it now until that is in the log: so what is read here is exactly what the log's end means.  It waits as
    long as the table's own users do; ``closing`` ends that.
    """
    rows(connection, f"SET SESSION lock_wait_timeout = {_WAIT_SECONDS}")
    rows(connection, "BEGIN")
    try:
        for name in sorted(names):
            _hold(connection, name, closing)
        hidden: dict[str, int] = {}
        if flavour is Flavour.MARIADB:
            hidden = {
                table: int(count) for table, count in rows(connection, sqlfile.load("mariadb/hidden_columns.sql"))
            }
        tables = {}
        for name, table in read_tables(connection).items():
            if name in names:
                count = 0 if table.engine == "MEMORY" else hidden.get(name, 0)
                tables[name] = KnownTable(name, table.columns, table.key, flavour, count)
        return SchemaNow(tables, head(connection))
    finally:
        if connection.open:
            rows(connection, "ROLLBACK")


def _hold(connection: Connection[Any], table: str, closing: Callable[[], bool]) -> None:
    """Keep this table from being altered until the end of the transaction; a missing one may still be created."""
    touch = sqlfile.render("mysql/hold_table.sql", table=quote(table))
    while True:
        began = time.monotonic()
        try:
            rows(connection, touch)
        except pymysql.err.MySQLError as error:
            if code_of(error) == MISSING_TABLE:
                return
            if code_of(error) != _LOCK_WAIT_TIMEOUT or time.monotonic() - began < _WAIT_SECONDS / 2:
                raise
            if closing():
                raise SourceUnavailable("Closed while a table was being altered.") from error
        else:
            return


@dataclass(frozen=True, slots=True)
class BinlogPosition(SourcePosition):
    """The position of a source that reads a binlog.  ``log``: everything before it is stored.  ``server``: whose
    files its file and offset are good for. ``schema``: `Version.dump` of what the captured tables are like there.
    ``captured``: the tables that were captured up to there, also those that the database does not have."""

    log: LogPosition
    server: str
    schema: str
    captured: tuple[str, ...]

    def dump(self) -> Position:
        fields = {
            "log": list(self.log),
            "server": self.server,
            "captured": self.captured,
            "schema": self.schema,
            "rereads": [each.to_json() for each in self.rereads],
            "huge": None if self.huge is None else [self.huge.token, self.huge.records],
        }
        return Position(orjson.dumps(fields).decode())

    @property
    def version(self) -> Version:
        return Version.load(self.schema)

    @staticmethod
    def load(position: Position) -> BinlogPosition:
        with written_by("a binlog source"):
            fields: dict[str, Any] = orjson.loads(position)
            huge = fields["huge"]
            loaded = BinlogPosition(
                LogPosition(*fields["log"]),
                fields["server"],
                fields["schema"],
                tuple(fields["captured"]),
                rereads=rereads_of(fields["rereads"]),
                huge=None if huge is None else HugePart(*huge),
            )
            Version.load(loaded.schema)
        return loaded
