"""Asks an endpoint whether it agrees to get events: the validation of CloudEvents' "HTTP 1.1 Web Hooks for Event
Delivery" (an OPTIONS request).  It protects hosts that nobody who runs them has registered.

Agreement by calling back, which the specification offers too, is not asked for: nothing of ours can be called.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from secrets import token_hex
from typing import NamedTuple

from cdc.dispatch.failure import describe_error
from cdc.dispatch.request import ORIGIN_HEADER, USER_AGENT, WebhookRequest, authenticated
from cdc.dispatch.sender import HttpSender
from cdc.model.endpoint import Endpoint, shown_url
from cdc.model.errors import EndpointRefused

ALLOWED_ORIGIN = "WebHook-Allowed-Origin"
ALLOWED_RATE = "WebHook-Allowed-Rate"


class Agreement(NamedTuple):
    """``origin``: what each delivery must carry from now on.  ``rate``: requests a minute; None when any are."""

    origin: str
    rate: int | None


async def ask(sender: HttpSender, endpoint: Endpoint, origin: str) -> Agreement:
    """Ask the endpoint whether it agrees to deliveries from ``origin``, the host name of this sender, with its headers,
    its connection and its timeout.  Raises `EndpointRefused` when it does not agree or does not answer."""
    headers = {"User-Agent": USER_AGENT, ORIGIN_HEADER: origin, **dict(endpoint.headers)}
    url, way = endpoint.url, (endpoint.proxy, endpoint.client_certificate)
    request = WebhookRequest(url, headers, b"", endpoint.timeout, *way)
    request = authenticated(request, endpoint, f"validation_{token_hex(16)}", datetime.now(UTC))
    try:
        answered = await sender.ask("OPTIONS", request)  # of any status, which says nothing
    except Exception as error:
        raise EndpointRefused(f"The endpoint was not validated: {describe_error(error, request)}") from error
    agreed = judge(answered, origin)
    if agreed is None:
        raise EndpointRefused(
            f"The endpoint {shown_url(endpoint)!r} does not agree to receive events from {origin}.",
            f"It must answer OPTIONS with the header {ALLOWED_ORIGIN}: {origin} (or *); or leave --validate out.",
        )
    return agreed


def judge(answered: Mapping[str, str], origin: str) -> Agreement | None:
    """Return the agreement in the headers of the answer, None without any.  Its status does not count: hosts that know
    nothing of events answer OPTIONS too."""
    allowed = answered.get(ALLOWED_ORIGIN, "").strip()
    if allowed != "*" and allowed.lower() != origin.lower():
        return None
    rate = answered.get(ALLOWED_RATE, "").strip()
    number = int(rate) if rate.isascii() and rate.isdigit() and len(rate) <= _LONGEST_RATE else 0
    return Agreement(origin, number or None)


_LONGEST_RATE = 9  # digits
