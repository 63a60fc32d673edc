"""What `cdc doctor` finds: one line a check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `cdc doctor`. ``mend``: the command or statement that mends it (empty when OK)."""

    check: str
    severity: Severity
    detail: str
    mend: str = ""
