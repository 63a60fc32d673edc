"""The audit log: its entries, which are stored in the transaction of the change that they record, and their chain: the
hash of an entry covers the entry and the former hash, so that a change of any entry shows in the log.

With a key the hash is an HMAC: somebody with the database alone cannot compute it.  Two marks belong to the chain.  The
``head`` names the last entry, so that a cut tail shows; the ``anchor`` names the last entry that retention removed,
after which the log begins.  Each has a seal of its own.

Entries without a hash were written by a process of an earlier release beside this one; the chain passes over them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from cdc.model.event import format_time
from cdc.model.quota import Quota

#: Bytes of an audit entry's detail, as JSON.
LARGEST_DETAIL: Final = 4096
_LONGEST_WORD: Final = 200


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An entry of the audit log: ``actor`` (``user:ann``, ``token:shop``, ``cli:root``) did ``action`` (``user.add``)
    to ``subject``.  ``detail``: small, without secrets.  ``within``: limits that hold once the entry is stored, or
    neither it nor the change is.  Raises `ValueError` for what cannot be kept."""

    at: datetime
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    within: Sequence[Quota] = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        for word in (self.actor, self.action, self.subject):
            if len(word) > _LONGEST_WORD or not word.isprintable():
                raise ValueError("An entry of the audit log names things in at most 200 printable characters.")
        if len(self.detail_json().encode()) > LARGEST_DETAIL:
            raise ValueError(f"The detail of an audit entry is larger than {LARGEST_DETAIL} bytes.")

    def detail_json(self) -> str:
        return json.dumps(self.detail, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class RecordedEntry:
    """An entry as the log shows it; ``number`` grows.  ``hash``: over the entry and the former hash
    (`cdc.model.audit`); empty where an earlier release wrote it.  ``former``: that hash."""

    number: int
    entry: AuditEntry
    hash: str = ""
    former: str = ""


#: The entries that a change is stored with; empty for what the program does by itself.
Note = Sequence[AuditEntry]


#: Less than the number of any entry, also of one that somebody put in.
BEFORE_ALL: Final = -(1 << 62)


@dataclass(frozen=True, slots=True)
class ChainKey:
    """``since``: the first entry whose hash is made with the key; the ones before have a plain SHA-256."""

    secret: bytes = field(repr=False)
    since: int


@dataclass(frozen=True, slots=True)
class Mark:
    """An entry's number and hash."""

    number: int
    hash: str
    seal: str = ""


@dataclass(frozen=True, slots=True)
class AuditChain:
    """``head`` is None while no entry has a hash."""

    head: Mark | None = None
    anchor: Mark | None = None
    key: ChainKey | None = None

    def hash(self, number: int, entry: AuditEntry, former: str) -> str:
        """Return the hash of an entry that follows on one with the hash ``former`` (empty: the first)."""
        key = self.key if self.key is not None and number >= self.key.since else None
        return _digest(key, former, canonical(number, entry))

    def mark(self, name: str, number: int, hash_: str) -> Mark:
        """Return the mark ``head`` or ``anchor`` with its seal."""
        return Mark(number, hash_, _digest(self.key, name, f"{number} {hash_}"))

    def trusted(self) -> AuditChain:
        """Return the chain without marks whose seal does not fit: nothing is built on them, so that what somebody
        changed still shows after further entries."""
        head = self.head if self.head is not None and self.fits("head", self.head) else None
        anchor = self.anchor if self.anchor is not None and self.fits("anchor", self.anchor) else None
        return AuditChain(head, anchor, self.key)

    def fits(self, name: str, mark: Mark) -> bool:
        """Return whether a mark has its seal."""
        expected = self.mark(name, mark.number, mark.hash).seal
        return hmac.compare_digest(expected.encode(), mark.seal.encode())


def canonical(number: int, entry: AuditEntry) -> str:
    """Return the text that is hashed: a JSON list, the same for an entry in a database and in an export."""
    fields = [number, format_time(entry.at), entry.actor, entry.action, entry.subject, entry.detail]
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def _digest(key: ChainKey | None, *parts: str) -> str:
    text = "\n".join(parts).encode()
    return hashlib.sha256(text).hexdigest() if key is None else hmac.digest(key.secret, text, "sha256").hex()


class ChainCheck:
    """Checks a log, oldest entry first.  ``broken``: a sentence about the first broken entry; empty: none."""

    def __init__(self, chain: AuditChain) -> None:
        self.broken = ""
        self.entries = 0
        self.first = 0
        self.without_hash: list[int] = []
        anchor = chain.anchor or Mark(0, "")
        self.last, self._hash = anchor.number, anchor.hash
        self.chain = chain
        if chain.anchor is not None and not chain.fits("anchor", chain.anchor):
            self.broken = f"The anchor after entry {anchor.number}, which replaces the removed entries, was changed."

    def add(self, each: RecordedEntry) -> None:
        self.entries += 1
        self.first = self.first or each.number
        if not self.broken and each.number <= self.last:
            self.broken = f"Entry {each.number} was put in before the first one."
        if not self.broken and each.number != self.last + 1:
            self.broken = f"Entry {self.last + 1} is missing: {each.number} is the next one."
        self.last = each.number
        if not each.hash:
            self.without_hash.append(each.number)
            return
        expected = self.chain.hash(each.number, each.entry, self._hash)
        if not self.broken and not hmac.compare_digest(expected.encode(), each.hash.encode()):
            self.broken = f"Entry {each.number} ({each.entry.at:%Y-%m-%d %H:%M:%S} UTC) was changed, put in or moved."
        self._hash = each.hash

    def end(self, chain: AuditChain) -> None:
        """Compare the last entry with the head.  ``chain``: as it is now."""
        head = chain.head or Mark(0, "")
        if self.broken:
            return
        if chain.head is not None and not chain.fits("head", head):
            self.broken = f"The head of the log, which names its last entry ({head.number}), was changed."
        elif self.last < head.number:
            self.broken = f"Entry {self.last + 1} is missing: the log ended with {head.number}."
        elif self._hash != head.hash:
            self.broken = f"Entry {self.last} is the last one, and the head of the log names another ({head.number})."
