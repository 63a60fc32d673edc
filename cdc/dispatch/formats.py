"""The body of a request in each payload format, from the event as stored."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from cdc.model.delivery import LeasedDelivery
from cdc.model.endpoint import PayloadFormat


class Body(NamedTuple):
    """``content``: exactly the bytes to sign and to send."""

    content_type: str
    content: bytes


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
    event: dict[str, Any] = orjson.loads(delivery.body_event)
    if fields:
        for row in ("data", "previous"):
            if row in event:
                event[row] = {name: value for name, value in event[row].items() if name in fields}
    return event


def _array(elements: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(elements) + b"]"


def _standard(event: dict[str, Any], *, with_id: bool = False) -> bytes:
    """As the Standard Webhooks specification words it; the id travels in ``webhook-id``, unless that is a batch's."""
    body = {"type": event["event"], "timestamp": event["timestamp"], "data": event["data"]}
    return orjson.dumps({"id": event["id"], **body} if with_id else body)


def _cloudevents(event: dict[str, Any], record: str) -> bytes:
    """CloudEvents 1.0, structured mode.  ``source`` and ``id`` together are unique, as it demands; the extension
    attributes ``transaction``, ``inferred`` and ``observed`` are there when the event has them."""
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
    for conclusion in ("inferred", "observed"):
        if event.get(conclusion):
            envelope[conclusion] = True
    return orjson.dumps({**envelope, "data": event["data"]})
