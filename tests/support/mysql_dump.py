"""A dump of a MariaDB or MySQL database as ``mariadb-dump`` and ``mysqldump`` write it, whose programs need not be
there."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from support.database import Database


def dump(database: Database, tables: Collection[str] = (), *, triggers: bool = True) -> list[str]:
    """Return the statements.  ``tables``: these only; none: all."""
    connection = database.connect()
    cursor = connection.cursor()
    cursor.execute("SET time_zone = '+00:00'")
    cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
    cursor.execute("SHOW FULL TABLES WHERE Table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')")
    names = [name for name, _ in cursor.fetchall() if not tables or name in tables]
    statements = ["SET FOREIGN_KEY_CHECKS = 0", "SET UNIQUE_CHECKS = 0", "SET time_zone = '+00:00'"]
    for name in names:
        statements.append("SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'")
        statements += _table(connection, name)
        if triggers:
            statements += _triggers(connection, name)
    connection.close()
    return statements


def _table(connection: Any, name: str) -> Iterator[str]:
    cursor = connection.cursor()
    cursor.execute(f"SHOW CREATE TABLE `{name}`")
    yield f"DROP TABLE IF EXISTS `{name}`"
    yield cursor.fetchone()[1]
    yield f"LOCK TABLES `{name}` WRITE"
    cursor.execute(f"SHOW COLUMNS FROM `{name}` WHERE Extra NOT LIKE '%GENERATED%'")
    columns = ", ".join(f"`{column[0]}`" for column in cursor.fetchall())
    cursor.execute(f"SELECT {columns} FROM `{name}`")
    rows = ", ".join(f"({', '.join(connection.escape(value) for value in row)})" for row in cursor.fetchall())
    if rows:
        yield f"INSERT INTO `{name}` ({columns}) VALUES {rows}"
    yield "UNLOCK TABLES"


def _triggers(connection: Any, name: str) -> Iterator[str]:
    cursor = connection.cursor()
    cursor.execute(f"SHOW TRIGGERS WHERE `Table` = '{name}'")
    for trigger, *_ in cursor.fetchall():
        cursor.execute(f"SHOW CREATE TRIGGER `{trigger}`")
        shown = cursor.fetchone()
        yield f"SET sql_mode = '{shown[1]}'"
        yield shown[2]


def restore(database: Database, statements: list[str]) -> None:
    connection = database.connect(autocommit=True)
    for statement in statements:
        connection.cursor().execute(statement)
    connection.close()
