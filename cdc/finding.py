"""What `cdc doctor` finds: one line a check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from cdc.column import Capture


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


class Inspector(Protocol):
    """What every way of capture can tell people of a database; errors as of the installers and sources."""

    def existing_tables(self) -> dict[str, tuple[str, ...]]:
        """Table name → its column names, for all base tables of the database: rules are checked against it."""
        ...

    def findings(self, captures: Sequence[Capture]) -> list[Finding]:
        """The doctor's checks."""
        ...

    def grants(self, captures: Sequence[Capture]) -> str:
        """Statements that give the accounts exactly what they need."""
        ...
