"""The state of the process that captures and sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import nlargest
from typing import Final

from cdc.capture.base import PositionPart, position_parts
from cdc.capture.probe import Backlog
from cdc.config import Config
from cdc.model.backfill import Backfill
from cdc.model.change import Position
from cdc.model.clock import Clock
from cdc.model.delivery import Outcome
from cdc.model.errors import LimitReached
from cdc.web.health import HealthLimits, reasons, refusal, stall, state, warnings
from cdc.web.monitor import Answers, Monitor

#: Refusals that are remembered, and for how long the overview shows one.
_REFUSED: Final = 100
_LATELY: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class ReportedSource:
    """``state``: of `cdc.web.health.STATES`.  ``warning``: a danger that does not stop it yet.  ``lag``: seconds that
    the oldest change which is not stored has waited; None while unknown, with ``last_lag`` and ``unknown_since``, if it
    was ever known.  ``lags``: of each of the last 60 minutes.  ``server``: engine and version, empty before it was
    first reached."""

    name: str
    capture: str
    server: str
    state: str
    since: datetime
    lag: float | None
    gaps: Mapping[str, int]
    error: str | None
    warning: str | None
    position: Position | None
    last_lag: float | None
    unknown_since: datetime | None
    lags: Sequence[float | None]

    @property
    def position_parts(self) -> Sequence[PositionPart]:
        return () if self.position is None else position_parts(self.position)


@dataclass(frozen=True, slots=True)
class RunningProcess:
    config: Config
    monitor: Monitor
    bounds: HealthLimits
    clock: Clock

    def fetched(self, finished: Sequence[tuple[Outcome, str]]) -> None:
        """Count what programs fetched from here, for the metrics; it says nothing of this process' dispatch."""
        self.monitor.reported.count_attempts(finished)

    def refused(self, error: LimitReached) -> None:
        """Count a refusal, for the metrics, and keep its message for the overview."""
        reported = self.monitor.reported
        reported.refusals[error.limit] += 1
        reported.refused.pop(error.message, None)
        reported.refused[error.message] = error, self.clock.now()
        if len(reported.refused) > _REFUSED:
            del reported.refused[next(iter(reported.refused))]

    def refused_lately(self) -> list[LimitReached]:
        """Return the refusals of the last hour, the newest first."""
        since = self.clock.now() - _LATELY
        return [error for error, at in reversed(self.monitor.reported.refused.values()) if at >= since]

    def sources(self) -> list[str]:
        """Return the names of the sources that this process captures."""
        return list(self.monitor.reported.sources)

    def fits(self, name: str, text: str, state_wanted: str) -> bool:
        """Return whether a source's name or server has this text, in any case, and whether it is in this state; empty
        ones do not narrow."""
        words = f"{name}\n{self.monitor.server(name)}".lower()
        return text.lower() in words and state_wanted in ("", state(self.monitor, name, self.bounds, self.clock.now()))

    def slowest(self, names: Sequence[str], most: int) -> list[str]:
        """Return the sources that an overview shows of many: failed ones first, then those with the longest lag."""

        def place(name: str) -> tuple[bool, float]:
            answers = self.monitor.ahead.get(name)
            lag = answers.last.seconds if answers is not None and answers.last is not None else None
            return state(self.monitor, name, self.bounds, self.clock.now()) in ("failed", "stalled"), lag or 0.0

        return list(names) if len(names) <= most else nlargest(most, names, key=place)

    def source(self, name: str) -> ReportedSource:
        now, report = self.clock.now(), self.monitor.reported.sources[name]
        answers = self.monitor.ahead.get(name)
        failure = report.failing(now)
        last = answers.last.seconds if answers is not None and answers.last is not None else None
        stalled = None if self.monitor.standby(name) or failure else stall(self.monitor, name, self.bounds, now)
        since = failure.since if failure else stalled.since if stalled else report.open_since or report.since
        why = failure.error.message if failure else stalled.why if stalled and report.open_since else None
        unknown_since = None if answers is None else self._unknown_since(name, answers, now)
        return ReportedSource(
            name=name,
            capture=self.config.source[name].capture,
            server=self.monitor.server(name),
            state=state(self.monitor, name, self.bounds, now),
            since=since,
            lag=last if unknown_since is None else None,
            last_lag=last,
            unknown_since=unknown_since,
            lags=self.monitor.reported.lags.last(name, now),
            gaps=dict(report.gaps),
            error=self.monitor.blocked(name) or why,
            warning=refusal(self.monitor, name) or None,
            position=report.position,
        )

    def _unknown_since(self, name: str, answers: Answers[Backlog | None], now: datetime) -> datetime | None:
        """Return since when the source's database has not answered; None: it answers."""
        if answers.failure is not None or now - answers.answered_at > self.monitor.asked_twice(name):
            return answers.answered_at
        return None

    def reasons(self) -> Sequence[str]:
        """Return why this process is not ready, in sentences."""
        return reasons(self.monitor, self.bounds, self.clock.now())

    def warnings(self) -> Sequence[str]:
        """Return dangers that do not stop this process, in sentences."""
        return warnings(self.monitor, self.bounds)

    def progress(self) -> Mapping[str, int]:
        """Return how many ``events`` were stored and how many ``attempts`` made since the start."""
        reported = self.monitor.reported
        return {
            "events": sum(source.events for source in reported.sources.values()),
            "attempts": reported.attempts.total(),
        }

    def backfill_speed(self, backfill: Backfill) -> float | None:
        report = self.monitor.reported.sources.get(backfill.source)
        return None if report is None else report.backfill.rows_per_second(backfill.id, self.clock.now())
