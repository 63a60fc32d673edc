"""The trigger installer of PostgreSQL.

Each step is a transaction that locks one table of the ERP at most: no deadlock with the ERP is possible, and nobody
waits behind us for longer than one lock timeout.  When a step fails, what the steps before it made is taken back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import psycopg
from psycopg import errors

from cdc.capture.triggers import postgres_findings, postgres_plan
from cdc.capture.triggers.base import Hiding, Plan, Progress, hide_nothing
from cdc.capture.triggers.postgres_grants import grants
from cdc.capture.triggers.postgres_prove import capture_findings, prove
from cdc.capture.triggers.postgres_render import qualified
from cdc.capture.triggers.postgres_session import LockWait, reason, run_patiently, session
from cdc.capture.triggers.postgres_state import Connection, Waiting, inspect
from cdc.database.postgres_journal import LOCK_CLASS, LOCK_CONSUMER
from cdc.model.column import Capture
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import CdcError, InstallError
from cdc.model.finding import NO_KEY, Finding, Repaired, Severity, SurveyedTable
from cdc.sqlfile import load, render


class PostgresInstaller:
    """A `cdc.capture.triggers.base.Installer`."""

    def __init__(self, info: ConnectionInfo, lock_wait: LockWait | None = None, hiding: Hiding = hide_nothing) -> None:
        """``hiding``: what repairs hide besides what was installed as secret."""
        self._info = info
        self._lock_wait = lock_wait or LockWait()
        self._hiding = hiding

    def plan_install(self, captures: Sequence[Capture]) -> Plan:
        with session(self._info) as connection:
            found = inspect(connection)
            return postgres_plan.plan_install(found, found.within(captures))

    def plan_uninstall(self) -> Plan:
        with session(self._info) as connection:
            found = inspect(connection)
            mine = found.complete and found.server.schema_owned
            return postgres_plan.plan_uninstall(found, waiting(connection).changes if mine else 0)

    def script(self, plan: Plan) -> str:
        return postgres_plan.script(plan, self._lock_wait.lock_seconds)

    def apply(self, plan: Plan, progress: Progress) -> None:
        with session(self._info) as connection:
            self._apply(connection, plan, progress)

    def grants(self, captures: Sequence[Capture]) -> str:
        with session(self._info) as connection:
            found = inspect(connection)
            return grants(found, found.within(captures))

    def repair(self, tables: Sequence[str] | None = None) -> Repaired:
        with session(self._info) as connection:
            found = inspect(connection).hiding(self._hiding)
            there = [table for table in found.captures if table in found.tables]
            plan = postgres_plan.plan_repair(found, there if tables is None else tables)
            return self._apply_each(connection, plan, found.schema)

    def restore(self, captures: Sequence[Capture], consumer: str) -> Repaired:
        with session(self._info) as connection:
            found = inspect(connection).hiding(self._hiding)
            plan = postgres_plan.plan_restore(found, found.within(captures), consumer)
            return self._apply_each(connection, plan, found.schema)

    def extend(self, captures: Sequence[Capture]) -> Sequence[str]:
        with session(self._info) as connection:
            found = inspect(connection)
            plan = postgres_plan.plan_extend(found, found.within(captures))
            self._apply(connection, plan, lambda _title: None)
        return [step.title for step in plan.steps]

    def findings(self, captures: Sequence[Capture]) -> list[Finding]:
        with session(self._info) as connection:
            found = inspect(connection)
            findings = postgres_findings.findings(
                found, found.within(captures), waiting(connection) if found.complete else None
            )
            return [*findings, *capture_findings(connection, found)]

    def unreadable(self, tables: Sequence[str]) -> list[str]:
        """Return those of these tables that this account may not read, each tried."""
        with session(self._info) as connection:
            schema = inspect(connection).schema
            return [table for table in tables if not _may_read(connection, qualified(schema, table))]

    def survey(self) -> list[SurveyedTable]:
        with session(self._info) as connection:
            found = inspect(connection)
            return survey(connection, found.schema, found.captures)

    def within(self, captures: Sequence[Capture]) -> list[Capture]:
        with session(self._info) as connection:
            return inspect(connection).within(captures)

    def existing_tables(self) -> dict[str, tuple[str, ...]]:
        with session(self._info) as connection:
            tables = inspect(connection).tables.values()
            return {table.name: tuple(table.columns) for table in tables if table.kind in "rp"}

    # -- applying ---------------------------------------------------------------------------------------------------

    def _apply(self, connection: Connection, plan: Plan, progress: Progress) -> None:
        if not plan.steps:
            return
        before = inspect(connection)
        done = 0
        try:
            for step in plan.steps:
                progress(step.title)
                if step is postgres_plan.PROOF:
                    _proved(prove(connection))
                else:
                    run_patiently(connection, step, before.schema, self._lock_wait)
                done += 1
        except BaseException as error:
            if done:
                self._take_back(connection, None if before.version is None else before.captures, error)
            raise

    def _apply_each(self, connection: Connection, plan: Plan, schema: str) -> Repaired:
        """Each table's step by itself.  Raises what fails of the journal, without which no table can be captured."""
        done: list[str] = []
        failed = dict(plan.refused)
        for step in plan.steps:
            try:
                run_patiently(connection, step, schema, self._lock_wait)
            except (InstallError, psycopg.Error) as error:
                if not step.table or connection.broken:
                    raise
                failed[step.table] = (
                    error if isinstance(error, InstallError) else InstallError(f"{step.title}: {reason(error)}.")
                )
            else:
                done.append(step.title)
        return Repaired(tuple(done), failed)

    def _take_back(self, connection: Connection, captures: Mapping[str, Capture] | None, cause: BaseException) -> None:
        """Back to the captures that were installed before; what cannot be taken back now is said in the error."""
        try:
            found = inspect(connection)
            for step in postgres_plan.restoring(found, captures).steps:
                run_patiently(connection, step, found.schema, self._lock_wait)
        except CdcError as error:
            raise InstallError(
                f"{cause} What had been done could not be taken back either: {error.message}",
                "Run cdc uninstall-triggers (or install-triggers) again at a quieter time.",
            ) from cause


def _proved(finding: Finding) -> None:
    if finding.severity is not Severity.OK:
        raise InstallError(finding.detail, finding.mend)


def _may_read(connection: Connection, table: str) -> bool:
    try:
        connection.execute(render("postgres/trigger/may_read.sql", table=table).encode())
    except errors.InsufficientPrivilege:
        return False
    return True


def survey(connection: Connection, schema: str, installed: Collection[str]) -> list[SurveyedTable]:
    """The base tables of a schema."""
    rows = connection.execute(load("postgres/trigger/survey.sql").encode(), [schema]).fetchall()
    return [
        SurveyedTable(name, None if count < 0 else count, "" if has_key else NO_KEY, name in installed)
        for name, count, has_key in rows
    ]


def waiting(connection: Connection) -> Waiting:
    sql = load("postgres/trigger/backlog.sql").encode()
    row = connection.execute(sql, {"lock_class": LOCK_CLASS, "lock_consumer": LOCK_CONSUMER}).fetchone()
    changes, age, disk, consumer = row or (0, None, 0, False)
    return Waiting(int(changes), float(age or 0), int(disk), bool(consumer))
