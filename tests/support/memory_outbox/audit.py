"""The audit log in memory, which the outbox and access share."""

from __future__ import annotations

import json
from dataclasses import replace

from cdc.model.audit import AuditChain, AuditEntry, Mark, Note, RecordedEntry


class MemoryAudit:
    def __init__(self) -> None:
        self.entries: list[RecordedEntry] = []
        self.chain = AuditChain()

    def append(self, entry: AuditEntry) -> int:
        head = self.chain.head or Mark(0, "")
        number, stored = head.number + 1, replace(entry, detail=json.loads(entry.detail_json()))
        hash_ = self.chain.hash(number, stored, head.hash)
        self.entries.append(RecordedEntry(number, stored, hash_, head.hash))
        self.chain = replace(self.chain, head=self.chain.mark("head", number, hash_))
        return number

    def forget(self, old: int) -> None:
        """Remove so many of the oldest."""
        if old:
            last = self.entries[old - 1]
            self.chain = replace(self.chain, anchor=self.chain.mark("anchor", last.number, last.hash))
            del self.entries[:old]

    def note(self, note: Note) -> None:
        for entry in note:
            self.append(entry)
