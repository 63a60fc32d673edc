"""The doctor's checks of a PostgreSQL database, and the proof that its triggers journal changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg

from cdc.capture.triggers import postgres_plan
from cdc.capture.triggers.postgres_refusal import refuse_table, unfit_server
from cdc.capture.triggers.postgres_render import quote
from cdc.capture.triggers.postgres_state import Connection, PostgresState, Waiting
from cdc.database.postgres_capture import JOURNAL_VERSION, PROBE
from cdc.model.column import Capture
from cdc.model.errors import InstallError
from cdc.model.finding import Finding, Severity, backlog
from cdc.sqlfile import load

INSTALL = "cdc install-triggers"
_CHECK = "capture"
_AGAIN = "cdc uninstall-triggers; cdc install-triggers"
_CHANGES = (
    b"INSERT INTO cdc.cdc_probe VALUES (pg_backend_pid(), 1)",
    b"UPDATE cdc.cdc_probe SET n = 2 WHERE id = pg_backend_pid()",
    b"DELETE FROM cdc.cdc_probe WHERE id = pg_backend_pid()",
)


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


def capture_findings(connection: Connection, found: PostgresState) -> Iterator[Finding]:
    """The proof as the doctor does it, with the account that it has."""
    if found.version is None or found.journal_lost:
        return
    if PROBE not in found.functions:
        detail = "Not proved: the table cdc.cdc_probe is missing."
        yield Finding(_CHECK, Severity.WARNING, detail, "cdc install-triggers; then what cdc grants prints")
    else:
        yield prove(connection)


def prove(connection: Connection) -> Finding:
    """Write the probe, read what the triggers made of it, and roll both back."""
    try:
        if denied := _denied(connection):
            return denied
        recorded = [_transaction(connection) for _ in range(2)]
    except psycopg.Error as error:
        if connection.broken:
            raise
        reason = error.diag.message_primary or type(error).__name__
        detail = f"A write to cdc.cdc_probe fails, and so do those to captured tables: {reason}."
        return Finding(_CHECK, Severity.WRONG, detail, _AGAIN)
    for operations, _ in recorded:
        if operations != ["I", "U", "D"]:
            detail = f"3 changes of cdc.cdc_probe left {len(operations)} rows in the journal."
            return Finding(_CHECK, Severity.WRONG, detail, _AGAIN)
    if len({token for _, tokens in recorded for token in tokens}) != len(recorded):
        return Finding(_CHECK, Severity.WRONG, "The triggers do not keep transactions together.", _AGAIN)
    return Finding(_CHECK, Severity.OK, f"proved by {len(recorded)} transactions: each kept together")


def _denied(connection: Connection) -> Finding | None:
    row = connection.execute(load("postgres/trigger/queries.sql#may_prove").encode()).fetchone()
    missing = row[0] if row else []
    if not missing:
        return None
    role = connection.info.user
    detail = f"Not proved: role {role} lacks {', '.join(missing)}."
    return Finding(_CHECK, Severity.WARNING, detail, "; ".join(f"GRANT {each} TO {quote(role)}" for each in missing))


def _transaction(connection: Connection) -> tuple[list[str], list[str]]:
    """Change the probe and take it back; the operations and the tokens of what was journaled."""
    with connection.transaction(force_rollback=True):
        for change in _CHANGES:
            connection.execute(change)
        rows = connection.execute(load("postgres/trigger/queries.sql#recorded").encode()).fetchall()
    return [operation for operation, _ in rows], [token for _, token in rows]
