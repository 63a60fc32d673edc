"""The doctor's checks of a PostgreSQL database, from what was found.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cdc.capture.triggers import postgres_plan
from cdc.capture.triggers.postgres_refusal import refuse_table, unfit_server
from cdc.capture.triggers.postgres_state import PostgresState, Waiting
from cdc.database.postgres_journal import JOURNAL_VERSION, PROBE
from cdc.model.column import Capture
from cdc.model.errors import InstallError
from cdc.model.finding import Finding, Severity, backlog

INSTALL = "cdc install-triggers"


def findings(found: PostgresState, captures: Sequence[Capture], waiting: Waiting | None) -> list[Finding]:
    """``waiting``: None without a journal."""
    checks = [_server(found), _journal(found)]
    if waiting is not None:
        checks += [*_tables(found, captures), _consumer(waiting)]
        checks.append(backlog(waiting.changes, waiting.age, waiting.disk))
    return checks


def _server(found: PostgresState) -> Finding:
    sound = f"PostgreSQL {found.server.version // 10000}, schema {found.schema}"
    return unfit_server(found.server) or Finding("server", Severity.OK, sound)


def _journal(found: PostgresState) -> Finding:
    if found.journal_lost:
        tables = len(found.functions.keys() - {PROBE})
        detail = f"it is gone, but {tables} tables have triggers that write to it: nothing is recorded"
        return Finding("journal", Severity.WRONG, detail, INSTALL)
    if found.version == JOURNAL_VERSION:
        return Finding("journal", Severity.OK, f"version {found.version}, {len(found.captures)} tables captured")
    if found.version is not None:
        detail = f"version {found.version}, not {JOURNAL_VERSION}"
        return Finding("journal", Severity.WRONG, detail, f"cdc uninstall-triggers, then {INSTALL}")
    if found.server.present:
        detail = f"role {found.server.role} may not read the schema cdc"
        return Finding("journal", Severity.WRONG, detail, "cdc grants prints what it needs")
    return Finding("journal", Severity.WRONG, "not installed", INSTALL)


def _tables(found: PostgresState, captures: Sequence[Capture]) -> Iterator[Finding]:
    wrong = False
    for capture in captures:
        phrases = _table(found, capture)
        if phrases:
            wrong = True
            yield Finding(f"table {capture.table}", Severity.WRONG, "; ".join(phrases), INSTALL)
    wanted = {capture.table for capture in captures}
    for table in sorted(found.captures.keys() - wanted):
        wrong = True
        yield Finding(f"table {table}", Severity.WARNING, "captured, but no rule needs it", INSTALL)
    if not wrong:
        yield Finding("triggers", Severity.OK, f"as installed on {len(captures)} tables")


def _table(found: PostgresState, capture: Capture) -> list[str]:
    installed = found.captures.get(capture.table)
    if capture.table not in found.tables:
        return ["the table does not exist"]
    if installed is None:
        return ["the rules capture it since the installation (tables or include changed): it is not captured yet"]
    try:
        refuse_table(found, capture.table)
    except InstallError as error:
        return [error.message]
    changed = [] if installed.secrets == capture.secrets else ["its list of secret columns is not as configured"]
    return changed or postgres_plan.drift(found, capture)


def _consumer(waiting: Waiting) -> Finding:
    if waiting.consumer:
        return Finding("consumer", Severity.OK, "at work")
    return Finding("consumer", Severity.WARNING, "no consumer reads this database", "cdc run")
