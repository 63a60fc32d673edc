"""The text of triggers, without a database."""

from __future__ import annotations

import re

import pytest

from cdc.capture.triggers.mysql_render import (
    CascadeTarget,
    Dialect,
    Effect,
    Path,
    parent_trigger,
    row_triggers,
    shape_of,
    trigger_name,
)
from cdc.capture.triggers.mysql_state import ForeignKey
from cdc.database.mysql_connection import Flavour
from cdc.database.mysql_inspect import MySQLTable
from cdc.database.mysql_journal import Tokens
from cdc.database.mysql_types import MySQLColumn, image, same, value
from cdc.model.column import Capture, ColumnKind

ID = MySQLColumn("id", "int", "int(11)", "", "auto_increment")
CODE = MySQLColumn("cod`igo", "varchar", "varchar(10)", "utf8mb4")
SECRET = MySQLColumn("password", "varchar", "varchar(50)", "utf8mb4")
TABLE = MySQLTable("users", "InnoDB", (ID, CODE, SECRET), ("id",))
TARGET = CascadeTarget(TABLE, shape_of(TABLE, Capture("users", frozenset({"password"}))), 7)
DIALECTS = [
    Dialect(Flavour.MARIADB, Tokens.GTID, snapshot_switch=True),
    Dialect(Flavour.MARIADB, Tokens.ROW_START, snapshot_switch=True),
    Dialect(Flavour.MYSQL, Tokens.PERFORMANCE_SCHEMA, cascade_switch=True, native_switch=True),
]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.tokens)
def test_images_have_no_secret_and_bodies_no_comment(dialect: Dialect) -> None:
    triggers = row_triggers(TARGET, dialect)
    assert [trigger.name for trigger in triggers] == ["cdc_users_ai", "cdc_users_au", "cdc_users_ad"]
    for trigger in triggers:
        assert "--" not in trigger.statement
        assert "$" not in trigger.statement
        assert "JSON_ARRAY(" in trigger.body
        assert trigger.body.removeprefix("cdc: ").startswith("BEGIN")
        images = [part.split(")")[0] for part in trigger.body.split("JSON_ARRAY(")[1:]]
        assert images
        assert not any("password" in image for image in images)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.tokens)
def test_innermost_handler_names_no_column_of_the_table(dialect: Dialect) -> None:
    for trigger in row_triggers(TARGET, dialect):
        handler = trigger.body.rpartition("SQLEXCEPTION")[2].split(";")[0]
        assert "OLD." not in handler
        assert "NEW." not in handler
        assert "VALUES (" in handler


def test_the_server_fills_the_token_of_a_row_start_journal() -> None:
    assert all("txn" not in trigger.body for trigger in row_triggers(TARGET, DIALECTS[1]))
    assert all("`txn`" in trigger.body for trigger in row_triggers(TARGET, DIALECTS[0]))


def test_names_fit_and_stay_different() -> None:
    tables = ["t" * 64, "t" * 63 + "u", "short", "t" * 57]
    names = [trigger_name(table, suffix) for table in tables for suffix in ("ai", "au", "ad", "bd", "bu")]
    assert max(map(len, names)) == 64
    assert len(set(names)) == len(names)
    assert trigger_name("short", "ai") == "cdc_short_ai"


def key(table: str, column: str, parent: str, parent_column: str = "id") -> ForeignKey:
    return ForeignKey(f"{table}_{parent}", table, (column,), parent, (parent_column,), "CASCADE", "CASCADE")


def test_a_path_joins_its_tables_and_replaces_the_key() -> None:
    code = MySQLColumn("cod", "varchar", "varchar(4)", "utf8mb4", "", "utf8mb4_unicode_520_ci")
    parent = MySQLTable("parent", "InnoDB", (code,), ("cod",))
    path = Path(
        (key("child", "codparent", "parent", "cod"), key("users", "cod`igo", "child", "codparent")), Effect.REKEYED
    )
    body = parent_trigger(parent, "UPDATE", [path], {"users": TARGET}, DIALECTS[0]).body
    assert "FROM `child` AS t1 STRAIGHT_JOIN `users` AS t2" in body
    assert "DECLARE old_1 varchar(4) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_520_ci DEFAULT OLD.`cod`;" in body
    assert "t1.`codparent` = old_1 AND t2.`cod``igo` = t1.`codparent`" in body
    assert "JSON_ARRAY(t2.`id`, t2.`cod``igo`), JSON_ARRAY(t2.`id`, COALESCE(new_1))" in body
    (cursor,) = re.findall(r"CURSOR FOR([^;]+);", body)
    assert "OLD." not in cursor
    assert "NEW." not in cursor
    assert body.count("innodb_snapshot_isolation") == 3


def test_a_trigger_of_a_table_that_the_statement_changes_reads_it_for_share() -> None:
    parent = MySQLTable("users", "InnoDB", TABLE.columns, ("id",))
    path = Path((key("users", "cod`igo", "users"),), Effect.DELETED)
    body = parent_trigger(parent, "DELETE", [path], {"users": TARGET}, DIALECTS[2]).body
    assert "LOCK IN SHARE MODE" in body
    assert "FOR UPDATE" not in body
    assert "(@@innodb_native_foreign_keys OR NOT @@enable_cascade_triggers)" in body


@pytest.mark.parametrize(
    ("data_type", "column_type", "charset", "kind", "expression"),
    [
        ("tinyint", "tinyint(1)", "", ColumnKind.BOOLEAN, "x"),
        ("tinyint", "tinyint(4)", "", ColumnKind.INTEGER, "x"),
        ("int", "int(8) unsigned zerofill", "", ColumnKind.INTEGER, "x + 0"),
        ("float", "float", "", ColumnKind.REAL, "x + 0e0"),
        ("double", "double", "", ColumnKind.DOUBLE, "x"),
        ("decimal", "decimal(10,2)", "", ColumnKind.DECIMAL, "CONCAT(x)"),
        ("bit", "bit(8)", "", ColumnKind.INTEGER, "x + 0"),
        ("longtext", "longtext", "utf8mb4", ColumnKind.TEXT, "CONCAT(x)"),
        ("enum", "enum('zerofill')", "utf8mb4", ColumnKind.TEXT, "x"),
        ("varchar", "varchar(5)", "latin1", ColumnKind.TEXT, "CONVERT(x USING utf8mb4)"),
        ("blob", "blob", "", ColumnKind.BINARY, "TO_BASE64(x)"),
        ("point", "point", "", ColumnKind.BINARY, "TO_BASE64(SUBSTRING(x, 5))"),
        ("json", "json", "", ColumnKind.JSON, "CAST(x AS CHAR CHARACTER SET utf8mb4)"),
        ("inet6", "inet6", "", ColumnKind.OTHER, "CONCAT(x)"),
    ],
)
def test_kinds_and_expressions(
    data_type: str, column_type: str, charset: str, kind: ColumnKind, expression: str
) -> None:
    column = MySQLColumn("x", data_type, column_type, charset)
    assert column.kind is kind
    assert value(column, "x") == expression
    whole, plain = image([column], "t", {"x": "x"}), f"JSON_ARRAY({expression})"
    assert plain in whole
    assert (whole == plain) is not column.type.long, "a long one may be too long"


@pytest.mark.parametrize(
    ("flavour", "charset", "expected"),
    [
        (Flavour.MARIADB, "utf8mb4", "a <=> b COLLATE utf8mb4_nopad_bin"),
        (Flavour.MYSQL, "utf8mb4", "a <=> b COLLATE utf8mb4_0900_bin"),
        (Flavour.MYSQL, "utf8mb3", "CAST(a AS BINARY) <=> CAST(b AS BINARY)"),
        (Flavour.MARIADB, "cp1251", "CAST(a AS BINARY) <=> CAST(b AS BINARY)"),
    ],
)
def test_text_is_compared_exactly(flavour: Flavour, charset: str, expected: str) -> None:
    assert same(MySQLColumn("x", "varchar", "varchar(9)", charset), flavour, "a", "b") == expected
