"""The events of a catalogue, one by one: for the documentation, `cdc event schema` and whoever lists them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cdc.mapping.catalogue import Catalogue
from cdc.mapping.entity import LINES, ROW_EVENTS, Entity
from cdc.mapping.example import Examples
from cdc.mapping.payload_schema import (
    EMPTY,
    Schema,
    columns_of,
    key_schema,
    payload_schema,
    permissions_schema,
    row_schema,
)
from cdc.mapping.rule import Rule
from cdc.model.backfill import EXISTING
from cdc.model.change import Operation
from cdc.model.column import Table

_OPERATIONS = {
    "created": Operation.CREATE,
    "updated": Operation.UPDATE,
    "deleted": Operation.DELETE,
    "read": Operation.READ,
    EXISTING: Operation.READ,
    "truncated": Operation.TRUNCATE,
}


@dataclass(frozen=True, slots=True)
class EventType:
    """``when``: the end of a sentence that begins with the entity.  ``example``: a payload.  ``schema``: JSON Schema
    of the payload, with the table's columns where they are known."""

    name: str
    when: str
    entity: str
    table: str
    title: str
    example: Mapping[str, Any]
    schema: Mapping[str, Any]


def event_types(catalogue: Catalogue, tables: Mapping[str, Table] | None = None) -> list[EventType]:
    """In catalogue order: of each entity its row events, then its transitions."""
    examples = Examples(catalogue, tables or {})
    schemas = _Schemas(catalogue, tables or {})
    return [
        event_type
        for entity in catalogue.entities
        for event_type in (
            *_row_events(entity, catalogue, examples, schemas),
            *(_transition(entity, rule, examples, schemas) for rule in catalogue.rules_of(entity.name)),
        )
    ]


def _row_events(entity: Entity, catalogue: Catalogue, examples: Examples, schemas: _Schemas) -> Iterator[EventType]:
    for event, when in ROW_EVENTS.items():
        name = f"{entity.name}.{event}"
        if catalogue.enabled(name):
            example = examples.of_row_event(name, entity.table, _OPERATIONS[event])
            schema = schemas.of_row_event(name, entity, _OPERATIONS[event])
            yield EventType(name, when, entity.name, entity.table, entity.title, example, schema)


def _transition(entity: Entity, rule: Rule, examples: Examples, schemas: _Schemas) -> EventType:
    schema = schemas.of_rule(rule, entity)
    return EventType(rule.event, rule.when, entity.name, entity.table, entity.title, examples.of_rule(rule), schema)


class _Schemas:
    """Payload schemas of one catalogue; ``tables``: those whose columns are known."""

    def __init__(self, catalogue: Catalogue, tables: Mapping[str, Table]) -> None:
        self._catalogue = catalogue
        self._tables = tables

    def of_row_event(self, name: str, entity: Entity, operation: Operation) -> Schema:
        if operation is Operation.TRUNCATE:
            return payload_schema(name, EMPTY, EMPTY, None, inferred=False)
        return self._of(name, entity, updates=operation is Operation.UPDATE, inferred=False)

    def of_rule(self, rule: Rule, entity: Entity) -> Schema:
        if rule.infer == "permissions":
            return permissions_schema(rule.event)
        return self._of(
            rule.event, entity, updates=Operation.UPDATE in rule.operations, inferred=rule.infer is not None
        )

    def _of(self, name: str, entity: Entity, *, updates: bool, inferred: bool) -> Schema:
        columns = self._columns(entity.table)
        children = {
            kind: {"type": "array", "items": row_schema(self._columns(entity.children[kind].table))}
            for kind in entity.include
        }
        data = row_schema({**columns, **children})
        if children:
            data["required"] = list(children)
        key = key_schema(self._tables.get(entity.table), columns)
        former = {kind: child for kind, child in children.items() if kind == LINES}
        previous = row_schema({**columns, **former}) if updates else None
        return payload_schema(name, key, data, previous, inferred=inferred)

    def _columns(self, table: str) -> dict[str, Schema]:
        return columns_of(self._tables.get(table), self._catalogue.capture_of(table).hidden)
