"""Conversion between the rows of endpoints in the PostgreSQL outbox and `Endpoint`."""

from __future__ import annotations

import json
from typing import Any, Final

from psycopg.types.json import Jsonb
from pydantic import TypeAdapter

from cdc.model.endpoint import Endpoint
from cdc.outbox.secret_box import is_sealed
from cdc.outbox.shared import NO_NUL

_ENDPOINT: Final = TypeAdapter(Endpoint)
#: columns of their own; everything else of an endpoint is in `settings`
_COLUMNS: Final = (
    "id",
    "events",
    "sources",
    "enabled",
    "disabled_reason",
    "secret",
    "former_secret",
    "created_at",
    "order",
    "condition",
    "headers",
    "failing_since",
)


def storable(text: str) -> str:
    """NUL, which no text of PostgreSQL holds, replaced."""
    return text.replace("\0", NO_NUL) if "\0" in text else text


def endpoint_row(endpoint: Endpoint) -> dict[str, Any]:
    """Parameters of ``insert_endpoint`` and ``update_endpoint``, for an endpoint as it is stored.

    A sealed URL has another name: a worker of release 0.2.0, which cannot open it, would send to it."""
    values = _ENDPOINT.dump_python(endpoint, mode="json")
    settings = {name: value for name, value in values.items() if name not in _COLUMNS}
    if is_sealed(endpoint.url):
        settings["sealed_url"] = settings.pop("url")
    return {
        **{name: values[name] for name in _COLUMNS},
        "created_at": endpoint.created_at,
        "headers": json.dumps(endpoint.headers),
        "failing_since": endpoint.failing_since,
        "settings": Jsonb(settings),
        "public_url": None,
    }


def endpoint_from(row: tuple[Any, ...]) -> Endpoint:
    """Return the endpoint of a row of ``endpoints``."""
    settings, *columns = row
    values = {"url": settings.get("sealed_url"), **settings, **dict(zip(_COLUMNS, columns, strict=True))}
    return _ENDPOINT.validate_python({**values, "headers": json.loads(values["headers"])})
