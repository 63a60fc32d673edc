"""Which statements may alter a captured table, and which empty one."""

from __future__ import annotations

import pytest

from cdc.capture.binlog.chunk import concerned, dropped, mentioned, replaced, truncated

TABLES = ("clientes", "Über`tabla")
PLAIN = ("clientes", "facturas")


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE clientes ADD x int",
        "alter table `CLIENTES` drop x",
        "RENAME TABLE a TO fs.clientes",
        "CREATE TABLE IF NOT EXISTS clientes (id int)",
        "CREATE OR REPLACE TABLE clientes (id int)",
        "DROP TABLE a, clientes",
        "/*!40000 ALTER TABLE clientes DISABLE KEYS */",
        "/* hello */ ALTER TABLE clientes ADD x int",
        "DROP INDEX `PRIMARY` ON clientes",
        "ALTER TABLE`clientes`ADD x int",
        "ALTER TABLE /*!50000clientes*/ ADD x int",
        "something that no version knows yet about clientes",
    ],
)
def test_a_statement_that_names_a_table_concerns_it(statement: str) -> None:
    assert concerned(statement, "fs", "fs", PLAIN) == {"clientes"}


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE proveedores ADD x int",
        "ALTER TABLE clientes_antiguos ADD x int",
        "ALTER TABLE misclientes ADD x int",
        "GRANT SELECT ON fs.clientes TO somebody",
        "  /* x */ -- y\n# z\n ANALYZE TABLE clientes",
        "OPTIMIZE TABLE clientes",
        "CREATE DEFINER = CURRENT_USER TRIGGER x AFTER INSERT ON clientes FOR EACH ROW BEGIN END",
        "CREATE TRIGGER x AFTER INSERT ON clientes FOR EACH ROW BEGIN END",
        "DROP TRIGGER clientes_insert",
        "CREATE DEFINER=`a`@`b` PROCEDURE p() SELECT * FROM clientes",
        "CREATE ALGORITHM=UNDEFINED VIEW v AS SELECT * FROM clientes",
        "CREATE OR REPLACE ALGORITHM=UNDEFINED DEFINER=`a`@`b` SQL SECURITY DEFINER VIEW v AS SELECT * FROM clientes",
        "CREATE OR REPLACE VIEW v AS SELECT * FROM clientes",
        "TRUNCATE TABLE clientes",
        "",
    ],
)
def test_others_do_not(statement: str) -> None:
    assert concerned(statement, "fs", "fs", PLAIN) == frozenset()


def test_a_comment_that_the_server_executes_hides_nothing() -> None:
    assert concerned("/*!50000 ANALYZE */ TABLE clientes", "fs", "fs", PLAIN) == {"clientes"}
    assert concerned("/*M! ALTER TABLE clientes */", "fs", "fs", PLAIN) == {"clientes"}


def test_another_database_concerns_us_when_it_names_ours() -> None:
    assert concerned("ALTER TABLE clientes ADD x int", "other", "fs", PLAIN) == frozenset()
    assert concerned("ALTER TABLE fs.clientes ADD x int", "other", "fs", PLAIN) == {"clientes"}
    assert concerned("ALTER TABLE `FS`.clientes ADD x int", "", "fs", PLAIN) == {"clientes"}


def test_a_name_that_may_be_written_in_several_ways_is_always_concerned() -> None:
    assert concerned("ALTER TABLE `x` ADD y int", "fs", "fs", TABLES) == {"Über`tabla"}
    assert concerned("ALTER TABLE clientes ADD y int", "other", "tienda ñ", PLAIN) == {"clientes"}


def test_a_data_change_mentions_its_tables() -> None:
    assert mentioned("UPDATE clientes SET a = 1", "fs", "fs", PLAIN) == {"clientes"}
    assert mentioned("UPDATE clientes SET a = 1", "other", "fs", PLAIN) == frozenset()


@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE clientes",
        "truncate table `clientes`",
        "TRUNCATE TABLE fs . `clientes` ;",
        'TRUNCATE TABLE "fs"."clientes"',
        "/* x */ TRUNCATE /* y */ TABLE /**/ clientes -- done\n",
        "TRUNCATE TABLE clientes NOWAIT",
        "TRUNCATE TABLE clientes WAIT 5 /* x */",
        "TRUNCATE TABLE CLIENTES",
    ],
)
def test_truncate_empties_a_table(statement: str) -> None:
    assert truncated(statement, "fs", "fs", PLAIN) == "clientes"


@pytest.mark.parametrize(
    ("statement", "database"),
    [
        ("TRUNCATE clientes", "other"),
        ("TRUNCATE other.clientes", "fs"),
        ("TRUNCATE proveedores", "fs"),
        ("ALTER TABLE clientes TRUNCATE PARTITION p", "fs"),
        ("DELETE FROM clientes", "fs"),
    ],
)
def test_what_empties_none_of_ours(statement: str, database: str) -> None:
    assert truncated(statement, database, "fs", PLAIN) is None


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE clientes TRUNCATE PARTITION p0",
        "ALTER TABLE clientes DROP PARTITION p0, p1",
        "alter online table clientes exchange partition p with table clientes_p without validation",
        "ALTER TABLE clientes IMPORT TABLESPACE",
        "ALTER TABLE clientes IMPORT PARTITION p TABLESPACE",
        "ALTER TABLE clientes CONVERT PARTITION p TO TABLE x",
        "ALTER TABLE clientes CONVERT TABLE x TO PARTITION p VALUES LESS THAN (5)",
        "ALTER IGNORE TABLE clientes ADD UNIQUE (nombre)",
        "ALTER TABLE clientes ADD x INT, RENAME TO clientes_antiguos",
        "ALTER TABLE clientes RENAME `otra`",
        "RENAME TABLE clientes TO _clientes_del, _clientes_gho TO clientes",
        "/* gh-ost */ RENAME /* x */ TABLE clientes TO x",
        "RENAME TABLES x TO clientes",
        "REPAIR TABLE clientes",
        "SET STATEMENT lock_wait_timeout = 5 FOR RENAME TABLE clientes TO x",
    ],
)
def test_rows_that_change_without_row_events_are_noticed(statement: str) -> None:
    assert concerned(statement, "fs", "fs", PLAIN) == {"clientes"}
    assert replaced(statement)
    assert not dropped(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE clientes ADD PARTITION (PARTITION p3 VALUES LESS THAN (9))",
        "ALTER TABLE clientes REORGANIZE PARTITION p INTO (PARTITION a VALUES LESS THAN (5))",
        "ALTER TABLE clientes REMOVE PARTITIONING",
        "ALTER TABLE clientes RENAME COLUMN a TO b",
        "ALTER TABLE clientes RENAME /* x */ INDEX a TO b, RENAME KEY c TO d",
        "ALTER TABLE clientes DROP COLUMN x, ENGINE = InnoDB",
        "CREATE TABLE clientes (id INT)",
        "SET STATEMENT lock_wait_timeout = 5 FOR ALTER TABLE clientes ADD x INT",
    ],
)
def test_columns_that_change_leave_the_rows(statement: str) -> None:
    assert concerned(statement, "fs", "fs", PLAIN) == {"clientes"}
    assert not replaced(statement)
    assert not dropped(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE IF EXISTS `clientes` /* generated by server */",
        "CREATE OR REPLACE TABLE clientes (id INT)",
        "drop tables x, clientes",
        "SET STATEMENT lock_wait_timeout = 5 FOR DROP TABLE clientes",
    ],
)
def test_dropped_table_loses_its_rows(statement: str) -> None:
    assert concerned(statement, "fs", "fs", PLAIN) == {"clientes"}
    assert dropped(statement)
    assert not replaced(statement)


def test_dropped_database_loses_all_tables() -> None:
    assert concerned("DROP DATABASE fs", "", "fs", PLAIN) == set(PLAIN)
    assert concerned("DROP SCHEMA IF EXISTS `fs`", "fs", "fs", PLAIN) == set(PLAIN)
    assert concerned("DROP DATABASE otra", "fs", "fs", PLAIN) == frozenset()
    assert dropped("DROP DATABASE fs")


@pytest.mark.parametrize("words", ["TEMPORARY", "/*!40005 TEMPORARY */"])
def test_dropped_temporary_table_loses_nothing(words: str) -> None:
    assert not dropped(f"DROP {words} TABLE IF EXISTS clientes")
    assert not dropped(f"CREATE OR REPLACE {words} TABLE clientes (id INT)")


def test_strange_names_are_unquoted() -> None:
    assert truncated("TRUNCATE `Über``tabla`", "fs", "fs", TABLES) == "Über`tabla"
