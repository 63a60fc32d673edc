"""The operational events, described as the others are: for the documentation and whoever lists them."""

from __future__ import annotations

from typing import Any

import orjson

from cdc.mapping.payload_schema import payload_schema
from cdc.mapping.schema import EventType
from cdc.model.event import OPERATIONS, Event
from cdc.model.operation import FIELDS, OPERATION_TYPES, OperationType, examples
from cdc.model.payload import event_payload


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
            example=_payload(shown[kind.name]),
            schema=_schema(kind),
        )
        for kind in OPERATION_TYPES
    ]


def _payload(event: Event) -> dict[str, Any]:
    payload: dict[str, Any] = orjson.loads(event_payload(event))
    return payload


def _schema(kind: OperationType) -> dict[str, Any]:
    key = {"type": "object", "properties": {kind.subject: {"type": "string"}}, "required": [kind.subject]}
    data = {
        "type": "object",
        "properties": {name: dict(FIELDS[name]) for name in kind.fields},
        "required": list(kind.fields),
    }
    schema = payload_schema(kind.name, key, data, None, inferred=False)
    told = {
        "timestamp": "When it was told, UTC.",
        "key": "What it is about.",
        "data": "What is to be said of it.",
        "transaction": "Empty: there is none.",
    }
    properties = schema["properties"]
    del properties["observed"]  # no row was looked at
    for name, description in told.items():
        properties[name] = properties[name] | {"description": description}
    properties["source"] = {"const": OPERATIONS, "description": "Of no database."}
    return schema
