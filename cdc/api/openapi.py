"""The OpenAPI 3.1 document of the API, from its operations, and of the webhooks, from the types of events."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from cdc import __version__
from cdc.api.documents import webhook_components, webhooks
from cdc.api.operation import ApiOperation
from cdc.api.problem import ProblemDetails, description

if TYPE_CHECKING:
    from cdc.admin.events import EventType

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
