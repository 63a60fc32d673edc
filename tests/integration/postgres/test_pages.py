"""Pages of a PostgreSQL table: rows that meet a condition, the last one looked at, what waits in the journal."""

from __future__ import annotations

import pytest

from cdc.column import Table
from cdc.errors import SourceError
from cdc.mapping.catalogue import load_catalogue
from cdc.service import sources
from cdc.source.journal_database import JournalDatabase, JournalPage
from cdc.source.pages import Wanted
from support.database import Database
from support.pipeline import install

CATALOGUE = load_catalogue('tables = ["odd"]', "rules.toml")


async def opened(database: Database) -> tuple[JournalDatabase, Table]:
    database.execute("CREATE TABLE odd (id integer PRIMARY KEY, doc json, words text)")
    database.execute("""INSERT INTO odd SELECT n, E'{"a":\n 1}', E'a\x1e\nb' FROM generate_series(1, 5) AS n""")
    install(database, CATALOGUE)
    journal = sources.journal_of(database.info, CATALOGUE)
    await journal.connect()
    return journal, (await journal.tables())["odd"]


async def read(journal: JournalDatabase, wanted: Wanted) -> JournalPage:
    page = await journal.page(wanted, 10)
    assert page is not None
    return page


async def test_a_page_holds_what_meets_the_condition_and_says_where_it_ended(postgres_db: Database) -> None:
    journal, table = await opened(postgres_db)
    postgres_db.execute("UPDATE odd SET words = 'x' WHERE id = 5")
    whole = await read(journal, Wanted(table, None, 10))
    assert [row["id"] for row in whole.page.rows] == [1, 2, 3, 4, 5]
    assert (whole.page.rows[0]["doc"], whole.page.rows[0]["words"]) == ('{"a":\n 1}', "a\x1e\nb")
    waiting = [head.token for head in await journal.heads(10)]
    assert sorted(whole.waiting) == waiting
    assert len(waiting) == 1
    part = await read(journal, Wanted(table, {"id": 1}, 3, "id % 2 = 1"))
    assert [row["id"] for row in part.page.rows] == [3]
    assert part.page.last is not None
    assert (part.page.last["id"], part.page.looked) == (4, 3)
    nothing = await read(journal, Wanted(table, {"id": 5}, 3))
    assert (nothing.page.rows, nothing.page.last, nothing.page.looked) == ([], None, 0)
    assert await journal.page(Wanted(table, None, 10), 0) is None  # too much waits
    await journal.disconnect()


async def test_a_condition_can_write_nothing(postgres_db: Database) -> None:
    journal, table = await opened(postgres_db)
    postgres_db.execute("CREATE FUNCTION gone() RETURNS boolean LANGUAGE sql AS 'DELETE FROM odd RETURNING true'")
    with pytest.raises(SourceError, match="SQLSTATE 25006"):  # a transaction that only reads
        await journal.page(Wanted(table, None, 10, "gone()"), 10)
    assert len((await read(journal, Wanted(table, None, 10))).page.rows) == 5
    await journal.disconnect()


async def test_nothing_behind_a_page_is_looked_at(postgres_db: Database) -> None:
    journal, table = await opened(postgres_db)
    postgres_db.execute("ALTER TABLE odd ADD wide varchar(2000)")  # nobody analyzes it: the planner expects few rows
    postgres_db.execute("INSERT INTO odd SELECT n, '1', 'x' FROM generate_series(6, 9000) AS n")
    page = await read(journal, Wanted(table, {"id": 10}, 1000, "1 / (5000 - id) >= 0"))
    assert [row["id"] for row in page.page.rows] == list(range(11, 1011))
    with pytest.raises(SourceError, match="22012"):
        await read(journal, Wanted(table, {"id": 4990}, 100, "1 / (5000 - id) >= 0"))
    await journal.disconnect()
