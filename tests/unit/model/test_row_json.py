"""JSON images of rows, read by their columns' types, without a database."""

from __future__ import annotations

from random import Random

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.model.change import Value
from cdc.model.column import Column, ColumnKind
from cdc.model.image import TYPES, Unexpected, array_reader, object_reader
from cdc.model.normal import NORMALISERS

_DOUBLES = st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0)  # zero has no sign
_VALUES = {
    ColumnKind.BOOLEAN: st.booleans(),
    ColumnKind.INTEGER: st.integers(-(2**63), 2**64 - 1),
    ColumnKind.DOUBLE: st.integers(-(2**53), 2**53) | _DOUBLES,
    ColumnKind.DATE: st.dates().map(str),
    ColumnKind.TIME: st.times().map(str).filter(lambda text: "." not in text),
    ColumnKind.TEXT: st.text(st.characters(codec="utf-8")),
}
_COLUMNS = tuple(Column(kind.value, kind) for kind in TYPES)


@given(st.tuples(*(st.none() | _VALUES[kind] for kind in TYPES)), st.randoms(use_true_random=False))
def test_values_come_in_normal_form_and_in_the_order_of_the_columns(values: tuple[Value, ...], random: Random) -> None:
    expected = {kind.value: NORMALISERS[kind](value) for kind, value in zip(TYPES, values, strict=True)}
    members = list(zip(expected, values, strict=True))
    assert repr(array_reader(_COLUMNS)(orjson.dumps(values).decode())) == repr(expected)
    random.shuffle(members)
    assert repr(object_reader(_COLUMNS)(orjson.dumps(dict(members)).decode())) == repr(expected)


@pytest.mark.parametrize(
    ("kind", "json"),
    [
        (ColumnKind.DOUBLE, '"NaN"'),
        (ColumnKind.DOUBLE, "true"),
        (ColumnKind.DOUBLE, "1e400"),
        (ColumnKind.INTEGER, "1.0"),
        (ColumnKind.INTEGER, '"1"'),
        (ColumnKind.BOOLEAN, "1"),
        (ColumnKind.TEXT, "1"),
        (ColumnKind.TEXT, "[]"),
        (ColumnKind.DATE, "{}"),
    ],
)
def test_a_value_of_another_type_is_refused(kind: ColumnKind, json: str) -> None:
    read = array_reader([Column("a", kind), Column("b", ColumnKind.TEXT)])
    assert read('[null,"x"]') == {"a": None, "b": "x"}
    with pytest.raises(Unexpected):
        read(f'[{json},"x"]')


@pytest.mark.parametrize("json", ['{"a":1}', '{"a":1,"b":2,"c":3}', "{}", "[1,2]", "1", "", '{"a":1,"b":2}x'])
def test_an_object_of_other_columns_is_refused(json: str) -> None:
    read = object_reader([Column("a", ColumnKind.INTEGER), Column("b", ColumnKind.INTEGER)])
    assert list(read('{"b":2,"a":1}').items()) == [("a", 1), ("b", 2)]
    with pytest.raises(Unexpected):
        read(json)


@pytest.mark.parametrize("json", ["[1]", "[1,2,3]", "[]", '{"a":1,"b":2}', "null"])
def test_an_array_of_other_columns_is_refused(json: str) -> None:
    read = array_reader([Column("a", ColumnKind.INTEGER), Column("b", ColumnKind.INTEGER)])
    assert read("[1,2]") == {"a": 1, "b": 2}
    with pytest.raises(Unexpected):
        read(json)


@given(st.lists(st.text(st.characters(codec="utf-8")), unique=True, max_size=4))
def test_whatever_the_columns_are_called(names: list[str]) -> None:
    """A name that no structure can have is for who reads with care; every other one is read."""
    columns = [Column(name, ColumnKind.INTEGER) for name in names]
    row = {name: number for number, name in enumerate(names)}
    for read, image in ((object_reader(columns), row), (array_reader(columns), list(row.values()))):
        text = orjson.dumps(image).decode()
        if all(name.isidentifier() and not name.startswith("__") for name in names):
            assert read(text) == row
        else:
            with pytest.raises(Unexpected):
                read(text)


@pytest.mark.parametrize(
    "name", ["class", "from", "self", "ñandú", "_private", "copy", "__slots__", "__x", "a b", "1a"]
)
def test_names_that_mean_something_to_python(name: str) -> None:
    read = object_reader([Column(name, ColumnKind.INTEGER)])
    text = orjson.dumps({name: 1}).decode()
    if name in ("__slots__", "__x", "a b", "1a"):
        with pytest.raises(Unexpected):
            read(text)
    else:
        assert read(text) == {name: 1}
