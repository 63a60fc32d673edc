"""The installer of publication and replication slot.  Making the slot locks nothing, but awaits open transactions."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import errors

from cdc.capture.slot import plan as slot_plan
from cdc.capture.slot.findings import findings
from cdc.capture.slot.render import grants
from cdc.capture.slot.state import SlotInstallation, inspect
from cdc.capture.triggers.base import Plan, Step
from cdc.capture.triggers.postgres_session import LockWait, PostgresBase, run_patiently, survey
from cdc.capture.triggers.postgres_state import Connection
from cdc.database.postgres_connection import connect, own_words
from cdc.model.column import Capture
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import LockTimeout
from cdc.model.finding import Finding, Repaired, SurveyedTable
from cdc.sqlfile import load


class SlotInstaller(PostgresBase[SlotInstallation]):
    """``consumer``: the account that reads, asked whether it can.  ``slot_seconds``: how long to wait for open
    transactions.  ``limit``: bytes of log beyond which `cdc run` drops the slot (0: never)."""

    COMMANDS = ("install-slot", "uninstall-slot")

    def __init__(
        self,
        info: ConnectionInfo,
        consumer: ConnectionInfo | None = None,
        lock_wait: LockWait | None = None,
        *,
        slot_seconds: float = 30.0,
        limit: int = 0,
    ) -> None:
        super().__init__(info, lock_wait)
        self._consumer = consumer or info
        self._slot_seconds = slot_seconds
        self._limit = limit

    def _inspect(self, connection: Connection) -> SlotInstallation:
        return inspect(connection)

    def _plan_install(self, found: SlotInstallation, captures: Sequence[Capture]) -> Plan:
        return slot_plan.plan_install(found, captures)

    def _plan_uninstall(self, _connection: Connection, found: SlotInstallation) -> Plan:
        return slot_plan.plan_uninstall(found)

    def _grants(self, found: SlotInstallation, captures: Sequence[Capture]) -> str:
        return grants(found, captures)

    def repair(self, tables: Sequence[str] | None = None) -> Repaired:
        with self._session() as connection:
            found = inspect(connection)
            known = found.memory.identities if found.memory is not None else {}
            there = [table for table in known if table in found.tables and not _is_leaf(found, table)]
            plan = slot_plan.plan_repair(found, there if tables is None else tables)
            self._apply(connection, plan, lambda _title: None)
        return Repaired(tuple(step.title for step in plan.steps))

    def extend(self, captures: Sequence[Capture]) -> Sequence[str]:
        with self._session() as connection:
            plan = slot_plan.plan_extend(inspect(connection), [capture.table for capture in captures])
            self._apply(connection, plan, lambda _title: None)
        return [step.title for step in plan.steps]

    def _findings(self, _connection: Connection, found: SlotInstallation, captures: Sequence[Capture]) -> list[Finding]:
        return findings(found, captures, self._limit, self._no_replication())

    def _survey(self, connection: Connection, found: SlotInstallation) -> list[SurveyedTable]:
        return survey(connection, found.schema, found.memory.identities if found.memory is not None else ())

    def _no_replication(self) -> str:
        """Return the reason why the consumer's account gets no replication connection; empty when it does."""
        try:
            connect(self._consumer, "cdc doctor", replication="database").close()
        except psycopg.OperationalError as error:
            return own_words(error)
        return ""

    def _restoring(self, found: SlotInstallation, before: SlotInstallation) -> Plan:
        return slot_plan.restoring(found, before)

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
        row = connection.execute(load("postgres/slot/queries.sql#blockers").encode()).fetchone()
        if row is None:
            return LockTimeout(f"{what}.", "Try again at a quieter time.")
        holder, user, application, state, age, end = row
        details = [f"user {user}" if user else "", application and f"application {application}", state]
        described = ", ".join(each for each in details if each)
        return LockTimeout(
            f"{what}: it waits for open transactions, and {holder} ({described}) has had one for {age:.0f} s.",
            f"Let it finish, or end it with {end}; then run the command again.",
        )


def _is_leaf(found: SlotInstallation, name: str) -> bool:
    return any(name in table.leaves for table in found.tables.values())
