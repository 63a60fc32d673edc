"""The doctor's checks of a MariaDB or MySQL database."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pymysql
from pymysql.connections import Connection

from cdc.capture.triggers.mysql_plan import dialect_of, targets_of, wanted_triggers
from cdc.capture.triggers.mysql_render import shape_of
from cdc.capture.triggers.mysql_rights import TRANSACTIONS, obstacle_of, refuse
from cdc.capture.triggers.mysql_state import Instrumentation, MySQLState
from cdc.database import sqlfile
from cdc.database.mysql_connection import Flavour, rows
from cdc.database.mysql_inspect import MySQLTable
from cdc.database.mysql_journal import INSTALLATION, JOURNAL, SHAPES, VERSION, WAIT, JournalShape, Tokens
from cdc.model.column import Capture
from cdc.model.errors import InstallError
from cdc.model.finding import Finding, Severity, backlog

_INSTALL = "cdc install-triggers"
#: For a table that was not captured at the installation.
_NEW = "The rules capture it since (tables or include changed): it is not captured yet."
_INSTALL_CASCADES = "cdc install-triggers --cascades-only"
#: A cursor as earlier versions made them; see docs/upstream.md.
_CRASH = "They can crash the server when a table that they read is altered: an earlier version created them."
_CRASHING = re.compile(r"\bCURSOR FOR\b[^;]*[ (](?:OLD|NEW)\.`")


def findings_of(connection: Connection[Any], found: MySQLState, captures: Sequence[Capture]) -> list[Finding]:
    """One line a check; drift one line a table."""
    findings = [Finding("server", Severity.OK, f"{found.server.flavour} {found.server.version}")]
    if found.journal_lost:
        tables = len({trigger.table for trigger in found.own_triggers})
        detail = f"It is gone, but {tables} tables have triggers that write to it: the ERP's writes to them fail."
        return [*findings, Finding("journal", Severity.WRONG, detail, _INSTALL), *_definers(found)]
    if found.installation is None or not {JOURNAL, SHAPES, INSTALLATION} <= found.own_objects:
        return [*findings, Finding("journal", Severity.WRONG, "The journal is not installed.", _INSTALL)]
    findings += [_version(found.installation.version), _tokens(found), *_wait(found)]
    if found.installation.cascades_only:
        detail = "Only the triggers for cascades are installed, for a consumer that reads the binlog."
        findings.append(Finding("triggers", Severity.WRONG, detail, _INSTALL))
        return [*findings, *_definers(found), _backlog(connection, found)]
    if refusal := _refusal(found, captures):
        findings.append(Finding("installable", Severity.WRONG, refusal.message, refusal.hint))
    findings += (*_trigger_findings(found, captures, cascades_only=False), *_created_again(found, _INSTALL))
    findings += _definers(found)
    findings += (*_silent_cascades(found), *_registry(found))
    findings.append(_backlog(connection, found))
    return findings


def cascade_findings(connection: Connection[Any], found: MySQLState, captures: Sequence[Capture]) -> list[Finding]:
    """Return the checks of triggers that only journal cascades, for a consumer that reads the binlog."""
    triggers = _trigger_findings(found, captures, cascades_only=True)
    again = _created_again(found, _INSTALL_CASCADES)
    return [*triggers, *again, *_definers(found), _backlog(connection, found)]


def _silent_cascades(found: MySQLState) -> Iterator[Finding]:
    """MySQL 9.7.4, with or without triggers: a lock that a cascade does not get is not reported."""
    if found.native_foreign_keys == "OFF" and any(
        "CASCADE" in (key.on_delete, key.on_update) for key in found.foreign_keys
    ):
        detail = (
            "A deadlock inside ON DELETE or ON UPDATE CASCADE takes back what a transaction did before, and MySQL "
            "reports success: the ERP may lose a part of a transaction, with and without our triggers."
        )
        fix = "Start the server with innodb_native_foreign_keys = ON, then cdc install-triggers"
        yield Finding("foreign keys", Severity.WARNING, detail, fix)


def _version(version: int) -> Finding:
    if version == VERSION:
        return Finding("journal", Severity.OK, f"installed, version {version}")
    fix = "cdc uninstall-triggers; cdc install-triggers"
    return Finding("journal", Severity.WRONG, f"The journal has version {version}, this program reads {VERSION}.", fix)


def _refusal(found: MySQLState, captures: Sequence[Capture]) -> InstallError | None:
    try:
        refuse(found, captures)
    except InstallError as error:
        return error
    return obstacle_of(found)


def _tokens(found: MySQLState) -> Finding:
    """Return whether the way in which triggers know their transaction still works as the server is configured now."""
    assert found.installation is not None
    tokens = found.installation.tokens
    again = "cdc uninstall-triggers; cdc install-triggers"
    if tokens is Tokens.GTID and not found.server.binlog:
        detail = "The binlog was on at installation and is off now: every row counts as a transaction of its own."
        return Finding("transactions", Severity.WRONG, detail, f"Switch log_bin on again, or {again}")
    if tokens is Tokens.PERFORMANCE_SCHEMA and found.instrumentation is Instrumentation.EMPTY:
        detail = "The performance schema does not record transactions: every row counts as a transaction of its own."
        fix = "Set performance_schema = ON and run CALL sys.ps_setup_reset_to_default(FALSE)"
        return Finding("transactions", Severity.WRONG, detail, fix)
    if (tokens in (Tokens.PERFORMANCE_SCHEMA, Tokens.ROW)) is not (found.server.flavour is Flavour.MYSQL):
        return Finding("transactions", Severity.WRONG, "The journal was installed on another kind of server.", again)
    if tokens is Tokens.ROW_START and found.galera:
        detail = "The server joined a Galera cluster since, where transaction ids are not unique."
        return Finding("transactions", Severity.WRONG, detail, again)
    if tokens is Tokens.ROW:
        detail = "Each row counts as a transaction of its own, as accepted at installation (--row-tokens)."
        fix = f"GRANT SELECT ON {TRANSACTIONS} to the definer; cdc install-triggers --transaction-tokens"
        return Finding("transactions", Severity.WARNING, detail, fix)
    return Finding("transactions", Severity.OK, f"distinguished by {tokens}")


def _registry(found: MySQLState) -> Iterator[Finding]:
    if found.installation is not None and found.installation.tokens is Tokens.ROW_START and not found.versioned_probe:
        detail = (
            "A KILL at the wrong moment makes MariaDB refuse all commits to captured tables (error 4133), "
            "and this installation, of an earlier version, cannot end that."
        )
        yield Finding("registry", Severity.WARNING, detail, _INSTALL)


def _wait(found: MySQLState) -> Iterator[Finding]:
    if WAIT in found.own_objects:
        detail = f"Procedure {WAIT} is left from an earlier version: nothing calls it any more."
        fix = _INSTALL if found.rights.may("ALTER ROUTINE") else f"DROP PROCEDURE {WAIT}"
        yield Finding("waiting", Severity.WARNING, detail, fix)


def _trigger_findings(found: MySQLState, captures: Sequence[Capture], *, cascades_only: bool) -> Iterator[Finding]:
    """A line for each table whose triggers are not as they should be; one line when all are."""
    fix = _INSTALL_CASCADES if cascades_only else _INSTALL
    captures = [capture for capture in captures if capture.table in found.tables]
    dialect = dialect_of(found, cascades_only=cascades_only)
    wanted = wanted_triggers(found, targets_of(found, captures), dialect)
    there = {trigger.name: trigger for trigger in found.own_triggers}
    lost: dict[str, list[str]] = {}
    strays: dict[str, set[str]] = {}
    stale = set()
    for trigger in wanted:
        known = there.get(trigger.name)
        if known is None:
            lost.setdefault(trigger.table, []).append(trigger.name)
        elif known.table != trigger.table:
            strays.setdefault(trigger.table, set()).add(known.table)
        elif known.body.strip() != trigger.body.strip():
            stale.add(trigger.table)
    recorded = {capture.table for capture in found.installation.captures} if found.installation is not None else set()
    rules = {capture.table: capture for capture in captures}
    new = sorted(rules.keys() - recorded)
    compiled = {shape.table: shape for _, shape in sorted(found.shapes.items())}
    for table, names in lost.items():
        detail = _NEW if table in new else f"Missing: {', '.join(names)}."
        yield Finding(f"triggers of {table}", Severity.WRONG, detail, fix)
    for table, others in strays.items():
        detail = f"The table was swapped by RENAME: its triggers are on {', '.join(sorted(others))}."
        yield Finding(f"triggers of {table}", Severity.WRONG, detail, fix)
    crashing = _crashing(found)
    for table in sorted(stale - lost.keys() - strays.keys() | crashing):
        detail = (
            _CRASH if table in crashing else _drift(found.tables[table], rules.get(table), compiled.get(table), new)
        )
        yield Finding(f"triggers of {table}", Severity.WRONG, detail, fix)
    moved = {table for others in strays.values() for table in others}
    superfluous = sorted({t.table for t in found.own_triggers} - {t.table for t in wanted} - moved - crashing)
    for table in superfluous:
        yield Finding(f"triggers of {table}", Severity.WARNING, "No rule needs them any more.", fix)
    if not (lost or strays or stale or superfluous or crashing):
        yield Finding("triggers", Severity.OK, f"{len(wanted)} as they should be")


def _crashing(found: MySQLState) -> set[str]:
    """Return the tables whose triggers have a cursor that MariaDB may parse again and not survive."""
    mariadb = found.server.flavour is Flavour.MARIADB
    return {trigger.table for trigger in found.own_triggers if mariadb and _CRASHING.search(trigger.body)}


def _created_again(found: MySQLState, fix: str) -> Iterator[Finding]:
    for table in sorted({trigger.table for trigger in found.foreign_triggers}):
        detail = "Another program created them again (a restored dump?): the table must be read again."
        yield Finding(f"triggers of {table}", Severity.WARNING, detail, f"cdc run; with repair = false, {fix}")


def _drift(table: MySQLTable, capture: Capture | None, compiled: JournalShape | None, new: Sequence[str]) -> str:
    """Return the differences of a table's columns from those that its triggers were compiled for.  ``new``: the tables
    that the rules captured not yet then."""
    if capture is None or compiled is None:
        return "The triggers differ from what the tables that they watch need now."
    words = _differences(compiled, shape_of(table, capture))
    if not words and new:
        return f"The rules capture other tables since (now {', '.join(new)}): triggers follow foreign keys to them."
    if not words:
        return "An earlier version made the triggers, or somebody changed them."
    return f"The table changed since: {'; '.join(words)}."


def _differences(old: JournalShape, new: JournalShape) -> list[str]:
    before = {column.name: column.database_type for column in old.columns}
    after = {column.name: column.database_type for column in new.columns}
    words = [f"column {name} was added" for name in after if name not in before]
    words += [f"column {name} is gone" for name in before if name not in after]
    words += [
        f"column {name} was {before[name]}, is {after[name]}"
        for name in after
        if name in before and before[name] != after[name]
    ]
    if old.key != new.key:
        words.append(f"the primary key was ({', '.join(old.key)}), is ({', '.join(new.key)})")
    if old.secrets != new.secrets:
        words.append("its secret columns are others")
    return words


def _definers(found: MySQLState) -> Iterator[Finding]:
    """A trigger whose DEFINER is gone makes every write fail (error 1449): the worst that can happen here."""
    for definer in sorted({trigger.definer for trigger in found.own_triggers}):
        if definer in found.lost_definers:
            detail = f"Account {definer}, with whose rights the triggers run, does not exist: writes of the ERP fail."
            yield Finding("definer", Severity.WRONG, detail, _INSTALL)
        else:
            yield Finding("definer", Severity.OK, definer)


def _backlog(connection: Connection[Any], found: MySQLState) -> Finding:
    waiting = _waiting(connection, found)
    if waiting is None:
        return Finding("backlog", Severity.WARNING, "This account may not read the journal.", "Grant it SELECT on it.")
    return backlog(*waiting)


def unread_changes(connection: Connection[Any], found: MySQLState) -> int:
    """Return the changes in the journal, up to a limit; 0 where there is none, or this account may not read it."""
    waiting = _waiting(connection, found) if JOURNAL in found.own_objects else None
    return waiting[0] if waiting else 0


def _waiting(connection: Connection[Any], found: MySQLState) -> tuple[int, float, int, int] | None:
    """Return changes, age (seconds), bytes of disk and gaps; None when the journal cannot be read."""
    try:
        if found.server.flavour is Flavour.MYSQL:  # else sizes may be a day old
            rows(connection, "SET SESSION information_schema_stats_expiry = 0")
        changes, age, gaps, disk = rows(connection, sqlfile.load("mysql/queries.sql#backlog"))[0]
    except (pymysql.err.OperationalError, pymysql.err.ProgrammingError):
        return None
    return int(changes), float(age), int(disk), int(gaps)
