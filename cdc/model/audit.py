"""An entry of the audit log, and what a change carries: its entries are stored with it, or neither is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

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
    (`cdc.model.audit_chain`); empty where an earlier release wrote it.  ``former``: that hash."""

    number: int
    entry: AuditEntry
    hash: str = ""
    former: str = ""


#: The entries that a change is stored with; empty for what the program does by itself.
Note = Sequence[AuditEntry]
