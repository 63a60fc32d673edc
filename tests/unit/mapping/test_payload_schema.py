"""The JSON Schema of every event, against the payloads that the mapper makes."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from cdc.facturascripts.schema import specs, tables
from cdc.mapping.catalogue import Catalogue, load_catalogue
from cdc.mapping.schema import EventType, event_types
from cdc.model import column
from cdc.model.column import Column, ColumnKind, Table

_CATALOGUE = load_catalogue()
_CHECKER = Draft202012Validator.FORMAT_CHECKER


def _by_name(catalogue: Catalogue = _CATALOGUE, known: dict[str, Table] | None = None) -> dict[str, EventType]:
    return {kind.name: kind for kind in event_types(catalogue, tables() if known is None else known)}


_TYPES = _by_name()
_UNKNOWN = _by_name(known={})


def _validate(kind: EventType, payload: Any) -> None:
    Draft202012Validator(kind.schema, format_checker=_CHECKER).validate(payload)


@pytest.mark.parametrize("name", _TYPES)
def test_the_example_is_valid(name: str) -> None:
    for kind in (_TYPES[name], _UNKNOWN[name]):
        Draft202012Validator.check_schema(kind.schema)
        assert json.loads(json.dumps(kind.schema)) == kind.schema
        _validate(kind, kind.example)


@pytest.mark.parametrize("name", _TYPES)
def test_the_example_names_real_columns(name: str) -> None:
    kind = _TYPES[name]
    if not name.endswith((".truncated", ".permissions_changed")):
        assert set(kind.example["data"]) <= set(kind.schema["properties"]["data"]["properties"])
        assert list(kind.example["key"]) == list(kind.schema["properties"]["key"]["properties"])


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("invoice.paid", ("data", "pagada"), "yes"),
        ("invoice.paid", ("data", "total"), [1]),
        ("invoice.paid", ("data", "fecha"), "24-11-2026"),
        ("invoice.paid", ("key",), {}),
        ("invoice.paid", ("key", "idfactura"), None),
        ("invoice.paid", ("previous", "pagada"), "no"),
        ("invoice.paid", ("event",), "invoice.unpaid"),
        ("invoice.paid", ("id",), "evt_1"),
        ("invoice.truncated", ("data",), {"idfactura": 1}),
        ("user.login", ("inferred",), False),
        ("user.permissions_changed", ("data", "changes"), []),
        ("user.permissions_changed", ("data", "changes", 0, "operation"), "drop"),
    ],
)
def test_what_no_event_has_is_not_valid(name: str, path: tuple[str | int, ...], value: Any) -> None:
    payload = copy.deepcopy(dict(_TYPES[name].example))
    *around, last = path
    place: Any = payload
    for part in around:
        place = place[part]
    place[last] = value
    with pytest.raises(ValidationError):
        _validate(_TYPES[name], payload)


def test_secret_columns_are_not_described() -> None:
    described = _TYPES["user.updated"].schema["properties"]
    assert {"nick", "email", "lastip"} <= set(described["data"]["properties"])
    assert not {"password", "logkey"} & set(described["data"]["properties"])
    assert not {"password", "logkey"} & set(described["previous"]["properties"])


def test_former_values_belong_to_updates_only() -> None:
    having = {name for name, kind in _TYPES.items() if "previous" in kind.schema["properties"]}
    assert {"invoice.updated", "invoice.paid", "user.login"} <= having
    assert not {"invoice.created", "invoice.deleted", "invoice.read", "user.permissions_changed"} & having


def test_lines_are_described_where_they_are_included() -> None:
    kind = _by_name(load_catalogue('[entity.invoice]\ninclude = ["lines"]'))["invoice.created"]
    data = kind.schema["properties"]["data"]
    assert data["required"] == ["lines"]
    assert data["properties"]["lines"]["items"]["properties"]["cantidad"] == {"type": ["number", "string", "null"]}
    with pytest.raises(ValidationError, match="'lines' is a required property"):
        _validate(kind, _TYPES["invoice.created"].example)


def test_a_table_of_the_users_is_described_by_its_columns() -> None:
    table = Table("cosas", (Column("id", ColumnKind.INTEGER), Column("pin", ColumnKind.TEXT)), ("id",))
    catalogue = load_catalogue('tables = ["cosas"]\n[secret]\ncosas = ["pin"]')
    described = _by_name(catalogue, {"cosas": table})["cosas.updated"].schema["properties"]
    assert described["data"]["properties"] == {"id": {"type": ["integer", "null"]}}
    assert described["key"]["required"] == ["id"]


def test_every_table_of_facturascripts_has_columns_and_a_key() -> None:
    assert len(tables()) == len(specs()) > 50
    assert all(table.columns and table.key for table in tables().values())
    assert all(table.column(name) for table in tables().values() for name in table.key)
    assert set(tables()) >= {capture.table for capture in _CATALOGUE.captures()}


def test_patterns_of_secret_columns_are_matched_once_for_each_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of event types is made by each start of the page and by many commands."""
    _by_name()

    def matched_again(*_arguments: object) -> bool:
        raise AssertionError

    monkeypatch.setattr(column, "matches", matched_again)
    assert _by_name().keys() == _TYPES.keys()
