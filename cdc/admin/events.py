"""Events: those that there may be, and those that were stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cdc.admin.base import UseCases
from cdc.admin.endpoint_checks import matches_any, near_events
from cdc.config.rules import label
from cdc.model.delivery import EventFilter
from cdc.model.event import Label
from cdc.outbox.base import StoredEvent
from cdc.outbox.slices import SearchPage, TimeBudget

if TYPE_CHECKING:
    from cdc.mapping.schema import EventType

__all__ = ["EventType", "Events", "Label"]

#: Events that are expunged in one write.
_BATCH = 100
#: Documents that are kept, each about a megabyte.
_DOCUMENTS = 8


class Events(UseCases):
    def label(self, source: str, event: str) -> Label:
        """The columns by which people know the record of an event."""
        return label(self._config, source, event)

    def meant(self, pattern: str) -> list[str]:
        """Return events and patterns that were probably meant by one that no event fits."""
        kinds = self.event_types()
        names = [kind.name for kind in kinds]
        if matches_any(pattern, names):
            return []
        return near_events(pattern, names, {kind.table: kind.entity for kind in kinds if kind.table})

    def document(self, build: Callable[[Sequence[EventType]], bytes]) -> bytes:
        """Return what ``build`` makes of the types of events; built once, as it takes a tenth of a second."""
        kept, key = self._service.documents, (build, tuple(sorted(self._principal.sources)))
        if key not in kept:
            if len(kept) >= _DOCUMENTS:
                del kept[next(iter(kept))]
            kept[key] = build(self.event_types())
        return kept[key]

    async def newest(self) -> int:
        """Return the place in the log of the newest event; 0 before there is any."""
        newest = await self._store.events(1)
        return newest[-1].sequence if newest else 0

    async def get(self, event_id: str) -> StoredEvent | None:
        found = await self._store.event(event_id)
        return found if found is not None and self._principal.sees(found.source) else None

    async def last(self, limit: int) -> list[StoredEvent]:
        """Return the newest, in the order stored."""
        if not self._principal.sources:
            return await self._store.events(limit)
        which, hurry = self._principal.narrowed(EventFilter()), TimeBudget(lambda: 0.0)
        return (await self._store.search_events(which, limit, hurry, oldest_first=False)).found[::-1]

    async def after(self, sequence: int, limit: int, pattern: str | None) -> list[StoredEvent]:
        """Return those behind this place in the log, in the order stored."""
        if not self._principal.sources:
            return await self._store.events(limit, sequence, pattern)
        which = self._principal.narrowed(EventFilter(event_pattern=pattern))
        return await self._store.find_events(which, limit, sequence)

    async def search(
        self, which: EventFilter, limit: int, place: int | None = None, *, oldest_first: bool
    ) -> SearchPage[StoredEvent]:
        narrowed, budget = self._principal.narrowed(which), TimeBudget(self._clock.monotonic)
        return await self._store.search_events(narrowed, limit, budget, place, oldest_first=oldest_first)

    async def newest_of(self, records: Sequence[str]) -> list[StoredEvent]:
        """Return the newest event of each record."""
        return await self._store.newest_events(records, self._principal.sources or None) if records else []

    async def expunge(self, event_ids: Sequence[str]) -> int:
        """Empty payloads, and what endpoints answered to them, for good, and return how many deliveries that cancelled.
        Raises `UsageError`."""
        cancelled = 0
        for first in range(0, len(event_ids), _BATCH):
            batch = event_ids[first : first + _BATCH]
            cancelled += await self._store.expunge(batch, self._clock.now(), self._note("event.expunge", *batch))
        return cancelled
