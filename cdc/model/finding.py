"""Findings of `cdc doctor`: one line a check."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from cdc.model.column import Capture
from cdc.model.connection import AccountChoice
from cdc.model.errors import InstallError


class Severity(StrEnum):
    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """A result of `cdc doctor`.  ``fix``: the command or statement that fixes it; empty when it is OK.  ``reason``: the
    words of the receiver that does not accept; empty elsewhere."""

    check: str
    severity: Severity
    detail: str
    fix: str = ""
    reason: str = ""


#: The checks of one table each, and how many tables a line names.
_OF_TABLE: Final = re.compile(r"(triggers of|table) (\S+)\Z")
_NAMED: Final = 5
#: Words of a sentence that differ between findings of one cause: times, counts, places of a log, paths.
FIGURES: Final = re.compile(r"\S*[\d/]\S*")


def grouped(findings: Iterable[Finding]) -> list[Finding]:
    """Put findings that differ by their table only into one: ``triggers of clientes, … and 37 other tables``."""
    groups: dict[Finding, list[str]] = {}
    for each in findings:
        about = _OF_TABLE.match(each.check)
        alike = groups.setdefault(replace(each, check=about[1]) if about else each, [])
        alike += [about[2]] if about else []
    found = []
    for each, tables in groups.items():
        few = tables if len(tables) <= _NAMED else tables[: _NAMED - 1]
        others = f" and {len(tables) - len(few)} other tables" if len(tables) > len(few) else ""
        found.append(replace(each, check=f"{each.check} {', '.join(few)}{others}") if tables else each)
    return found


class Cause(NamedTuple):
    """``finding``: the first of ``total``.  ``kind``, ``names``: of what they are about, such as sources."""

    kind: str
    names: list[str]
    total: int
    finding: Finding


def by_cause(findings: Iterable[tuple[str, Finding]]) -> list[Cause]:
    """Put findings with the same cause into one: they may differ by the name of what they are about (``source acme``),
    by table and by figures.  Worst first, then the most frequent.  Those that are OK are one for each check."""
    groups: dict[tuple[str, ...], list[tuple[str, Finding]]] = defaultdict(list)
    for about, each in findings:
        kind, _, name = about.partition(" ")
        if each.severity is Severity.OK:
            groups[kind, each.severity, _OF_TABLE.sub(r"\1", each.check)].append((name, each))
            continue
        of_table = _OF_TABLE.match(each.check)
        own = (name, of_table[2] if of_table else "")
        texts = (FIGURES.sub("", _nameless(text, *own)) for text in (each.detail, each.fix))
        groups[kind, each.severity, of_table[1] if of_table else each.check, *texts].append((name, each))
    worst = (Severity.WRONG, Severity.WARNING, Severity.OK)
    ranked = sorted(groups.items(), key=lambda group: (worst.index(Severity(group[0][1])), -len(group[1])))
    return [_one_of(kind, group) for (kind, *_), group in ranked]


def _nameless(text: str, *names: str) -> str:
    for name in names:
        if name and name in text:
            text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", "NAME", text)
    return text


def _one_of(kind: str, group: Sequence[tuple[str, Finding]]) -> Cause:
    names = list(dict.fromkeys(name for name, _ in group if name))
    _, first = group[0]
    tables = {of_table[2] for _, each in group if (of_table := _OF_TABLE.match(each.check))}
    if len(tables) > 1:
        check = _OF_TABLE.sub(r"\1", first.check)
        first = replace(first, check=f"{check} {named(sorted(tables))}")
    return Cause(kind, names, len(group), replace(first, fix=_nameless(first.fix, names[0])) if names[1:] else first)


def named(tables: Sequence[str]) -> str:
    """Return the names of tables, the first of many."""
    if len(tables) <= _NAMED:
        return ", ".join(tables)
    return f"{', '.join(tables[: _NAMED - 1])} … ({len(tables)})"


#: Seconds after which a waiting change means that nobody reads, or not fast enough.
STALE = 60.0
#: Waiting changes, and bytes, of which somebody should know however new they are.
MANY, MUCH = 100_000, 1 << 30


def backlog(changes: int, age: float, disk: int, gaps: int = 0) -> Finding:
    """Return the check of what waits in a journal.  ``changes``: counted up to `MANY` and one more.  ``age``: seconds
    since the oldest.  ``disk``: bytes that the journal takes."""
    count = f"more than {MANY:,}" if changes > MANY else f"{changes:,}"
    detail = f"{count} changes wait, the oldest for {span(age)}; the journal takes {size(disk)} of disk"
    if gaps:
        detail += f"; {gaps} are gaps"
    if not changes:
        detail = "0 changes wait"
    if changes and (age > STALE or changes > MANY or disk > MUCH):
        return Finding("backlog", Severity.WARNING, detail, "cdc run; where it runs, read its log")
    if gaps:
        return Finding("backlog", Severity.WARNING, detail, "cdc run (repairs and re-reads)")
    return Finding("backlog", Severity.OK, detail)


def size(count: int) -> str:
    """Bytes for people."""
    for power, unit in ((30, "GB"), (20, "MB"), (10, "kB")):
        if count >= 1 << power:
            return f"{count / (1 << power):.1f} {unit}"
    return f"{count} bytes"


def span(seconds: float) -> str:
    """A duration for people: ``45 s``, ``12 min``, ``5 h``, ``3 days``."""
    for unit, length, most in (("s", 1, 120), ("min", 60, 7_200), ("h", 3_600, 172_800)):
        if seconds < most:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


@dataclass(frozen=True, slots=True)
class SurveyedTable:
    """``rows``: about; None while nobody has counted.  ``obstacle``: why it cannot be captured; empty when it can.
    ``installed``: whether what captures it is in place."""

    name: str
    rows: int | None
    obstacle: str
    installed: bool


class DescribedTable(NamedTuple):
    """A table as `cdc table list` shows it.

    ``rows``: an estimate; None before the server has one.  ``captured``: a rule names it and it can be captured.
    ``events``: the beginning of its events' names.  ``why``: the reason why it is captured, or is not.  ``fix``: the
    command that captures it.  ``model``: FacturaScripts' class; empty for a table of another program.  ``hidden``: its
    secret columns."""

    name: str
    rows: int | None
    captured: bool
    events: str
    why: str
    fix: str
    model: str
    hidden: tuple[str, ...]
    unnamed: bool = False


#: The obstacles.
NO_KEY = "it has no primary key"
NOT_INNODB = "it is not stored in InnoDB"


class Inspector(Protocol):
    """The reports of every capture mode on a database; errors as of the installers and sources."""

    def existing_tables(self) -> dict[str, tuple[str, ...]]:
        """Table name → its column names, for all base tables of the database: rules are checked against it."""
        ...

    def within(self, captures: Sequence[Capture]) -> list[Capture]:
        """The captures with those columns named that patterns make secret; of tables that do not exist, as they are."""
        ...

    def survey(self, *, counted: bool) -> list[SurveyedTable]:
        """All base tables of the database, by name, but ours.  ``counted``: with their rows, for which MariaDB opens
        each table and parses its triggers."""
        ...

    def findings(self, captures: Sequence[Capture]) -> list[Finding]:
        """The doctor's checks."""
        ...

    def grants(self, captures: Sequence[Capture], choice: AccountChoice) -> str:
        """Statements that give the accounts exactly what they need."""
        ...


@dataclass(frozen=True, slots=True)
class Repaired:
    """The result of a repair: the titles of its steps, and the tables that it failed for, which harms no other
    table."""

    done: tuple[str, ...] = ()
    failed: Mapping[str, InstallError] = field(default_factory=dict)
