"""How fast a backfill goes, by what of it was stored lately."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from typing import Final

from cdc.model.change import BackfillStep

#: Of so long it is told; of less than the other it is not known yet.
WINDOW: Final = timedelta(seconds=30)
LEAST: Final = timedelta(seconds=1)


class Speed:
    """Of the one that a source goes on with."""

    def __init__(self) -> None:
        self._job = ""
        self._steps: deque[tuple[datetime, int]] = deque()

    def stored(self, step: BackfillStep, now: datetime) -> None:
        if step.job != self._job:
            self._job = step.job
            self._steps.clear()
        self._steps.append((now, step.rows))
        self._forget(now)

    def of(self, job: str, now: datetime) -> float | None:
        """Rows a second; None when nothing of this one was stored lately, or too little to tell."""
        self._forget(now)
        if job != self._job or not self._steps:
            return None
        since = self._steps[0][0]
        if now - since < LEAST:
            return None
        rows = sum(rows for _, rows in self._steps) - self._steps[0][1]  # the first one took its time before
        return rows / (now - since).total_seconds()

    def _forget(self, now: datetime) -> None:
        while self._steps and now - self._steps[0][0] > WINDOW:
            self._steps.popleft()
