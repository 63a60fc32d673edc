"""Proves on a MariaDB or MySQL database that triggers journal changes, transaction by transaction, with a table of ours
that has the triggers of a captured one: the probe.

The probe is written on fresh connections, one after the other: MySQL gives each its copy of a table from one of several
caches, and a trigger that works in one copy need not work in another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pymysql
from pymysql.connections import Connection

from cdc.capture.triggers.base import Step
from cdc.capture.triggers.mysql_render import CascadeTarget, Dialect, row_triggers, shape_of, statement
from cdc.capture.triggers.mysql_rights import TRANSACTIONS
from cdc.capture.triggers.mysql_state import MySQLState
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
from cdc.database.mysql_journal import JOURNAL, PROBE, PROBE_SHAPE, Tokens
from cdc.database.mysql_types import MySQLColumn
from cdc.model.column import Capture
from cdc.model.connection import ConnectionInfo
from cdc.model.finding import Finding, Severity

_TABLE = MySQLTable(
    PROBE, "InnoDB", (MySQLColumn("id", "bigint", "bigint unsigned"), MySQLColumn("n", "int", "int unsigned")), ("id",)
)
_TARGET = CascadeTarget(_TABLE, shape_of(_TABLE, Capture(PROBE)), PROBE_SHAPE)
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
_DELETE = "DELETE FROM `cdc_journal` WHERE `id` = %s"
#: Where the proof commits: @@last_gtid moves with nothing else; a commit also needs the registry of transactions.
_COMMITTED = (Tokens.GTID, Tokens.ROW_START)
Recorded = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Proof(Step):
    """A step without statements: changes of the probe must be journaled as these triggers should.

    ``definer``: the account that they run as."""

    tokens: Tokens
    cascades_only: bool
    definer: str


def probe_steps(found: MySQLState, dialect: Dialect) -> list[Step]:
    """The probe made again, unless it is as it should be."""
    wanted = row_triggers(_TARGET, dialect)
    there = {trigger.name: trigger.body.strip() for trigger in found.probe_triggers}
    lost = any(trigger.definer in found.lost_definers for trigger in found.probe_triggers)
    versioned = dialect.tokens is Tokens.ROW_START
    if (
        there == {trigger.name: trigger.body.strip() for trigger in wanted}
        and not lost
        and found.versioned_probe is versioned
    ):
        return []
    drop = [f"DROP TABLE {quote(PROBE)}"] if PROBE in found.own_objects else []
    tables = ("probe_row_start", "probe_row") if versioned else ("probe",)
    made = (statement(f"mysql/tables.sql#{name}") for name in tables)
    statements = (*drop, *made, *(trigger.statement for trigger in wanted))
    return [Step("create the probe", PROBE, statements)]


def proof(tokens: Tokens, *, cascades_only: bool, definer: str) -> Proof:
    return Proof("prove that changes are captured", PROBE, (), tokens, cascades_only, definer)


def prove(info: ConnectionInfo, step: Proof) -> Finding:
    """Write the probe and read what the triggers made of it; nobody else ever sees either."""
    tokens: set[str] = set()
    done, wanted = 0, 1
    while done < wanted:
        connection = connect(info)
        try:
            with errors_of(info):
                wanted = _prepare(connection)
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
            return _failed(error, step)
        finally:
            connection.close()
        done += 1
    kept = "each row by itself" if step.tokens is Tokens.ROW else "each transaction kept together"
    return Finding(_CHECK, Severity.OK, f"proved by {2 * done} transactions on {done} connections: {kept}")


def _prepare(connection: Connection[Any]) -> int:
    """Set up the session; the number of connections that a proof takes."""
    rows(connection, "SET SESSION innodb_lock_wait_timeout = 5, lock_wait_timeout = 5")
    if server_of(connection).flavour is Flavour.MARIADB:
        rows(connection, "SET ROLE NONE")  # triggers run with the rights of the account, without its roles
        return 2
    return int(rows(connection, "SELECT @@table_open_cache_instances")[0][0]) + 1


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
        return Finding(
            _CHECK,
            Severity.WARNING,
            f"{detail} (error {code_of(error)}: {error.args[-1]}).",
            "; ".join(f"{grant} TO {account_literal(account)}" for grant in _grants(connection, quote(schema))),
        )
    return None


def _grants(connection: Connection[Any], schema: str) -> list[str]:
    """Return the grants that a proof takes, as GRANT statements without their end."""
    mysql = server_of(connection).flavour is Flavour.MYSQL
    return [
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.{quote(PROBE)}",
        f"GRANT SELECT, DELETE ON {schema}.{quote(JOURNAL)}",
        *([f"GRANT SELECT ON {APPLIER}"] if mysql else []),
    ]


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
        rows(connection, _DELETE, (number,))
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


def _failed(error: pymysql.err.MySQLError, step: Proof) -> Finding:
    code, said = code_of(error), error.args[-1]
    detail = f"A write to {PROBE} fails, and so do those to captured tables (error {code}: {said})."
    if code in NO_PRIVILEGE or code == _NO_SUCH_USER:
        remedy = f"Give {step.definer}, as which the triggers run, what cdc grants prints; roles do not count"
        return Finding(_CHECK, Severity.WRONG, detail, remedy)
    return Finding(_CHECK, Severity.WRONG, f"Not proved: error {code}: {said}.", "cdc doctor again")


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
