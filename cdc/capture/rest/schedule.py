"""The order of requests to the API: of the due ones, the longest due first.  Pure.

A comparison under way is due again as soon as it was served, so that many of them take turns, and looks for new rows
come between their pages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto

from cdc.capture.rest.resource import Resource
from cdc.model.clock import Backoff


class Kind(Enum):
    NEW = auto()
    COMPARE = auto()


@dataclass(frozen=True, slots=True)
class ScheduledRead:
    """``at``: when it is due, in seconds of a monotonic clock."""

    resource: Resource
    kind: Kind
    at: float


class _Times:
    """The times of one resource.  ``begun``: when the comparison under way was.  ``aside``: until when, after an error;
    ``failed``: that was a failure, which may be the whole API's, and no refusal."""

    def __init__(self, resource: Resource, now: float) -> None:
        self.resource = resource
        self.new = now
        self.compare = now
        self.begun: float | None = None
        self.known = False
        self.aside: float | None = None
        self.failed = False
        self.refusals = Backoff(first=300.0, most=3600.0)
        self.failures = Backoff(first=5.0, most=300.0)


class ReadSchedule:
    """``resources``: at least one.  ``now``: seconds of a monotonic clock.  ``failing``: the whole API fails; the first
    resource that answers brings back those that were put aside for failures."""

    def __init__(self, resources: Iterable[Resource], now: Callable[[], float]) -> None:
        self._now = now
        self._times = {each.table: _Times(each, now()) for each in resources}
        self.failing = False

    def next(self) -> ScheduledRead:
        return min((turn for times in self._times.values() for turn in _turns(times)), key=lambda turn: turn.at)

    def known(self, table: str) -> None:
        """Note that the table was read whole: new rows can be looked for."""
        self._times[table].known = True

    def served(self, turn: ScheduledRead, *, done: bool, soon: float | None = None) -> None:
        """``done``: nothing more is to be asked before the next interval; ``soon``: or so many seconds."""
        times, now = self._times[turn.resource.table], self._now()
        if times.failed or self.failing:
            self.failing = False
            self.bring_back()
        times.refusals.reset()
        times.failures.reset()
        times.aside = None
        if turn.kind is Kind.NEW:
            times.new = now + turn.resource.interval if done else now
            return
        begun = now if times.begun is None else times.begun
        times.begun = None if done else begun
        times.compare = max(begun + turn.resource.compare, now) if done else now
        if done and soon is not None:
            times.compare = min(times.compare, now + soon)

    def repeat(self, table: str) -> None:
        """Note that the rows read last were not stored."""
        times = self._times[table]
        times.new = times.compare = self._now()

    def put_aside(self, table: str, *, failed: bool) -> float:
        """Leave the resource out after its error; return for how many seconds.  ``failed``: it was not refused."""
        times = self._times[table]
        pause = (times.failures if failed else times.refusals).next()
        times.aside, times.failed = self._now() + pause, failed
        times.begun = None
        return pause

    def bring_back(self) -> None:
        """The resources that were put aside for failures are due."""
        for times in self._times.values():
            if times.failed:
                times.aside, times.failed = None, False

    def postpone(self, turn: ScheduledRead, seconds: float, refused: float) -> None:
        """Postpone a read that may not be made now.  ``refused``: seconds instead, if it was refused the last time:
        others come first."""
        times = self._times[turn.resource.table]
        seconds = refused if times.aside is not None and not times.failed else seconds
        if turn.kind is Kind.NEW:
            times.new = self._now() + seconds
        else:
            times.compare = self._now() + seconds

    @property
    def all_aside(self) -> bool:
        now = self._now()
        return all(times.aside is not None and times.aside > now for times in self._times.values())


def _turns(times: _Times) -> Iterable[ScheduledRead]:
    since = times.aside or 0.0
    yield ScheduledRead(times.resource, Kind.COMPARE, max(times.compare, since))
    if times.known and times.resource.numbered:
        yield ScheduledRead(times.resource, Kind.NEW, max(times.new, since))
