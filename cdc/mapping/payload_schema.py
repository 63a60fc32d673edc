"""JSON Schemas (2020-12) of events' payloads in the default format.

Rows are described by the columns that are known, and may have more: plugins add columns.  Every column may be null, but
those of the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cdc.model.column import Column, SecretColumns, Table
from cdc.model.normal import FORMS

Schema = dict[str, Any]

EMPTY: Schema = {"type": "object", "maxProperties": 0}


def payload_schema(name: str, key: Schema, data: Schema, previous: Schema | None, *, inferred: bool) -> Schema:
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
    described = {name: columns[name] | {"type": _without_null(columns[name]["type"])} for name in key}
    return row_schema(described) | ({"required": key} if key else {})


def _without_null(types: list[str]) -> list[str]:
    return [each for each in types if each != "null"]


def columns_of(table: Table | None, secrets: SecretColumns) -> dict[str, Schema]:
    """Column → schema of its values; nothing while the table is not known."""
    if table is None:
        return {}
    hidden = secrets.of([column.name for column in table.columns], table.key)
    return {column.name: _column(column) for column in table.columns if column.name not in hidden}


def _column(column: Column) -> Schema:
    form = FORMS[column.kind]
    return {"type": [*form.schema, "null"]} | ({"format": form.format} if form.format else {})


def permissions_schema(name: str) -> Schema:
    """Of ``user.permissions_changed``, which is about a user and no row (`cdc.mapping.permissions`)."""
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
