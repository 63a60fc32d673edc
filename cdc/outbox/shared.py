"""What every outbox does alike: who wants an event, a record's lane, delivery ids, sentences."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from cdc.endpoint import Endpoint, Order
from cdc.errors import NotFound, UsageError
from cdc.event import OPERATIONS, Event
from cdc.pattern import matches
from cdc.selection import stored

#: What stands for NUL where a store cannot hold it.
NO_NUL: Final = "\ufffd"
_DELIVERY_ID: Final = re.compile(r"dlv_([1-9][0-9]{0,17})")


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Of an endpoint, what says which events it gets, and what waits for what; ``number`` is the store's own."""

    number: int
    patterns: tuple[str, ...]
    sources: tuple[str, ...] = ()
    order: Order = Order.RECORD
    condition: str = ""

    def wants(self, event: Event) -> bool:
        """Operational events are of no source, and are for those who name them: ``*`` does not."""
        if event.source == OPERATIONS:
            named = tuple(pattern for pattern in self.patterns if pattern != "*")
            return matches(event.name, named) and self._holds(event)
        if self.sources and event.source not in self.sources:
            return False
        return matches(event.name, self.patterns) and self._holds(event)

    def _holds(self, event: Event) -> bool:
        condition = stored(self.condition) if self.condition else None
        return condition is None or condition.holds(event)


def subscriber_of(endpoint: Endpoint, number: int = 0) -> Subscriber:
    return Subscriber(number, endpoint.events, endpoint.sources, endpoint.order, endpoint.condition)


def lane_for(order: Order, source: str, record: str, event_id: str) -> int:
    """The lane of an event at an endpoint with this order; merges are to be followed where it is a record's."""
    if order is Order.RECORD:
        return lane_of(source, record)
    return _hash(f"\0\0{event_id}") if order is Order.NONE else _WHOLE_ENDPOINT


def lane_of(source: str, record: str) -> int:
    """The lane of a record that nothing was merged into: a signed 64-bit number, the same in every process, and made of
    the name as every store can keep it: PostgreSQL's texts hold no NUL."""
    name = record.replace("\0", NO_NUL) if "\0" in record else record
    return _hash(f"{source}\0{name}")


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


_WHOLE_ENDPOINT: Final = _hash("\0")


def delivery_id(number: int) -> str:
    return f"dlv_{number}"


def delivery_number(text: str) -> int | None:
    """The number behind a delivery's id; None when the text is no such id."""
    match = _DELIVERY_ID.fullmatch(text)
    return int(match[1]) if match else None


def no_delivery(text: str) -> NotFound:
    return NotFound(f"There is no delivery {text}.", "`cdc delivery list` shows the deliveries.")


def no_endpoint(text: str) -> NotFound:
    return NotFound(f"There is no endpoint {text}.", "`cdc endpoint list` shows the endpoints.")


def endpoint_exists(text: str) -> UsageError:
    return UsageError(f"There is, or was, an endpoint {text}.", "Choose another id.")


def event_exists(text: str) -> UsageError:
    return UsageError(f"The event {text} is stored already.", "A test needs an event of its own, with a new id.")


def endpoint_disabled(text: str) -> UsageError:
    return UsageError(f"The endpoint {text} is disabled.", f"cdc endpoint enable {text}")


def record_busy(text: str) -> UsageError:
    return UsageError(f"The endpoint has unfinished deliveries of {text}.", "A test needs a record of its own.")


def not_finished(text: str) -> UsageError:
    return UsageError(
        f"The delivery {text} is not finished.", "It is sent in its turn; only finished ones are retried."
    )


def endpoint_removed(text: str) -> UsageError:
    return UsageError(f"The endpoint of delivery {text} was removed.", "Add the endpoint again and replay the events.")
