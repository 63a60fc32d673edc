"""The trigger installer of PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import errors

from cdc.capture.triggers import postgres_findings, postgres_plan
from cdc.capture.triggers.base import Hiding, Plan, Step, hide_nothing, require_proof, within
from cdc.capture.triggers.postgres_findings import capture_findings, prove
from cdc.capture.triggers.postgres_render import grants, qualified
from cdc.capture.triggers.postgres_session import LockWait, PostgresBase, run_patiently, survey
from cdc.capture.triggers.postgres_state import Connection, PostgresState, Waiting, inspect
from cdc.database.postgres_capture import LOCK_CLASS, LOCK_CONSUMER
from cdc.database.postgres_connection import own_words
from cdc.model.column import Capture
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import InstallError
from cdc.model.finding import Finding, Repaired, SurveyedTable
from cdc.sqlfile import load, render


class PostgresInstaller(PostgresBase[PostgresState]):
    """``hiding``: what repairs hide besides what was installed as secret."""

    COMMANDS = ("install-triggers", "uninstall-triggers")

    def __init__(self, info: ConnectionInfo, lock_wait: LockWait | None = None, hiding: Hiding = hide_nothing) -> None:
        super().__init__(info, lock_wait)
        self._hiding = hiding

    def _inspect(self, connection: Connection) -> PostgresState:
        return inspect(connection)

    def _plan_install(self, found: PostgresState, captures: Sequence[Capture]) -> Plan:
        return postgres_plan.plan_install(found, captures)

    def _plan_uninstall(self, connection: Connection, found: PostgresState) -> Plan:
        mine = found.complete and found.server.schema_owned
        return postgres_plan.plan_uninstall(found, waiting(connection).changes if mine else 0)

    def _grants(self, found: PostgresState, captures: Sequence[Capture]) -> str:
        return grants(found, captures)

    def repair(self, tables: Sequence[str] | None = None) -> Repaired:
        with self._session() as connection:
            found = inspect(connection).hiding(self._hiding)
            there = [table for table in found.captures if table in found.tables]
            plan = postgres_plan.plan_repair(found, there if tables is None else tables)
            return self._apply_each(connection, plan, found.schema)

    def restore(self, captures: Sequence[Capture], consumer: str) -> Repaired:
        """See `cdc.capture.triggers.mysql.MySQLInstaller.restore`."""
        with self._session() as connection:
            found = inspect(connection).hiding(self._hiding)
            plan = postgres_plan.plan_restore(found, within(found.tables, captures), consumer)
            return self._apply_each(connection, plan, found.schema)

    def extend(self, captures: Sequence[Capture]) -> Sequence[str]:
        with self._session() as connection:
            found = inspect(connection)
            plan = postgres_plan.plan_extend(found, within(found.tables, captures))
            self._apply(connection, plan, lambda _title: None)
        return [step.title for step in plan.steps]

    def _findings(self, connection: Connection, found: PostgresState, captures: Sequence[Capture]) -> list[Finding]:
        backlog = waiting(connection) if found.complete else None
        return [*postgres_findings.findings(found, captures, backlog), *capture_findings(connection, found)]

    def unreadable(self, tables: Sequence[str]) -> list[str]:
        """Return those of these tables that this account may not read, each tried."""
        with self._session() as connection:
            schema = inspect(connection).schema
            return [table for table in tables if not _may_read(connection, qualified(schema, table))]

    def _survey(self, connection: Connection, found: PostgresState) -> list[SurveyedTable]:
        return survey(connection, found.schema, found.captures)

    # -- applying ---------------------------------------------------------------------------------------------------

    def _run(self, connection: Connection, step: Step, found: PostgresState) -> None:
        if step is postgres_plan.PROOF:
            require_proof(prove(connection))
        else:
            run_patiently(connection, step, found.schema, self._lock_wait)

    def _restoring(self, found: PostgresState, before: PostgresState) -> Plan:
        return postgres_plan.restoring(found, None if before.version is None else before.captures)

    def _apply_each(self, connection: Connection, plan: Plan, schema: str) -> Repaired:
        """Run each table's step by itself.  Raises an error of the journal, without which no table can be captured."""
        done: list[str] = []
        failed = dict(plan.refused)
        for step in plan.steps:
            try:
                run_patiently(connection, step, schema, self._lock_wait)
            except (InstallError, psycopg.Error) as error:
                if not step.table or connection.broken:
                    raise
                failed[step.table] = (
                    error if isinstance(error, InstallError) else InstallError(f"{step.title}: {own_words(error)}.")
                )
            else:
                done.append(step.title)
        return Repaired(tuple(done), failed)


def _may_read(connection: Connection, table: str) -> bool:
    try:
        connection.execute(render("postgres/trigger/queries.sql#may_read", table=table).encode())
    except errors.InsufficientPrivilege:
        return False
    return True


def waiting(connection: Connection) -> Waiting:
    sql = load("postgres/trigger/queries.sql#backlog").encode()
    row = connection.execute(sql, {"lock_class": LOCK_CLASS, "lock_consumer": LOCK_CONSUMER}).fetchone()
    changes, age, disk, consumer = row or (0, None, 0, False)
    return Waiting(int(changes), float(age or 0), int(disk), bool(consumer))
