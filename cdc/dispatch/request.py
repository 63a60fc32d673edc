"""Requests of deliveries: URL, headers and the signed body in each payload format.  Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from cdc import __version__
from cdc.dispatch.signing import Signature, plain_signature, signature_of, standard_signature
from cdc.dispatch.transform import Body, Shape, shaped
from cdc.model.delivery import TEST_RECORD, LeasedDelivery
from cdc.model.endpoint import JWT, Endpoint, PayloadFormat, TokenGrant, authentication_of, is_mail
from cdc.model.event import Labels, no_labels

#: What the default format has beside the row, and other formats likewise.
BESIDE = ("related", "links")


def render(delivery: LeasedDelivery, wanted: PayloadFormat, fields: Collection[str] = ()) -> Body:
    """The delivery's event in the wanted format; the default format is sent as stored, byte for byte.

    ``fields``: the only columns that ``data`` and ``previous`` keep, unless it is empty; of those that they have."""
    if wanted is PayloadFormat.FACTURASCRIPTS:
        return Body("application/json", _as_stored(delivery, fields))
    event = _parsed(delivery, fields)
    if wanted is PayloadFormat.STANDARD:
        return Body("application/json", _standard(event))
    return Body("application/cloudevents+json", _cloudevents(event, delivery.record))


def render_batch(deliveries: Sequence[LeasedDelivery], wanted: PayloadFormat, fields: Collection[str] = ()) -> Body:
    """The deliveries' events as a JSON array, each in the wanted format.

    Every element holds its event's id, by which receivers know a repetition: ``webhook-id`` is the whole batch's, and
    the next attempt may carry an event in another company.
    """
    if wanted is PayloadFormat.FACTURASCRIPTS:
        return Body("application/json", _array([_as_stored(delivery, fields) for delivery in deliveries]))
    events = [_parsed(delivery, fields) for delivery in deliveries]
    if wanted is PayloadFormat.STANDARD:
        return Body("application/json", _array([_standard(event, with_id=True) for event in events]))
    envelopes = [_cloudevents(event, delivery.record) for event, delivery in zip(events, deliveries, strict=True)]
    return Body("application/cloudevents-batch+json", _array(envelopes))


def _as_stored(delivery: LeasedDelivery, fields: Collection[str]) -> bytes:
    return orjson.dumps(_parsed(delivery, fields)) if fields else delivery.body_event


def _parsed(delivery: LeasedDelivery, fields: Collection[str]) -> dict[str, Any]:
    return narrowed(orjson.loads(delivery.body_event), fields)


def narrowed(event: dict[str, Any], fields: Collection[str]) -> dict[str, Any]:
    """Return a payload with these columns only, unless there are none.  `BESIDE` may hold values of other columns: each
    counts as one itself."""
    if not fields:
        return event
    event = {name: value for name, value in event.items() if name not in BESIDE or name in fields}
    rows = {name: event[name] for name in ("data", "previous") if name in event}
    return event | {row: {name: values[name] for name in values if name in fields} for row, values in rows.items()}


def _array(elements: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(elements) + b"]"


def _standard(event: dict[str, Any], *, with_id: bool = False) -> bytes:
    """Return the body of the Standard Webhooks specification; the id is in ``webhook-id``, except in a batch."""
    body = {"type": event["event"], "timestamp": event["timestamp"], "data": event["data"]} | _beside(event)
    if event.get("test"):
        body["test"] = True
    return orjson.dumps({"id": event["id"], **body} if with_id else body)


def _cloudevents(event: dict[str, Any], record: str) -> bytes:
    """CloudEvents 1.0, structured mode.  ``source`` and ``id`` together are unique, as it demands; the extension
    attributes ``transaction``, ``days``, ``inferred``, ``observed`` and ``test`` are there when the event has them."""
    envelope = {
        "specversion": "1.0",
        "id": event["id"],
        "source": "/facturascripts/" + quote(event["source"], safe=""),
        "type": event["event"],
        "time": event["timestamp"],
        "subject": record,
        "datacontenttype": "application/json",
    }
    if event.get("transaction"):
        envelope["transaction"] = event["transaction"]
    if "days" in event:
        envelope["days"] = event["days"]
    for conclusion in ("inferred", "observed", "test"):
        if event.get(conclusion):
            envelope[conclusion] = True
    return orjson.dumps({**envelope, "data": event["data"] | _beside(event)})  # an attribute cannot be an object


def _beside(event: dict[str, Any]) -> dict[str, Any]:
    return {name: event[name] for name in BESIDE if name in event}


USER_AGENT = f"facturascripts-cdc/{__version__}"
#: With it CloudEvents' webhook specification has a sender say who it is, and ask whether it may send.
ORIGIN_HEADER = "WebHook-Request-Origin"
#: In place of an event's name where a request carries an array.
BATCH = "batch"
#: Marks the request of a test, in which no record changed.
TEST_HEADER = "X-Webhook-Test"


class WebhookRequest(NamedTuple):
    """One POST.  ``body``: exactly the bytes that the signatures in ``headers`` cover.  ``timeout``: seconds.
    ``proxy``, ``client_certificate``: as of the endpoint.  ``about``: the delivery, None for a batch.  ``grant``: the
    request carries an access token that is got with it."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    timeout: float
    proxy: str = ""
    client_certificate: str = ""
    about: LeasedDelivery | None = None
    grant: TokenGrant | None = None


def build_request(
    delivery: LeasedDelivery, endpoint: Endpoint, now: datetime, labels: Labels = no_labels
) -> WebhookRequest:
    """``now``: the time of this attempt, aware UTC; it is signed, and it ends the overlap of a rotated secret.

    An endpoint that wants batches gets an array of one: its receiver has one shape to parse.  Raises `TransformFailed`,
    for an endpoint that has a transform."""
    if endpoint.batched:
        return build_batch((delivery,), endpoint, now)
    if endpoint.transform:
        shape = Shape(endpoint.transform, endpoint.language, endpoint.id)
        body = shaped(_parsed(delivery, endpoint.fields), delivery.record, shape, labels)
    else:
        body = render(delivery, _format(endpoint), endpoint.fields)
    return _signed(body, delivery.event_id, delivery.event_name, endpoint, now, test=is_test(delivery), about=delivery)


def build_batch(deliveries: Sequence[LeasedDelivery], endpoint: Endpoint, now: datetime) -> WebhookRequest:
    """Build one request of several deliveries, signed as one; ``now`` as of `build_request`."""
    body = render_batch(deliveries, _format(endpoint), endpoint.fields)
    webhook_id, test = batch_id([each.event_id for each in deliveries]), all(map(is_test, deliveries))
    return _signed(body, webhook_id, BATCH, endpoint, now, test=test)


def is_test(delivery: LeasedDelivery) -> bool:
    """Return whether the delivery tries its endpoint.  A table of a source may be called as those of tests, so the
    event decides."""
    return delivery.record.startswith(TEST_RECORD) and orjson.loads(delivery.body_event).get("test") is True


def _format(endpoint: Endpoint) -> PayloadFormat:
    """A mail is written from the default payload (`cdc.dispatch.mail`)."""
    return PayloadFormat.FACTURASCRIPTS if is_mail(endpoint.url) else endpoint.format


def batch_id(event_ids: Sequence[str]) -> str:
    """The ``webhook-id`` of a request that carries these events: the same whenever it is the same events."""
    return f"batch_{hashlib.sha256(' '.join(sorted(event_ids)).encode()).hexdigest()[:32]}"


def _signed(
    body: Body,
    webhook_id: str,
    name: str,
    endpoint: Endpoint,
    now: datetime,
    *,
    test: bool,
    about: LeasedDelivery | None = None,
) -> WebhookRequest:
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
    if test:
        headers[TEST_HEADER] = "true"
    if endpoint.origin:
        headers[ORIGIN_HEADER] = endpoint.origin
    if body.headers:
        own = {name.lower() for name, _ in endpoint.headers}
        headers.update((name, value) for name, value in body.headers if name.lower() not in own)
    if endpoint.headers:
        headers.update(endpoint.headers)
    request = WebhookRequest(
        endpoint.url, headers, body.content, endpoint.timeout, endpoint.proxy, endpoint.client_certificate, about
    )
    return authenticated(request, endpoint, webhook_id, now) if endpoint.authentication else request


def authenticated(request: WebhookRequest, endpoint: Endpoint, message_id: str, now: datetime) -> WebhookRequest:
    """Return the request with the endpoint's JWT, or the means of getting its access token; as it is without either."""
    settings = authentication_of(endpoint.authentication)
    if settings is None:
        return request
    if settings.type == JWT:
        from cdc.dispatch.jwt_signing import jwt_header  # noqa: PLC0415 - PyJWT is loaded where a JWT is wanted

        name, value = jwt_header(settings, endpoint.credential, message_id, request.body, now)
        return request._replace(headers={**request.headers, name: value})
    return request._replace(grant=TokenGrant(endpoint.id, endpoint.authentication, endpoint.credential))


def _signing(endpoint: Endpoint, now: datetime) -> list[str]:
    """The secrets that sign: the present one, then the former one while it still overlaps."""
    former, until = endpoint.former_secret, endpoint.former_secret_until
    if former is None or until is None or now >= until:
        return [endpoint.secret]
    return [endpoint.secret, former]
