"""What is known of a table at a place of the log: never a guess."""

from __future__ import annotations

import pytest

from cdc.capture.binlog.event import LogColumn, TableMap
from cdc.capture.binlog.layout import KnownTable
from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.binlog.schema_history import SchemaHistory, Version
from cdc.database.mysql_connection import Flavour
from cdc.database.mysql_types import ColumnType, MySQLColumn
from cdc.model.errors import SchemaMismatch

ID = MySQLColumn("id", "int", "int(11)")
NAME = MySQLColumn("nombre", "varchar", "varchar(10)", "utf8mb4")
FLAG = MySQLColumn("activo", "tinyint", "tinyint(1)")
NUMBER = MySQLColumn("activo", "tinyint", "tinyint(4)")
TYPES = {
    "id": (ColumnType.LONG, 0),
    "nombre": (ColumnType.VARCHAR, 40),
    "razon": (ColumnType.VARCHAR, 40),
    "activo": (ColumnType.TINY, 0),
}


def table(*columns: MySQLColumn, key: str = "id") -> KnownTable:
    return KnownTable("t", columns, (key,), Flavour.MARIADB)


def in_log(*names: str, named: bool = False) -> TableMap:
    columns = tuple(
        LogColumn(*TYPES[name], nullable=True, unsigned=False if named else None, name=name if named else None)
        for name in names
    )
    return TableMap(1, "fs", "t", columns, (0,) if named else None)


def names(version: Version, table_map: TableMap) -> tuple[str, ...]:
    return version.layout(table_map, "t", lambda _: 0).names


def at(offset: int) -> LogPosition:
    return LogPosition("binlog.000001", offset, "")


def test_a_certain_table_gives_the_names() -> None:
    version = Version({"t": (table(ID, NAME),)})
    assert names(version, in_log("id", "nombre")) == ("id", "nombre")
    with pytest.raises(SchemaMismatch):
        names(version, in_log("id", "nombre", "activo"))


def test_a_table_of_which_nothing_is_known_is_not_read() -> None:
    with pytest.raises(SchemaMismatch, match="Nothing is known"):
        names(Version({}), in_log("id"))


def test_behind_the_last_alteration_a_table_is_as_it_is_now() -> None:
    now = {"t": table(ID, NAME, FLAG)}
    version = Version({"t": (table(ID),)}).with_tables(["t"], now, frozenset())
    assert names(version, in_log("id", "nombre", "activo")) == ("id", "nombre", "activo")
    assert version.with_tables(["t"], {}, frozenset()).known == {}


def test_between_two_alterations_the_log_must_name_the_columns() -> None:
    renamed = MySQLColumn("razon", "varchar", "varchar(10)", "utf8mb4")
    version = Version({"t": (table(ID, NAME),)}).with_tables(["t"], {"t": table(ID, renamed)}, frozenset({"t"}))
    for names_in_log in (("id", "nombre"), ("id",)):
        with pytest.raises(SchemaMismatch, match="does not name its columns"):
            names(version, in_log(*names_in_log))
    assert names(version, in_log("id", "razon", "nombre", named=True)) == ("id", "razon", "nombre")
    assert version.layout(in_log("id", "razon", named=True), "t", lambda _: 0).key == ("id",)


def test_what_the_log_does_not_tell_is_not_guessed_between_two_alterations() -> None:
    """Whether a TINYINT is a boolean: before it was, now it is not."""
    before = Version({"t": (table(ID, FLAG),)})
    differing = before.with_tables(["t"], {"t": table(ID, NUMBER)}, frozenset({"t"}))
    with pytest.raises(SchemaMismatch):
        names(differing, in_log("id", "activo", named=True))
    agreeing = before.with_tables(["t"], {"t": table(ID, NAME, FLAG)}, frozenset({"t"}))
    assert names(agreeing, in_log("id", "activo", named=True)) == ("id", "activo")


def test_the_last_of_several_alterations_makes_a_table_certain_again() -> None:
    version = Version({"t": (table(ID),)})
    version = version.with_tables(["t"], {"t": table(ID, FLAG)}, frozenset({"t"}))
    assert version.uncertain == {"t"}
    version = version.with_tables(["t"], {"t": table(ID, FLAG)}, frozenset())
    assert version == Version({"t": (table(ID, FLAG),)})


def test_a_version_comes_back_from_its_text() -> None:
    hidden = KnownTable("ú", (ID,), (), Flavour.MYSQL, 1)
    version = Version({"t": (table(ID, NAME), table(ID, FLAG)), "ú": (hidden,), "none": ()}, frozenset({"t", "none"}))
    assert Version.load(version.dump()) == version
    assert Version.load(version.dump()).only(["ú"]) == Version({"ú": (hidden,)})


def test_a_position_that_is_held_back_keeps_the_version_of_its_place() -> None:
    first, second = Version({}), Version({"t": (table(ID),)})
    history = SchemaHistory(first)
    history.change(second, at(500))
    assert history.current == second
    assert Version.load(history.text_at(at(100))) == first
    assert Version.load(history.text_at(at(499))) == first
    assert Version.load(history.text_at(at(500))) == second
    assert Version.load(history.text_at(at(900))) == second
