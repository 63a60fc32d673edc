"""The tables and columns to capture of a database (those that the rules need and the database has), and a capture mode
that suits it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from cdc.capture.triggers.base import Plan
from cdc.config import SourceConfig
from cdc.config.rules import catalogue
from cdc.database.mysql_journal import Tokens
from cdc.model.column import Capture
from cdc.model.connection import Engine
from cdc.model.errors import CdcError, ConfigError, InstallError
from cdc.model.finding import Inspector, Severity
from cdc.runtime.installers import (
    account_choice,
    binlog_inspector,
    granting_inspector,
    inspector,
    installer,
    installer_of,
    mysql_installer,
    slot_installer,
)


def captures(source: SourceConfig) -> list[Capture]:
    """Return the captures of this database: what the rules need and the database has.

    Raises `ConfigError` when a rule of the user's names a table or column that is not there."""
    return checked(source, inspector(source))


def absent(source: SourceConfig, wanted: Sequence[Capture]) -> list[str]:
    """Return the tables that the rules name and that the database does not have (yet), given those it has."""
    there = {capture.table for capture in wanted}
    return sorted(set(catalogue(source).captured_tables()) - there)


def plan_install(source: SourceConfig, plan_of: Callable[[Sequence[Capture]], Plan]) -> Plan:
    """Return the plan for what the database has, with a note on tables that it does not have."""
    wanted = captures(source)
    plan = plan_of(wanted)
    missing = absent(source, wanted)
    if not missing:
        return plan
    names = ", ".join(missing) if wanted else "none of FacturaScripts' tables is there"
    note = f"{len(missing)} tables that the rules name do not exist ({names}); {_captured_later(source)}"
    return replace(plan, notes=(*plan.notes, note))


def plan_special(source: SourceConfig, *, cascades_only: bool, row_tokens: bool | None) -> Plan:
    """Return the plan of `install-triggers` with an option that only MariaDB or MySQL has.

    ``cascades_only``: just what journals the changes that foreign keys make, for a log that does not hold them.
    ``row_tokens``: None is as installed."""
    if source.admin_connection().engine is not Engine.POSTGRESQL:
        tokens = None if row_tokens is None else Tokens.ROW if row_tokens else Tokens.PERFORMANCE_SCHEMA
        plan_of = partial(mysql_installer(source).plan_install, tokens=tokens, cascades_only=cascades_only)
        return plan_of(captures(source)) if cascades_only else plan_install(source, plan_of)
    if row_tokens is not None:
        raise InstallError(
            "Triggers on PostgreSQL know their transaction without any right.", "Leave out --row-tokens."
        )
    return Plan((), ("PostgreSQL's log holds what foreign keys change: no trigger is needed for that.",))


def _captured_later(source: SourceConfig) -> str:
    if source.repair:
        return "cdc run captures them within seconds of their creation."
    return "run this command again after their creation, since repair = false."


def readable(source: SourceConfig, inspect: Inspector | None = None) -> list[Capture]:
    """Return what the consumer's account must be able to read: the captures, and the tables that mapping looks up.

    ``inspect``: what reads the database; None: the source's own inspector."""
    return with_lookups(source, checked(source, inspect or inspector(source)))


def grants(source: SourceConfig, printed: set[tuple[object, str]], *, shared: bool = False) -> str:
    """Return the SQL for the source's accounts.  ``printed``: see `cdc.model.connection.AccountChoice`."""
    inspect = granting_inspector(source)
    choice = account_choice(source, shared=shared, printed=printed)
    return inspect.grants(readable(source, inspect), choice).rstrip() + "\n"


def unreadable_tables(source: SourceConfig) -> list[str]:
    """Return the tables that the consumer's account must be able to read, and may not."""
    there = inspector(source).existing_tables()
    tables = [capture.table for capture in readable(source) if capture.table in there]
    return installer_of(source.connection()).unreadable(tables)


def with_lookups(source: SourceConfig, wanted: Sequence[Capture]) -> list[Capture]:
    rules = catalogue(source)
    known = {capture.table for capture in wanted}
    return [*wanted, *(rules.capture_of(table) for table in rules.lookups() if table not in known)]


class CapturePlan(NamedTuple):
    """``captures``: what the rules need and the database has.  ``notes``: on packaged rules that the database has no
    table for, and on tables that a pattern means and that cannot be captured.  ``missing``: errors of rules of the
    user's that name a table or column that is not there."""

    captures: list[Capture]
    notes: list[str]
    missing: list[ConfigError]


def checked(source: SourceConfig, inspect: Inspector) -> list[Capture]:
    """Return the captures.  Raises `ConfigError` when a rule of the user's names a table or column that is not
    there."""
    plan = capture_plan(source, inspect)
    if plan.missing:
        raise plan.missing[0]
    return plan.captures


def capture_plan(source: SourceConfig, inspect: Inspector) -> CapturePlan:
    rules = catalogue(source)
    existing = inspect.existing_tables()
    notes, missing = rules.check(existing)
    captures = rules.captures(existing)
    if rules.patterns.patterns:
        obstacles = {table.name: table.obstacle for table in inspect.survey(counted=False) if table.obstacle}
        left_out = [table for table in obstacles if rules.matched(table) is not None]
        notes += [
            f"Table {table} is not captured, though a pattern means it: {obstacles[table]}." for table in left_out
        ]
        captures = [capture for capture in captures if capture.table not in left_out]
    return CapturePlan(captures, notes, missing)


@dataclass(frozen=True, slots=True)
class CaptureRoute:
    """``capture``: as `[source.…] capture` names it.  ``problem``: why it cannot be had; empty: it can.  ``fix``: the
    statements or settings that it lacks, a line each.  ``statements``: those that an administrator can run."""

    capture: str
    problem: str = ""
    fix: str = ""
    statements: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recommendation:
    """``route``: the one to take; where it has a problem, there is none that has not.  ``other``: the other one."""

    route: CaptureRoute
    why: str
    other: CaptureRoute


def recommend(source: SourceConfig) -> Recommendation:
    """Looks at the database and changes nothing.  Raises `CdcError` when it does not answer."""
    triggers, log = _triggers(source), _log(source)
    if not triggers.problem:
        why = "it needs no server setting, nothing expires, and its account may be limited to its own tables"
        return Recommendation(triggers, why, log)
    if not log.problem:
        return Recommendation(
            log, "triggers cannot be installed, and the server's log holds all that is needed", triggers
        )
    return Recommendation(triggers, "neither is possible yet, and this one needs less repair", log)


def _triggers(source: SourceConfig) -> CaptureRoute:
    wanted = captures(source.model_copy(update={"capture": "triggers"}))
    try:
        obstacle: CdcError | None = installer(source).plan_install(wanted).obstacle
    except CdcError as error:
        obstacle = error
    return _refused("triggers", obstacle) if obstacle else CaptureRoute("triggers")


def _log(source: SourceConfig) -> CaptureRoute:
    postgres = source.connection().engine is Engine.POSTGRESQL
    route = CaptureRoute("logical" if postgres else "binlog")
    by_log = source.model_copy(update={"capture": route.capture})
    try:
        if postgres:
            slot_installer(by_log).plan_install(captures(by_log))
            return route
        found = binlog_inspector(by_log).findings(readable(by_log))
    except CdcError as error:
        return _refused(route.capture, error)
    wrong = [finding for finding in found if finding.severity is Severity.WRONG]
    fixes = dict.fromkeys(finding.fix for finding in wrong)
    statements = [f"{statement};" for fix in fixes if (statement := fix.partition(";")[0]).startswith(_STATEMENTS)]
    return CaptureRoute(
        route.capture, " ".join(finding.detail for finding in wrong), "\n".join(fixes), tuple(statements)
    )


_STATEMENTS = ("GRANT ", "SET GLOBAL ", "ALTER ")


def _refused(capture: str, error: CdcError) -> CaptureRoute:
    statements = error.statements if isinstance(error, InstallError) else ()
    plain = [line for line in error.hint.splitlines() if line.startswith(_STATEMENTS) and line.endswith(";")]
    return CaptureRoute(capture, error.message, error.hint, statements or tuple(plain))
