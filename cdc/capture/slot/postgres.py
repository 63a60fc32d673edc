"""The installer of publication and replication slot.

Each step is a transaction that locks one table of the ERP at most, as short as it can be; making the slot locks
nothing, but waits for the transactions that are open.  When a step fails, what the steps before it made is taken back.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import errors

from cdc.capture.slot import plan as slot_plan
from cdc.capture.slot.findings import findings
from cdc.capture.slot.grants import grants
from cdc.capture.slot.state import SlotInstallation, inspect
from cdc.capture.triggers.base import Plan, Progress, Step
from cdc.capture.triggers.postgres import survey
from cdc.capture.triggers.postgres_plan import script
from cdc.capture.triggers.postgres_session import LockWait, reason, run_patiently, session
from cdc.capture.triggers.postgres_state import Connection
from cdc.database.postgres_connection import connect
from cdc.model.column import Capture
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import CdcError, InstallError, LockTimeout
from cdc.model.finding import Finding, Repaired, SurveyedTable
from cdc.sqlfile import load


class SlotInstaller:
    """A `cdc.capture.triggers.base.Installer`.  ``consumer``: the account that reads, asked whether it can.
    ``slot_seconds``: how long to wait for open transactions.  ``limit``: bytes of log beyond which `cdc run` drops the
    slot (0: never)."""

    def __init__(
        self,
        info: ConnectionInfo,
        consumer: ConnectionInfo | None = None,
        lock_wait: LockWait | None = None,
        *,
        slot_seconds: float = 30.0,
        limit: int = 0,
    ) -> None:
        self._info = info
        self._consumer = consumer or info
        self._lock_wait = lock_wait or LockWait()
        self._slot_seconds = slot_seconds
        self._limit = limit

    def plan_install(self, captures: Sequence[Capture]) -> Plan:
        with session(self._info) as connection:
            return slot_plan.plan_install(inspect(connection), captures)

    def plan_uninstall(self) -> Plan:
        with session(self._info) as connection:
            return slot_plan.plan_uninstall(inspect(connection))

    def script(self, plan: Plan) -> str:
        return script(plan, self._lock_wait.lock_seconds)

    def apply(self, plan: Plan, progress: Progress) -> None:
        with session(self._info) as connection:
            self._apply(connection, plan, progress)

    def grants(self, captures: Sequence[Capture]) -> str:
        with session(self._info) as connection:
            found = inspect(connection)
            return grants(found, found.within(captures))

    def repair(self, tables: Sequence[str] | None = None) -> Repaired:
        with session(self._info) as connection:
            found = inspect(connection)
            known = found.memory.identities if found.memory is not None else {}
            there = [table for table in known if table in found.tables and not _is_leaf(found, table)]
            plan = slot_plan.plan_repair(found, there if tables is None else tables)
            self._apply(connection, plan, lambda _title: None)
        return Repaired(tuple(step.title for step in plan.steps))

    def extend(self, captures: Sequence[Capture]) -> Sequence[str]:
        with session(self._info) as connection:
            plan = slot_plan.plan_extend(inspect(connection), [capture.table for capture in captures])
            self._apply(connection, plan, lambda _title: None)
        return [step.title for step in plan.steps]

    def findings(self, captures: Sequence[Capture]) -> list[Finding]:
        with session(self._info) as connection:
            found = inspect(connection)
        return findings(found, captures, self._limit, self._no_replication())

    def survey(self) -> list[SurveyedTable]:
        with session(self._info) as connection:
            found = inspect(connection)
            return survey(connection, found.schema, found.memory.identities if found.memory is not None else ())

    def within(self, captures: Sequence[Capture]) -> list[Capture]:
        with session(self._info) as connection:
            return inspect(connection).within(captures)

    def existing_tables(self) -> dict[str, tuple[str, ...]]:
        with session(self._info) as connection:
            tables = inspect(connection).tables.values()
            return {table.name: tuple(table.columns) for table in tables if table.kind in "rp"}

    def _no_replication(self) -> str:
        """Why the consumer's account gets no replication connection; empty when it does."""
        try:
            connect(self._consumer, "cdc doctor", replication="database").close()
        except psycopg.OperationalError as error:
            return reason(error)
        return ""

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
                self._take_back(connection, before, error)
            raise

    def _run(self, connection: Connection, step: Step, found: SlotInstallation) -> None:
        if step.title == slot_plan.SLOT_STEP:
            self._make_slot(connection, step)
        else:
            run_patiently(connection, step, found.schema, self._lock_wait)

    def _make_slot(self, connection: Connection, step: Step) -> None:
        try:
            with connection.transaction():
                timeout = f"{int(self._slot_seconds * 1000)}ms"
                connection.execute(b"SELECT set_config('statement_timeout', %s, true)", [timeout])
                for statement in step.statements:
                    connection.execute(statement.encode())
        except errors.QueryCanceled as error:
            raise self._blocked(connection) from error

    def _blocked(self, connection: Connection) -> LockTimeout:
        what = f"The replication slot could not be made in {self._slot_seconds:.0f} s"
        row = connection.execute(load("postgres/slot/blockers.sql").encode()).fetchone()
        if row is None:
            return LockTimeout(f"{what}.", "Try again at a quieter time.")
        holder, user, application, state, age, end = row
        details = [f"user {user}" if user else "", application and f"application {application}", state]
        told = ", ".join(each for each in details if each)
        return LockTimeout(
            f"{what}: it waits for open transactions, and {holder} ({told}) has had one for {age:.0f} s.",
            f"Let it finish, or end it with {end}; then run the command again.",
        )

    def _take_back(self, connection: Connection, before: SlotInstallation, cause: BaseException) -> None:
        """Back to what was captured before; what cannot be taken back now is said in the error."""
        try:
            found = inspect(connection)
            for step in slot_plan.restoring(found, before).steps:
                self._run(connection, step, found)
        except CdcError as error:
            raise InstallError(
                f"{cause} What had been done could not be taken back either: {error.message}",
                "Run cdc uninstall-slot (or install-slot) again at a quieter time.",
            ) from cause


def _is_leaf(found: SlotInstallation, name: str) -> bool:
    return any(name in table.leaves for table in found.tables.values())
