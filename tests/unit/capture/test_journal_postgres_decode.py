"""PostgreSQL's JSON images in normal form, without a database."""

from __future__ import annotations

from datetime import tzinfo
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.capture.postgres_catalogue import as_text, build_catalogue, compile_decode, decode_unknown
from cdc.database.postgres_types import members, type_of
from cdc.model.column import Column, ColumnKind, Table
from cdc.model.normal import DecimalText


def madrid() -> tzinfo:
    return ZoneInfo("Europe/Madrid")


def table(**kinds: ColumnKind) -> Table:
    return Table("t", tuple(Column(name, kind) for name, kind in kinds.items()), ())


@pytest.mark.parametrize(
    ("kind", "json", "expected"),
    [
        (ColumnKind.DOUBLE, "121", 121.0),
        (ColumnKind.DOUBLE, '"NaN"', "nan"),
        (ColumnKind.DOUBLE, "1e+30", 1e30),
        (ColumnKind.DOUBLE, '"was text"', "was text"),
        (ColumnKind.REAL, "3", 3.0),
        (ColumnKind.REAL, "0.1", 0.1),
        (ColumnKind.DECIMAL, "12.50", DecimalText("12.50")),
        (ColumnKind.DECIMAL, "1" * 30, DecimalText("1" * 30)),
        (ColumnKind.DECIMAL, '"NaN"', DecimalText("NaN")),
        (ColumnKind.JSON, '{"a":  [1.0]}', '{"a":  [1.0]}'),
        (ColumnKind.JSON, '"text"', '"text"'),
        (ColumnKind.TIMESTAMP, '"2026-11-24T23:48:00"', "2026-11-24T23:48:00"),
        (ColumnKind.TIMESTAMP, '"2026-07-01T10:00:00.5+00:00"', "2026-07-01T12:00:00.5"),
        (ColumnKind.TIMESTAMP, '"2026-11-24T10:00:00-05:30"', "2026-11-24T16:30:00"),
        (ColumnKind.TIMESTAMP, '"infinity"', "infinity"),
        (ColumnKind.TIMESTAMP, '"0044-03-15T00:00:00+00:00 BC"', "0044-03-14T23:45:16 BC"),
        (ColumnKind.TIMESTAMP, '"0001-01-01T00:00:00+00:00"', "0001-12-31T23:45:16 BC"),
        (ColumnKind.TIMESTAMP, '"10000-07-01T00:00:00.25+00:00"', "10000-07-01T02:00:00.25"),
        (ColumnKind.TIMESTAMP, '"9999-12-31T23:59:59+00:00"', "10000-01-01T00:59:59"),
        (ColumnKind.TIMESTAMP, '"0044-03-15T00:00:00.5 BC"', "0044-03-15T00:00:00.5 BC"),
        (ColumnKind.BINARY, '"\\\\x00ff"', "AP8="),
        (ColumnKind.OTHER, '"(1,2)"', "(1,2)"),
        (ColumnKind.OTHER, '{"of no type": [1]}', '{"of no type": [1]}'),
    ],
)
@pytest.mark.parametrize("beside", [ColumnKind.TEXT, ColumnKind.DECIMAL])
def test_values(kind: ColumnKind, json: str, expected: object, beside: ColumnKind) -> None:
    """Alike in tables that are read quickly and in those that are read piece by piece."""
    decode = compile_decode(table(value=kind, beside=beside), madrid)
    (value, null) = decode(f'{{"value":{json},"beside":null}}').values()
    assert (type(value), value) == (type(expected), expected)
    assert null is None
    assert decode('{"value":null,"beside":null}') == {"value": None, "beside": None}


def test_columns_that_are_not_in_the_catalogue_any_more() -> None:
    decode = compile_decode(table(a=ColumnKind.DOUBLE, b=ColumnKind.DOUBLE), madrid)
    assert decode('{"b":1,"gone":2}') == {"b": 1.0, "gone": 2}
    assert type(decode('{"b":1,"gone":2}')["b"]) is float
    assert decode_unknown('{ "a" : [1, 2], "b" : 1.5 }') == {"a": "[1, 2]", "b": 1.5}


def test_kinds() -> None:
    assert type_of("int8", "N").kind is ColumnKind.INTEGER
    assert type_of("citext", "S").kind is ColumnKind.TEXT
    assert type_of("inet", "I").kind is ColumnKind.OTHER


def test_texts_of_values() -> None:
    assert [as_text(value) for value in (None, True, False, 1, 1.5, "x")] == [None, "true", "false", "1", "1.5", "x"]


def test_an_empty_catalogue() -> None:
    assert build_catalogue("public", {}, [], "UTC").oids == "{}"


_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)


@given(st.dictionaries(st.text(min_size=1), _scalars | st.lists(_scalars), max_size=8), st.booleans())
def test_members_are_the_members_of_the_object(value: dict[str, object], spaced: bool) -> None:
    text = orjson.dumps(value).decode()
    if spaced:  # as json_object_agg writes it
        written = (f"{orjson.dumps(k).decode()} : {orjson.dumps(v).decode()}" for k, v in value.items())
        text = "{ " + ", ".join(written) + " }"
    found = list(members(text))
    assert [name for name, _ in found] == list(value)
    assert [orjson.loads(raw) for _, raw in found] == list(value.values())
