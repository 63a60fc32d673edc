"""Patterns of tables: what they mean, and what they do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.facturascripts.schema import model_names, tables
from cdc.mapping.catalogue import Catalogue, load_catalogue
from cdc.mapping.mapper import Mapper
from cdc.mapping.rule import TablePatterns
from cdc.model.change import Transaction
from cdc.model.errors import ConfigError
from cdc.model.event import matches
from cdc.runtime.capture import coverage
from support.row_changes import insert

EXISTING = ["mi_a", "mi_b", "mi_log", "Mi-Rara", "facturascli", "logs", "cdc_journal", "agentes"]


def _rules(text: str, *more: str) -> Catalogue:
    return load_catalogue(text, tables=more, models=model_names())


def _captured(rules: Catalogue) -> set[str]:
    return {capture.table for capture in rules.captures(EXISTING)}


def test_a_pattern_means_what_is_there_and_what_is_to_come() -> None:
    rules = _rules('tables = ["mi_*"]\nexclude = ["mi_log"]')
    assert _captured(rules) == {"mi_a", "mi_b", "facturascli"}
    assert rules.matched("mi_c") is not None
    assert not {capture.table for capture in rules.captures()} & {"mi_a", "mi_b"}
    assert _captured(_rules("", "mi_*", "agentes")) == {"mi_a", "mi_b", "mi_log", "facturascli", "agentes"}


def test_everything_is_everything_but_bookkeeping() -> None:
    assert _captured(_rules('tables = ["*"]')) == {"mi_a", "mi_b", "mi_log", "facturascli", "agentes"}
    assert "logs" in _captured(_rules('tables = ["*", "logs"]'))


def test_events_of_such_tables_are_mapped_without_a_new_mapper() -> None:
    mapper = Mapper(_rules('tables = ["mi_*"]\ndisable = ["mi_b.*"]'))
    told = {table: [event.name for event in _mapped(mapper, table)] for table in ("mi_a", "mi_b", "other", "agentes")}
    assert told == {"mi_a": ["mi_a.created"], "mi_b": [], "other": [], "agentes": []}


def _mapped(mapper: Mapper, table: str) -> list[object]:
    change = insert(table, {"id": 1})
    return list(mapper.batch("main", [Transaction("t", (change,))], {}).map().events)


def test_secret_columns_of_any_table_are_theirs_too() -> None:
    (capture,) = [each for each in _rules('tables = ["mi_*"]').captures(["mi_a"]) if each.table == "mi_a"]
    assert {"iban", "swift"} <= capture.secrets


def test_tables_are_called_as_models_where_that_is_asked_for() -> None:
    rules = _rules('tables = ["agentes", "lineas*", "mi_*"]\nnames = "model"')
    named = {entity.table: entity.name for entity in rules.expanded(["lineasfacturascli", "mi_a"]).entities}
    assert (named["agentes"], named["lineasfacturascli"], named["mi_a"]) == ("agente", "linea_factura_cliente", "mi_a")
    assert named["facturascli"] == "invoice"
    with pytest.raises(ConfigError, match="already captured"):
        _rules('tables = ["users"]\nnames = "model"')


def test_every_model_has_a_table_and_a_name_of_its_own() -> None:
    names = model_names()
    assert len(set(names.values())) == len(names)
    assert set(names) >= {"facturascli", "agentes"}
    assert all(name.replace("_", "").isalnum() and name.islower() for name in names.values())
    assert len(set(tables()) - set(names)) < len(tables()) / 4


def test_why_a_table_is_captured_or_not() -> None:
    rules = _rules('tables = ["mi_*"]\nexclude = ["mi_log"]\n[entity.variant]\nenabled = false')
    told = {table: coverage(rules, table) for table in (*EXISTING, "variantes", "otra")}
    assert (told["mi_a"].captured, told["mi_a"].events) == (True, "mi_a")
    assert "mi_*" in told["mi_a"].by
    assert told["facturascli"].by == "entity invoice"
    assert not any(told[name].captured for name in ("mi_log", "logs", "cdc_journal", "variantes", "otra"))
    assert "switched off" in told["variantes"].by
    assert told["otra"].by == "no rule names it"
    assert "[entity.your_name]" in coverage(_rules('tables = ["Mi*"]'), "Mi-Rara").by
    assert "another table" in coverage(_rules('tables = ["inv*"]'), "invoice").by


@given(
    st.text("ab*", min_size=1, max_size=5),
    st.text("ab", max_size=5),
    st.sampled_from(["created", "deleted", "renamed"]),
)
def test_what_an_event_pattern_may_mean_is_found(pattern: str, table: str, what: str) -> None:
    """Whatever a table that matches is called, its own events may be asked for."""
    patterns = TablePatterns({pattern: load_catalogue().entities[0].place})
    if matches(table, [pattern]):
        assert patterns.may_name(f"{table}.{what}") == (what != "renamed")
        assert patterns.may_name(f"{table}.*")
        assert patterns.may_name("*")
    elif "*" not in pattern:
        assert not patterns.may_name(f"{table}.{what}")
