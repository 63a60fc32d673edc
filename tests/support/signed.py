"""Signed requests, as the dispatcher makes them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from cdc.dispatch.request import WebhookRequest, build_batch, build_request
from cdc.model.delivery import LeasedDelivery
from cdc.model.event import event_payload
from support.dispatching import endpoint, event
from support.manual_clock import START

URL = "https://receiver.example/"


def leased(number: int = 1) -> LeasedDelivery:
    """The first attempt of event ``evt_<number>``."""
    sent = event(number)
    payload = event_payload(sent)
    until = START + timedelta(seconds=60)
    return LeasedDelivery(f"dlv_{number}", "ep_1", sent.id, sent.name, sent.record, 1, until, payload)


def signed_batch(count: int, at: datetime = START, url: str = URL, **fields: Any) -> WebhookRequest:
    """Events 1 to ``count`` in one request; ``fields``: of the endpoint."""
    deliveries = [leased(number) for number in range(1, count + 1)]
    return build_batch(deliveries, endpoint(url, batch_size=max(count, 2), **fields), at)


def signed_request(at: datetime = START, url: str = URL, **fields: Any) -> WebhookRequest:
    """``fields``: of the endpoint."""
    return build_request(leased(), endpoint(url, **fields), at)
