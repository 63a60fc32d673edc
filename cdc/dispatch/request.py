"""What is sent for a delivery: URL, headers and the signed body.  Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from cdc import __version__
from cdc.dispatch.formats import Body, render, render_batch
from cdc.dispatch.signing import Signature, plain_signature, signature_of, standard_signature
from cdc.model.delivery import LeasedDelivery
from cdc.model.endpoint import Endpoint, PayloadFormat
from cdc.model.mail_address import is_mail

USER_AGENT = f"facturascripts-cdc/{__version__}"
#: With it CloudEvents' webhook specification has a sender say who it is, and ask whether it may send.
ORIGIN_HEADER = "WebHook-Request-Origin"
#: In place of an event's name where a request carries an array.
BATCH = "batch"


class WebhookRequest(NamedTuple):
    """One POST.  ``body``: exactly the bytes that the signatures in ``headers`` cover.  ``timeout``: seconds.
    ``proxy``, ``client_certificate``: as of the endpoint."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    timeout: float
    proxy: str = ""
    client_certificate: str = ""


def build_request(delivery: LeasedDelivery, endpoint: Endpoint, now: datetime) -> WebhookRequest:
    """``now``: the time of this attempt, aware UTC; it is signed, and it ends the overlap of a rotated secret.

    An endpoint that wants batches gets an array of one: its receiver has one shape to parse."""
    if endpoint.batched:
        return build_batch((delivery,), endpoint, now)
    return _signed(
        render(delivery, _format(endpoint), endpoint.fields), delivery.event_id, delivery.event_name, endpoint, now
    )


def build_batch(deliveries: Sequence[LeasedDelivery], endpoint: Endpoint, now: datetime) -> WebhookRequest:
    """All of them in one request, signed as one; ``now`` as of `build_request`."""
    body = render_batch(deliveries, _format(endpoint), endpoint.fields)
    return _signed(body, batch_id([each.event_id for each in deliveries]), BATCH, endpoint, now)


def _format(endpoint: Endpoint) -> PayloadFormat:
    """A mail is written from the default payload (`cdc.dispatch.mail_text`)."""
    return PayloadFormat.FACTURASCRIPTS if is_mail(endpoint.url) else endpoint.format


def batch_id(event_ids: Sequence[str]) -> str:
    """The ``webhook-id`` of a request that carries these events: the same whenever it is the same events."""
    return f"batch_{hashlib.sha256(' '.join(sorted(event_ids)).encode()).hexdigest()[:32]}"


def _signed(body: Body, webhook_id: str, name: str, endpoint: Endpoint, now: datetime) -> WebhookRequest:
    timestamp = int(now.timestamp())
    signing = _signing(endpoint, now)
    headers = {
        "Content-Type": body.content_type,
        "User-Agent": USER_AGENT,
        "Accept": "*/*",
        "Accept-Encoding": "identity",  # the log keeps the answer as it comes
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": standard_signature(signing, webhook_id, timestamp, body.content),
        "X-Webhook-Event": name,
    }
    # It has room for one: of the present secret, or of the former symmetric one while a key pair replaces it.
    for secret in signing:
        if signature_of(secret) is Signature.V1:
            headers["X-Webhook-Signature"] = plain_signature(secret, body.content)
            break
    if endpoint.origin:
        headers[ORIGIN_HEADER] = endpoint.origin
    if endpoint.headers:
        headers.update(endpoint.headers)
    return WebhookRequest(
        endpoint.url, headers, body.content, endpoint.timeout, endpoint.proxy, endpoint.client_certificate
    )


def _signing(endpoint: Endpoint, now: datetime) -> list[str]:
    """The secrets that sign: the present one, then the former one while it still overlaps."""
    former, until = endpoint.former_secret, endpoint.former_secret_until
    if former is None or until is None or now >= until:
        return [endpoint.secret]
    return [endpoint.secret, former]
