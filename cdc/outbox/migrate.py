"""Numbered schema migrations of an outbox: ``sql/<engine>/migrations/NNN_name.sql``, each applied in one transaction.

SQLite keeps the number of the newest one in the file's ``user_version``, and ours in its ``application_id``.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from cdc.model.errors import OutboxError

_FILE_NAME: Final = re.compile(r"([0-9]{3})_(\w+)\.sql")
_APPLICATION_ID: Final = 0x66634364  # "fcCd"


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    script: str


@cache
def migrations(engine: str) -> tuple[Migration, ...]:
    """All migrations of an engine, from number 1 without a hole."""
    found = [
        Migration(int(match[1]), match[2], file.read_text(encoding="utf-8"))
        for file in (files("cdc.sql") / engine / "migrations").iterdir()
        if (match := _FILE_NAME.fullmatch(file.name))
    ]
    found.sort(key=lambda migration: migration.number)
    assert [migration.number for migration in found] == list(range(1, len(found) + 1))
    return tuple(found)


def migrate_sqlite(connection: sqlite3.Connection, path: Path, steps: Sequence[Migration] | None = None) -> None:
    """Bring the file to the newest schema.  The connection is in autocommit mode; ``path`` is for the sentences.

    Several processes may do so at once: each step looks at the version again under the write lock.
    """
    wanted = migrations("sqlite") if steps is None else steps
    _check(connection, path, len(wanted))
    for migration in wanted:
        if migration.number > _pragma(connection, "user_version"):
            _apply(connection, migration)


def _check(connection: sqlite3.Connection, path: Path, newest: int) -> None:
    connection.execute("BEGIN")  # one view of the three answers
    version, application = _pragma(connection, "user_version"), _pragma(connection, "application_id")
    tables = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
    connection.execute("COMMIT")
    if tables and application != _APPLICATION_ID:
        raise OutboxError(
            f"The SQLite database {path} belongs to another program.", "Name a file of its own in [outbox] url."
        )
    if version > newest:
        raise OutboxError(
            f"The outbox {path} has schema version {version}, newer than this program's {newest}.",
            "Upgrade facturascripts-cdc, or name another file in [outbox] url.",
        )


def _apply(connection: sqlite3.Connection, migration: Migration) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if migration.number > _pragma(connection, "user_version"):
            for statement in statements(migration.script):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {migration.number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one: ``executescript`` would commit before it starts."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    assert not pending.strip(), "a migration ends with a semicolon"


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
