"""What became of a request, as outcomes of the deliveries that travelled in it.  Pure."""

from __future__ import annotations

from datetime import datetime

from cdc.dispatch.batch_buffer import RequestBatch
from cdc.dispatch.retry import Answer, Verdict
from cdc.dispatch.sender import ANSWER_BYTES
from cdc.model.delivery import Attempt, DeliveryState, LeasedDelivery, Outcome


def outcomes(load: RequestBatch, url: str, answer: Answer, verdict: Verdict, started_at: datetime) -> list[Outcome]:
    """An attempt of each delivery, all with the same answer and verdict; the first one's carries the reason to disable
    the endpoint.  ``url``: without secrets."""
    common = url, answer.status, started_at, answer.duration, verdict.error, answer_text(answer.body)
    alike = verdict.state, verdict.due_at, "", len(load)
    # tuple.__new__: there is one for each event that is ever sent, and calling the classes takes three times as long
    made = [
        tuple.__new__(
            Outcome,
            (tuple.__new__(Attempt, (each.id, each.attempt, each.event_id, each.event_name, *common)), *alike),
        )
        for each in load
    ]
    if verdict.disable_reason:
        made[0] = made[0]._replace(disable_reason=verdict.disable_reason)
    return made


def removed(delivery: LeasedDelivery, now: datetime) -> Outcome:
    """Of a delivery whose endpoint was gone before a request was made."""
    attempt = Attempt(
        delivery_id=delivery.id,
        number=delivery.attempt,
        event_id=delivery.event_id,
        event_name=delivery.event_name,
        url="",
        status=None,
        started_at=now,
        duration=0.0,
        error="The endpoint was removed before the request was made.",
        answer="",
    )
    return Outcome(attempt, DeliveryState.CANCELLED)


def answer_text(body: bytes) -> str:
    """The first bytes of an answer for the log; NUL, which no text column of PostgreSQL takes, replaced as well."""
    return body[:ANSWER_BYTES].decode("utf-8", "replace").replace("\0", "\ufffd") if body else ""
