"""The doctor's checks of a MariaDB or MySQL database."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pymysql
from pymysql.connections import Connection

from cdc.capture.triggers.mysql_plan import Proof, dialect_of, planned_triggers, proof, targets_of
from cdc.capture.triggers.mysql_render import shape_of
from cdc.capture.triggers.mysql_state import TRANSACTIONS, Instrumentation, MySQLState, obstacle_of, refuse
from cdc.database import sqlfile
from cdc.database.mysql_connection import (
    NO_PRIVILEGE,
    Flavour,
    account_literal,
    code_of,
    connect,
    errors_of,
    open_registry,
    quote,
    rows,
    server_of,
)
from cdc.database.mysql_inspect import APPLIER, MySQLTable, cascades_of_replica
from cdc.database.mysql_journal import (
    INSTALLATION,
    JOURNAL,
    PROBE,
    PROBE_SHAPE,
    SHAPES,
    VERSION,
    WAIT,
    JournalShape,
    Tokens,
)
from cdc.model.column import Capture
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import InstallError
from cdc.model.finding import Finding, Severity, backlog

_INSTALL = "cdc install-triggers"
_REINSTALL = "cdc uninstall-triggers; cdc install-triggers"
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
    if (version := found.installation.version) == VERSION:
        findings.append(Finding("journal", Severity.OK, f"installed, version {version}"))
    else:
        detail = f"The journal has version {version}, this program reads {VERSION}."
        findings.append(Finding("journal", Severity.WRONG, detail, _REINSTALL))
    findings.append(_tokens(found))
    if WAIT in found.own_objects:
        detail = f"Procedure {WAIT} is left from an earlier version: nothing calls it any more."
        fix = _INSTALL if found.rights.may("ALTER ROUTINE") else f"DROP PROCEDURE {WAIT}"
        findings.append(Finding("waiting", Severity.WARNING, detail, fix))
    if found.installation.cascades_only:
        detail = "Only the triggers for cascades are installed, for a consumer that reads the binlog."
        findings.append(Finding("triggers", Severity.WRONG, detail, _INSTALL))
        return [*findings, *_definers(found), _backlog(connection, found)]
    try:
        refuse(found, captures)
        refusal = obstacle_of(found)
    except InstallError as error:
        refusal = error
    if refusal:
        findings.append(Finding("installable", Severity.WRONG, refusal.message, refusal.hint))
    findings += _trigger_findings(found, captures, cascades_only=False)
    findings += (*_definers(found), *_silent_cascades(found))
    if found.installation.tokens is Tokens.ROW_START and not found.versioned_probe:
        detail = (
            "A KILL at the wrong moment makes MariaDB refuse all commits to captured tables (error 4133), "
            "and this installation, of an earlier version, cannot end that."
        )
        findings.append(Finding("registry", Severity.WARNING, detail, _INSTALL))
    findings.append(_backlog(connection, found))
    return findings


def cascade_findings(connection: Connection[Any], found: MySQLState, captures: Sequence[Capture]) -> list[Finding]:
    """Return the checks of triggers that only journal cascades, for a consumer that reads the binlog."""
    triggers = _trigger_findings(found, captures, cascades_only=True)
    return [*triggers, *_definers(found), _backlog(connection, found)]


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


def _tokens(found: MySQLState) -> Finding:
    """Return whether the way in which triggers know their transaction still works as the server is configured now."""
    assert found.installation is not None
    tokens = found.installation.tokens
    if tokens is Tokens.GTID and not found.server.binlog:
        detail = "The binlog was on at installation and is off now: every row counts as a transaction of its own."
        return Finding("transactions", Severity.WRONG, detail, f"Switch log_bin on again, or {_REINSTALL}")
    if tokens is Tokens.PERFORMANCE_SCHEMA and found.instrumentation is Instrumentation.EMPTY:
        detail = "The performance schema does not record transactions: every row counts as a transaction of its own."
        fix = "Set performance_schema = ON and run CALL sys.ps_setup_reset_to_default(FALSE)"
        return Finding("transactions", Severity.WRONG, detail, fix)
    if (tokens in (Tokens.PERFORMANCE_SCHEMA, Tokens.ROW)) is not (found.server.flavour is Flavour.MYSQL):
        detail = "The journal was installed on another kind of server."
        return Finding("transactions", Severity.WRONG, detail, _REINSTALL)
    if tokens is Tokens.ROW_START and found.galera:
        detail = "The server joined a Galera cluster since, where transaction ids are not unique."
        return Finding("transactions", Severity.WRONG, detail, _REINSTALL)
    if tokens is Tokens.ROW:
        detail = "Each row counts as a transaction of its own, as accepted at installation (--row-tokens)."
        fix = f"GRANT SELECT ON {TRANSACTIONS} to the definer; cdc install-triggers --transaction-tokens"
        return Finding("transactions", Severity.WARNING, detail, fix)
    return Finding("transactions", Severity.OK, f"distinguished by {tokens}")


def _trigger_findings(found: MySQLState, captures: Sequence[Capture], *, cascades_only: bool) -> Iterator[Finding]:
    """A line for each table whose triggers are not as they should be; one line when all are."""
    fix = _INSTALL_CASCADES if cascades_only else _INSTALL
    captures = [capture for capture in captures if capture.table in found.tables]
    dialect = dialect_of(found, cascades_only=cascades_only)
    wanted = planned_triggers(found, targets_of(found, captures), dialect)
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
    # tables whose triggers have a cursor that MariaDB may parse again and not survive
    mariadb = found.server.flavour is Flavour.MARIADB
    crashing = {trigger.table for trigger in found.own_triggers if mariadb and _CRASHING.search(trigger.body)}
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
    detail = "Another program created them again (a restored dump?): the table must be read again."
    again = f"cdc run; with repair = false, {fix}"
    foreign = sorted({trigger.table for trigger in found.foreign_triggers})
    yield from (Finding(f"triggers of {table}", Severity.WARNING, detail, again) for table in foreign)


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
    waiting = read_backlog(connection, found)
    if waiting is None:
        return Finding("backlog", Severity.WARNING, "This account may not read the journal.", "Grant it SELECT on it.")
    return backlog(*waiting)


def read_backlog(connection: Connection[Any], found: MySQLState) -> tuple[int, float, int, int] | None:
    """Return the journal's changes (counted up to a limit), the age of the oldest in seconds, bytes of disk and gaps;
    None when the journal cannot be read."""
    try:
        if found.server.flavour is Flavour.MYSQL:  # else sizes may be a day old
            rows(connection, "SET SESSION information_schema_stats_expiry = 0")
        changes, age, gaps, disk = rows(connection, sqlfile.load("mysql/queries.sql#backlog"))[0]
    except (pymysql.err.OperationalError, pymysql.err.ProgrammingError):
        return None
    return int(changes), float(age), int(disk), int(gaps)


_CHECK = "capture"
_NO_SUCH_USER = 1449
#: Change nothing and run no trigger, but take the privileges of a proof.
_NEEDED = (
    "INSERT INTO `cdc_probe` SELECT 0, 0 FROM DUAL WHERE FALSE",
    "UPDATE `cdc_probe` FORCE INDEX (PRIMARY) SET `n` = 0 WHERE `id` = 0 AND FALSE",
    "DELETE FROM `cdc_probe` WHERE FALSE",
    "SELECT `id` FROM `cdc_journal` FORCE INDEX (PRIMARY) LIMIT 0",
    "DELETE FROM `cdc_journal` WHERE FALSE",
)
_CHANGES = (
    "INSERT INTO `cdc_probe` VALUES (CONNECTION_ID(), 1)",
    "UPDATE `cdc_probe` FORCE INDEX (PRIMARY) SET `n` = 2 WHERE `id` = CONNECTION_ID()",
    "DELETE FROM `cdc_probe` WHERE `id` = CONNECTION_ID()",
)
_LAST = "SELECT COALESCE(MAX(`id`), 0) FROM `cdc_journal` FORCE INDEX (PRIMARY)"
_RECORDED = (
    "SELECT `id`, `txn`, `gap` FROM `cdc_journal` FORCE INDEX (PRIMARY) WHERE `id` > %s AND `shape` = %s ORDER BY `id`"
)
#: Where the proof commits: @@last_gtid moves with nothing else; a commit also needs the registry of transactions.
_COMMITTED = (Tokens.GTID, Tokens.ROW_START)
#: Journaled changes of the probe: id, token, gap.
Recorded = list[tuple[Any, ...]]


def prove(info: ConnectionInfo, step: Proof) -> Finding:
    """Write the probe and read what the triggers made of it; nobody else ever sees either."""
    tokens: set[str] = set()
    done, sessions = 0, 1
    while done < sessions:
        connection = connect(info)
        try:
            with errors_of(info):
                rows(connection, "SET SESSION innodb_lock_wait_timeout = 5, lock_wait_timeout = 5")
                if server_of(connection).flavour is Flavour.MARIADB:
                    rows(connection, "SET ROLE NONE")  # triggers run with the rights of the account, without its roles
                    sessions = 2
                else:
                    sessions = int(rows(connection, "SELECT @@table_open_cache_instances")[0][0]) + 1
                if denied := _denied(connection):
                    return denied
                if step.tokens is Tokens.ROW_START:
                    open_registry(connection, info.database)
                for _ in range(2):
                    recorded = _transaction(connection, step)
                    if failure := _judge(recorded, tokens, step):
                        return failure
                    tokens |= {str(token) for _, token, _ in recorded}
        except pymysql.err.MySQLError as error:
            code, said = code_of(error), error.args[-1]
            detail = f"A write to {PROBE} fails, and so do those to captured tables (error {code}: {said})."
            if code in NO_PRIVILEGE or code == _NO_SUCH_USER:
                remedy = f"Give {step.definer}, as which the triggers run, what cdc grants prints; roles do not count"
                return Finding(_CHECK, Severity.WRONG, detail, remedy)
            return Finding(_CHECK, Severity.WRONG, f"Not proved: error {code}: {said}.", "cdc doctor again")
        finally:
            connection.close()
        done += 1
    how = "each row by itself" if step.tokens is Tokens.ROW else "each transaction kept together"
    return Finding(_CHECK, Severity.OK, f"proved by {2 * done} transactions on {done} connections: {how}")


def _denied(connection: Connection[Any]) -> Finding | None:
    """Return what the connected account may not do by rights of its own."""
    try:
        for sql in _NEEDED:
            rows(connection, sql)
    except pymysql.err.OperationalError as error:
        if code_of(error) not in NO_PRIVILEGE:
            raise
        account, schema = rows(connection, "SELECT CURRENT_USER(), DATABASE()")[0]
        detail = f"Not proved: the account {account} may not write {PROBE} and read {JOURNAL} by rights of its own"
        grants = [
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON {quote(schema)}.{quote(PROBE)}",
            f"GRANT SELECT, DELETE ON {quote(schema)}.{quote(JOURNAL)}",
        ]
        if server_of(connection).flavour is Flavour.MYSQL:
            grants.append(f"GRANT SELECT ON {APPLIER}")
        return Finding(
            _CHECK,
            Severity.WARNING,
            f"{detail} (error {code_of(error)}: {error.args[-1]}).",
            "; ".join(f"{grant} TO {account_literal(account)}" for grant in grants),
        )
    return None


def _transaction(connection: Connection[Any], step: Proof) -> Recorded:
    """Change the probe, take back the change and what was journaled of it, and return that: (id, token, gap)."""
    rows(connection, "BEGIN")
    last = rows(connection, _LAST)[0][0]
    for sql in _CHANGES:
        rows(connection, sql)
    recorded = rows(connection, _RECORDED, (last, PROBE_SHAPE))
    if step.tokens not in _COMMITTED or step.cascades_only:
        rows(connection, "ROLLBACK")
        return recorded
    for number, _, _ in recorded:
        rows(connection, "DELETE FROM `cdc_journal` WHERE `id` = %s", (number,))
    rows(connection, "COMMIT")
    return recorded


def _judge(recorded: Recorded, earlier: set[str], step: Proof) -> Finding | None:
    found = {str(token) for _, token, _ in recorded}
    if len(recorded) != len(_CHANGES):
        detail = f"{len(_CHANGES)} changes of {PROBE} left {len(recorded)} rows in the journal."
        return Finding(_CHECK, Severity.WRONG, detail, "cdc install-triggers")
    if any(gap for _, _, gap in recorded):
        return _wrong(step, f"The triggers, which run as {step.definer}, cannot record changes: each becomes a gap.")
    if step.tokens is Tokens.ROW or step.cascades_only:
        return None
    if len(found) > 1:
        return _wrong(step, "The triggers take one transaction for several.")
    if found & earlier:
        return _wrong(step, "The triggers take several transactions for one.")
    return None


def _wrong(step: Proof, detail: str) -> Finding:
    remedies = {
        Tokens.PERFORMANCE_SCHEMA: f"GRANT SELECT ON {TRANSACTIONS} TO {account_literal(step.definer)}; and, where "
        "transactions are not recorded, performance_schema = ON and CALL sys.ps_setup_reset_to_default(FALSE)",
        Tokens.GTID: "Switch log_bin on, and let the binlog hold this database (binlog_do_db, binlog_ignore_db)",
    }
    return Finding(_CHECK, Severity.WRONG, detail, remedies.get(step.tokens, "cdc install-triggers"))


def capture_findings(info: ConnectionInfo, found: MySQLState) -> list[Finding]:
    """The proof as the doctor does it, with the account that it has."""
    if found.installation is None or found.journal_lost:
        return []
    if PROBE not in found.own_objects:
        detail = f"Not proved: the account {found.rights.account} finds no table {PROBE}, or may not see it."
        return [Finding(_CHECK, Severity.WARNING, detail, "cdc install-triggers; then what cdc grants prints")]
    definers = {trigger.definer for trigger in found.probe_triggers} or {"their definer"}
    others = {trigger.definer for trigger in found.own_triggers} - definers
    there = found.installation
    step = proof(there.tokens, cascades_only=there.cascades_only, definer=", ".join(sorted(definers)))
    unproved = [
        Finding(_CHECK, Severity.WARNING, f"Not proved for triggers that run as {definer}.", "cdc install-triggers")
        for definer in sorted(others)
    ]
    proved = prove(info, step)
    replica = found.replica
    if replica is not None and (replica.severity is Severity.WRONG or proved.severity is Severity.OK):
        proved = cascades_of_replica(_CHECK) if there.cascades_only and found.replication.receives else replica
    return [proved, *unproved]
