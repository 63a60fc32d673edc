"""Backfills, in the outbox in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from cdc.model.audit import Note
from cdc.model.backfill import Backfill, BackfillState
from cdc.model.change import BackfillStep
from cdc.outbox.shared import no_backfill
from support.memory_outbox.audit import MemoryAudit


class MemoryBackfills:
    audit: MemoryAudit

    def __init__(self) -> None:
        super().__init__()
        self._backfills: dict[str, Backfill] = {}

    async def add_backfill(self, backfill: Backfill, note: Note = ()) -> None:
        self._backfills[backfill.id] = backfill
        self.audit.note(note)

    async def backfills(self, limit: int, before: str | None = None) -> list[Backfill]:
        found = sorted(self._backfills.values(), key=_place, reverse=True)
        if before is not None:
            last = self._backfills.get(before)
            found = [each for each in found if last is not None and _place(each) < _place(last)]
        return found[:limit]

    async def find_backfill(self, backfill_id: str) -> Backfill | None:
        return self._backfills.get(backfill_id)

    async def next_backfill(self, source: str) -> Backfill | None:
        running = (
            each for each in self._backfills.values() if each.source == source and each.state is BackfillState.RUNNING
        )
        return min(running, key=_place, default=None)

    async def backfilled_sources(self) -> set[str]:
        return {each.source for each in self._backfills.values() if each.state is BackfillState.RUNNING}

    async def set_backfill(
        self, backfill_id: str, state: BackfillState, error: str, now: datetime, note: Note = ()
    ) -> Backfill:
        found = self._backfills.get(backfill_id)
        if found is None:
            raise no_backfill(backfill_id)
        if not found.state.ended:
            ended = now if state.ended else None
            self._backfills[backfill_id] = replace(found, state=state, error=error, finished_at=ended)
        self.audit.note(note)
        return self._backfills[backfill_id]

    def _advance(self, step: BackfillStep, now: datetime) -> None:
        found = self._backfills.get(step.job)
        if found is not None and not found.state.ended:
            self._backfills[step.job] = replace(
                found,
                rows=found.rows + step.rows,
                after=step.after,
                state=BackfillState.DONE if step.finished else found.state,
                finished_at=now if step.finished else None,
            )


def _place(backfill: Backfill) -> tuple[datetime, str]:
    return backfill.created_at, backfill.id
