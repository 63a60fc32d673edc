"""What is asked of information_schema concerns one database: a server of a hoster has thousands of them.

MariaDB opens the tables of every database for a condition that it cannot use, waits for their locks, and shows the
session as one of that database while it does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from cdc.database import mysql_inspect
from cdc.database.sqlfile import load
from support.database import Database

FOLDER = Path(__file__).resolve().parents[3] / "sql"
_ASKS = re.compile(r"\binformation_schema\.(?!INNODB_TRX)\w+")


def _statements() -> Iterator[str]:
    """Yield the names of the statements that ask information_schema."""
    for file in sorted([*FOLDER.glob("mysql/*.sql"), *FOLDER.glob("mariadb/*.sql")]):
        name = file.relative_to(FOLDER).as_posix()
        parts = re.findall(r"^-- name: (\w+)$", file.read_text(), re.MULTILINE)
        for each in [f"{name}#{part}" for part in parts] or [name]:
            if _ASKS.search(load(each)):
                yield each


def _explained(db: Database, name: str) -> list[str]:
    for table in ("journal", "installation"):
        db.execute(load(f"mysql/tables.sql#{table}"))
    values = re.sub(r"\$\w+|%s", "NULL", load(name).replace("IN %s", "IN ('item')"))
    explained = re.sub(
        r"(?m)^(SET STATEMENT .* FOR )?(?=SELECT|INSERT|WITH)", r"\1EXPLAIN ", values.rstrip(" ;\n"), count=1
    )
    return [str(row[-1]) for row in db.execute(explained)]


@pytest.mark.parametrize("name", list(_statements()))
def test_no_statement_opens_the_tables_of_other_databases(name: str, mariadb_db: Database) -> None:
    steps = _explained(mariadb_db, name)
    assert not [step for step in steps if "all databases" in step], steps


@pytest.mark.parametrize("name", list(_statements()))
def test_no_statement_compares_each_table_with_each(name: str, mariadb_db: Database) -> None:
    """MariaDB keeps no index of what it reads for information_schema, and reads it again for each row that asks."""
    steps = _explained(mariadb_db, name)
    assert len([step for step in steps if "database" in step]) <= 1, steps


def test_a_condition_on_another_column_would(mariadb_db: Database) -> None:
    (row,) = mariadb_db.execute(
        "EXPLAIN SELECT 1 FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE() AND 'x' <> ''"
    )
    assert "Scanned all databases" in str(row[-1])


#: What is done to the table before the questions, after the first one and after the second one; and the key.
REPLACED = {
    "created": (["DROP TABLE item"], ["CREATE TABLE item (code INT PRIMARY KEY)"], [], ("code",)),
    "another key": ([], ["DROP TABLE item", "CREATE TABLE item (code INT PRIMARY KEY)"], [], None),
    "dropped": ([], [], ["DROP TABLE item"], None),
    "no key": (["DROP TABLE item", "CREATE TABLE item (code INT)"], [], [], ()),
}


@pytest.mark.parametrize("case", REPLACED)
@pytest.mark.parametrize("name", [None, "item"])
def test_table_that_is_replaced_meanwhile_has_its_own_key_or_is_not_there(
    case: str, name: str | None, mysql_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, second, third, key = REPLACED[case]
    mysql_db.execute("CREATE TABLE item (id INT PRIMARY KEY, code INT)")
    work, asked = [before, second, third], mysql_inspect.rows

    def rows(connection: Any, sql: str, parameters: Sequence[Any]) -> Any:
        for statement in work.pop(0) if work else ():
            mysql_db.execute(statement)
        return asked(connection, sql, parameters)

    monkeypatch.setattr(mysql_inspect, "rows", rows)
    found = mysql_inspect.read_tables(mysql_db.connect(autocommit=True), name).get("item")
    assert (None if found is None else found.key) == key
