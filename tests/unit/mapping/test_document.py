"""docs/events.md and what it is made of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cdc.mapping.catalogue import load_catalogue
from cdc.mapping.schema import event_types
from cdc.model.column import Column, ColumnKind, Table
from support.events_page import document

_PAGE = Path(__file__).resolve().parents[3] / "docs" / "events.md"
_TYPES = event_types(load_catalogue())


def test_the_page_is_up_to_date() -> None:
    assert _PAGE.read_text(encoding="utf-8") == document(load_catalogue()), "run `make docs`"


def test_names_are_those_of_the_types() -> None:
    catalogue = load_catalogue('disable = ["*.truncated", "invoice.paid"]\ntables = ["familias"]')
    names = [kind.name for kind in event_types(catalogue)]
    assert catalogue.event_names() == names
    assert "familias.created" in names
    assert not {"familias.truncated", "invoice.paid"} & set(names)


def test_every_example_of_rules_on_the_page_is_accepted() -> None:
    examples = re.findall(r"```toml\n(.*?)```", _PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) >= 5
    for example in examples:
        load_catalogue(example)


@pytest.mark.parametrize("kind", _TYPES, ids=[kind.name for kind in _TYPES])
def test_every_event_has_an_example_that_is_one(kind: object) -> None:
    event = next(other for other in _TYPES if other is kind)
    assert event.when
    assert event.example["event"] == event.name
    assert list(event.example)[:6] == ["id", "event", "timestamp", "source", "key", "data"]
    assert bool(event.example["data"]) is not event.name.endswith(".truncated")
    assert f"`{event.name}`" in _PAGE.read_text(encoding="utf-8")


def _example(name: str) -> dict[str, object]:
    return dict(next(kind.example for kind in _TYPES if kind.name == name))


def test_examples_show_the_moment_that_they_are_about() -> None:
    assert _example("invoice.paid")["previous"] == {"pagada": False}
    assert "previous" not in _example("invoice.refunded")
    assert _example("user.session_changed")["inferred"] is True
    assert _example("estimate.rejected")["previous"] == {"editable": True, "idestado": 1, "idestado_ant": None}


def test_a_table_of_the_users_gets_an_example_from_its_columns() -> None:
    table = Table(
        "familias", (Column("codfamilia", ColumnKind.TEXT), Column("orden", ColumnKind.INTEGER)), ("codfamilia",)
    )
    types = event_types(load_catalogue('tables = ["familias"]'), {"familias": table})
    example = next(kind.example for kind in types if kind.name == "familias.updated")
    assert example["key"] == {"codfamilia": "texto"}
    assert example["previous"] == {"orden": 1}
    unknown = event_types(load_catalogue('tables = ["familias"]'))
    assert next(kind for kind in unknown if kind.name == "familias.created").example["key"] == {"id": 1}
