"""One writer's connection: it reads rows before and after each statement under their locks and notes the difference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pymysql
from pymysql.constants.SERVER_STATUS import SERVER_STATUS_IN_TRANS

from support.fault.ledger import Entry, Key, Ledger, Row, same_row
from support.fault.normal import normal_row
from support.fault.tables import TABLES


class EndedInSilence(Exception):
    """The server has left a transaction although every statement succeeded: what follows would commit by itself.
    MySQL 9.7 does so after a deadlock inside a cascade, unless ``innodb_native_foreign_keys`` is ON."""


DRIVER_ERRORS = (psycopg.Error, pymysql.err.Error, EndedInSilence)
#: Errors of a transaction that met another one, or a table that was being altered: every application repeats it.
#: 1020, 1213: record changed, deadlock; 1062: duplicate key; 1451, 1452: foreign keys; 1412: the table
#: was altered; 1613, 1614: the XA transaction was rolled back.
MYSQL_CONFLICTS = frozenset({1020, 1062, 1213, 1412, 1451, 1452, 1613, 1614})
#: serialization_failure, deadlock_detected, unique_violation, foreign_key_violation, cached plan of an altered table.
POSTGRES_CONFLICTS = frozenset({"40001", "40P01", "23505", "23503", "0A000"})
#: The connection is gone, or the server is going or coming.
MYSQL_LOST = frozenset(
    {0, 1053, 1077, 1152, 1153, 1158, 1159, 1160, 1161, 1184, 1317, 1927, 2002, 2003, 2006, 2013, 2055}
)
POSTGRES_LOST = frozenset({"57P01", "57P02", "57P03", "08000", "08003", "08006", "08001", "08004"})

_LOCK_TIMEOUT = 1205

Connect = Callable[[], Any]


def is_conflict(error: BaseException) -> bool:
    if isinstance(error, psycopg.Error):
        return error.sqlstate in POSTGRES_CONFLICTS
    if isinstance(error, EndedInSilence):
        return True
    return isinstance(error, pymysql.err.Error) and _number(error) in MYSQL_CONFLICTS


def is_lock_timeout(error: BaseException) -> bool:
    """Return whether a MariaDB or MySQL lock was not had in time.  A write of the ERP must not meet that."""
    return isinstance(error, pymysql.err.Error) and _number(error) == _LOCK_TIMEOUT


def is_lost(error: BaseException) -> bool:
    if isinstance(error, psycopg.Error):
        return error.sqlstate is None or error.sqlstate in POSTGRES_LOST
    return isinstance(error, pymysql.err.InterfaceError) or (
        isinstance(error, pymysql.err.Error) and _number(error) in MYSQL_LOST
    )


def _number(error: BaseException) -> int:
    return error.args[0] if error.args and isinstance(error.args[0], int) else -1


@dataclass(frozen=True, slots=True)
class Touched:
    """Rows of a table that a statement may change: those that match before it, and after it where that differs.
    ``renamed``: old key → new key."""

    table: str
    where: str
    values: Sequence[Any]
    after: tuple[str, Sequence[Any]] | None = None
    renamed: Mapping[Key, Key] = field(default_factory=dict)


class Session:
    """``entries``: what the open transaction has changed so far; ``statements``: what it has executed."""

    def __init__(self, connection: Any, flavour: str, ledger: Ledger) -> None:
        self.connection = connection
        self.flavour = flavour
        self.ledger = ledger
        self.entries: list[Entry] = []
        self.statements: list[str] = []
        self._open = False

    def execute(self, sql: str, values: Sequence[Any] = ()) -> None:
        self.statements.append(f"{sql[:120]} {list(values)[-3:]}")
        if sql in ("COMMIT", "ROLLBACK") or sql.startswith("XA "):
            self._open = False
        cursor = self.connection.cursor()
        try:
            cursor.execute(sql, list(values) or None)
        finally:
            cursor.close()
        if sql == "BEGIN":
            self._open = self.flavour != "postgresql"  # which refuses what follows an error
        self._require_open()

    def _require_open(self) -> None:
        """Raise when the transaction has ended; called after a statement that changes something: PyMySQL reads the
        status from OK packets only."""
        if self._open and not self.connection.server_status & SERVER_STATUS_IN_TRANS:
            self._open = False
            raise EndedInSilence(self.statements)

    def rows(self, table: str, where: str, values: Sequence[Any], *, lock: bool = True) -> dict[Key, Row]:
        """Key → row, locked."""
        key = TABLES[table].key
        self.statements.append(f"rows of {table} {where} {list(values)[:3]}{' FOR UPDATE' if lock else ''}")
        cursor = self.connection.cursor()
        try:
            ending = f"ORDER BY {key}" + (" FOR UPDATE" if lock else "")
            cursor.execute(f"SELECT * FROM {table} WHERE {where} {ending}", list(values) or None)
            found = [normal_row(cursor.description, row, frozenset()) for row in cursor.fetchall()]
        finally:
            cursor.close()
        return {row[key]: row for row in found}

    def change(self, sql: str, values: Sequence[Any], *touched: Touched) -> None:
        """Run the statement and note what it did to these rows.  It is left out where the first of them do not exist:
        another transaction could commit such a row between the look and the statement."""
        before = [self.rows(each.table, each.where, each.values) for each in touched]
        if not before[0]:
            return
        self.execute(sql, values)
        for each, rows in zip(touched, before, strict=True):
            where, parameters = each.after or (each.where, each.values)
            self._note(each, rows, self.rows(each.table, where, parameters))

    def insert(self, table: str, row: Mapping[str, Any]) -> None:
        """Insert a row without reading it before: that would lock a gap."""
        marks = ", ".join(["%s"] * len(row))
        self.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))
        key = row[TABLES[table].key]
        touched = Touched(table, f"{TABLES[table].key} = %s", [key])
        self._note(touched, {}, self.rows(table, touched.where, touched.values))

    def _note(self, touched: Touched, before: Mapping[Key, Row], after: Mapping[Key, Row]) -> None:
        new_of = {old: touched.renamed.get(old, old) for old in before}
        for old, new in new_of.items():
            row = after.get(new)
            if row is None or new != old or not same_row(before[old], row):
                self._append(touched.table, old, None if row is None else new, before[old], row)
        for new in after.keys() - new_of.values():
            self._append(touched.table, None, new, None, after[new])

    def _append(self, table: str, old: Key | None, new: Key | None, before: Row | None, after: Row | None) -> None:
        self.entries.append(Entry(self.ledger.number(), table, old, new, before, after))
