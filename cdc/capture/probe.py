"""Looks at a source from outside, over a connection of its own: whether it has something that is not stored yet.

Capture may hang on its connection; its watcher must not hang with it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from yarl import URL

from cdc.model.change import Position
from cdc.model.errors import SourceError

Place = TypeVar("Place")

#: Ends of a log that are remembered: at one every few seconds, what a consumer can be behind with some precision.
_REMEMBERED = 2000
#: Seconds that a trial of another connection may take.
_TRIAL_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Backlog:
    """The changes of a source that are not stored.  ``seconds``: age of the oldest of it (0: there is nothing).
    ``transactions``: how many, of the first 10,000 changes; None where counting is not cheap.  ``problems``: why
    changes of the source are not captured as its server is set up now, a sentence each.  ``refused``: why a new
    connection as configured fails though this one is open; empty: it does not."""

    seconds: float
    transactions: int | None = None
    problems: tuple[str, ...] = ()
    refused: str = ""


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
    ``keep``: whether its connection stays open between two questions.

    With ``trying`` another connection is tried every ``try_every`` seconds, by the configuration as it is then: an old
    one outlives a changed password, and hides that no new one would succeed.  ``trying`` is held meanwhile: the probes
    of one server share it.  Where the connection is not kept, each question tries a new one."""

    def __init__(
        self, make: Callable[[], Probe], *, keep: bool, trying: asyncio.Lock | None = None, try_every: float = 55.0
    ) -> None:
        self._make = make
        self._keep = keep
        self._trying = trying if keep else None
        self._try_every = try_every
        self._next_try = 0.0
        self._trial: asyncio.Task[None] | None = None
        self._refused = ""
        self._failing = False
        self._probe: Probe | None = None

    @property
    def server(self) -> str:
        return "" if self._probe is None else self._probe.server

    async def ask(self, position: Position | None) -> Backlog | None:
        if self._probe is None or (self._failing and not self._keep):  # by other credentials perhaps
            self._probe, self._next_try = self._make(), time.monotonic() + self._try_every
        if self._trying is not None and self._trial is None and time.monotonic() >= self._next_try:
            self._next_try = time.monotonic() + self._try_every
            self._trial = asyncio.create_task(self._try_another(position, self._trying))
        try:
            answer = await self._probe.ask(position)
        except SourceError:
            self._failing = True
            raise
        finally:
            if not self._keep:
                await self._probe.close()
        self._failing = False
        return replace(answer, refused=self._refused) if answer is not None else None

    async def _try_another(self, position: Position | None, trying: asyncio.Lock) -> None:
        """Ask over another connection.  It takes the place of the present one if that fails: of a former password."""
        other: Probe | None = None
        try:
            async with trying, asyncio.timeout(_TRIAL_SECONDS):
                other = self._make()
                await other.ask(position)
        except SourceError as error:
            self._refused = str(error)
        except TimeoutError:
            self._refused = f"The database does not answer within {_TRIAL_SECONDS:g} s."
        else:
            self._refused = ""
            if self._failing:
                self._probe, other = other, self._probe
        finally:
            self._trial = None
            if other is not None:
                await other.close()

    async def close(self) -> None:
        if self._trial is not None:
            self._trial.cancel()
            await asyncio.gather(self._trial, return_exceptions=True)
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
