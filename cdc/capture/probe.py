"""Looks at a source from outside, over a connection of its own: whether it has something that is not stored yet.

Capture may hang on its connection; its watcher must not hang with it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from yarl import URL

from cdc.model.change import Position

Place = TypeVar("Place")

#: Ends of a log that are remembered: at one every few seconds, what a consumer can be behind with some precision.
_REMEMBERED = 2000


@dataclass(frozen=True, slots=True)
class Backlog:
    """The changes of a source that are not stored.  ``seconds``: age of the oldest of it (0: there is nothing).
    ``transactions``: how many, of the first 10,000 changes; None where counting is not cheap.  ``problems``: why
    changes of the source are not captured as its server is set up now, a sentence each."""

    seconds: float
    transactions: int | None = None
    problems: tuple[str, ...] = ()


class Probe(Protocol):
    @property
    def server(self) -> str:
        """Engine and version, for people: ``PostgreSQL 18.4``; empty before it was first reached."""
        ...

    async def ask(self, position: Position | None, /) -> Backlog | None:
        """Return the backlog after ``position``, the last that the outbox holds; None when it is not known.  Raises
        `SourceError`; the next call connects again."""
        ...

    async def close(self) -> None:
        """Safe to call twice and in any state."""
        ...


class LateProbe:
    """A `Probe` that is made when it is first asked.  ``make`` raises a `SourceError` when it cannot be made.
    ``keep``: whether its connection stays open between two questions."""

    def __init__(self, make: Callable[[], Probe], *, keep: bool) -> None:
        self._make = make
        self._keep = keep
        self._probe: Probe | None = None

    @property
    def server(self) -> str:
        return "" if self._probe is None else self._probe.server

    async def ask(self, position: Position | None) -> Backlog | None:
        if self._probe is None:
            self._probe = self._make()
        try:
            return await self._probe.ask(position)
        finally:
            if not self._keep:
                await self._probe.close()

    async def close(self) -> None:
        if self._probe is not None:
            await self._probe.close()


class Ends(Generic[Place]):
    """The ends of a log as they were observed, to know since when it has been longer than the stored part.

    Entries older than the first look count from then on.  ``holds``: whether a place of the log covers another.
    """

    def __init__(self, holds: Callable[[Place, Place], bool], now: Callable[[], float] = time.monotonic) -> None:
        self._holds = holds
        self._now = now
        self._seen: deque[tuple[float, Place]] = deque()

    def ahead(self, end: Place, stored: Place) -> Backlog:
        """Return the backlog between two places of the log.  ``end``: of the log now; ``stored``: up to where
        everything is in the outbox."""
        if self._holds(stored, end):
            self._seen.clear()  # whatever was seen, of another server perhaps
            return Backlog(0.0)
        if not self._seen or self._seen[-1][1] != end:
            self._seen.append((self._now(), end))
        while self._seen and self._holds(stored, self._seen[0][1]):
            self._seen.popleft()
        if len(self._seen) > _REMEMBERED:  # the oldest gives the lag; of the others every second one suffices
            self._seen = deque(each for number, each in enumerate(self._seen) if not number % 2)
        return Backlog(max(self._now() - self._seen[0][0], 0.0))


class RestProbe:
    """A `cdc.capture.probe.Probe` that asks nothing: each question would take from the budget of requests."""

    def __init__(self, url: str) -> None:
        self._host = URL(url).host or ""

    @property
    def server(self) -> str:
        return f"FacturaScripts API v3 at {self._host}"

    async def ask(self, _position: Position | None, /) -> Backlog | None:
        return None

    async def close(self) -> None:
        pass
