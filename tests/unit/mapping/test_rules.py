"""What each key of a rule asks for, on a table of the user's."""

from __future__ import annotations

import pytest

from cdc.mapping.catalogue import load_catalogue
from cdc.mapping.facts import Facts
from cdc.model.change import Operation, Row
from cdc.model.column import Column, ColumnKind, Table
from cdc.model.normal import DecimalText
from support.row_changes import change, delete, events, insert, names, update

_ROW: Row = {"id": 1, "activo": False, "saldo": 0.0, "tipo": None, "nota": "x"}
_FACTS = Facts(states={1: {"idestado": 1, "nombre": "Abierto"}, 2: {"idestado": 2, "nombre": "Caducado"}})


def _fires(conditions: str, *, before: Row | None = None, after: Row | None = None) -> bool:
    """Whether the rule ``t.hit`` with these conditions fires for an insert (no before), delete (no after) or update."""
    rules = f'[[event]]\ntable = "t"\nname = "hit"\n{conditions}'
    if before is None:
        assert after is not None
        made = insert("t", after)
    elif after is None:
        made = delete("t", before)
    else:
        made = change(Operation.UPDATE, "t", before, {**before, **after})
    return "t.hit" in names(made, rules=rules, facts=_FACTS)


def _with(**values: bool | float | str | None) -> Row:
    return {**_ROW, **values}


def test_becomes_is_an_arrival() -> None:
    rule = "becomes = { activo = true, tipo = { set = true } }"
    there = _with(activo=True, tipo="A")
    assert _fires(rule, after=there)
    assert not _fires(rule, after=_with(activo=True))
    assert _fires(rule, before=_with(activo=True), after=there)
    assert _fires(rule, before=_ROW, after=there)
    assert not _fires(rule, before=there, after=_with(activo=True, tipo="A", nota="y"))
    assert not _fires(rule, before=there, after=_ROW)


def test_becomes_can_be_kept_to_updates() -> None:
    rule = 'becomes = { activo = true }\noperations = ["update"]'
    assert not _fires(rule, after=_with(activo=True))
    assert _fires(rule, before=_ROW, after=_with(activo=True))


def test_from_and_to_are_an_update_between_two_values() -> None:
    rule = "from = { activo = true }\nto = { activo = false }"
    assert _fires(rule, before=_with(activo=True), after=_ROW)
    assert not _fires(rule, before=_with(activo=None), after=_ROW)
    assert not _fires(rule, before=_with(activo=True), after=_with(activo=None))
    assert not _fires(rule, after=_ROW)


def test_from_alone_is_leaving_and_to_alone_is_reaching() -> None:
    assert _fires('from = { tipo = ["A", "B"] }', before=_with(tipo="A"), after=_with(tipo="C"))
    assert not _fires('from = { tipo = ["A", "B"] }', before=_with(tipo="A"), after=_with(tipo="B"))
    assert _fires('to = { tipo = "A" }', before=_ROW, after=_with(tipo="A"))
    assert not _fires('to = { tipo = "A" }', before=_with(tipo="A"), after=_with(tipo="A", nota="y"))


def test_from_of_one_column_and_to_of_another() -> None:
    rule = 'from = { activo = false }\nto = { tipo = "A" }'
    assert _fires(rule, before=_ROW, after=_with(tipo="A"))
    assert not _fires(rule, before=_with(tipo="A"), after=_with(tipo="A", nota="y"))


def test_changed_is_any_of_the_columns() -> None:
    rule = 'changed = ["saldo", "tipo"]'
    assert _fires(rule, before=_ROW, after=_with(tipo="A"))
    assert not _fires(rule, before=_ROW, after=_with(nota="y"))
    assert not _fires(rule, after=_ROW)
    assert _fires(rule + '\noperations = ["create", "update"]', after=_ROW)


def test_unless_changed_and_ignore() -> None:
    assert _fires('unless_changed = ["tipo"]', before=_ROW, after=_with(nota="y"))
    assert not _fires('unless_changed = ["tipo"]', before=_ROW, after=_with(nota="y", tipo="A"))
    assert _fires('ignore = ["tipo"]', before=_ROW, after=_with(nota="y", tipo="A"))
    assert not _fires('ignore = ["tipo"]', before=_ROW, after=_with(tipo="A"))


def test_where_looks_at_the_row_as_it_is_now() -> None:
    rule = "changed = ['saldo']\nwhere = { activo = true }"
    assert _fires(rule, before=_with(activo=True), after=_with(activo=True, saldo=1.0))
    assert not _fires(rule, before=_ROW, after=_with(saldo=1.0))
    assert _fires("operations = ['delete']\nwhere = { activo = true }", before=_with(activo=True))
    assert not _fires("operations = ['delete']\nwhere = { activo = true }", before=_ROW)


def test_operations_alone() -> None:
    assert _fires("operations = ['create', 'delete']", after=_ROW)
    assert _fires("operations = ['create', 'delete']", before=_ROW)
    assert not _fires("operations = ['create', 'delete']", before=_ROW, after=_with(nota="y"))


def test_a_state_is_looked_up() -> None:
    rule = "changed = ['idestado']\nstate = { nombre = 'Caducado' }"
    assert _fires(rule, before=_with(idestado=1), after=_with(idestado=2))
    assert not _fires(rule, before=_with(idestado=2), after=_with(idestado=1))
    assert not _fires(rule, before=_with(idestado=1), after=_with(idestado=77)), "nothing is known of that state"


@pytest.mark.parametrize("column", ["tipo", "otra"])
def test_a_column_that_the_row_does_not_have_never_fires(column: str) -> None:
    row: Row = {"id": 1, "nota": "x"}
    assert not _fires(f"changed = ['{column}']", before=row, after={"id": 1, "nota": "y"})
    assert not _fires(f"becomes = {{ {column} = {{ set = false }} }}", after=row)


def test_a_secret_column_can_be_asked_whether_it_changed() -> None:
    rules = '[secret]\nt = ["clave"]\n[[event]]\ntable = "t"\nname = "hit"\nchanged = ["clave"]'
    assert names(update("t", _ROW, secrets=["clave"]), rules=rules) == ["t.hit"]


def _pair(one: bool | float | str | None, other: bool | float | str | None) -> Row:
    return {"id": 1, "uno": one, "otro": other}


@pytest.mark.parametrize(
    ("condition", "holds", "fails"),
    [
        ("{ column = 'otro' }", [(1, 1), ("a", "a"), (None, None)], [(1, 2), (None, 1)]),
        ("{ not = { column = 'otro' } }", [(1, 2), (None, 1)], [(1, 1), (None, None)]),
        (
            "{ less_than = { column = 'otro' } }",
            [(1, 1.5), ("2026-11-29", "2026-12-01")],
            [(2, 2), (None, 1), (1, "2")],
        ),
        ("{ at_least = { column = 'otro' } }", [(2, 2), ("b", "a")], [(1, 2), (1, None), (True, False)]),
    ],
)
def test_a_column_is_compared_with_another(
    condition: str, holds: list[tuple[float, float]], fails: list[tuple[float, float]]
) -> None:
    rule = f"becomes = {{ uno = {condition} }}"
    assert [pair for pair in holds if not _fires(rule, after=_pair(*pair))] == []
    assert [pair for pair in fails if _fires(rule, after=_pair(*pair))] == []


@pytest.mark.parametrize(
    ("condition", "holds", "fails"),
    [
        ("{ at_least = 100 }", ["100.00", "100.01", "1000"], ["99.99", "-100.00", "NaN", None]),
        ("150", ["150.00", "150"], ["150.01"]),
        ("0.1", ["0.1", "0.1000"], ["0.10000000000000000555"]),
        ("{ less_than = 0.3 }", ["0.2999999999999999999999999999"], ["0.3000000000000000000000000000", "0.30"]),
        (
            "{ at_least = 1234567890123456789012345678.9 }",
            ["1234567890123456789012345678.90"],
            ["1234567890123456789012345678.8999"],
        ),
        ("[7, 8.50]", ["8.5", "7.00"], ["8.51", "77"]),
        ("{ not = 150 }", ["150.01"], ["150.00"]),
    ],
)
def test_a_decimal_is_compared_as_a_number(condition: str, holds: list[str], fails: list[str | None]) -> None:
    rule = f"becomes = {{ uno = {condition} }}"
    assert [each for each in holds if not _fires(rule, after=_pair(DecimalText(each), 1))] == []
    assert [each for each in fails if _fires(rule, after=_pair(None if each is None else DecimalText(each), 1))] == []


def test_a_decimal_is_compared_with_another_column_as_a_number() -> None:
    rule = "becomes = { uno = { at_least = { column = 'otro' } } }"
    assert _fires(rule, after=_pair(DecimalText("1000.00"), DecimalText("200.00")))
    assert _fires(rule, after=_pair(DecimalText("1000.00"), 1000))
    assert not _fires(rule, after=_pair(DecimalText("9.5"), 9.51))
    assert not _fires(rule, after=_pair(DecimalText("9.5"), "1")), "a text is no number"
    assert _fires("becomes = { uno = { column = 'otro' } }", after=_pair(DecimalText("1.50"), DecimalText("1.5")))


def test_a_number_in_a_text_is_a_text() -> None:
    assert not _fires("becomes = { uno = { at_least = 100 } }", after=_pair("150", 1))
    assert not _fires("becomes = { uno = 150 }", after=_pair("150", 1))
    (event,) = events(update("t", _pair(DecimalText("1.50"), 1), otro=2), rules='tables = ["t"]')
    assert type(event.data["uno"]) is str


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("{ texto = { at_least = 1 } }", "texto is no number (its type: text)"),
        ("{ texto = 150 }", "texto is no number (its type: text)"),
        ("{ entero = '150' }", "entero is no text (its type: integer)"),
        ("{ dia = { less_than = { column = 'entero' } } }", "of dia (date) and entero (integer), one is"),
        ("{ importe = 150, entero = 1.5, texto = ['1', 2], dia = { set = true } }", ""),
        ("{ importe = { at_least = { column = 'entero' } }, texto = { not = 1 } }", ""),
    ],
)
def test_a_condition_that_never_holds_is_named(condition: str, reason: str) -> None:
    rules = f'[[event]]\ntable = "t"\nname = "hit"\nbecomes = {condition}'
    kinds = {"texto": "text", "entero": "integer", "importe": "decimal", "dia": "date"}
    table = Table("t", tuple(Column(name, ColumnKind(kind)) for name, kind in kinds.items()), ("entero",))
    found = load_catalogue(rules).impossible({"t": table})
    assert len(found) == bool(reason)
    assert all(each.startswith("rules.toml, line ") and f"t.hit never fires: {reason}" in each for each in found)


def test_a_comparison_holds_with_other_conditions_only() -> None:
    rule = "becomes = { uno = { less_than = { column = 'otro' } }, tipo = 'A' }"
    assert _fires(rule, after={**_pair(1, 2), "tipo": "A"})
    assert not _fires(rule, after={**_pair(1, 2), "tipo": "B"})
    assert not _fires(rule, after={**_pair(2, 1), "tipo": "A"})
    assert not _fires(rule, after={"id": 1, "uno": 1, "tipo": "A"})  # the other column is not there


def test_either_column_of_a_comparison_fires_the_rule_once() -> None:
    low, enough = {"disponible": 2.0, "stockmin": 5.0}, {"disponible": 8.0, "stockmin": 5.0}
    stock: Row = {"id": 1, "ubicacion": None}
    assert "stock.low" in names(insert("stocks", {**stock, **low}))
    assert "stock.low" not in names(insert("stocks", {**stock, **enough}))
    assert "stock.low" in names(update("stocks", {**stock, **enough}, disponible=4.0))
    assert "stock.low" in names(update("stocks", {**stock, **enough}, stockmin=9.0))
    assert "stock.low" not in names(update("stocks", {**stock, **low}, disponible=1.0))
    assert "stock.low" not in names(update("stocks", {**stock, **low}, disponible=8.0))


def test_from_and_to_compare_columns() -> None:
    rule = "from = { uno = { less_than = { column = 'otro' } } }\nto = { uno = { at_least = { column = 'otro' } } }"
    assert _fires(rule, before=_pair(1, 2), after=_pair(1, 1))
    assert not _fires(rule, before=_pair(1, 2), after=_pair(1.5, 2))
