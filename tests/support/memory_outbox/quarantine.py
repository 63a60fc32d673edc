"""Changes in quarantine, in the outbox in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from cdc.model.audit import Note
from cdc.model.change import Quarantined
from support.memory_outbox.audit import MemoryAudit


class MemoryQuarantine:
    audit: MemoryAudit

    def __init__(self) -> None:
        super().__init__()
        self._quarantine: dict[str, Quarantined] = {}

    def _quarantine_all(self, source: str, changes: Sequence[Quarantined], now: datetime) -> None:
        for each in changes:
            self._quarantine.setdefault(each.id, replace(each, source=source, found_at=now))

    async def quarantined(self, limit: int, before: str | None = None, source: str | None = None) -> list[Quarantined]:
        found = sorted(self._quarantine.values(), key=_place, reverse=True)
        if before is not None:
            last = self._quarantine.get(before)
            found = [each for each in found if last is not None and _place(each) < _place(last)]
        return [each for each in found if source in (None, each.source)][:limit]

    async def find_quarantined(self, quarantined_id: str) -> Quarantined | None:
        return self._quarantine.get(quarantined_id)

    async def count_quarantined(self) -> dict[str, int]:
        return dict(Counter(each.source for each in self._quarantine.values()))

    def note_reread(self, quarantined_id: str, backfill_id: str) -> None:
        if quarantined_id in self._quarantine:
            found = self._quarantine[quarantined_id]
            self._quarantine[quarantined_id] = replace(found, backfill=backfill_id)

    async def remove_quarantined(self, quarantined_id: str, note: Note = ()) -> bool:
        self.audit.note(note)
        return self._quarantine.pop(quarantined_id, None) is not None

    async def reseal(self, limit: int) -> bool:
        return False  # nothing outlives the process

    async def reseal_pending(self) -> bool:
        return False

    async def forget_quarantined(self, before: datetime) -> int:
        old = [each.id for each in self._quarantine.values() if each.found_at < before]
        for each in old:
            del self._quarantine[each]
        return len(old)


def _place(change: Quarantined) -> tuple[datetime, str]:
    return change.found_at, change.id
