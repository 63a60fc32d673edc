"""What is sent for a delivery: URL, headers and the signed body.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from cdc import __version__
from cdc.delivery import LeasedDelivery
from cdc.dispatch.formats import render
from cdc.dispatch.signing import Signature, plain_signature, signature_of, standard_signature
from cdc.endpoint import Endpoint

USER_AGENT = f"facturascripts-cdc/{__version__}"
#: With it CloudEvents' webhook specification has a sender say who it is, and ask whether it may send.
ORIGIN_HEADER = "WebHook-Request-Origin"


class WebhookRequest(NamedTuple):
    """One POST.  ``body``: exactly the bytes that the signatures in ``headers`` cover.  ``timeout``: seconds."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    timeout: float


def build_request(delivery: LeasedDelivery, endpoint: Endpoint, now: datetime) -> WebhookRequest:
    """``now``: the time of this attempt, aware UTC; it is signed, and it ends the overlap of a rotated secret."""
    body = render(delivery, endpoint.format)
    timestamp = int(now.timestamp())
    signing = _signing(endpoint, now)
    headers = {
        "Content-Type": body.content_type,
        "User-Agent": USER_AGENT,
        "Accept": "*/*",
        "Accept-Encoding": "identity",  # the log keeps the answer as it comes
        "webhook-id": delivery.event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": standard_signature(signing, delivery.event_id, timestamp, body.content),
        "X-Webhook-Event": delivery.event_name,
    }
    # It has room for one: of the present secret, or of the former symmetric one while a key pair replaces it.
    if symmetric := [secret for secret in signing if signature_of(secret) is Signature.V1]:
        headers["X-Webhook-Signature"] = plain_signature(symmetric[0], body.content)
    if endpoint.origin:
        headers[ORIGIN_HEADER] = endpoint.origin
    return WebhookRequest(endpoint.url, headers, body.content, endpoint.timeout)


def _signing(endpoint: Endpoint, now: datetime) -> list[str]:
    """The secrets that sign: the present one, then the former one while it still overlaps."""
    former, until = endpoint.former_secret, endpoint.former_secret_until
    if former is None or until is None or now >= until:
        return [endpoint.secret]
    return [endpoint.secret, former]
