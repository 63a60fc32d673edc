"""What is announced when an endpoint is disabled because of its answer (410 Gone), in the write that disables it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from cdc.dispatch.address import public_url
from cdc.dispatch.attempt_log import Finished
from cdc.model.delivery import Outcome
from cdc.model.event import Event
from cdc.model.operation import Failing, endpoint_disabled
from cdc.outbox.base import OutboxStore


async def disablings(store: OutboxStore, finished: Iterable[Finished], now: datetime) -> list[Event]:
    """An event for each endpoint that one of these outcomes disables; of several the first says why.

    What is disabled already was told of.  Raises `OutboxError`."""
    reasons: dict[str, Outcome] = {}
    for outcome, endpoint_id in finished:
        if outcome.disable_reason:
            reasons.setdefault(endpoint_id, outcome)
    found = [(await store.endpoint(endpoint_id), outcome) for endpoint_id, outcome in reasons.items()]
    return [
        endpoint_disabled(
            Failing(
                endpoint,
                public_url(endpoint.url),
                endpoint.failing_since or outcome.attempt.started_at,
                outcome.attempt.error,
            ),
            outcome.disable_reason,
            now,
        )
        for endpoint, outcome in found
        if endpoint is not None and endpoint.enabled
    ]
