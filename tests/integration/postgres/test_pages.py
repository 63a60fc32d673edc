"""Pages of a PostgreSQL table: rows that meet a condition, the last one looked at, what waits in the journal."""

from __future__ import annotations

import pytest

from cdc.capture.journal.database import JournalDatabase, JournalPage
from cdc.capture.pages import PageRequest
from cdc.mapping.catalogue import load_catalogue
from cdc.model.change import Row
from cdc.model.column import Table
from cdc.model.errors import SourceError
from cdc.runtime import capture
from support.database import Database
from support.paging import page_of
from support.pipeline import install

#: A type as an extension makes it: text that compares without case.
WORD = """
CREATE TYPE word;
CREATE FUNCTION word_in(cstring) RETURNS word LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION word_out(word) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE word (INPUT = word_in, OUTPUT = word_out, LIKE = text);
CREATE CAST (word AS text) WITHOUT FUNCTION AS IMPLICIT;
CREATE CAST (text AS word) WITHOUT FUNCTION AS ASSIGNMENT;
CREATE FUNCTION word_cmp(word, word) RETURNS integer LANGUAGE sql IMMUTABLE STRICT
    AS 'SELECT bttextcmp(lower($1::text), lower($2::text))';
CREATE FUNCTION word_lt(word, word) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS 'SELECT word_cmp($1, $2) < 0';
CREATE FUNCTION word_le(word, word) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS 'SELECT word_cmp($1, $2) <= 0';
CREATE FUNCTION word_eq(word, word) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS 'SELECT word_cmp($1, $2) = 0';
CREATE FUNCTION word_ge(word, word) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS 'SELECT word_cmp($1, $2) >= 0';
CREATE FUNCTION word_gt(word, word) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS 'SELECT word_cmp($1, $2) > 0';
CREATE OPERATOR < (FUNCTION = word_lt, LEFTARG = word, RIGHTARG = word);
CREATE OPERATOR <= (FUNCTION = word_le, LEFTARG = word, RIGHTARG = word);
CREATE OPERATOR = (FUNCTION = word_eq, LEFTARG = word, RIGHTARG = word);
CREATE OPERATOR >= (FUNCTION = word_ge, LEFTARG = word, RIGHTARG = word);
CREATE OPERATOR > (FUNCTION = word_gt, LEFTARG = word, RIGHTARG = word);
CREATE OPERATOR CLASS word_ops DEFAULT FOR TYPE word USING btree AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 word_cmp(word, word);
"""
CATALOGUE = load_catalogue('tables = ["odd"]', "rules.toml")


async def opened(database: Database) -> tuple[JournalDatabase, Table]:
    database.execute("CREATE TABLE odd (id integer PRIMARY KEY, doc json, words text)")
    database.execute("""INSERT INTO odd SELECT n, E'{"a":\n 1}', E'a\x1e\nb' FROM generate_series(1, 5) AS n""")
    install(database, CATALOGUE)
    journal = capture.journal_of(database.info, CATALOGUE)
    await journal.connect()
    return journal, (await journal.tables())["odd"]


async def read(journal: JournalDatabase, wanted: PageRequest) -> JournalPage:
    page = await journal.page(wanted, 10)
    assert page is not None
    return page


async def test_a_page_holds_what_meets_the_condition_and_says_where_it_ended(postgres_db: Database) -> None:
    journal, table = await opened(postgres_db)
    postgres_db.execute("UPDATE odd SET words = 'x' WHERE id = 5")
    whole = await read(journal, PageRequest(table, None, 10))
    assert [row["id"] for row in whole.page.rows] == [1, 2, 3, 4, 5]
    assert (whole.page.rows[0]["doc"], whole.page.rows[0]["words"]) == ('{"a":\n 1}', "a\x1e\nb")
    waiting = [head.token for head in await journal.heads(10)]
    assert sorted(whole.waiting) == waiting
    assert len(waiting) == 1
    part = await read(journal, PageRequest(table, {"id": 1}, 3, "id % 2 = 1"))
    assert [row["id"] for row in part.page.rows] == [3]
    assert part.page.last is not None
    assert (part.page.last["id"], part.page.looked) == (4, 3)
    nothing = await read(journal, PageRequest(table, {"id": 5}, 3))
    assert (nothing.page.rows, nothing.page.last, nothing.page.looked) == ([], None, 0)
    assert await journal.page(PageRequest(table, None, 10), 0) is None  # too much waits
    await journal.disconnect()


async def test_a_condition_can_write_nothing(postgres_db: Database) -> None:
    journal, table = await opened(postgres_db)
    postgres_db.execute(
        "CREATE FUNCTION gone() RETURNS boolean LANGUAGE sql AS 'DELETE FROM public.odd RETURNING true'"
    )
    with pytest.raises(SourceError, match="SQLSTATE 25006"):  # a transaction that only reads
        await journal.page(PageRequest(table, None, 10, "public.gone()"), 10)
    assert len((await read(journal, PageRequest(table, None, 10))).page.rows) == 5
    await journal.disconnect()


async def test_keys_of_an_extensions_type_are_read_in_one_order(postgres_db: Database) -> None:
    """Sorted by the type's own order and compared by another one, some would be passed over."""
    postgres_db.execute(WORD)
    postgres_db.execute("CREATE TABLE odd (id word PRIMARY KEY)")
    postgres_db.execute("INSERT INTO odd VALUES ('a'), ('B'), ('c'), ('D')")
    install(postgres_db, CATALOGUE)
    journal = capture.journal_of(postgres_db.info, CATALOGUE)
    await journal.connect()
    seen: list[Row] = []
    while found := await page_of(journal, "odd", seen[-1] if seen else None, 1):
        seen += found
    assert {row["id"] for row in seen} == {"a", "B", "c", "D"}
    assert len(seen) == 4
    await journal.disconnect()


async def test_nothing_behind_a_page_is_looked_at(postgres_db: Database) -> None:
    journal, table = await opened(postgres_db)
    postgres_db.execute("ALTER TABLE odd ADD wide varchar(2000)")  # nobody analyzes it: the planner expects few rows
    postgres_db.execute("INSERT INTO odd SELECT n, '1', 'x' FROM generate_series(6, 9000) AS n")
    page = await read(journal, PageRequest(table, {"id": 10}, 1000, "1 / (5000 - id) >= 0"))
    assert [row["id"] for row in page.page.rows] == list(range(11, 1011))
    with pytest.raises(SourceError, match="22012"):
        await read(journal, PageRequest(table, {"id": 4990}, 100, "1 / (5000 - id) >= 0"))
    await journal.disconnect()
