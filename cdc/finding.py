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


@dataclass(frozen=True, slots=True)
class SurveyedTable:
    """``rows``: about; None while nobody has counted.  ``obstacle``: why it cannot be captured; empty when it can.
    ``installed``: whether what captures it is in place."""

    name: str
    rows: int | None
    obstacle: str
    installed: bool


#: The obstacles.
NO_KEY, NOT_INNODB = "it has no primary key", "it is not stored in InnoDB"


class Inspector(Protocol):
    """What every way of capture can tell people of a database; errors as of the installers and sources."""

    def existing_tables(self) -> dict[str, tuple[str, ...]]:
        """Table name → its column names, for all base tables of the database: rules are checked against it."""
        ...

    def survey(self) -> list[SurveyedTable]:
        """All base tables of the database, by name, but ours."""
        ...

    def findings(self, captures: Sequence[Capture]) -> list[Finding]:
        """The doctor's checks."""
        ...

    def grants(self, captures: Sequence[Capture]) -> str:
        """Statements that give the accounts exactly what they need."""
        ...
