"""Which events an endpoint would get."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from cdc.config import Config
from cdc.config.rules import event_types
from cdc.model.endpoint import Endpoint
from cdc.model.selection import Judgement, Trial
from cdc.outbox.base import StoredEvent
from cdc.outbox.shared import Subscriber, restored

if TYPE_CHECKING:
    from cdc.mapping.schema import EventType


class Previewed(NamedTuple):
    """``named``: the event is one of those that the endpoint names; then ``judgement`` is that of its condition."""

    event: StoredEvent
    named: bool
    judgement: Judgement = Judgement(holds=False)

    @property
    def delivered(self) -> bool:
        return self.named and self.judgement.holds


def preview(subscriber: Subscriber, events: Iterable[StoredEvent]) -> list[Previewed]:
    """Return which stored events would be delivered; expunged ones cannot be judged and are left out.

    Raises `UsageError` for an invalid condition, or one that exceeds a limit with one of the events."""
    condition = Trial(subscriber.condition) if subscriber.condition else None
    return [_previewed(subscriber, condition, stored) for stored in events if not stored.expunged]


def tried(config: Config, endpoint: Endpoint) -> list[Judgement]:
    """Evaluate the endpoint's condition on the example of each event that it names."""
    if not endpoint.condition:
        return []
    condition, names = Trial(endpoint.condition), Subscriber(0, endpoint.events).names
    kinds = [kind for kind in event_types(config) if names(kind.name, kind.example["source"])]
    return [condition.judge(restored(_stored(kind))) for kind in kinds]


def _stored(kind: EventType) -> StoredEvent:
    example = kind.example
    record = ":".join([kind.table, *map(str, example["key"].values())])
    time = datetime.fromisoformat(example["timestamp"])
    return StoredEvent(0, example["id"], kind.name, example["source"], record, time, example)


def _previewed(subscriber: Subscriber, condition: Trial | None, stored: StoredEvent) -> Previewed:
    if not subscriber.names(stored.name, stored.source):
        return Previewed(stored, named=False)
    return Previewed(stored, True, condition.judge(restored(stored)) if condition else Judgement(holds=True))
