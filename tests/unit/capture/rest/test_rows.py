"""Rows of the API in normal form, and as they are kept."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from cdc.capture.rest.reader import column_of, differ, key_bytes, key_value, normal_row, pack, unpack
from cdc.facturascripts.schema import plural, resources, tables
from cdc.model.change import Value
from cdc.model.column import Table
from cdc.model.errors import SourceError
from cdc.model.normal import DecimalText


@pytest.mark.parametrize(
    ("database_type", "given_value", "expected"),
    [
        ("tinyint(1)", True, True),
        ("boolean", False, False),
        ("int(11)", 5, 5),
        ("integer", "5", 5),
        ("bigint(20) unsigned", "9007199254740993", 9007199254740993),
        ("double", 121, 121.0),
        ("double precision", -0.0, 0.0),
        ("float", 0.1, 0.1),
        ("decimal(10,2)", 12.5, DecimalText("12.50")),
        ("decimal", 12.5, DecimalText("12.5")),
        ("date", "24-11-2026", "2026-11-24"),
        ("date", "2026-11-24", "2026-11-24"),
        ("date", "30-11--0001", None),
        ("timestamp", "24-11-2026 21:48:00", "2026-11-24T21:48:00"),
        ("timestamp without time zone", "2026-11-24 21:48:00.120000", "2026-11-24T21:48:00.12"),
        ("time", "21:48:00", "21:48:00"),
        ("character varying(10)", "O&#39;Brien", "O&#39;Brien"),
        ("text", "24-11-2026", "24-11-2026"),
        ("json", {"a": [1]}, '{"a":[1]}'),
        ("text", None, None),
    ],
)
def test_values_are_written_as_other_sources_write_them(database_type: str, given_value: Any, expected: Value) -> None:
    table = Table("t", (column_of("c", database_type),), ("c",))
    row = normal_row(table, {"c": given_value})
    assert row == {"c": expected}
    assert type(row["c"]) is type(expected)


def test_a_value_that_is_no_such_thing_is_an_error_that_does_not_repeat_it() -> None:
    table = Table("clientes", (column_of("limite", "int(11)"),), ("codcliente",))
    with pytest.raises(SourceError, match=r"clientes\.limite that is no integer") as caught:
        normal_row(table, {"limite": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_rows_have_columns_in_order_and_nothing_else() -> None:
    table = Table("t", (column_of("a", "int"), column_of("b", "int"), column_of("c", "int")), ("a",))
    assert list(normal_row(table, {"c": 3, "computed": "x", "a": 1})) == ["a", "c"]


def test_the_types_that_the_api_names_are_those_of_facturascripts_tables() -> None:
    named = {"boolean": "tinyint(1)", "double": "double", "integer": "int(11)", "text": "varchar(8)"}
    for table in tables().values():
        for column in table.columns:
            assert column_of(column.name, named.get(column.kind, column.kind)).kind is column.kind


@given(st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text()))
def test_what_is_kept_comes_back(row: dict[str, Value]) -> None:
    digest, packed = pack(row)
    assert unpack(packed) == row
    assert pack(dict(row)) == (digest, packed)
    assert unpack(zstandard.compress(orjson.dumps(row))) == row, "as earlier versions stored it"


def test_columns_that_only_one_row_has_do_not_differ() -> None:
    assert not differ({"a": 1, "gone": 2}, {"a": 1, "new": 3})
    assert differ({"a": 1}, {"a": 2, "new": 3})


@given(st.lists(st.integers(-(2**63), 2**63 - 1)), st.lists(st.text()))
def test_keys_are_in_order_and_come_back(numbers: list[int], texts: list[str]) -> None:
    assert [key_value(key) for key in sorted(map(key_bytes, numbers))] == sorted(numbers)
    assert [key_value(key) for key in sorted(map(key_bytes, texts))] == sorted(texts)


@pytest.mark.parametrize("value", [None, True, 1.5])
def test_what_is_no_key_is_refused(value: Value) -> None:
    with pytest.raises(SourceError, match="neither a number nor a text"):
        key_bytes(value)


@pytest.mark.parametrize(
    ("model", "resource"),
    [
        ("FacturaCliente", "facturaclientes"),
        ("FacturaProveedor", "facturaproveedores"),
        ("Stock", "stocks"),
        ("User", "users"),
        ("RoleAccess", "roleaccess"),
        ("DocTransformation", "doctransformations"),
        ("Pais", "pais"),
    ],
)
def test_resources_are_called_as_facturascripts_calls_them(model: str, resource: str) -> None:
    assert plural(model) == resource
    assert resource in resources().values()
