"""A binlog for benchmarks: single-row transactions on a table of FacturaScripts' kinds of columns, nothing else."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from measure import commits_unsynced

from support.database import Database

#: Number of columns → name of the table.
TABLES = {18: "narrow", 60: "wide"}
_KINDS = (
    "int(11)",
    "double",
    "varchar(100)",
    "tinyint(1)",
    "date",
    "varchar(20)",
    "double",
    "timestamp",
    "text",
    "time",
)


def make_table(database: Database, columns: int) -> str:
    """An auto-increment key and columns of the kinds that FacturaScripts has, in turn; its name."""
    name = TABLES[columns]
    listed = ", ".join(f"c{n} {kind} NULL" for n, kind in enumerate(_kinds(columns), 1))
    database.execute(f"CREATE TABLE {name} (id int(11) NOT NULL AUTO_INCREMENT PRIMARY KEY, {listed})")
    return name


def _kinds(columns: int) -> list[str]:
    return [_KINDS[n % len(_KINDS)] for n in range(columns - 1)]


def _value(kind: str, seed: random.Random) -> Any:
    texts = {"varchar(100)": "Calle de la Rosa 12, bajo, Madrid, Espa\u00f1a", "varchar(20)": "FAC2026A1001"}
    values = {
        "int(11)": seed.randint(1, 900_000),
        "double": round(seed.random() * 1000, 2),
        "tinyint(1)": seed.randint(0, 1),
        "date": "2026-11-24",
        "timestamp": "2026-11-24 21:48:00",
        "time": "21:48:00",
        "text": None,
    }
    return texts.get(kind, values.get(kind))


def write(database: Database, columns: int, transactions: int, *, updates: bool) -> None:
    """Each inserts a row; with ``updates`` every other one changes the row that was inserted last."""
    name, kinds, seed = TABLES[columns], _kinds(columns), random.Random(1)
    marks = ", ".join(["%s"] * (columns - 1))
    names = ", ".join(f"c{n}" for n in range(1, columns))
    with commits_unsynced(database) as connection, closing(connection.cursor()) as cursor:
        connection.autocommit(True)
        for number in range(transactions):
            if updates and number % 2:
                cursor.execute(
                    f"UPDATE {name} SET c1 = %s, c2 = %s WHERE id = %s",
                    [seed.randint(1, 900_000), seed.random(), number // 2 + 1],
                )
            else:
                cursor.execute(f"INSERT INTO {name} ({names}) VALUES ({marks})", [_value(kind, seed) for kind in kinds])


def files(database: Database) -> Iterator[str]:
    """Names of the server's log files, oldest first."""
    for row in database.execute("SHOW BINARY LOGS"):
        yield row[0]
