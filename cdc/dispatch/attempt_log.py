"""One structured log line for each request: no payload, no secret, no query of a URL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import structlog

from cdc.dispatch.request import BATCH, batch_id
from cdc.logs import log_many
from cdc.model.delivery import DeliveryState, Outcome
from cdc.model.observer import requests

_log = structlog.get_logger()


class Finished(NamedTuple):
    """An attempt that ended, on its way to the outbox."""

    outcome: Outcome
    endpoint_id: str


def log_attempts(finished: Sequence[Finished]) -> None:
    """Info for a success, warning for the rest.  Written for many attempts in a row, a line costs far less than
    between requests.  The line of a batch says how many events it held, and has its ``webhook-id`` as ``event_id``; the
    delivery log has each event."""
    log = _log.bind()
    delivered: list[dict[str, Any]] = []
    place = 0
    for outcome, endpoint_id in requests(finished):
        fields = _fields(outcome, endpoint_id)
        if outcome.batch > 1:
            events = [each.outcome.attempt.event_id for each in finished[place : place + outcome.batch]]
            fields |= {"event_name": BATCH, "event_id": batch_id(events), "batch": outcome.batch}
        place += outcome.batch
        if outcome.state is DeliveryState.DELIVERED:
            delivered.append(fields)
            continue
        due = outcome.due_at.isoformat() if outcome.due_at else None
        log.warning("attempt", **fields, error=outcome.attempt.error, state=outcome.state.value, next=due)
        if outcome.disable_reason:
            log.warning("endpoint disabled", endpoint=endpoint_id, reason=outcome.disable_reason)
    if delivered:
        log_many("attempt", delivered)


def _fields(outcome: Outcome, endpoint_id: str) -> dict[str, Any]:
    attempt = outcome.attempt
    return {
        "event_name": attempt.event_name,
        "event_id": attempt.event_id,
        "endpoint": endpoint_id,
        "url": attempt.url,
        "number": attempt.number,
        "status": attempt.status,
        "seconds": round(attempt.duration, 4),
    }
