"""The trigger installer of PostgreSQL.

Each step is a transaction that locks one table of the ERP at most: no deadlock with the ERP is possible, and nobody
waits behind us for longer than one lock timeout.  When a step fails, what the steps before it made is taken back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from psycopg import errors

from cdc.column import Capture
from cdc.connection import ConnectionInfo
from cdc.database.postgres_journal import LOCK_CLASS, LOCK_CONSUMER
from cdc.errors import CdcError, InstallError
from cdc.finding import Finding
from cdc.sqlfile import load
from cdc.trigger import postgres_findings, postgres_plan
from cdc.trigger.base import Plan, Progress, Step
from cdc.trigger.postgres_found import Connection, Found, inspect
from cdc.trigger.postgres_grants import grants
from cdc.trigger.postgres_session import lock_timeout, run_step, session


class PostgresInstaller:
    """A `cdc.trigger.base.Installer`.

    ``lock_seconds``: how long one try may wait for a lock, and hold up the writers that queue behind it.
    ``lock_tries``, with ``pause_seconds`` between them, in which those writers get through.
    """

    def __init__(
        self,
        info: ConnectionInfo,
        *,
        lock_seconds: float = 1.0,
        lock_tries: int = 5,
        pause_seconds: float = 1.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._info = info
        self._lock_seconds = lock_seconds
        self._lock_tries = lock_tries
        self._pause_seconds = pause_seconds
        self._pause = pause

    def plan_install(self, captures: Sequence[Capture]) -> Plan:
        with session(self._info) as connection:
            return postgres_plan.plan_install(inspect(connection), captures)

    def plan_uninstall(self) -> Plan:
        with session(self._info) as connection:
            found = inspect(connection)
            mine = found.version is not None and found.server.schema_owned
            return postgres_plan.plan_uninstall(found, backlog(connection)[0] if mine else 0)

    def script(self, plan: Plan) -> str:
        return postgres_plan.script(plan, self._lock_seconds)

    def apply(self, plan: Plan, progress: Progress) -> None:
        with session(self._info) as connection:
            self._apply(connection, plan, progress)

    def grants(self, captures: Sequence[Capture]) -> str:
        with session(self._info) as connection:
            return grants(inspect(connection), captures)

    def repair(self, tables: Sequence[str] | None = None) -> Sequence[str]:
        with session(self._info) as connection:
            found = inspect(connection)
            there = [table for table in found.captures if table in found.tables]
            plan = postgres_plan.plan_repair(found, there if tables is None else tables)
            self._apply(connection, plan, lambda _title: None)
        return [step.title for step in plan.steps]

    def findings(self, captures: Sequence[Capture]) -> list[Finding]:
        with session(self._info) as connection:
            found = inspect(connection)
            readable = found.version is not None
            return postgres_findings.findings(found, captures, backlog(connection) if readable else None)

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
                self._run(connection, step, before)
                done += 1
        except BaseException as error:
            if done:
                self._take_back(connection, None if before.version is None else before.captures, error)
            raise

    def _run(self, connection: Connection, step: Step, before: Found) -> None:
        for left in reversed(range(self._lock_tries)):
            try:
                return run_step(connection, step, self._lock_seconds)
            except errors.LockNotAvailable as error:
                blocked = lock_timeout(connection, step, before.schema, self._lock_tries)
                if not left:
                    raise blocked from error
            self._pause(self._pause_seconds)
        return None

    def _take_back(self, connection: Connection, captures: Mapping[str, Capture] | None, cause: BaseException) -> None:
        """Back to the captures that were installed before; what cannot be taken back now is said in the error."""
        try:
            found = inspect(connection)
            for step in postgres_plan.restoring(found, captures).steps:
                self._run(connection, step, found)
        except CdcError as error:
            raise InstallError(
                f"{cause} What had been done could not be taken back either: {error.message}",
                "Run cdc uninstall-triggers (or install-triggers) again at a quieter time.",
            ) from cause


def backlog(connection: Connection) -> tuple[int, float, bool]:
    """Changes that wait (100,001 stands for more), age of the oldest in seconds, whether a consumer is at work."""
    sql = load("postgres/trigger/backlog.sql").encode()
    row = connection.execute(sql, {"lock_class": LOCK_CLASS, "lock_consumer": LOCK_CONSUMER}).fetchone()
    waiting, age, consumer = row or (0, None, False)
    return int(waiting), float(age or 0), bool(consumer)
