"""Outcomes of the deliveries that travelled in a request; and one attempt alone, for `cdc endpoint test`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus

from cdc.dispatch.request import build_request
from cdc.dispatch.retry import DELIVERED, Answer, Verdict, judge
from cdc.dispatch.sender import ANSWER_BYTES, Sender
from cdc.dispatch.transform import TransformFailed
from cdc.model.clock import Clock
from cdc.model.delivery import Attempt, DeliveryState, LeasedDelivery, Outcome
from cdc.model.endpoint import Endpoint, redacted, shown_url
from cdc.model.event import Labels, no_labels


def outcomes(
    batch: Sequence[LeasedDelivery], endpoint: Endpoint, answer: Answer, verdict: Verdict, started_at: datetime
) -> list[Outcome]:
    """An attempt of each delivery, all with the same answer and verdict; the first one's carries the reason to disable
    the endpoint.  A test that fails is cancelled: it is neither tried again nor a dead letter.  Nothing of it holds
    the path of the URL, also where the answer repeats it."""
    error, said = redacted(verdict.error, endpoint.url), redacted(answer_text(answer.body), endpoint.url)
    common = shown_url(endpoint), answer.status, started_at, answer.duration, error, said
    alike = verdict.state, verdict.due_at, "", len(batch), batch[0].endpoint_id
    # tuple.__new__: there is one for each event that is ever sent, and calling the classes takes three times as long
    made = [
        tuple.__new__(
            Outcome,
            (
                tuple.__new__(Attempt, (each.id, each.attempt, each.event_id, each.event_name, *common)),
                *alike,
                each.source,
                each.record,
            ),
        )
        for each in batch
    ]
    if verdict.state is not DeliveryState.DELIVERED and any(each.is_test for each in batch):
        made = [  # outcomes of one batch are alike, and these are not
            outcome._replace(state=DeliveryState.CANCELLED, due_at=None, batch=1)
            if each.is_test
            else outcome._replace(batch=1)
            for each, outcome in zip(batch, made, strict=True)
        ]
    if verdict.disable_reason:
        made[0] = made[0]._replace(disable_reason=verdict.disable_reason)
    return made


def removed(delivery: LeasedDelivery, now: datetime) -> Outcome:
    """Return the outcome of a delivery whose endpoint was removed before a request was made."""
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


def waiting(delivery: LeasedDelivery, endpoint: Endpoint, now: datetime) -> Outcome:
    """Return how a test of a consumer begins: it waits to be fetched."""
    answer = Answer(HTTPStatus.ACCEPTED.value, 0.0, body=b"It waits until the consumer fetches it.")
    (outcome,) = outcomes((delivery,), endpoint, answer, DELIVERED, now)
    return outcome


def answer_text(body: bytes) -> str:
    """The first bytes of an answer for the log; NUL, which no text column of PostgreSQL takes, replaced as well."""
    return body[:ANSWER_BYTES].decode("utf-8", "replace").replace("\0", "\ufffd") if body else ""


def unsent(failed: TransformFailed) -> Answer:
    """Return what takes the place of an answer where no request could be made."""
    return Answer(None, 0.0, error=failed.reason, unsent=True, disable_reason=failed.reason if failed.exceeded else "")


async def attempt_once(
    sender: Sender, delivery: LeasedDelivery, endpoint: Endpoint, clock: Clock, labels: Labels = no_labels
) -> Outcome:
    """Send a test and judge the answer.  A failure is final: it is shown at once."""
    started_at = clock.now()
    try:
        answer = await sender.send(build_request(delivery, endpoint, started_at, labels))
    except TransformFailed as failed:
        answer = unsent(failed)
    verdict = judge(answer, (), delivery.attempt, clock.now(), lambda: 0.0)
    (outcome,) = outcomes((delivery,), endpoint, answer, verdict, started_at)
    return outcome
