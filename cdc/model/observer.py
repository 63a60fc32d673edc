"""Reports of relays and dispatch about themselves, for metrics and health; no metric library here.

Called for each batch or each write, never for each event: an observer must cost next to nothing, not wait, not raise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from cdc.model.change import Batch, Position
from cdc.model.delivery import Held, Outcome
from cdc.model.errors import CdcError
from cdc.model.event import Event

Ended = TypeVar("Ended", bound="tuple[Outcome, str]")


def requests(finished: Sequence[Ended]) -> Iterator[Ended]:
    """Yield the first attempt of each request: those after it differ in the delivery only."""
    place = 0
    while place < len(finished):
        first = finished[place]
        yield first
        place += first[0].batch


class Observer:
    """Observes nothing: its methods are there to be overridden."""

    def opening(self, source: str) -> None:
        """A source is about to be opened, for the first time or again."""

    def reading(self, source: str, position: Position | None) -> None:
        """A source is open and reads after ``position``."""

    def source_failed(self, source: str, error: CdcError) -> None:
        """A source failed and is closed; it will be opened again."""

    def stored(self, source: str, batch: Batch, events: Sequence[Event], new: int) -> None:
        """A batch is in the outbox, with the events that it made; ``new`` of them were not there yet."""

    def outbox_failed(self, user: str, error: CdcError) -> None:
        """The outbox refused ``user`` (the name of a source, or a part of dispatch), who will try again."""

    def outbox_worked(self, user: str) -> None:
        """The outbox accepts the work of ``user`` again.  For a source, `reading` and `stored` imply it."""

    def dispatching(self, active: bool) -> None:
        """Dispatch runs here (``active``), or in another process with the same outbox."""

    def component_started(self, name: str) -> None:
        """A component of the process starts or restarts."""

    def component_failed(self, name: str, error: CdcError) -> None:
        """A component of the process failed and will be restarted."""

    def attempted(self, finished: Sequence[tuple[Outcome, str]]) -> None:
        """Attempts that ended, each with its endpoint's id; those of one request are adjacent (`requests`)."""

    def held(self, endpoints: Mapping[str, Held]) -> None:
        """Endpoints, by id, of which dispatch holds due deliveries back: all that there are."""


SILENT = Observer()


class Several(Observer):
    """Calls each of ``observers``, in their order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def opening(self, source: str) -> None:
        for each in self._observers:
            each.opening(source)

    def reading(self, source: str, position: Position | None) -> None:
        for each in self._observers:
            each.reading(source, position)

    def source_failed(self, source: str, error: CdcError) -> None:
        for each in self._observers:
            each.source_failed(source, error)

    def stored(self, source: str, batch: Batch, events: Sequence[Event], new: int) -> None:
        for each in self._observers:
            each.stored(source, batch, events, new)

    def outbox_failed(self, user: str, error: CdcError) -> None:
        for each in self._observers:
            each.outbox_failed(user, error)

    def outbox_worked(self, user: str) -> None:
        for each in self._observers:
            each.outbox_worked(user)

    def dispatching(self, active: bool) -> None:
        for each in self._observers:
            each.dispatching(active)

    def component_started(self, name: str) -> None:
        for each in self._observers:
            each.component_started(name)

    def component_failed(self, name: str, error: CdcError) -> None:
        for each in self._observers:
            each.component_failed(name, error)

    def attempted(self, finished: Sequence[tuple[Outcome, str]]) -> None:
        for each in self._observers:
            each.attempted(finished)

    def held(self, endpoints: Mapping[str, Held]) -> None:
        for each in self._observers:
            each.held(endpoints)
