"""Conditions on events."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from cdc.model import selection
from cdc.model.errors import UsageError
from cdc.model.event import Event
from cdc.model.filter.values import LONGEST
from cdc.model.selection import Condition, Judgement
from support.outboxes import event

INVOICE = event(
    12,
    name="invoice.paid",
    data={
        "idfactura": 12,
        "total": 121.0,
        "importe": "1234.50",
        "pagada": True,
        "codagente": None,
        "codcliente": "C-7",
        "fecha": "2026-11-24",
        "unsigned": 2**64 - 1,
        "lines": [{"referencia": "A", "cantidad": 1}, {"referencia": None, "cantidad": 2.5}],
        "receipts": [],
    },
    previous={"pagada": False},
)
CREATED = INVOICE._replace(name="invoice.created", previous=None)


def judged(text: str, of: Event = INVOICE) -> Judgement:
    return Condition(text).judge(of)


@pytest.mark.parametrize(
    "text",
    [
        'event == "invoice.paid" && source == "main" && table == "facturascli" && record == "facturascli:12"',
        'id == "evt_12" && transaction == "t12" && !inferred',
        'timestamp(timestamp) > timestamp("2026-11-24T12:00:11Z")',
        'timestamp.startsWith("2026-11-24T12:00:12")',
        'key.idfactura == "12"',
        "data.total > 100",
        "data.total == 121",
        "data.idfactura < 12.5",
        "data.idfactura in [11, 12]",
        "double(data.importe) > 1234.0",
        "data.unsigned > 9223372036854775807",
        "data.pagada && !previous.pagada",
        "data.codagente == null",
        'data["codcliente"].matches("^C-[0-9]+$")',
        "data.lines.exists(line, line.cantidad > 2) && data.lines.all(row, row.cantidad >= 1)",
        "size(data.lines) == 2 && size(data.receipts) == 0",
        "data.lines.filter(line, line.referencia == null).size() == 1",
        "has(data.total) && !has(data.missing)",
        '"total" in data && !("missing" in data)',
        "size(data) == 10",
        "data.missing > 1 || data.total > 100",
        "has(previous.pagada)",
        "data.lines.all(a, data.lines.exists(b, b.cantidad >= a.cantidad)) && data.lines.exists(c, c.cantidad == 1)",
    ],
)  # fmt: skip
def test_what_holds(text: str) -> None:
    assert judged(text) == Judgement(holds=True)


@pytest.mark.parametrize(
    "text",
    [
        "data.total > 121",
        'event == "invoice.created"',
        'data.codcliente == "c-7"',
        "data.pagada == previous.pagada",
        'data.fecha < "2026-11-24"',
    ],
)
def test_what_does_not_hold(text: str) -> None:
    assert judged(text) == Judgement(holds=False)


@pytest.mark.parametrize(
    "text",
    ["data.missing == 1", "!(data.missing == 1)", "data.lines[7].cantidad == 1", 'data["miss" + "ing"] == null'],
)
def test_what_is_missing_does_not_hold(text: str) -> None:
    assert judged(text) == Judgement(holds=False, missing=True)


def test_previous_is_empty_unless_the_event_tells_of_an_update() -> None:
    assert judged("previous.pagada == false", CREATED) == Judgement(holds=False, missing=True)
    assert judged("!has(previous.pagada)", CREATED) == Judgement(holds=True)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("data.codagente > 3", False),
        ('data.codagente.startsWith("A")', False),
        ("size(data.codagente) == 1", False),
        ('data.lines.exists(line, line.referencia.startsWith("B"))', False),
        ("has(data.codagente) && data.codagente > 3", False),
        ("data.codagente > 3 || data.total > 100", True),
    ],
)
def test_null_where_a_value_is_needed_counts_as_missing(text: str, holds: bool) -> None:
    assert (judged(text).holds, judged(text).problem) == (holds, "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('data.total > "100"', "different types"),
        ("data.codcliente > 3", "different types"),
        ("data.idfactura / 0 == 1", "a number that does not exist"),
        ("data.idfactura + 9223372036854775807 > 0", "a number that does not exist"),
        ("int(data.codcliente) == 7", "a value to a function"),
        ("data.total", "neither true nor false, but a number"),
        ("data.codagente", "neither true nor false, but null"),
        ("data.lines.map(line, line.cantidad)", "neither true nor false, but a list"),
    ],
)
def test_what_fails_holds_and_says_why_without_a_value(text: str, problem: str) -> None:
    found = judged(text)
    assert found.holds
    assert problem in found.problem
    assert found.boolean is ("neither" not in problem)
    assert not any(value in found.problem for value in ("C-7", "121", "12 ", "9223372036854775807"))


def test_a_failure_is_logged_once_for_each_endpoint_and_without_payload() -> None:
    with capture_logs() as logs:
        for condition in (
            selection.stored("ep_a", "data.codcliente > 3"),
            selection.stored("ep_b", "data.codcliente > 3"),
        ):
            assert condition.holds(INVOICE)
            assert condition.holds(CREATED)
    assert [(line["log_level"], line["endpoint"], line["filter"], line["event_name"]) for line in logs] == [
        ("warning", "ep_a", "data.codcliente > 3", "invoice.paid"),
        ("warning", "ep_b", "data.codcliente > 3", "invoice.paid"),
    ]
    assert "C-7" not in str(logs)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it ends where more is needed (line 1, character 1)"),
        ("data.total >", "it ends where more is needed (line 1, character 13)"),
        ("data.total > 100 and\ndata.pagada", "(line 1, character 18)"),
        ("data[", "it ends where more is needed (line 1, character 6)"),
        ("data.total = 100", "character 12)"),
        ("evnt == 'invoice.paid'", "uses evnt, which events do not have. Did you mean event?"),
        ("data.lines.exists(line, lines.cantidad > 2)", "uses lines, which events do not have."),
        ("total > 100", "uses total"),
        ("data.codcliente.startswith('C')", "calls startswith(), which does not exist. Did you mean startsWith?"),
        ("event", "neither true nor false, but a text"),
        ("1 + 2", "neither true nor false, but a number"),
        ("null", "neither true nor false, but null"),
        ("[data]", "neither true nor false, but a list"),
        ("data.total > 1 && " * 200 + "true", "has 3604 characters"),
        ("(" * 1000, "nests parentheses"),
        (
            "data.lines.exists(a, data.lines.all(b, data.lines.exists_one(c, a.x + b.x == c.x)))",
            "nests exists, all, map or filter too deep",
        ),
        ("data.lines.map(a, '(' + a.x).exists(b, b.filter(c, ')' == c).all(d, d.map(e, e) == []))", "too deep"),
    ],
)
def test_what_is_no_condition(text: str, told: str) -> None:
    with pytest.raises(UsageError) as refused:
        Condition(text)
    assert told in str(refused.value)


@pytest.mark.parametrize("text", ["!" * 1999 + "true", "1" + "+1" * 990 + " == 1", "data" + ".a" * 990 + " == 1"])
def test_the_deepest_conditions_are_evaluated(text: str) -> None:
    assert judged(text[-LONGEST:]).problem == ""


def test_a_stored_condition_that_is_not_understood_selects_everything_and_is_logged() -> None:
    with capture_logs() as logs:
        assert selection.stored("ep_a", "data.total >").holds(INVOICE)
        assert selection.stored("ep_a", "data.total >").holds(CREATED)
    assert [(line["log_level"], line["filter"]) for line in logs] == [("error", "data.total >")]


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), st.text(max_size=8)
)


@given(VALUES)
def test_every_value_of_a_row_is_itself(value: Any) -> None:
    """As it is, and within the lists that documents carry."""
    of = INVOICE._replace(data={"x": value, "y": value, "rows": [{"x": value}], "total": 1.5})
    assert judged("data.x == data.y && data.rows.all(row, row.x == data.x) && data.total == 1.5", of) == Judgement(
        holds=True
    )


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
def test_integers_compare_as_integers(one: int, other: int) -> None:
    of = INVOICE._replace(data={"x": one, "y": other})
    assert judged("data.x < data.y", of).holds is (one < other)
