"""One attempt of one delivery, for somebody who waits for the answer: `cdc endpoint test`."""

from __future__ import annotations

from cdc.dispatch.address import public_url
from cdc.dispatch.outcomes import outcomes
from cdc.dispatch.request import build_request
from cdc.dispatch.retry import Verdict, judge
from cdc.dispatch.sender import Sender
from cdc.model.clock import Clock
from cdc.model.delivery import DeliveryState, LeasedDelivery, Outcome
from cdc.model.endpoint import Endpoint


async def attempt_once(sender: Sender, delivery: LeasedDelivery, endpoint: Endpoint, clock: Clock) -> Outcome:
    """Send the delivery and judge the answer.  A failure is final: whoever waits sees it, and may try again."""
    started_at = clock.now()
    answer = await sender.send(build_request(delivery, endpoint, started_at))
    verdict = _final(judge(answer, (), delivery.attempt, clock.now(), _no_jitter))
    (outcome,) = outcomes((delivery,), public_url(endpoint.url), answer, verdict, started_at)
    return outcome


def _final(verdict: Verdict) -> Verdict:
    """After 410 Gone a delivery would wait for its endpoint to be enabled again: not a test."""
    if verdict.state is DeliveryState.PENDING:
        return verdict._replace(state=DeliveryState.DEAD, due_at=None)
    return verdict


def _no_jitter() -> float:
    return 0.0
