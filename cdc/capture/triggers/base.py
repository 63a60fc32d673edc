"""The skeleton of every installer: inspect the database → plan (pure) → render the SQL (pure) → apply it.

Installers are synchronous: they serve a person at a terminal, and the consumer's repairs run them in a thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from cdc.model.column import Capture, SecretPatterns
from cdc.model.connection import AccountChoice
from cdc.model.errors import InstallError
from cdc.model.finding import MANY, Finding, Repaired, SurveyedTable


def refuse_all(*checks: Callable[[], None]) -> None:
    """Call checks that raise `InstallError`; raise one error for all that did."""
    errors = []
    for check in checks:
        try:
            check()
        except InstallError as error:
            errors.append(error)
    if refused := InstallError.of_all(errors):
        raise refused


@dataclass(frozen=True, slots=True)
class Step:
    """One unit of work that a progress line names: all statements that bring one object (usually a table's triggers)
    to the wanted state.  ``table`` is empty for the journal itself.  ``lost``: an installed table has none of its
    triggers any more.  ``independent``: it may run at the same time as other such steps next to it."""

    title: str
    table: str
    statements: tuple[str, ...]
    lost: bool = field(default=False, kw_only=True)
    independent: bool = field(default=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in the order in which they must run.  No steps: nothing to do.  ``notes``: what a DBA should know.

    ``obstacle``: what keeps the connected account from carrying the plan out; another account can run the script.
    ``refused``: of a repair, the tables that cannot be repaired, and why."""

    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()
    obstacle: InstallError | None = None
    refused: Mapping[str, InstallError] = field(default_factory=dict)


def unread_notes(changes: int) -> tuple[str, ...]:
    """Return the note of a plan that drops a journal with unread changes, which were counted up to `MANY`."""
    if not changes:
        return ()
    count = f"More than {MANY:,}" if changes > MANY else f"{changes:,}"
    have = "1 change in the journal has" if changes == 1 else f"{count} changes in the journal have"
    return (f"{have} not been read and will be lost.",)


Progress = Callable[[str], None]
#: Table → what makes columns of it secret, as the rules are now: an installation may be older.
Hiding = Callable[[str], SecretPatterns]


def hide_nothing(_table: str) -> SecretPatterns:
    return SecretPatterns()


class InspectedTable(Protocol):
    """A table with the names of all its columns, and of those of its primary key."""

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def key(self) -> Sequence[str]: ...


class Inspected(Protocol):
    """The state of a database as an installer found it."""

    @property
    def tables(self) -> Mapping[str, InspectedTable]: ...


def within(tables: Mapping[str, InspectedTable], captures: Iterable[Capture]) -> list[Capture]:
    """Return the captures with their secret columns named; those of tables that do not exist as they are."""
    return [c if (table := tables.get(c.table)) is None else c.within(table.names, table.key) for c in captures]


C = TypeVar("C")
S = TypeVar("S", bound=Inspected)


class Installer(ABC, Generic[C, S]):
    """One database's installer.  All methods connect as needed; errors are `InstallError`s with a sentence and a hint,
    `SourceUnavailable` when the database does not answer."""

    @abstractmethod
    def _session(self) -> AbstractContextManager[C]: ...

    @abstractmethod
    def _inspect(self, connection: C) -> S: ...

    @contextmanager
    def _inspected(self) -> Iterator[tuple[C, S]]:
        with self._session() as connection:
            yield connection, self._inspect(connection)

    @abstractmethod
    def plan_install(self, captures: Sequence[Capture]) -> Plan:
        """Return the steps for what is missing or different, with the obstacle that the account would meet (missing
        privilege, error 1419).  Raises `InstallError` for what no account can do (no primary key, name taken), naming
        the tables."""

    @abstractmethod
    def plan_uninstall(self) -> Plan:
        """Return the steps that remove our objects: triggers first, journal last."""

    @abstractmethod
    def script(self, plan: Plan) -> str:
        """Return the plan as a script that a DBA can run by hand with the engine's own client."""

    def apply(self, plan: Plan, progress: Progress) -> None:
        """Run a plan with a short lock wait and retries; when it fails half-way, what it made is taken back.  Raises
        the plan's obstacle before anything is changed."""
        with self._session() as connection:
            self._apply(connection, plan, progress)

    @abstractmethod
    def _apply(self, connection: C, plan: Plan, progress: Progress) -> None: ...

    @abstractmethod
    def grants(self, captures: Sequence[Capture], choice: AccountChoice) -> str:
        """Return the statements that give an installing and a consuming account exactly what they need."""

    @abstractmethod
    def repair(self, tables: Sequence[str] | None = None) -> Repaired:
        """Bring these tables' triggers (all captured ones') to the wanted state again, with the captures that were
        installed, table by table; what the patterns of now make secret is hidden too.  Of a table whose triggers may
        have missed a change, a gap is noted once the new ones are in place."""

    @abstractmethod
    def extend(self, captures: Sequence[Capture]) -> Sequence[str]:
        """Capture these tables beside those that are installed; return the titles of the steps that this took.

        Their rows are noted to be read, since some may be older (a slot has no place for that: its source notes it).
        Raises `InstallError`."""

    @abstractmethod
    def findings(self, captures: Sequence[Capture]) -> list[Finding]:
        """Return the doctor's checks of this database: connection, privileges, journal, each drift, DEFINER,
        backlog."""

    def within(self, captures: Sequence[Capture]) -> list[Capture]:
        """Return the captures with those columns named that patterns make secret; those of tables that do not exist as
        they are."""
        with self._inspected() as (_, found):
            return within(found.tables, captures)

    @abstractmethod
    def survey(self, *, counted: bool) -> list[SurveyedTable]:
        """Return all base tables of the database, by name, but ours; see `cdc.model.finding.Inspector`."""

    @abstractmethod
    def existing_tables(self) -> dict[str, tuple[str, ...]]:
        """Return the column names of all base tables of the database, by table: rules are checked against them."""


AnyInstaller = Installer[Any, Any]
