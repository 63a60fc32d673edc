"""The effect of an endpoint's settings before events come: a test, which sends an example of an event or a
greeting, and previews of stored events."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cdc.config import Config
from cdc.config.rules import event_types, label
from cdc.config.sending import sending
from cdc.dispatch.message import LANGUAGES
from cdc.dispatch.request import narrowed
from cdc.dispatch.transform import Body, Shape, TransformFailed, check_transform, shaped
from cdc.model.audit import Note
from cdc.model.clock import SystemClock
from cdc.model.delivery import Attempt
from cdc.model.endpoint import Endpoint, is_pull
from cdc.model.event import TESTS, Event, Labels
from cdc.model.filter.values import FilterLimit
from cdc.model.selection import ConditionTest, Judgement
from cdc.outbox.base import DispatchStore, StoredEvent
from cdc.outbox.shared import Subscriber, no_endpoint, restored

if TYPE_CHECKING:
    from cdc.mapping.schema import EventType

#: The event that is sent when no other is chosen: no record's.
GREETING: Final = "endpoint.test"


async def send_test(
    config: Config,
    store: DispatchStore,
    endpoint_id: str,
    event_name: str,
    note: Note = (),
    *,
    example: Mapping[str, Any] | None = None,
) -> Attempt:
    """Send one event to this endpoint now, also one that its patterns leave out, and return the attempt.

    ``example``: a payload of this event; None for the greeting.  A test that fails is cancelled.  Of one that is
    interrupted the lease expires: `cdc run` sends it then.  Raises `UsageError` when there is no such endpoint, or it
    is disabled: nothing is sent to it then.  For a consumer it waits, as other events do, until it is fetched.
    """
    from cdc.dispatch.attempt import attempt_once, waiting
    from cdc.dispatch.dispatcher import LEASE_MARGIN
    from cdc.dispatch.outcome_writer import Finished, disablings

    clock = SystemClock()
    worker = f"{socket.gethostname()}-test-{os.getpid()}"
    endpoint = await store.endpoint(endpoint_id)
    if endpoint is None:
        raise no_endpoint(endpoint_id)
    now = clock.now()
    until = now + timedelta(seconds=endpoint.timeout + LEASE_MARGIN)
    delivery = await store.send_test(
        endpoint_id, _test_event(event_name, now, example or {}), worker, now, until, note=note
    )
    if is_pull(endpoint.url):
        await store.give_back(worker, [delivery], now)
        return waiting(delivery, endpoint, now).attempt
    async with sending(config) as sender:
        outcome = await attempt_once(sender, delivery, endpoint, clock, partial(label, config))
    ended = clock.now()
    announcements = await disablings(store, [Finished(outcome, endpoint_id)], ended)
    await store.finish(worker, [outcome], ended, announcements)
    return outcome.attempt


def _test_event(name: str, now: datetime, example: Mapping[str, Any]) -> Event:
    token = secrets.token_hex(16)
    greeting = {"test": token, "message": "A test of this endpoint: no record was changed."}
    return Event(
        id=f"evt_{token}",
        name=name,
        source=TESTS,
        table=TESTS,
        record=f"{TESTS}:{token}",
        key=example.get("key", {"test": token}),
        data=example.get("data", greeting),
        previous=example.get("previous"),
        time=now,
        transaction=token,
        inferred=example.get("inferred", False),
        related=example.get("related"),
    )


class ShapeWanted(NamedTuple):
    """The options of an endpoint that shape its payload, as in `cdc.model.endpoint.Endpoint`."""

    transform: str
    language: str = LANGUAGES[0]
    fields: tuple[str, ...] = ()


class Previewed(NamedTuple):
    """``named``: the event is one of those that the endpoint names; then ``judgement`` is that of its condition.
    ``body``: what its transform makes of one that is delivered; ``failure``: why it makes nothing."""

    event: StoredEvent
    named: bool
    judgement: Judgement = Judgement(holds=False)
    body: Body | None = None
    failure: str = ""

    @property
    def delivered(self) -> bool:
        return self.named and self.judgement.holds


def preview(subscriber: Subscriber, events: Iterable[StoredEvent]) -> list[Previewed]:
    """Return which stored events would be delivered; expunged ones cannot be judged and are left out.

    Raises `UsageError` for an invalid condition, or one that exceeds a limit with one of the events."""
    condition = ConditionTest(subscriber.condition) if subscriber.condition else None
    return [_previewed(subscriber, condition, stored) for stored in events if not stored.expunged]


def with_bodies(previewed: Iterable[Previewed], wanted: ShapeWanted, labels: Labels) -> list[Previewed]:
    """Add the bodies of those that would be delivered.  Raises `UsageError` for a transform that is none, or exceeds a
    limit."""
    check_transform(wanted.transform)
    return [_with_body(each, wanted, labels) if each.delivered else each for each in previewed]


def _with_body(each: Previewed, wanted: ShapeWanted, labels: Labels) -> Previewed:
    event, shape = narrowed(dict(each.event.payload), wanted.fields), Shape(wanted.transform, wanted.language)
    try:
        return each._replace(body=shaped(event, each.event.record, shape, labels))
    except TransformFailed as failed:
        if failed.exceeded:
            raise FilterLimit(failed.reason, "Make less of each event: docs/delivery.md, Limits of filters.") from None
        return each._replace(failure=failed.reason)


def tried(config: Config, endpoint: Endpoint) -> list[Judgement]:
    """Evaluate the endpoint's condition on the example of each event that it names."""
    if not endpoint.condition:
        return []
    condition, names = ConditionTest(endpoint.condition), Subscriber(0, endpoint.events).names
    kinds = [kind for kind in event_types(config) if names(kind.name, kind.example["source"])]
    return [condition.judge(restored(_stored(kind))) for kind in kinds]


def tried_bodies(config: Config, endpoint: Endpoint) -> list[Previewed]:
    """Apply the endpoint's transform to the example of each event that it names.  Raises `UsageError`."""
    names = Subscriber(0, endpoint.events).names
    kinds = [kind for kind in event_types(config) if names(kind.name, kind.example["source"])]
    examples = [Previewed(_stored(kind), True, Judgement(holds=True)) for kind in kinds]
    wanted = ShapeWanted(endpoint.transform, endpoint.language, endpoint.fields)
    return with_bodies(examples, wanted, partial(label, config))


def _stored(kind: EventType) -> StoredEvent:
    example = kind.example
    record = ":".join([kind.table, *map(str, example["key"].values())])
    time = datetime.fromisoformat(example["timestamp"])
    return StoredEvent(0, example["id"], kind.name, example["source"], record, time, example)


def _previewed(subscriber: Subscriber, condition: ConditionTest | None, stored: StoredEvent) -> Previewed:
    if not subscriber.names(stored.name, stored.source):
        return Previewed(stored, named=False)
    return Previewed(stored, True, condition.judge(restored(stored)) if condition else Judgement(holds=True))
