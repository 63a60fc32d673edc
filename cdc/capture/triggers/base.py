"""What every engine's installer offers: wanted against found, as a plan; the plan as SQL; the plan applied.

The flow is one-directional: ``inspect`` the database → ``plan`` (pure) → ``render`` (pure) → ``apply``.
Installers are synchronous: they serve a person at a terminal, and the consumer's repairs run them in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cdc.model.column import Capture, SecretPatterns
from cdc.model.errors import InstallError
from cdc.model.finding import Finding, Repaired, SurveyedTable


@dataclass(frozen=True, slots=True)
class Step:
    """One unit of work that a progress line names: all statements that bring one object (usually a table's triggers)
    to the wanted state.  ``table`` is empty for the journal itself."""

    title: str
    table: str
    statements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in the order in which they must run.  No steps: nothing to do.  ``notes``: what a DBA should know.

    ``obstacle``: what keeps the connected account from carrying the plan out; another account can run the script.
    ``refused``: of a repair, the tables that cannot be repaired, and why."""

    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()
    obstacle: InstallError | None = None
    refused: Mapping[str, InstallError] = field(default_factory=dict)


Progress = Callable[[str], None]
#: Table → what makes columns of it secret, as the rules are now: an installation may be older.
Hiding = Callable[[str], SecretPatterns]


def hide_nothing(_table: str) -> SecretPatterns:
    return SecretPatterns()


class Installer(Protocol):
    """One database's installer.  All methods connect as needed; errors are `InstallError`s with a sentence and a hint,
    `SourceUnavailable` when the database does not answer."""

    def plan_install(self, captures: Sequence[Capture]) -> Plan:
        """What is missing or different, with the obstacle that the account would meet (missing privilege, error 1419).
        Raises `InstallError` for what no account can do (no primary key, name taken), naming the tables."""
        ...

    def plan_uninstall(self) -> Plan:
        """What of ours is there: triggers first, journal last."""
        ...

    def script(self, plan: Plan) -> str:
        """The plan as a script that a DBA can run by hand with the engine's own client."""
        ...

    def apply(self, plan: Plan, progress: Progress) -> None:
        """Run it with a short lock wait and retries; when it fails half-way, what it made is taken back.  Raises the
        plan's obstacle before anything is changed."""
        ...

    def grants(self, captures: Sequence[Capture]) -> str:
        """Statements that give an installing and a consuming account exactly what they need."""
        ...

    def repair(self, tables: Sequence[str] | None = None) -> Repaired:
        """Bring these tables' triggers (all captured ones') to the wanted state again, with the captures that were
        installed, table by table; what the patterns of now make secret is hidden too.  Of a table whose triggers may
        have missed a change, a gap is noted once the new ones are in place."""
        ...

    def extend(self, captures: Sequence[Capture]) -> Sequence[str]:
        """Capture these tables beside those that are installed; the titles of the steps that this took.

        Their rows are noted to be read, since some may be older (a slot has no place for that: its source notes it).
        Raises `InstallError`."""
        ...

    def findings(self, captures: Sequence[Capture]) -> list[Finding]:
        """The doctor's checks of this database: connection, privileges, journal, each drift, DEFINER, backlog."""
        ...

    def within(self, captures: Sequence[Capture]) -> list[Capture]:
        """The captures with those columns named that patterns make secret; of tables that do not exist, as they are."""
        ...

    def survey(self) -> list[SurveyedTable]:
        """All base tables of the database, by name, but ours."""
        ...

    def existing_tables(self) -> dict[str, tuple[str, ...]]:
        """Table name → its column names, for all base tables of the database: rules are checked against it."""
        ...


class TriggerInstaller(Installer, Protocol):
    """One whose triggers write to a journal in the same database."""

    def restore(self, captures: Sequence[Capture], consumer: str) -> Repaired:
        """Create the journal again if it is missing while triggers of ours are left that write to it.  All captured
        tables are noted to be read again.  ``captures``: used where the record of what is installed is lost, too.
        ``consumer``: the account that reads the journal."""
        ...
