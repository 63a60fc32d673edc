"""Descriptions of API and events: OpenAPI 3.1 with webhooks, AsyncAPI, JSON Schemas, TypeScript."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from cdc import __version__
from cdc.api.operation import ApiOperation, ProblemDetails, description

if TYPE_CHECKING:
    from cdc.admin.deliveries import EventType


_TEXT: Final = {"type": "string"}
#: Name of each header of a request → its schema, and whether every request has it.
_HEADERS: Final[Mapping[str, tuple[Mapping[str, Any], bool]]] = {
    "webhook-id": (_TEXT | {"description": "The event's id, the same in every repetition; of a batch, its own."}, True),
    "webhook-timestamp": (
        _TEXT | {"pattern": "^[0-9]+$", "description": "Time of this attempt, in seconds since 1970."},
        True,
    ),
    "webhook-signature": (
        _TEXT | {"description": "Signatures of id, time and body, separated by spaces: v1,… or v1a,… One is enough."},
        True,
    ),
    "X-Webhook-Event": (_TEXT | {"description": "Name of the event."}, True),
    "X-Webhook-Signature": (_TEXT | {"description": "sha256= and the HMAC-SHA256 of the body; not with v1a."}, False),
    "X-Webhook-Test": ({"const": "true", "description": "A test: no record was changed."}, False),
}
_FORMAT: Final = "In the default format; an endpoint with batches gets an array of events."


def webhooks(types: Iterable[EventType]) -> dict[str, Any]:
    """Return the section ``webhooks`` of an OpenAPI document, which refers to `webhook_components`."""
    parameters = [{"$ref": f"#/components/parameters/{name}"} for name in _HEADERS]
    return {
        each.name: {
            "post": {
                "operationId": each.name,
                "description": f"{_sentence(each)} {_FORMAT}",
                "tags": [each.entity],
                "security": [],
                "parameters": parameters,
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {"$ref": f"#/components/schemas/{each.name}"},
                            "example": each.example,
                        }
                    },
                },
                "responses": {
                    "2XX": {"description": "Delivered."},
                    "410": {"description": "The endpoint is disabled; its deliveries wait."},
                    "default": {"description": "Not delivered: sent again later, with the same webhook-id."},
                },
            }
        }
        for each in types
    }


def webhook_components(types: Iterable[EventType]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return schemas and parameters for the components of an OpenAPI document."""
    parameters = {
        name: {"name": name, "in": "header", "required": required, "schema": dict(schema)}
        for name, (schema, required) in _HEADERS.items()
    }
    return {each.name: _payload(each) for each in types}, parameters


def schemas(types: Sequence[EventType]) -> bytes:
    """Return the JSON Schemas by the names of the events."""
    return _encoded({each.name: each.schema for each in types})


def _encoded(document: Mapping[str, Any]) -> bytes:
    return orjson.dumps(document)


def asyncapi(types: Sequence[EventType]) -> bytes:
    """Return an AsyncAPI 3 document: one channel, the endpoint's address, with a message for each type of event."""
    return _encoded(_asyncapi(types))


def _asyncapi(types: Sequence[EventType]) -> dict[str, Any]:
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "facturascripts-cdc",
            "version": __version__,
            "description": "Signed webhooks of a FacturaScripts database's changes.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "endpoint": {
                "address": None,
                "description": "The URL of an endpoint, a queue or a topic. Each endpoint selects its events.",
                "messages": {each.name: {"$ref": f"#/components/messages/{each.name}"} for each in types},
            }
        },
        "operations": {
            "deliver": {
                "action": "send",
                "channel": {"$ref": "#/channels/endpoint"},
                "description": f"Until it is accepted, with the same id each time. {_FORMAT}",
                "bindings": {"http": {"method": "POST"}},
            }
        },
        "components": {
            "messages": {each.name: _message(each) for each in types},
            "schemas": {
                "headers": {
                    "type": "object",
                    "properties": {name: dict(schema) for name, (schema, _) in _HEADERS.items()},
                    "required": [name for name, (_, required) in _HEADERS.items() if required],
                },
                **{each.name: _payload(each) for each in types},
            },
        },
    }


def _message(each: EventType) -> dict[str, Any]:
    return {
        "name": each.name,
        "title": each.name,
        "description": _sentence(each),
        "tags": [{"name": each.entity}],
        "headers": {"$ref": "#/components/schemas/headers"},
        "payload": {"$ref": f"#/components/schemas/{each.name}"},
        "examples": [{"payload": each.example}],
    }


def _payload(each: EventType) -> dict[str, Any]:
    """Return the schema without its dialect: the documents have their own, and nothing in it differs there."""
    return {key: value for key, value in each.schema.items() if key != "$schema"}


def _sentence(each: EventType) -> str:
    return f"{each.title[:1].upper()}{each.title[1:]}: {each.when}."


_TYPESCRIPT: Final = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean", "null": "null"}
#: Properties that all events have, declared once.
_SHARED: Final = ("id", "event", "timestamp", "source", "transaction", "observed", "test")
#: Objects of more properties get a name, and are declared once.
_INLINE: Final = 2


def typescript(types: Sequence[EventType]) -> bytes:
    """Return declarations of the payloads: an interface for each type of event, and their union `WebhookEvent`."""
    return ("\n".join(_TypeScript(types).lines()) + "\n").encode()


class _TypeScript:
    def __init__(self, types: Sequence[EventType]) -> None:
        self._types = types
        self._taken = {"WebhookEventBase", "WebhookEvents", "WebhookEventName", "WebhookEvent"}
        self._objects: dict[str, str] = {}  # body of an object → its name
        self._names = {each.name: self._free(_pascal(each.name)) for each in types}

    def lines(self) -> Iterator[str]:
        declared = [self._event(each) for each in self._types]
        yield "/** What all events have. */\nexport interface WebhookEventBase {"
        yield from self._shared(self._types)
        yield "}"
        for body, name in self._objects.items():
            yield f"\nexport interface {name} {body}"
        yield from declared
        yield "\n/** The payloads by the names of their events. */\nexport interface WebhookEvents {"
        yield from (f"  {_key(name)}: {alias};" for name, alias in self._names.items())
        yield "}\n\nexport type WebhookEventName = keyof WebhookEvents;"
        yield "export type WebhookEvent = WebhookEvents[WebhookEventName];"

    def _shared(self, types: Sequence[EventType]) -> Iterator[str]:
        """Return the properties of the base, each as an event describes it that is about a row."""
        described: dict[str, Any] = {}
        for each in types:
            described = {**each.schema["properties"], **described}
        optional = {name for each in types for name in _SHARED if name not in each.schema["required"]}
        for name in _SHARED:
            schema = described[name]
            if "description" in schema:
                yield f"  /** {_comment(schema['description'])} */"
            kind = "string" if name == "event" else self._of(schema, "")
            yield f"  {name}{'?' if name in optional else ''}: {kind};"

    def _event(self, each: EventType) -> str:
        properties, required = each.schema["properties"], each.schema["required"]
        lines = [f"\n/** {_comment(_sentence(each))} */", f"export interface {self._names[each.name]} extends"]
        lines[-1] += " WebhookEventBase {"
        for name, schema in properties.items():
            if name not in _SHARED or ("const" in schema and name in ("event", "source")):
                parent = f"{_pascal(each.entity)}{_pascal(name)}"
                lines.append(f"  {name}{'' if name in required else '?'}: {self._of(schema, parent)};")
        return "\n".join([*lines, "}"])

    def _of(self, schema: Mapping[str, Any], name: str) -> str:
        """``name``: of the object, if it needs one."""
        literals = schema.get("enum", [schema["const"]] if "const" in schema else ())
        if literals:
            return " | ".join(json.dumps(each, ensure_ascii=False) for each in literals)
        kinds = schema.get("type", ())
        found = [self._kind(each, schema, name) for each in ([kinds] if isinstance(kinds, str) else kinds)]
        return " | ".join(dict.fromkeys(found)) or "unknown"

    def _kind(self, kind: str, schema: Mapping[str, Any], name: str) -> str:
        if kind == "array":
            return f"Array<{self._of(schema.get('items', {}), f'{name}Item')}>"
        if kind != "object":
            return _TYPESCRIPT[kind]
        if "properties" not in schema:
            return "Record<string, never>" if schema.get("maxProperties") == 0 else "Record<string, unknown>"
        required = schema.get("required", ())
        properties = [
            f"{_key(key)}{'' if key in required else '?'}: {self._of(each, f'{name}{_pascal(key)}')};"
            for key, each in schema["properties"].items()
        ]
        if len(properties) <= _INLINE:
            return f"{{ {' '.join(properties).removesuffix(';')} }}"
        body = "\n".join(chain("{", (f"  {each}" for each in properties), "}"))
        if body not in self._objects:
            self._objects[body] = self._free(name)
        return self._objects[body]

    def _free(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name


def _pascal(name: str) -> str:
    found = "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", name))
    return f"_{found}" if found[:1].isdigit() else found


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_$][\w$]*", name, re.ASCII) else json.dumps(name, ensure_ascii=False)


def _comment(text: str) -> str:
    """Return the text in one line that does not end a comment."""
    return " ".join(text.replace("*/", "* /").split())


_REFERENCE = "#/components/schemas/{model}"
#: What every operation may answer besides.
_ALWAYS = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
_IDEMPOTENCY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key with the same request gives the same answer for 24 hours, and is done once.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
_LAST_EVENT_ID = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The id of the last message that was read, to go on behind it.",
    "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"},
}


def document(operations: Sequence[ApiOperation], prefix: str, types: Sequence[EventType] = ()) -> dict[str, Any]:
    """``prefix``: what all paths begin with.  ``types``: the events whose webhooks it describes."""
    schemas = _schemas(operations)
    queries = {each.query.__name__ for each in operations if each.query is not None}
    paths: dict[str, Any] = {}
    for each in operations:
        paths.setdefault(prefix + each.path, {})[each.method.lower()] = _operation(each, schemas)
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "facturascripts-cdc",
            "version": __version__,
            "summary": "Endpoints, events and deliveries of a FacturaScripts database's webhooks.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in schemas.items() if name not in queries},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "Made by `cdc token add`."},
            },
        },
    }
    if types:
        payloads, headers = webhook_components(types)
        described["webhooks"] = webhooks(types)
        described["components"]["schemas"] |= payloads
        described["components"]["parameters"] = headers
    return described


def _schemas(operations: Iterable[ApiOperation]) -> dict[str, Any]:
    """JSON Schemas by the names of the models; a query's is there to take its parameters from."""
    models: dict[type[BaseModel], Literal["validation", "serialization"]] = {ProblemDetails: "serialization"}
    for each in operations:
        if each.answer is not None:
            models[each.answer] = "serialization"
        for model in (each.body, each.query):
            if model is not None:
                models[model] = "validation"
    _, definitions = models_json_schema(list(models.items()), ref_template=_REFERENCE)
    found: dict[str, Any] = definitions["$defs"]
    return found


def _operation(each: ApiOperation, schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": each.name,
        "summary": each.summary,
        "tags": [each.tag],
        "parameters": _parameters(each, schemas),
        "responses": _responses(each),
        "x-scope": each.scope.value,
    }
    if each.description:
        operation["description"] = each.description
    if each.body is not None:
        content = {"application/json": {"schema": _reference(each.body)}}
        operation["requestBody"] = {"required": not each.body_optional, "content": content}
    return operation


def _parameters(each: ApiOperation, schemas: dict[str, Any]) -> list[dict[str, Any]]:
    found = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", each.path)
    ]
    if each.query is not None:
        schema = schemas[each.query.__name__]
        required = schema.get("required", ())
        found += [_query_parameter(name, values, name in required) for name, values in schema["properties"].items()]
    if each.stream:
        found.append(_LAST_EVENT_ID)
    if each.once:
        found.append(_IDEMPOTENCY)
    return found


def _query_parameter(name: str, values: Mapping[str, Any], required: bool) -> dict[str, Any]:
    """``values``: the schema of the field.  A parameter that is not given is left out: it is never null."""
    schema = {key: value for key, value in values.items() if key not in ("description", "title")}
    if "anyOf" in schema:
        (given,) = (each for each in schema.pop("anyOf") if each.get("type") != "null")
        schema = given | {key: value for key, value in schema.items() if value is not None}
    parameter = {"name": name, "in": "query", "required": required, "schema": schema}
    return parameter | {key: values[key] for key in ("description",) if key in values}


def _responses(each: ApiOperation) -> dict[str, Any]:
    good: dict[str, Any] = {"description": HTTPStatus(each.status).phrase}
    if each.stream:
        good["content"] = {each.stream: {"schema": {"type": "string"}}}
    elif each.answer is not None:
        good["content"] = {"application/json": {"schema": _reference(each.answer)}}
    found = {str(each.status): good}
    wrong = {*_ALWAYS, *each.problems}
    if "{" in each.path:
        wrong.add(HTTPStatus.NOT_FOUND)
    if each.body is not None:
        wrong |= {HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE}
    if each.once:
        wrong.add(HTTPStatus.CONFLICT)
    return found | {str(int(status)): description(status) for status in sorted(wrong)}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}
