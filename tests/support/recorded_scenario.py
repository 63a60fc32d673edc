"""Plays recorded FacturaScripts statements into an in-memory SQLite and yields what they changed as transactions.

SQLite's triggers see what foreign keys cascade to, as the product's triggers do, and need no server.
"""

from __future__ import annotations

import gzip
import json
import re
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cdc.mapping.catalogue import Catalogue
from cdc.model import normal
from cdc.model.change import Operation, Row, RowChange, Transaction, Value

_TABLE = re.compile(r"CREATE TABLE `(\w+)` \((.*?)\n\) ENGINE", re.DOTALL)
_COLUMN = re.compile(r"^  `(\w+)` (\w+(?:\(\d+\))?)(.*?),?$")
_KEY = re.compile(r"^  PRIMARY KEY \(`(\w+)`\)", re.MULTILINE)
_FOREIGN = re.compile(r"FOREIGN KEY \(`(\w+)`\) REFERENCES `(\w+)` \(`(\w+)`\)([^,\n]*)")
_UNIQUE = re.compile(r"UNIQUE KEY `\w+` \((.*?)\)")
_DEFAULT = re.compile(r"DEFAULT ('[^']*'|[\w.\-]+)")
_MARK = re.compile(r"-- ##MARK (\d+) ")
_START = datetime(2026, 11, 24, 22, tzinfo=UTC)


class Recording:
    def __init__(self, folder: Path, catalogue: Catalogue) -> None:
        self._folder = folder
        self._secrets = {capture.table: capture.secrets for capture in catalogue.captures()}
        self._kinds: dict[str, dict[str, str]] = {}
        self._keys: dict[str, str] = {}
        self._database = sqlite3.connect(":memory:", isolation_level=None)
        self._database.create_function("noted", -1, self._note)
        self._changes: list[RowChange] = []
        self._count = 0
        self._load_schema()

    def transactions(self) -> Iterator[tuple[int, Transaction]]:
        """Number of the action, and what one of its transactions changed in captured tables."""
        action = 0
        for statement in _statements(_text(self._folder / "scenario-mariadb.sql.gz")):
            if mark := _MARK.match(statement):
                action = int(mark[1])
            elif statement in ("COMMIT", "ROLLBACK"):
                if self._database.in_transaction:
                    self._database.execute(statement)
                changes, self._changes = self._changes, []
                if statement == "COMMIT" and changes:
                    self._count += 1
                    yield action, Transaction(f"t{self._count}", tuple(changes))
            elif not statement.startswith(("SET ", "START TRANSACTION")):
                self._run(statement)

    def rows(self, table: str) -> list[Row]:
        cursor = self._database.execute(f'SELECT * FROM "{table}"')
        names = [column[0] for column in cursor.description]
        return [self._row(table, dict(zip(names, values, strict=True))) for values in cursor]

    def _run(self, statement: str) -> None:
        noted = len(self._changes)
        if not self._database.in_transaction:
            self._database.execute("BEGIN")
        try:
            self._database.execute(_for_sqlite(statement))
        except sqlite3.IntegrityError:
            del self._changes[noted:]  # it failed in the recorded run too

    def _load_schema(self) -> None:
        text = _text(self._folder / "scenario-mariadb-init.sql.gz")
        for table, body in _TABLE.findall(text):
            self._database.execute(self._create(table, body))
        for statement in _statements(text):
            if statement.startswith("INSERT INTO"):
                self._database.execute(_for_sqlite(statement))
        self._database.execute("PRAGMA foreign_keys = ON")
        for table in self._secrets:
            self._add_triggers(table)

    def _create(self, table: str, body: str) -> str:
        key = _KEY.findall(body)[0]
        columns = {}
        for line in body.splitlines():
            if column := _COLUMN.match(line):
                columns[column[1]] = (column[2], column[3])
        self._kinds[table] = {name: kind for name, (kind, _) in columns.items()}
        self._keys[table] = key
        lines = [_column(name, kind, rest, key) for name, (kind, rest) in columns.items()]
        lines += [f"UNIQUE ({columns_})" for columns_ in _UNIQUE.findall(body)]
        for column_, other, other_column, actions in _FOREIGN.findall(body):
            lines.append(f'FOREIGN KEY ("{column_}") REFERENCES "{other}" ("{other_column}") {actions}')
        return f'CREATE TABLE "{table}" ({", ".join(lines)})'

    def _add_triggers(self, table: str) -> None:
        for operation, images in (("INSERT", ("NULL", "NEW")), ("UPDATE", ("OLD", "NEW")), ("DELETE", ("OLD", "NULL"))):
            before, after = (self._object(table, image) for image in images)
            self._database.execute(
                f'CREATE TRIGGER "{table}_{operation}" AFTER {operation} ON "{table}" BEGIN '
                f"SELECT noted('{table}', '{operation}', {before}, {after}); END"
            )

    def _object(self, table: str, image: str) -> str:
        if image == "NULL":
            return "NULL"
        pairs = (f"'{name}', {image}.\"{name}\"" for name in self._kinds[table])
        return f"json_object({', '.join(pairs)})"

    def _note(self, table: str, operation: str, before: str | None, after: str | None) -> None:
        old, new = (None if image is None else json.loads(image) for image in (before, after))
        secrets = self._secrets[table]
        changed = frozenset(name for name in secrets if old and new and old.get(name) != new.get(name))
        row_before, row_after = (None if image is None else self._row(table, image) for image in (old, new))
        key = self._keys[table]
        self._changes.append(
            RowChange(
                {"INSERT": Operation.CREATE, "UPDATE": Operation.UPDATE, "DELETE": Operation.DELETE}[operation],
                table,
                {key: (row_after or row_before or {})[key]},
                row_before,
                row_after,
                _START + timedelta(milliseconds=self._count),
                len(self._changes),
                changed,
            )
        )

    def _row(self, table: str, image: dict[str, Any]) -> Row:
        secrets = self._secrets.get(table, frozenset())
        kinds = self._kinds[table]
        return {name: _value(kinds[name], value) for name, value in image.items() if name not in secrets}


def _value(kind: str, value: Any) -> Value:
    if kind == "tinyint(1)":
        return normal.boolean(value)
    if kind == "double":
        return normal.double(value)
    return normal.timestamp(value) if kind == "timestamp" else value


def _column(name: str, kind: str, rest: str, key: str) -> str:
    if name == key and kind.startswith("int") and "AUTO_INCREMENT" in rest:
        return f'"{name}" INTEGER PRIMARY KEY AUTOINCREMENT'
    affinity = "INTEGER" if "int" in kind else "REAL" if kind == "double" else "TEXT COLLATE NOCASE"
    default = _DEFAULT.search(rest)
    unique = " PRIMARY KEY" if name == key else ""
    return f'"{name}" {affinity}{unique}' + (f" DEFAULT {default[1]}" if default else "")


def _text(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()


def _statements(text: str) -> Iterator[str]:
    """Statements without their semicolon, and ``-- ##MARK`` comments; a statement ends at the end of a line, or where
    the ERP sent two at once."""
    text = text.replace("';UPDATE ", "';\nUPDATE ")
    gathered: list[str] = []
    for line in text.splitlines():
        if line.startswith("--") and not gathered:
            yield line
            continue
        gathered.append(line)
        if line.endswith(";"):
            yield "\n".join(gathered).removesuffix(";").strip()
            gathered = []


def _for_sqlite(statement: str) -> str:
    escapes = {"\\'": "''", '\\"': '"', "\\\\": "\\", "\\n": "\n", "\\r": "\r"}
    statement = re.sub(r"\\['\"\\nr]", lambda match: escapes[match.group()], statement)
    head, upsert, tail = statement.partition("ON DUPLICATE KEY UPDATE")
    return (
        head + "ON CONFLICT DO UPDATE SET" + re.sub(r"VALUES\((\w+)\)", r"excluded.\1", tail) if upsert else statement
    )
