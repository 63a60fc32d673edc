"""PostgreSQL's texts in normal form; all types are compared with what triggers write in the integration tests."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from cdc.database.postgres_types import converter, type_of
from cdc.model.change import Value
from cdc.model.normal import DecimalText


@pytest.mark.parametrize(
    ("name", "category", "text", "expected"),
    [
        ("bool", "B", "t", True),
        ("bool", "B", "f", False),
        ("int8", "N", "-9223372036854775808", -(2**63)),
        ("float8", "N", "121", 121.0),
        ("float8", "N", "-0", 0.0),
        ("float8", "N", "NaN", "nan"),
        ("float4", "N", "0.1", 0.1),
        ("numeric", "N", "12.50", DecimalText("12.50")),
        ("bytea", "U", "\\x00ff", "AP8="),
        ("json", "U", ' {"a": 1}\n', '{"a": 1}'),
        ("jsonb", "U", "null", None),
        ("timestamp", "D", "2026-11-24 23:48:00.12", "2026-11-24T23:48:00.12"),
        ("timestamp", "D", "0044-03-15 01:02:03.5 BC", "0044-03-15T01:02:03.5 BC"),
        ("timestamptz", "D", "2026-07-01 10:00:00+00", "2026-07-01T12:00:00"),
        ("timestamptz", "D", "infinity", "infinity"),
        ("_int4", "A", "[0:1][2:3]={{1,2},{3,4}}", "{{1,2},{3,4}}"),
        ("_text", "A", '{"[1:2]={3}"}', '{"[1:2]={3}"}'),
        ("text", "S", "[1:2]={3}", "[1:2]={3}"),
        ("uuid", "U", "a0ee", "a0ee"),
    ],
)
def test_values(name: str, category: str, text: str, expected: Value) -> None:
    convert = converter(type_of(name, category), lambda: ZoneInfo("Europe/Madrid"))
    value = text if convert is None else convert(text)
    assert (type(value), str(value)) == (type(expected), str(expected))


def test_a_type_that_is_gone_stays_text() -> None:
    assert converter(None, lambda: ZoneInfo("UTC")) is None
