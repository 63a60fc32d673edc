"""Replays that run by themselves, in the outbox in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from cdc.model.audit import Note
from cdc.model.delivery import Replay, Replayed, ReplayState
from cdc.outbox.shared import no_replay
from support.memory_outbox.audit import MemoryAudit


class MemoryReplays:
    audit: MemoryAudit

    def __init__(self) -> None:
        super().__init__()
        self._replays: dict[str, Replay] = {}

    async def add_replay(self, replay: Replay, note: Note = ()) -> None:
        self._replays[replay.id] = replay
        self.audit.note(note)

    async def replays(self, limit: int, before: str | None = None) -> list[Replay]:
        found = sorted(self._replays.values(), key=_place, reverse=True)
        if before is not None:
            last = self._replays.get(before)
            found = [each for each in found if last is not None and _place(each) < _place(last)]
        return found[:limit]

    async def find_replay(self, replay_id: str) -> Replay | None:
        return self._replays.get(replay_id)

    async def lease_replay(self, worker: str, now: datetime, until: datetime) -> Replay | None:
        free = min((each for each in self._replays.values() if each.free(worker, now)), key=_place, default=None)
        if free is None:
            return None
        self._replays[free.id] = leased = replace(free, worker=worker, leased_until=until)
        return leased

    async def advance_replay(self, replay_id: str, worker: str, step: Replayed, now: datetime, until: datetime) -> bool:
        found = self._replays.get(replay_id)
        if found is None or found.worker != worker or found.state is not ReplayState.RUNNING:
            return False
        self._replays[replay_id] = replace(
            found,
            deliveries=found.deliveries + step.deliveries,
            expunged=found.expunged + step.expunged,
            after=step.after,
            leased_until=until,
            state=ReplayState.DONE if step.after is None else ReplayState.RUNNING,
            finished_at=now if step.after is None else None,
        )
        return True

    async def end_replay(
        self, replay_id: str, state: ReplayState, error: str, now: datetime, note: Note = ()
    ) -> Replay:
        found = self._replays.get(replay_id)
        if found is None:
            raise no_replay(replay_id)
        if found.state is ReplayState.RUNNING:
            self._replays[replay_id] = replace(found, state=state, error=error, finished_at=now)
        self.audit.note(note)
        return self._replays[replay_id]


def _place(replay: Replay) -> tuple[datetime, str]:
    return replay.created_at, replay.id
