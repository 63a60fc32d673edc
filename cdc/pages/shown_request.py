"""A delivery's request as the page shows it: without secret values, and as a command for a shell."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import orjson

from cdc.dispatch.request import build_request
from cdc.model.delivery import DeliveryView, LeasedDelivery
from cdc.model.endpoint import Endpoint
from cdc.model.mail_address import is_mail
from cdc.outbox.base import StoredEvent

_HIDDEN = "…"


@dataclass(frozen=True, slots=True)
class ShownRequest:
    url: str
    headers: Mapping[str, str]
    body: str

    @property
    def command(self) -> str:
        """All of it for a shell, with curl."""
        headers = [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in self.headers.items()]
        parts = [f"curl -X POST {shlex.quote(self.url)}", *headers, f"--data-raw {shlex.quote(self.body)}"]
        return " \\\n  ".join(parts)


def request_of(view: DeliveryView, event: StoredEvent, endpoint: Endpoint, at: datetime) -> ShownRequest | None:
    """Return the delivery's request as it is sent ``at`` that time; None where it is no request: mail."""
    if is_mail(endpoint.url):
        return None
    leased = LeasedDelivery(
        id=view.id,
        endpoint_id=endpoint.id,
        event_id=event.id,
        event_name=event.name,
        record=event.record,
        attempt=view.attempts,
        lease_until=at,
        body_event=orjson.dumps(event.payload),
    )
    shown = replace(endpoint, headers=tuple((name, _HIDDEN) for name, _ in endpoint.headers))
    request = build_request(leased, shown, at)
    return ShownRequest(endpoint.url, request.headers, request.body.decode())
