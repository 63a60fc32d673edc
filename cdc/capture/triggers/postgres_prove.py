"""Proves on a PostgreSQL database that triggers journal changes, transaction by transaction."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from cdc.capture.triggers.postgres_render import quote
from cdc.capture.triggers.postgres_state import Connection, PostgresState
from cdc.database.postgres_journal import PROBE
from cdc.model.finding import Finding, Severity
from cdc.sqlfile import load

_CHECK = "capture"
_AGAIN = "cdc uninstall-triggers; cdc install-triggers"
_CHANGES = (
    b"INSERT INTO cdc.cdc_probe VALUES (pg_backend_pid(), 1)",
    b"UPDATE cdc.cdc_probe SET n = 2 WHERE id = pg_backend_pid()",
    b"DELETE FROM cdc.cdc_probe WHERE id = pg_backend_pid()",
)


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
