"""The state of the process that captures and sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cdc.config import Config
from cdc.model.backfill import Backfill
from cdc.model.clock import Clock
from cdc.web.activity import ActivityMinute
from cdc.web.health import HealthLimits, reasons, state
from cdc.web.monitor import Monitor

__all__ = ["ActivityMinute", "ReportedSource", "RunningProcess"]


@dataclass(frozen=True, slots=True)
class ReportedSource:
    """``state``: ``reading``, ``standby``, ``failed`` or ``opening``.  ``lag``: seconds that the oldest change which is
    not stored has waited; None while unknown.  ``server``: engine and version, empty before it was first reached."""

    name: str
    capture: str
    server: str
    state: str
    since: datetime
    lag: float | None
    gaps: Mapping[str, int]
    error: str | None
    position: str | None


@dataclass(frozen=True, slots=True)
class RunningProcess:
    config: Config
    monitor: Monitor
    bounds: HealthLimits
    clock: Clock

    def sources(self) -> list[ReportedSource]:
        """Return the sources that this process captures."""
        now = self.clock.now()
        return [self._source(name, now) for name in self.monitor.reported.sources]

    def _source(self, name: str, now: datetime) -> ReportedSource:
        report = self.monitor.reported.sources[name]
        answers = self.monitor.ahead.get(name)
        failure = report.failing(now)
        return ReportedSource(
            name=name,
            capture=self.config.source[name].capture,
            server=self.monitor.server(name),
            state=state(self.monitor, name, now),
            since=failure.since if failure else report.open_since or report.since,
            lag=answers.last.seconds if answers is not None and answers.last is not None else None,
            gaps=dict(report.gaps),
            error=failure.error.message if failure else None,
            position=report.position,
        )

    def reasons(self) -> Sequence[str]:
        """Return why this process is not ready, in sentences."""
        return reasons(self.monitor, self.bounds, self.clock.now())

    def activity(self, minutes: int) -> Sequence[ActivityMinute]:
        """Return what was sent in each of the last minutes."""
        return self.monitor.reported.activity.last(minutes, self.clock.now())

    def progress(self) -> Mapping[str, int]:
        """Return how many ``events`` were stored and how many ``attempts`` made since the start."""
        reported = self.monitor.reported
        return {
            "events": sum(source.events for source in reported.sources.values()),
            "attempts": reported.attempts.total(),
        }

    def backfill_speed(self, backfill: Backfill) -> float | None:
        report = self.monitor.reported.sources.get(backfill.source)
        return None if report is None else report.backfill.of(backfill.id, self.clock.now())
