"""HTML entities, event ids, record names, conditions: the small pure parts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.mapping.rule import ValueCondition, parse_condition
from cdc.model.change import Row, Value
from cdc.model.event import event_id, event_ids, record_name
from cdc.model.image import decode_html, decode_html_row
from support.row_changes import START


@pytest.mark.parametrize(
    ("stored", "typed"),
    [
        ("O&#39;Brien &amp; Sons", "O'Brien & Sons"),
        ("&lt;b&gt; &quot;x&quot;", '<b> "x"'),
        ("&amp;lt;", "&lt;"),
        ("&eacute; & &amp", "&eacute; & &amp"),
        (12, 12),
        (None, None),
    ],
)
def test_the_five_entities_are_decoded_in_one_pass(stored: Value, typed: Value) -> None:
    assert decode_html(stored) == typed


def test_a_row_without_entities_stays_the_same_object() -> None:
    row: Row = {"nombre": "Ruiz", "total": 1.0}
    assert decode_html_row(row) is row
    assert decode_html_row({"nombre": "a &amp; b", "n": 1}) == {"nombre": "a & b", "n": 1}


def test_an_event_id_depends_on_each_of_its_parts() -> None:
    base: dict[str, Any] = {"source": "main", "token": "t", "table": "a", "ordinal": 1, "time": START}
    others: list[dict[str, Any]] = [
        {"source": "m"},
        {"token": "u"},
        {"table": "b"},
        {"ordinal": 2},
        {"time": START + timedelta(microseconds=1)},
    ]
    ids = [event_id(event_ids(**{**base, **other}), "x.created", "a:1") for other in ({}, *others)]
    ids += [event_id(event_ids(**base), "x.updated", "a:1"), event_id(event_ids(**base), "x.created", "a:2")]
    assert len(set(ids)) == len(ids)
    assert ids[0] == "evt_" + ids[0][4:].lower()
    assert len(ids[0]) == 36


def test_an_event_id_never_changes() -> None:
    """Receivers remember ids: a new version must not name old changes anew."""
    assert event_id(event_ids("main", "7301", "facturascli", 3, START), "invoice.paid", "facturascli:12") == (
        "evt_f5568071a73a5d2be8ba8111a8717b49"
    )


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ({"id": 12}, "t:12"),
        ({"cod": "A:1"}, "t:A:1"),
        ({"a": "x", "b": 1}, 't:["x",1]'),
        ({}, "t:"),
        ({"flag": True}, "t:true"),
    ],
)
def test_record_names(key: Row, name: str) -> None:
    assert record_name("t", key) == name


_PART = st.one_of(st.text(max_size=4), st.integers(-5, 5))


@given(st.tuples(_PART, _PART), st.tuples(_PART, _PART))
def test_two_keys_never_share_a_record_name(one: tuple[Value, Value], other: tuple[Value, Value]) -> None:
    same = [(type(value), value) for value in one] == [(type(value), value) for value in other]
    names = [record_name("t", dict(zip("ab", key, strict=True))) for key in (one, other)]
    assert (names[0] == names[1]) is same


@pytest.mark.parametrize(
    ("condition", "holds", "fails"),
    [
        (True, [True, 1], [False, None, 0]),
        ("Caducado", ["Caducado"], ["caducado", None]),
        ("A & B", ["A & B", "A &amp; B"], ["A"]),
        ([1, 2], [1, 2], [3, None]),
        ({"not": True}, [False, None], [True]),
        ({"not": [1, 2]}, [3, None], [1]),
        ({"set": True}, ["x", 0, False], [None, ""]),
        ({"set": False}, [None, ""], ["x", 0]),
        ({"at_least": 10}, [10, 10.5], [9, None, "11", True]),
        ({"at_least": 1, "less_than": 2}, [1, 1.9], [2, 0]),
    ],
)
def test_conditions(condition: Any, holds: list[Value], fails: list[Value]) -> None:
    parsed = parse_condition(condition)
    assert isinstance(parsed, ValueCondition)
    assert [value for value in holds if not parsed.holds(value)] == []
    assert [value for value in fails if parsed.holds(value)] == []
    assert parsed.holds(parsed.example())


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {},
        {"set": 1},
        {"not": {"set": True}},
        {"at_least": "x"},
        {"unknown": 1},
        [None],
        {"column": 1},
        {"less_than": {"column": "x", "y": 1}},
    ],
)
def test_what_is_no_condition(wrong: Any) -> None:
    with pytest.raises(ValueError, match="a condition is"):
        parse_condition(wrong)
