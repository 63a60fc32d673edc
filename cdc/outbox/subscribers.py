"""Endpoints as storing sees them: indexed by source and event, and read again only when one was changed.

So an event costs what its own subscribers cost, however many endpoints there are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from operator import attrgetter
from typing import Final

from cdc.model.event import OPERATIONS, Event
from cdc.outbox.shared import Subscriber, sources_about

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
                return self._operational(event)
            if len(self._found) >= _MOST:
                self._found.clear()
            found = self._found[key] = self._find(*key)
        return found

    def _operational(self, event: Event) -> Sequence[Subscriber]:
        about = sources_about(event.record, self._sources_of)
        return [each for each in self._all if each.names(event.name, event.source) and each.concerned(about)]

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

    async def at(self, version: int | None, read: Callable[[], Awaitable[Sequence[Subscriber]]]) -> SubscriberIndex:
        """Return the index of this version, which was read before ``read`` reads the subscribers.  None: unknown."""
        if version is None or version != self._version:
            self._index = SubscriberIndex(await read())
            self._version = version
        return self._index
