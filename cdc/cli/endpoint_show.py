"""An endpoint as ``endpoint`` commands show it: everything but secrets, of which only that they are there."""

from __future__ import annotations

from typing import Any

from cdc.access.model import Scope
from cdc.api.endpoint_resource import EndpointResource
from cdc.cli.endpoint_input import retries_text
from cdc.cli.endpoint_secret import signature_fields
from cdc.model.delivery import DeliveryState
from cdc.model.endpoint import Endpoint

Counts = dict[DeliveryState, int]


def endpoint_fields(found: Endpoint, counts: Counts) -> list[tuple[str, object]]:
    """For people."""
    return [
        ("id", found.id),
        ("url", found.url),
        ("events", found.events),
        ("sources", found.sources or "all"),
        ("filter", found.condition or "none"),
        ("fields", found.fields or "all"),
        ("enabled", found.enabled),
        *([("disabled because", found.disabled_reason)] if not found.enabled else []),
        *([("failing since", found.failing_since)] if found.failing_since else []),
        ("description", found.description),
        ("format", found.format),
        ("order", found.order),
        ("timeout", f"{found.timeout:g} s"),
        ("retries", retries_text(found.retry_schedule)),
        ("concurrency", found.concurrency),
        ("rate", f"{found.rate:g} a second" if found.rate else "any"),
        ("batches", f"up to {found.batch_size} within {found.batch_wait:g} s" if found.batched else "none"),
        ("headers", [name for name, _ in found.headers] or "none"),
        ("proxy", found.proxy or "none"),
        ("client certificate", found.client_certificate or "none"),
        ("disabled after", f"{found.disable_after / 3600:g} h without success" if found.disable_after else "never"),
        ("created", found.created_at),
        *signature_fields(found),
        ("deliveries", [f"{number} {state}" for state, number in counts.items() if number] or "none"),
    ]


def endpoint_json(found: Endpoint, counts: Counts | None = None) -> dict[str, Any]:
    """For programs, as the HTTP API shows it."""
    left_out = {"deliveries"} if counts is None else None
    return EndpointResource.of(found, counts or {}, Scope.MANAGE).model_dump(mode="json", exclude=left_out)
