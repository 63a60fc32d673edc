"""Every check of a source."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cdc.capture.move.position import captured, log_part
from cdc.config import SourceConfig
from cdc.config.outbox import OutboxConfig
from cdc.model.column import Capture
from cdc.model.errors import CdcError
from cdc.model.finding import Finding, Inspector, Severity
from cdc.model.position import Position
from cdc.runtime.capture import absent, checked, readable
from cdc.runtime.installers import (
    binlog_inspector,
    inspector,
    installer,
    installer_of,
    mysql_installer,
    of_postgres,
)


def examine(source: SourceConfig, outbox: OutboxConfig, position: Position | None = None) -> list[Finding]:
    """Every check of one source.  What stops the examination is a finding like the others.

    ``position``: where its consumer stands, if that is known."""
    try:
        if source.capture == "rest":
            from cdc.runtime.rest import rest_findings

            return asyncio.run(rest_findings(source, outbox))
        position = captured(position)
        inspect = inspector(source)
        wanted, notes = checked(source, inspect)
        findings = [_tables(source, wanted)]
        findings += [Finding("rules", Severity.WARNING, note) for note in notes]
        findings += _two_ways(source, position, wanted)
        if source.capture == "binlog":
            return findings + binlog_inspector(source).findings(readable(source), log_part(position))
        return findings + inspect.findings(wanted) + _reading(source, inspect) + _position(source, log_part(position))
    except CdcError as error:
        return [Finding("source", Severity.WRONG, error.message, error.hint)]


def _position(source: SourceConfig, position: Position | None) -> list[Finding]:
    """Where the consumer is in PostgreSQL's log."""
    if source.capture != "logical":
        return []
    from cdc.capture.logical.inspector import position_findings

    return asyncio.run(position_findings(of_postgres(source), position))


def _tables(source: SourceConfig, wanted: Sequence[Capture]) -> Finding:
    missing = absent(source, wanted)
    if not wanted:
        detail = f"The database has none of the {len(missing)} tables that the rules name."
        return Finding(
            "rules", Severity.WARNING, detail, "Finish FacturaScripts' installation, or correct the connection."
        )
    detail = f"{len(wanted)} tables to capture"
    return Finding("rules", Severity.OK, f"{detail}; not in the database: {', '.join(missing)}" if missing else detail)


def _reading(source: SourceConfig, inspect: Inspector) -> list[Finding]:
    """Whether the consumer's own account, if it is not the installing one, may read what events need."""
    if source.admin_connection() == source.connection():
        return []
    there = inspect.existing_tables()
    needed = [capture.table for capture in readable(source) if capture.table in there]
    if not (hidden := installer_of(source.connection()).unreadable(needed)):
        return [Finding("table privileges", Severity.OK, "the consumer's account may read every captured table")]
    detail = f"The consumer's account may not read {', '.join(hidden)}."
    mend = "cdc grants prints what it needs: print and run it again after each change of tables or include"
    return [Finding("table privileges", Severity.WRONG, detail, mend)]


def _two_ways(source: SourceConfig, position: Position | None, wanted: Sequence[Capture]) -> list[Finding]:
    """What is to be said where one way to capture follows another, or helps it."""
    by_log = source.capture != "triggers"
    if position is not None and by_log == (log_part(position) is None):
        detail = f"cdc run moves to {source.capture} when it is started next, and loses nothing."
        return [Finding("moving", Severity.WARNING, detail, "cdc run")]
    if source.capture == "binlog" and (helping := mysql_installer(source).cascade_findings(wanted)) is not None:
        return helping
    if by_log and installer(source).plan_uninstall().steps:
        detail = f"Triggers are installed although the log is read ({source.capture}): every write pays for them."
        return [Finding("triggers", Severity.WARNING, detail, "cdc uninstall-triggers")]
    return []
