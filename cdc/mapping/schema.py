"""The events of a catalogue and the operational events, one by one: for the documentation, `cdc event schema`, lists.

JSON Schemas (2020-12) describe their payloads in the default format.  Rows are described by the columns that are known,
and may have more: plugins add columns.  Every column may be null, but those of the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from cdc.mapping.catalogue import Catalogue
from cdc.mapping.example import Examples
from cdc.mapping.rule import LINES, LINES_CHANGED, ORIGIN, ROW_EVENTS, Entity, Rule
from cdc.model.backfill import EXISTING
from cdc.model.change import Operation
from cdc.model.column import Column, ColumnKind, SecretColumns, Table
from cdc.model.event import OPERATIONS, event_payload
from cdc.model.normal import FORMS
from cdc.model.operation import FIELDS, OPERATION_TYPES, OperationType, examples

Schema = dict[str, Any]

EMPTY: Schema = {"type": "object", "maxProperties": 0}
LINK: Schema = {
    "type": "string",
    "format": "uri",
    "description": "The record's page in FacturaScripts, if its address is known.",
}
LINKS: Schema = {"type": "object", "properties": {"record": LINK}, "description": "Web pages, for people."}


def payload_schema(
    name: str, key: Schema, data: Schema, previous: Schema | None, *, inferred: bool, by_time: bool = False
) -> Schema:
    """``previous``: None for events that never have one."""
    properties: Schema = {
        "id": {"type": "string", "pattern": "^evt_[0-9a-f]{32}$", "description": "The same on every retry and replay."},
        "event": {"const": name},
        "timestamp": {"type": "string", "format": "date-time", "description": "When the change was made, UTC."},
        "source": {"type": "string", "description": "Name of the source in the configuration."},
        "key": key | {"description": "Primary key of the row."},
        "data": data | {"description": "The row as the change left it; of a deleted row, as it was."},
        "transaction": {"type": "string", "description": "Names the database transaction that made the change."},
    }
    required = list(properties)
    properties["observed"] = {"const": True, "description": "Found by comparing two looks at the row (capture by API)."}
    properties["test"] = {"const": True, "description": "An example that tests an endpoint: no record was changed."}
    if by_time:
        properties["days"] = {"type": "integer", "description": "Days since the date of its rule; negative: before it."}
        required.append("days")
    if previous is not None:
        properties["previous"] = previous | {"description": "Former values of what changed; only after an update."}
    if inferred:
        properties["inferred"] = {"const": True, "description": "A conclusion: the row alone cannot tell for certain."}
        required.append("inferred")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        "type": "object",
        "properties": properties,
        "required": required,
    }


def row_schema(columns: Mapping[str, Schema]) -> Schema:
    return {"type": "object", "properties": dict(columns)} if columns else {"type": "object"}


def key_schema(table: Table | None, columns: Mapping[str, Schema]) -> Schema:
    key = [name for name in table.key if name in columns] if table is not None else []
    described = {
        name: columns[name] | {"type": [each for each in columns[name]["type"] if each != "null"]} for name in key
    }
    return row_schema(described) | ({"required": key} if key else {})


def columns_of(table: Table | None, secrets: SecretColumns) -> dict[str, Schema]:
    """Column → schema of its values; nothing while the table is not known."""
    if table is None:
        return {}
    hidden = secrets.of([column.name for column in table.columns], table.key)
    return {column.name: _column(column) for column in table.columns if column.name not in hidden}


def _column(column: Column) -> Schema:
    form = FORMS[column.kind]
    schema = {"type": [*form.schema, "null"]} | ({"format": form.format} if form.format else {})
    return schema | ({"description": _DECIMAL} if column.kind is ColumnKind.DECIMAL else {})


_DECIMAL = "A decimal with all its digits, as a text; rules and filters compare it as a number."


def permissions_schema(name: str) -> Schema:
    """Return the schema of ``user.permissions_changed``, which is about a user and no row
    (`cdc.mapping.permissions`)."""
    nick = {"type": "string"}
    change = {
        "type": "object",
        "properties": {
            "table": {"type": "string"},
            "operation": {"enum": ["create", "update", "delete"]},
            "row": {"type": "object"},
            "previous": {"type": "object"},
        },
        "required": ["table", "operation", "row"],
    }
    key = row_schema({"nick": nick}) | {"required": ["nick"]}
    changes = {"type": "array", "items": change, "minItems": 1}
    data = row_schema({"nick": nick, "changes": changes}) | {"required": ["nick", "changes"]}
    return payload_schema(name, key, data, None, inferred=False)


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
    """Return the types of events in catalogue order: of each entity its row events, then its transitions."""
    examples = Examples(catalogue, tables or {})
    schemas = _Schemas(catalogue, tables or {})
    types: list[EventType] = []
    for entity in catalogue.entities:
        about = entity.name, entity.table, entity.title
        for event, when in ROW_EVENTS.items():
            name, operation = f"{entity.name}.{event}", _OPERATIONS[event]
            if catalogue.enabled(name):
                example = examples.of_row_event(name, entity.table, operation)
                types.append(EventType(name, when, *about, example, schemas.of_row_event(name, entity, operation)))
        types += [
            EventType(rule.event, rule.when, *about, examples.of_rule(rule), schemas.of_rule(rule, entity))
            for rule in catalogue.rules_of(entity.name)
        ]
    return types


_KEY: Final[Schema] = {"type": "object", "description": "The line's key."}
_LINES_CHANGED: Final[Schema] = {
    "type": "object",
    "description": "Instead of lines, when there are more than 100 or they are not known.",
    "properties": {
        "added": {"type": "array", "items": _KEY},
        "removed": {"type": "array", "items": {"type": "object"}},
        "changed": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"key": _KEY, "previous": {"type": "object"}},
                "required": ["key", "previous"],
            },
        },
        "more": {"type": "boolean", "description": "Whether other lines changed, or may have changed, too."},
    },
    "required": ["added", "removed", "changed", "more"],
}


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
        updates, inferred = Operation.UPDATE in rule.operations, rule.infer is not None
        return self._of(rule.event, entity, updates=updates, inferred=inferred, by_time=bool(rule.date))

    def _of(self, name: str, entity: Entity, *, updates: bool, inferred: bool, by_time: bool = False) -> Schema:
        columns = self._columns(entity.table)
        children = {
            kind: {"type": "array", "items": row_schema(self._columns(child.table))}
            for kind, child in entity.included.items()
        }
        data = row_schema({**columns, **children})
        if children:
            data["required"] = list(children)
        key = key_schema(self._tables.get(entity.table), columns)
        former = {LINES: children[LINES], LINES_CHANGED: _LINES_CHANGED} if LINES in children else {}
        previous = row_schema({**columns, **former}) if updates else None
        schema = payload_schema(name, key, data, previous, inferred=inferred, by_time=by_time)
        if related := self._related(entity):
            schema["properties"]["related"] = related
            schema["required"].append("related")
        if entity.page:
            schema["properties"]["links"] = LINKS
        return schema

    def _related(self, entity: Entity) -> Schema | None:
        """Return the schema of the records that events show beside the entity's own; None where they show none."""
        records = {kind: self._record(path[-1][1]) for kind, path in self._catalogue.paths(entity).items()}
        properties: dict[str, Schema] = {kind: each | {"type": ["object", "null"]} for kind, each in records.items()}
        if entity.origin:
            kinds = [each.name for each in self._catalogue.entities if each.document]
            document = self._record(entity.table)
            document["properties"] |= {"entity": {"enum": kinds}, "key": {"type": "object"}}
            sides = {side: {"type": "array", "items": document} for side in ("before", "after")}
            properties[ORIGIN] = {"type": "object", "properties": sides, "required": list(sides)}
        if not properties:
            return None
        described = "Records that belong to this one, in their state after the change; null: there is none."
        return row_schema(properties) | {"required": list(properties), "description": described}

    def _record(self, table: str) -> Schema:
        entity, columns = self._catalogue.patterns.entities[table], self._columns(table)
        named = {name: columns[column] for name, column in entity.label.named.items() if column in columns}
        key = key_schema(self._tables.get(table), columns)
        properties = {"entity": {"const": entity.name}, "key": key, **named, "link": LINK}
        return {"type": "object", "properties": properties, "required": ["entity", "key"]}

    def _columns(self, table: str) -> dict[str, Schema]:
        return columns_of(self._tables.get(table), self._catalogue.capture_of(table).hidden)


def operation_event_types() -> list[EventType]:
    """One of each.  Their table is that of no database: empty."""
    shown = examples()
    return [
        EventType(
            name=kind.name,
            when=kind.when,
            entity=kind.subject,
            table="",
            title=kind.subject,
            example=orjson.loads(event_payload(shown[kind.name])),
            schema=_schema(kind),
        )
        for kind in OPERATION_TYPES
    ]


def _schema(kind: OperationType) -> dict[str, Any]:
    key = {"type": "object", "properties": {kind.subject: {"type": "string"}}, "required": [kind.subject]}
    data = {
        "type": "object",
        "properties": {name: dict(FIELDS[name]) for name in kind.fields},
        "required": list(kind.fields),
    }
    schema = payload_schema(kind.name, key, data, None, inferred=False)
    descriptions = {
        "timestamp": "When it was emitted, UTC.",
        "key": "What it is about.",
        "data": "What is to be said of it.",
        "transaction": "Empty: there is none.",
    }
    properties = schema["properties"]
    del properties["observed"]  # no row was looked at
    for name, description in descriptions.items():
        properties[name] = properties[name] | {"description": description}
    properties["source"] = {"const": OPERATIONS, "description": "Of no database."}
    return schema
