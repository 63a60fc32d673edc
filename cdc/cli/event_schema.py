"""The JSON Schema of an event's payload where the table's columns are not known: the frame that all events share."""

from __future__ import annotations

from typing import Any

_ROW: dict[str, Any] = {"type": "object"}


def event_schema(name: str, table: str) -> dict[str, Any]:
    """JSON Schema 2020-12 of the default payload (format ``facturascripts``)."""
    properties: dict[str, Any] = {
        "id": {"type": "string", "pattern": "^evt_", "description": "The same on every retry and replay."},
        "event": {"const": name},
        "timestamp": {"type": "string", "format": "date-time", "description": "When the change was made, UTC."},
        "source": {"type": "string", "description": "Name of the source in the configuration."},
        "key": _ROW | {"description": f"Primary key of the row of {table}."},
        "data": _ROW | {"description": f"The row of {table}: as it is now, or was before its deletion."},
        "previous": _ROW | {"description": "Former values of the columns that changed (updates only)."},
        "transaction": {"type": "string", "description": "Names the database transaction that made the change."},
        "inferred": {"type": "boolean", "description": "True where the row alone cannot tell for certain."},
    }
    optional = ("previous", "inferred")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }
