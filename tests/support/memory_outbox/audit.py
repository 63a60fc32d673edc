"""The audit log in memory, which the outbox and access share."""

from __future__ import annotations

from cdc.model.audit import AuditEntry, Note, RecordedEntry


class MemoryAudit:
    def __init__(self) -> None:
        self.entries: list[RecordedEntry] = []

    def append(self, entry: AuditEntry) -> int:
        number = self.entries[-1].number + 1 if self.entries else 1
        self.entries.append(RecordedEntry(number, entry))
        return number

    def note(self, note: Note) -> None:
        for entry in note:
            self.append(entry)
