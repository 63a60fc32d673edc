"""The recording of `support.recording`, played to PostgreSQL: FacturaScripts' own tables there, MariaDB's statements
turned into PostgreSQL's."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from typing import Any

import psycopg

from support.actions import statements
from support.database import Database
from support.recording import SHARED, recording

_TOKEN = re.compile(r"'(?:[^'\\]|\\.|'')*'|`[^`]*`|[^'`]+", re.DOTALL)
_TABLE = re.compile(r"CREATE TABLE `(\w+)` \((.*?)\n\) ENGINE", re.DOTALL)
_COLUMN = re.compile(r"^  `(\w+)` ", re.MULTILINE)
_POSITIONAL = re.compile(r'INSERT INTO "(\w+)" VALUES\s*')
_UPSERT = re.compile(r"ON DUPLICATE KEY UPDATE (\w+) = VALUES\(\w+\)")
#: MariaDB takes 0 and 1 for a boolean, and a backslash for an escape.
_SETTINGS = """
UPDATE pg_cast SET castcontext = 'a' WHERE castsource = 'integer'::regtype AND casttarget = 'boolean'::regtype;
ALTER DATABASE {name} SET standard_conforming_strings = off;
ALTER DATABASE {name} SET escape_string_warning = off;
ALTER DATABASE {name} SET backslash_quote = on;
"""
_SEQUENCES = """
SELECT format('SELECT setval(%L, greatest(1, (SELECT max(%I) FROM %I)), (SELECT count(*) > 0 FROM %I))',
              pg_get_serial_sequence(quote_ident(table_name), column_name), column_name, table_name, table_name)
FROM information_schema.columns
WHERE table_schema = 'public' AND pg_get_serial_sequence(quote_ident(table_name), column_name) IS NOT NULL
"""


def begun(database: Database) -> psycopg.Connection[Any]:
    """The connection that has run what comes before the first action."""
    _load(database)
    connection: psycopg.Connection[Any] = database.connect(autocommit=True)
    run(connection, recording()[0].statements)
    return connection


def _load(database: Database) -> None:
    schema = gzip.decompress((SHARED / "postgres-schema.sql.gz").read_bytes()).decode()
    lines = [line for line in schema.splitlines() if not line.startswith("\\") and " OWNER TO " not in line]
    database.script(_SETTINGS.format(name=database.name))
    database.script("\n".join(lines))
    database.close()
    dump = gzip.decompress((SHARED / "scenario-mariadb-init.sql.gz").read_bytes()).decode()
    connection = database.connect()
    connection.execute("SET session_replication_role = replica")  # rows come in any order
    columns = {table: _COLUMN.findall(body) for table, body in _TABLE.findall(dump)}
    for statement in statements(dump):
        if statement.startswith("INSERT INTO"):
            connection.execute(_named(translated(statement), columns))
    for (adjustment,) in connection.execute(_SEQUENCES).fetchall():
        connection.execute(adjustment)
    connection.commit()


def run(connection: psycopg.Connection[Any], texts: tuple[str, ...]) -> None:
    """A few of the recorded statements fail, as they did when they were recorded; what was done before stays."""
    for text in _for_postgres(texts):
        if text.startswith(("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT")):
            connection.execute(text.encode())
            continue
        try:
            with connection.transaction():  # a savepoint within the recording's own
                connection.execute(text.encode())
        except psycopg.errors.IntegrityError:
            continue


def translated(statement: str) -> str:
    tokens = _TOKEN.findall(statement)
    text = "".join(f'"{token[1:-1]}"' if token.startswith("`") else token for token in tokens)
    text = _UPSERT.sub(r"ON CONFLICT (\1) DO UPDATE SET \1 = EXCLUDED.\1", text)
    return re.sub(r"VALUES\((\w+)\)", r"EXCLUDED.\1", text)


def _for_postgres(texts: tuple[str, ...]) -> Iterator[str]:
    for text in texts:
        if not text.startswith("SET "):
            yield "BEGIN" if text == "START TRANSACTION" else translated(text)


def _named(statement: str, columns: dict[str, list[str]]) -> str:
    """A dump gives values in the order of MariaDB's columns."""
    found = _POSITIONAL.match(statement)
    assert found is not None, statement[:80]
    names = ", ".join(f'"{name}"' for name in columns[found[1]])
    return f'INSERT INTO "{found[1]}" ({names}) VALUES {statement[found.end() :]}'
