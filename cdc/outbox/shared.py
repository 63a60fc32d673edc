"""Rules that all outboxes share: subscriptions, a record's lane, delivery ids, sentences.

Endpoints are indexed by source and event, and read again only when one was changed: an event costs what its own
subscribers cost, however many endpoints there are."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from operator import attrgetter
from typing import Final

import orjson

from cdc.model.endpoint import Endpoint, Order
from cdc.model.errors import NotFound, PositionMoved, UsageError
from cdc.model.event import OPERATIONS, TESTS, Event, matches, selects
from cdc.model.selection import stored
from cdc.outbox.base import StoredEvent

#: The substitute for NUL where a store cannot hold it.
NO_NUL: Final = "\ufffd"
_DELIVERY_ID: Final = re.compile(r"dlv_([1-9][0-9]{0,17})")
_PLACE: Final = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Subscriber:
    """The fields of an endpoint that select and order its events; ``number`` is the store's own, ``id`` everybody's."""

    number: int
    patterns: tuple[str, ...]
    sources: tuple[str, ...] = ()
    order: Order = Order.RECORD
    condition: str = ""
    id: str = ""

    def wants(self, event: Event) -> bool:
        if event.only_to:
            return event.only_to == self.id and self.holds(event)
        return self.names(event.name, event.source) and self.holds(event)

    def names(self, event_name: str, source: str) -> bool:
        """Return whether it wants such events, if its condition holds.  Operational events have no source, and go
        to endpoints that name them (``*`` does not) and that are `concerned`.  Those of backfills go to endpoints that
        write ``existing`` out: a subscriber to changes must not be flooded with existing rows."""
        return _names(self.patterns, self.sources, event_name, source)

    def concerned(self, about: Sequence[str] | None) -> bool:
        """Return whether an operational event about these sources is for it: one of some sources gets what is about
        them, so that no tenant reads about others.  ``about``: empty, the event is about all; None, about none."""
        return not self.sources or about is None or (bool(about) and set(about).issubset(self.sources))

    def holds(self, event: Event) -> bool:
        """Return whether its condition, if any, holds."""
        return not self.condition or stored(self.id, self.condition).holds(event)


@lru_cache(maxsize=4096)
def _names(patterns: tuple[str, ...], sources: tuple[str, ...], event_name: str, source: str) -> bool:
    """Return whether patterns and sources select an event.  Cached: few different questions come once for each event
    and endpoint."""
    if source == OPERATIONS:
        return matches(event_name, tuple(pattern for pattern in patterns if pattern != "*"))
    if sources and source not in sources:
        return False
    return selects(event_name, patterns)


def text_in_payload(text: str) -> bytes:
    """Return the text as a payload has it: JSON escapes some signs."""
    return orjson.dumps(text.encode(errors="replace").decode())[1:-1]


def subscriber_of(endpoint: Endpoint, number: int = 0) -> Subscriber:
    return Subscriber(number, endpoint.events, endpoint.sources, endpoint.order, endpoint.condition, endpoint.id)


def still_subscribed(subscriber: Subscriber, stored: StoredEvent) -> bool:
    """Return whether an endpoint that has no delivery of a stored event is to get one; of an expunged event, whether it
    would have been.  Events that try an endpoint are for nobody else."""
    if not subscriber.names(stored.name, stored.source):
        return False
    if stored.source == OPERATIONS and not subscriber.concerned(sources_about(stored.record, lambda _: ())):
        return False
    if stored.source == TESTS and stored.record.startswith(f"{TESTS}:"):
        return False
    return stored.expunged or subscriber.wants(restored(stored))


def sources_about(record: str, of_endpoint: Callable[[str], Sequence[str]]) -> Sequence[str] | None:
    """Return the sources that an operational event is about, by its record.  ``of_endpoint``: those of an endpoint;
    empty: all."""
    subject, _, which = record.partition(":")
    if subject == "source":
        return (which,)
    return of_endpoint(which) if subject == "endpoint" else None


def restored(stored: StoredEvent) -> Event:
    """An event, not expunged, as it was, but for what nobody asks of it any more: its record's former name."""
    parts = stored.payload
    return Event(
        id=stored.id,
        name=stored.name,
        source=stored.source,
        table=stored.record.partition(":")[0],
        record=stored.record,
        key=parts["key"],
        data=parts["data"],
        previous=parts.get("previous"),
        time=stored.time,
        transaction=parts["transaction"],
        inferred=parts.get("inferred", False),
        observed=parts.get("observed", False),
        days=parts.get("days"),
        related=parts.get("related"),
        link=parts.get("links", {}).get("record", ""),
    )


def storable(text: str) -> str:
    """NUL, which no text of PostgreSQL holds, replaced."""
    return text.replace("\0", NO_NUL) if "\0" in text else text


def reader_lock(source: str) -> int:
    """Return the advisory lock of a source's reader: a signed 64-bit number."""
    return _hash(f"\0reader\0{source}")


def refusal_lock(api: str) -> int:
    """Return the advisory lock of the refusals of an API."""
    return _hash(f"\0refusals\0{api}")


def ordering_key(order: Order, source: str, record: str, event_id: str) -> int:
    """The lane of an event at an endpoint with this order; merges are to be followed where it is a record's."""
    if order is Order.RECORD:
        return record_key(source, record)
    return _hash(f"\0\0{event_id}") if order is Order.NONE else _WHOLE_ENDPOINT


def record_key(source: str, record: str) -> int:
    """The lane of a record that nothing was merged into: a signed 64-bit number, the same in every process, and made of
    the name as every store can keep it: PostgreSQL's texts hold no NUL."""
    return _hash(f"{source}\0{storable(record)}")


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


_WHOLE_ENDPOINT: Final = _hash("\0")


def delivery_id(number: int) -> str:
    return f"dlv_{number}"


def delivery_number(text: str) -> int | None:
    """The number behind a delivery's id; None when the text is no such id."""
    match = _DELIVERY_ID.fullmatch(text)
    return int(match[1]) if match else None


def place_text(sequence: int, number: int) -> str:
    """Return the place of a replay as text: the event and the delivery that it read last."""
    return f"{sequence}.{number}"


def place_of(text: str | None) -> tuple[int, int]:
    """Return the place from `place_text`.  Raises `UsageError`."""
    match = _PLACE.fullmatch(text or "0.0")
    if match is None:
        raise UsageError(f"{text!r} is not a place in the log.", "cdc replay says where it stands when it is stopped.")
    return int(match[1]), int(match[2])


def cursor_of(text: str) -> tuple[int, int] | None:
    """Sequence and delivery number of `place_text`; None when the text is no such place."""
    match = _PLACE.fullmatch(text)
    return None if match is None else (int(match[1]), int(match[2]))


def position_moved(source: str) -> PositionMoved:
    return PositionMoved(
        f"Another process has stored for the source {source} or reads it now; what this one read is dropped.",
        "If it happens again and again, two processes read this source: stop one of them.",
    )


def no_event(text: str) -> NotFound:
    return NotFound(f"There is no event {text}.", "`cdc event tail` shows the events.")


def event_expunged(text: str) -> UsageError:
    return UsageError(
        f"The event {text} was expunged: there is nothing to send any more.",
        "Its payload was emptied by cdc event expunge, or after [retention] payload_days.",
    )


def no_delivery(text: str) -> NotFound:
    return NotFound(f"There is no delivery {text}.", "`cdc delivery list` shows the deliveries.")


def no_replay(text: str) -> NotFound:
    return NotFound(f"There is no replay {text}.", "GET /api/v1/replays lists those that there were.")


def no_backfill(text: str) -> NotFound:
    return NotFound(f"There is no backfill {text}.", "`cdc backfill --list` shows those that there were.")


def no_endpoint(text: str) -> NotFound:
    return NotFound(f"There is no endpoint {text}.", "`cdc endpoint list` shows the endpoints.")


def endpoint_moving() -> UsageError:
    return UsageError(
        "A source of this endpoint is moving to another outbox: the order cannot change now.",
        "Try again when the move has ended.",
    )


def endpoint_exists(text: str) -> UsageError:
    return UsageError(f"There is or was an endpoint {text}.", "Choose another id.")


def event_exists(text: str) -> UsageError:
    return UsageError(f"The event {text} is stored already.", "A test needs an event of its own, with a new id.")


def endpoint_disabled(text: str) -> UsageError:
    return UsageError(f"The endpoint {text} is disabled.", f"cdc endpoint enable {text}")


def record_busy(text: str) -> UsageError:
    return UsageError(f"The endpoint has unfinished deliveries of {text}.", "A test needs a record of its own.")


def not_finished(text: str) -> UsageError:
    return UsageError(
        f"The delivery {text} is on its way, or waits for an earlier one of its record.", "It is sent in its turn."
    )


def endpoint_removed(text: str) -> UsageError:
    return UsageError(f"The endpoint of delivery {text} was removed.", "Add the endpoint again and replay the events.")


#: Answers that are remembered; then all are forgotten.
_MOST: Final = 50_000
_NUMBER: Final = attrgetter("number")


class SubscriberIndex:
    """``subscribers``: in the order of their numbers."""

    def __init__(self, subscribers: Sequence[Subscriber]) -> None:
        self._all = subscribers
        self._by_id = {each.id: each for each in subscribers}
        self._by_source: defaultdict[str, list[Subscriber]] = defaultdict(list)
        self._of_any_source: list[Subscriber] = []
        for each in subscribers:
            for source in dict.fromkeys(each.sources):
                self._by_source[source].append(each)
            if not each.sources:
                self._of_any_source.append(each)
        self._found: dict[tuple[str, str], Sequence[Subscriber]] = {}
        self._found_of_any: dict[str, Sequence[Subscriber]] = {}

    def of(self, event: Event) -> Sequence[Subscriber]:
        """Return the subscribers that want the event if their conditions hold."""
        if event.only_to:
            only = self._by_id.get(event.only_to)
            return () if only is None else (only,)
        key = event.name, event.source
        found = self._found.get(key)
        if found is None:
            if event.source == OPERATIONS:  # rare, and not alike
                about = sources_about(event.record, self._sources_of)
                return [each for each in self._all if each.names(event.name, event.source) and each.concerned(about)]
            if len(self._found) >= _MOST:
                self._found.clear()
            found = self._found[key] = self._find(*key)
        return found

    def _sources_of(self, endpoint_id: str) -> Sequence[str]:
        found = self._by_id.get(endpoint_id)
        return () if found is None else found.sources

    def _find(self, name: str, source: str) -> Sequence[Subscriber]:
        of_any = self._found_of_any.get(name)
        if of_any is None:
            # of a source, and not one of the names that `Subscriber.names` treats differently
            of_any = self._found_of_any[name] = [each for each in self._of_any_source if each.names(name, source)]
        own = [each for each in self._by_source.get(source, ()) if each.names(name, source)]
        return sorted([*of_any, *own], key=_NUMBER) if own else of_any


class SubscriberCache:
    """The index of an outbox, as of the version of its endpoints that was seen last."""

    def __init__(self) -> None:
        self._version: int | None = None
        self._index = SubscriberIndex(())

    @property
    def latest(self) -> tuple[int | None, SubscriberIndex]:
        """Return the version that was seen last, None where it is unknown, and its index."""
        return self._version, self._index

    async def at(self, version: int | None, read: Callable[[], Awaitable[Sequence[Subscriber]]]) -> SubscriberIndex:
        """Return the index of this version, which was read before ``read`` reads the subscribers.  None: unknown."""
        if version is None or version != self._version:
            self._index = SubscriberIndex(await read())
            self._version = version
        return self._index
