"""The body of a request in each payload format, from the event as stored."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from cdc.delivery import LeasedDelivery
from cdc.endpoint import PayloadFormat


class Body(NamedTuple):
    """``content``: exactly the bytes to sign and to send."""

    content_type: str
    content: bytes


def render(delivery: LeasedDelivery, wanted: PayloadFormat) -> Body:
    """The delivery's event in the wanted format; the default format is sent as stored, byte for byte."""
    if wanted is PayloadFormat.FACTURASCRIPTS:
        return Body("application/json", delivery.body_event)
    event: dict[str, Any] = orjson.loads(delivery.body_event)
    if wanted is PayloadFormat.STANDARD:
        return Body("application/json", _standard(event))
    return Body("application/cloudevents+json", _cloudevents(event, delivery.record))


def _standard(event: dict[str, Any]) -> bytes:
    """As the Standard Webhooks specification words it; the id travels in ``webhook-id``."""
    return orjson.dumps({"type": event["event"], "timestamp": event["timestamp"], "data": event["data"]})


def _cloudevents(event: dict[str, Any], record: str) -> bytes:
    """CloudEvents 1.0, structured mode.  ``source`` and ``id`` together are unique, as it demands; the extension
    attributes ``transaction`` and ``inferred`` are there when the event has them."""
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
    if event.get("inferred"):
        envelope["inferred"] = True
    return orjson.dumps({**envelope, "data": event["data"]})
