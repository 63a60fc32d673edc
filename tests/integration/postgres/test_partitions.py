"""Partitioned tables that triggers capture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cdc.capture.journal.postgres import PostgresJournal
from cdc.capture.triggers.postgres import PostgresInstaller
from cdc.database.sqlfile import load
from cdc.mapping.merge import MergedChange, merge
from cdc.model.change import Operation, Transaction
from cdc.model.column import Capture
from cdc.model.errors import InstallError
from cdc.model.finding import Repaired
from support.database import Database

CAPTURES = [Capture("sales", frozenset({"secret"}))]
#: The second partition has its columns in another order; the third is attached after the installation.
SCHEMA = """
CREATE TABLE sales (id integer, year integer, note text, secret text, PRIMARY KEY (id, year)) PARTITION BY LIST (year);
CREATE TABLE sales_1 PARTITION OF sales FOR VALUES IN (1);
CREATE TABLE sales_2 (note text, secret text, year integer NOT NULL, id integer NOT NULL, PRIMARY KEY (id, year));
ALTER TABLE sales ATTACH PARTITION sales_2 FOR VALUES IN (2);
CREATE TABLE sales_3 (year integer NOT NULL, note text, id integer NOT NULL, secret text, PRIMARY KEY (id, year));
INSERT INTO sales_3 VALUES (3, 'early', 9, 's');
"""


@pytest.fixture
def erp(postgres_db: Database) -> Iterator[Any]:
    """A connection of the account that owns the tables, which is neither a superuser's nor the installer's."""
    names = [f"{postgres_db.name}_erp", f"{postgres_db.name}_installer"]
    for name in names:
        postgres_db.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x'; GRANT ALL ON SCHEMA public TO {name}")
    postgres_db.execute(f"GRANT CREATE ON DATABASE {postgres_db.name} TO {names[1]}")
    try:
        erp = postgres_db.connect(names[0], "x", autocommit=True)
        erp.execute(SCHEMA)
        erp.execute(f"GRANT TRIGGER ON sales, sales_1 TO {names[1]}")
        installer = PostgresInstaller(postgres_db.info.as_user(names[1], "x"))
        with pytest.raises(InstallError, match="may not create triggers on table sales") as refused:
            installer.plan_install(CAPTURES)
        postgres_db.execute(refused.value.hint)
        installer.apply(installer.plan_install(CAPTURES), lambda _: None)
        assert installer.plan_install(CAPTURES).steps == ()
        yield erp
        installer.apply(installer.plan_uninstall(), lambda _: None)
        assert postgres_db.execute("SELECT FROM pg_trigger WHERE tgname LIKE '\\_cdc%%'") == []
    finally:
        postgres_db.close()
        for name in names:
            postgres_db.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


async def _changes(database: Database) -> list[MergedChange]:
    """Merged by transaction, as events are made of them; the journal is emptied."""
    journal = PostgresJournal(database.info, CAPTURES)
    await journal.connect()
    try:
        rows = await journal.peek(100)
        tokens = list(dict.fromkeys(row.token for row in rows))
        transactions = [Transaction(t, tuple(r.change for r in rows if r.token == t)) for t in tokens]
        await journal.delete(tokens)
        return [change for each in transactions for change in merge(each.changes)]
    finally:
        await journal.disconnect()


async def test_rows_of_all_partitions_are_captured_as_the_tables(postgres_db: Database, erp: Any) -> None:
    erp.execute("INSERT INTO sales VALUES (1, 1, 'a', 's'), (2, 2, 'b', 's')")
    erp.execute("INSERT INTO sales_2 (id, year, note) VALUES (3, 2, 'direct')")
    erp.execute("UPDATE sales SET note = 'c' WHERE id = 2")
    erp.execute("UPDATE sales SET note = note")
    erp.execute("ALTER TABLE sales ATTACH PARTITION sales_3 FOR VALUES IN (3)")
    erp.execute("UPDATE sales SET note = 'late' WHERE id = 9")
    erp.execute("DELETE FROM sales WHERE id = 2")
    changes = await _changes(postgres_db)
    assert [(c.operation, c.table, c.key, c.after and c.after["note"]) for c in changes] == [
        (Operation.CREATE, "sales", {"id": 1, "year": 1}, "a"),
        (Operation.CREATE, "sales", {"id": 2, "year": 2}, "b"),
        (Operation.CREATE, "sales", {"id": 3, "year": 2}, "direct"),
        (Operation.UPDATE, "sales", {"id": 2, "year": 2}, "c"),
        (Operation.UPDATE, "sales", {"id": 9, "year": 3}, "late"),
        (Operation.DELETE, "sales", {"id": 2, "year": 2}, None),
    ]
    for change in changes:
        assert all(
            image is None or json.dumps(dict(image)).startswith('{"id"') for image in (change.before, change.after)
        )
        assert "secret" not in {**(change.before or {}), **(change.after or {})}


async def test_row_that_moves_between_partitions(postgres_db: Database, erp: Any) -> None:
    """Its key has the partition's column: another record, as `logical` has it."""
    erp.execute("INSERT INTO sales VALUES (1, 1, 'a')")
    await _changes(postgres_db)
    erp.execute("UPDATE sales SET year = 2 WHERE id = 1")
    erp.execute("TRUNCATE sales")
    changes = await _changes(postgres_db)
    assert [(c.operation, c.key) for c in changes] == [
        (Operation.DELETE, {"id": 1, "year": 1}),
        (Operation.CREATE, {"id": 1, "year": 2}),
        (Operation.TRUNCATE, {}),
    ]


PARTITIONS = {
    "ALTER TABLE sales ATTACH PARTITION sales_3 FOR VALUES IN (3)": True,
    "ALTER TABLE sales DETACH PARTITION sales_2": True,
    "DROP TABLE sales_1": True,
    "ALTER TABLE sales_1 ADD CHECK (id > 0); ANALYZE sales; CREATE INDEX ON sales (note)": False,
}


@pytest.mark.parametrize("act", PARTITIONS)
def test_table_whose_rows_came_or_went_with_a_partition_is_read_again(
    postgres_db: Database, erp: Any, act: str
) -> None:
    definitions = postgres_db.execute(load("postgres/journal/definitions.sql"))
    erp.execute(act)
    assert (postgres_db.execute(load("postgres/journal/definitions.sql")) != definitions) is PARTITIONS[act]
    installer = PostgresInstaller(postgres_db.info)
    assert any("a partition came or went" in each.detail for each in installer.findings(CAPTURES)) is PARTITIONS[act]
    assert installer.repair().failed == {}
    gaps = postgres_db.execute("SELECT table_name FROM cdc.cdc_journal WHERE operation = 'G'")
    assert gaps == ([("sales",)] if PARTITIONS[act] else [])
    assert installer.repair() == Repaired()
