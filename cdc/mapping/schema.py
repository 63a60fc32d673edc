"""The events of a catalogue, one by one: for the documentation, `cdc event schema` and whoever lists them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cdc.change import Operation
from cdc.column import Column, ColumnKind, Table
from cdc.mapping.catalogue import Catalogue
from cdc.mapping.entity import ROW_EVENTS, Entity
from cdc.mapping.example import Examples
from cdc.mapping.rule import Rule

_OPERATIONS = {
    "created": Operation.CREATE,
    "updated": Operation.UPDATE,
    "deleted": Operation.DELETE,
    "read": Operation.READ,
    "truncated": Operation.TRUNCATE,
}
_JSON_TYPES = {
    ColumnKind.BOOLEAN: ["boolean", "integer", "null"],
    ColumnKind.INTEGER: ["integer", "null"],
    ColumnKind.DOUBLE: ["number", "string", "null"],
    ColumnKind.REAL: ["number", "string", "null"],
}
_FORMATS = {ColumnKind.DATE: "date"}


@dataclass(frozen=True, slots=True)
class EventType:
    """``when``: the end of a sentence that begins with the entity.  ``example``: a payload.  ``schema``: JSON Schema
    of the payload, None while the table's columns are not known."""

    name: str
    when: str
    entity: str
    table: str
    title: str
    example: Mapping[str, Any]
    schema: Mapping[str, Any] | None


def event_types(catalogue: Catalogue, tables: Mapping[str, Table] | None = None) -> list[EventType]:
    """In catalogue order: of each entity its row events, then its transitions."""
    tables = tables or {}
    examples = Examples(catalogue, tables)
    return [
        event_type
        for entity in catalogue.entities
        for event_type in (
            *_row_events(entity, catalogue, examples, tables),
            *(_transition(entity, rule, examples, tables, catalogue) for rule in catalogue.rules_of(entity.name)),
        )
    ]


def _row_events(
    entity: Entity, catalogue: Catalogue, examples: Examples, tables: Mapping[str, Table]
) -> Iterator[EventType]:
    for event, when in ROW_EVENTS.items():
        name = f"{entity.name}.{event}"
        if catalogue.enabled(name):
            example = examples.of_row_event(name, entity.table, _OPERATIONS[event])
            schema = _schema(name, tables.get(entity.table), catalogue)
            yield EventType(name, when, entity.name, entity.table, entity.title, example, schema)


def _transition(
    entity: Entity, rule: Rule, examples: Examples, tables: Mapping[str, Table], catalogue: Catalogue
) -> EventType:
    table = None if rule.infer == "permissions" else tables.get(entity.table)
    schema = _schema(rule.event, table, catalogue)
    return EventType(rule.event, rule.when, entity.name, entity.table, entity.title, examples.of_rule(rule), schema)


def _schema(name: str, table: Table | None, catalogue: Catalogue) -> dict[str, Any] | None:
    if table is None:
        return None
    secrets = catalogue.secrets_of(table.name)
    columns = {column.name: _column(column) for column in table.columns if column.name not in secrets}
    key = {column: columns[column] for column in table.key if column in columns}
    empty = name.endswith(".truncated")
    properties: dict[str, Any] = {
        "id": {"type": "string", "pattern": "^evt_[0-9a-f]{32}$"},
        "event": {"const": name},
        "timestamp": {"type": "string", "format": "date-time"},
        "source": {"type": "string"},
        "key": {"type": "object", "properties": {} if empty else key, "required": [] if empty else list(key)},
        "data": {"type": "object", "properties": {} if empty else columns},
        "previous": {"type": "object", "properties": columns},
        "transaction": {"type": "string"},
        "inferred": {"type": "boolean"},
    }
    optional = ("previous", "inferred")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        "type": "object",
        "properties": properties,
        "required": [key for key in properties if key not in optional],
    }


def _column(column: Column) -> dict[str, Any]:
    described: dict[str, Any] = {"type": _JSON_TYPES.get(column.kind, ["string", "null"])}
    if column.kind in _FORMATS:
        described["format"] = _FORMATS[column.kind]
    return described
