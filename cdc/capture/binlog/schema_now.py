"""The current definitions of the captured tables, and the log's end at that moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pymysql
from pymysql.connections import Connection

from cdc import sqlfile
from cdc.capture.binlog.layout import KnownTable
from cdc.capture.binlog.log_position import LogPosition
from cdc.database.mysql_connection import MISSING_TABLE, Flavour, code_of, quote, rows
from cdc.database.mysql_tables import read_tables
from cdc.model.errors import SourceUnavailable

_LOCK_WAIT_TIMEOUT = 1205
#: Seconds after which waiting for a table that is being altered is tried again.
_PATIENCE = 1


@dataclass(frozen=True, slots=True)
class SchemaNow:
    """``head``: the end of the log at a moment at which all of ``tables`` were as they are here."""

    tables: Mapping[str, KnownTable]
    head: LogPosition


def read_schema(
    connection: Connection[Any],
    flavour: Flavour,
    names: Iterable[str],
    head: Callable[[Connection[Any]], LogPosition],
    closing: Callable[[], bool],
) -> SchemaNow:
    """Return the tables that exist; ``head`` returns the log's end.

    A transaction that has touched a table keeps others from altering it (its metadata lock), and waits for who is
    altering it now until that is in the log: so what is read here is exactly what the log's end means.  It waits as
    long as the table's own users do; ``closing`` ends that.
    """
    rows(connection, f"SET SESSION lock_wait_timeout = {_PATIENCE}")
    rows(connection, "BEGIN")
    try:
        for name in sorted(names):
            _hold(connection, name, closing)
        tables = _known_tables(connection, flavour, set(names))
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
            if code_of(error) != _LOCK_WAIT_TIMEOUT or time.monotonic() - began < _PATIENCE / 2:
                raise
            if closing():
                raise SourceUnavailable("Closed while a table was being altered.") from error
        else:
            return


def _known_tables(connection: Connection[Any], flavour: Flavour, names: set[str]) -> dict[str, KnownTable]:
    hidden: dict[str, int] = {}
    if flavour is Flavour.MARIADB:
        hidden = {table: int(count) for table, count in rows(connection, sqlfile.load("mariadb/hidden_columns.sql"))}
    return {
        name: KnownTable(name, table.columns, table.key, flavour, hidden.get(name, 0))
        for name, table in read_tables(connection).items()
        if name in names
    }
