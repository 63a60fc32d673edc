"""The installer for MariaDB and MySQL; see `cdc.capture.triggers.base.Installer`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pymysql
from pymysql.connections import Connection

from cdc.capture.triggers.base import Hiding, Installer, Plan, Progress, hide_nothing, within
from cdc.capture.triggers.mysql_apply import SESSION, LockPatience, run, run_each
from cdc.capture.triggers.mysql_findings import cascade_findings, findings_of, unread_changes
from cdc.capture.triggers.mysql_plan import extend_plan, install_plan, repair_plan, restore_plan, uninstall_plan
from cdc.capture.triggers.mysql_probe import capture_findings, prove
from cdc.capture.triggers.mysql_rights import grants_text
from cdc.capture.triggers.mysql_state import Installation, MySQLState, inspect, installation
from cdc.database import sqlfile
from cdc.database.mysql_connection import MISSING_TABLE, NO_PRIVILEGE, code_of, connect, errors_of, quote, rows
from cdc.database.mysql_inspect import account_of, read_tables, survey
from cdc.database.mysql_journal import TABLES, Tokens
from cdc.model.column import Capture
from cdc.model.connection import AccountChoice, AccountRole, ConnectionInfo
from cdc.model.errors import InstallError, TableAltered
from cdc.model.finding import Finding, Repaired, SurveyedTable

_DELIMITER = "$$"
_REPAIR_TRIES = 5


class MySQLInstaller(Installer["Connection[Any]", MySQLState]):
    """``lock_wait``: how long and how often DDL waits for a table in use.  ``hiding``: what repairs hide besides what
    was installed as secret.  ``replica``: the server may be one on which triggers do not run for what it receives."""

    def __init__(
        self,
        info: ConnectionInfo,
        lock_wait: LockPatience | None = None,
        hiding: Hiding = hide_nothing,
        *,
        replica: bool = False,
    ) -> None:
        self._info = info
        self._replica = replica
        self._lock_wait = lock_wait or LockPatience()
        self._hiding = hiding

    @contextmanager
    def _session(self) -> Iterator[Connection[Any]]:
        connection = connect(self._info)
        try:
            with errors_of(self._info):
                yield connection
        finally:
            if connection.open:
                connection.close()

    def _inspect(self, connection: Connection[Any]) -> MySQLState:
        try:
            return replace(inspect(connection), replica_accepted=self._replica)
        except pymysql.err.ProgrammingError as error:
            if code_of(error) != MISSING_TABLE:
                raise
            raise TableAltered(
                f"The tables of {self._info.describe()} were changed while they were inspected ({error.args[-1]}).",
                "Run this again.",
            ) from error

    def plan_install(
        self, captures: Sequence[Capture], *, tokens: Tokens | None = None, cascades_only: bool = False
    ) -> Plan:
        """``tokens``: how MySQL's triggers are to learn their transaction; None: as installed, or the default.

        ``cascades_only``: just the triggers of parents, which journal what foreign keys do to captured tables, for a
        consumer that reads everything else in the binlog."""
        with self._session() as connection:
            found = replace(self._inspect(connection), asked_tokens=tokens)
            return install_plan(found, within(found.tables, captures), cascades_only=cascades_only)

    def _plan_install(self, found: MySQLState, captures: Sequence[Capture]) -> Plan:
        return install_plan(found, captures)

    def _plan_uninstall(self, connection: Connection[Any], found: MySQLState) -> Plan:
        return uninstall_plan(found, unread_changes(connection, found))

    def script(self, plan: Plan) -> str:
        lines = [f"-- {note}" for note in plan.notes]
        lines += [f"{sql};" for sql in (*SESSION, f"SET SESSION lock_wait_timeout = {self._lock_wait.seconds}")]
        lines.append(f"DELIMITER {_DELIMITER}")
        for step in plan.steps:
            lines.append(f"-- {step.title}")
            lines += [f"{sql}{_DELIMITER}" for sql in step.statements]
        return "\n".join([*lines, "DELIMITER ;", ""])

    def _apply(self, connection: Connection[Any], plan: Plan, progress: Progress) -> None:
        run(connection, plan, self._lock_wait, progress, prove=partial(prove, self._info), another=self._session)

    def _grants(
        self, connection: Connection[Any], found: MySQLState, captures: Sequence[Capture], choice: AccountChoice
    ) -> str:
        definer = next((trigger.definer for trigger in found.own_triggers), "")
        accounts = {
            AccountRole.INSTALLER: account_of(choice, AccountRole.INSTALLER, self._info, connection, definer),
            AccountRole.CONSUMER: account_of(choice, AccountRole.CONSUMER, self._info, connection),
        }
        return grants_text(found, captures, self._info.database, accounts, choice)

    def repair(self, tables: Sequence[str] | None = None) -> Repaired:
        return self._each_table(lambda found: repair_plan(found, self._installed(found), tables))

    def restore(self, captures: Sequence[Capture], consumer: str) -> Repaired:  # noqa: ARG002 - the interface's: PostgreSQL grants the new journal to it, MariaDB and MySQL keep the grants of a dropped table
        """Create the journal again if it is missing while triggers of ours are left that write to it.  All captured
        tables are noted to be read again.  ``captures``: used where the record of what is installed is lost, too.
        ``consumer``: the account that reads the journal."""
        return self._each_table(lambda found: restore_plan(found, within(found.tables, captures)))

    def _each_table(self, plan_of: Callable[[MySQLState], Plan]) -> Repaired:
        """Plan and run table by table.  A table that was altered in between is planned again, as one alteration often
        follows another."""
        done: tuple[str, ...] = ()
        with self._session() as connection:
            for tries_left in reversed(range(_REPAIR_TRIES)):
                try:
                    found = self._inspect(connection).hiding(self._hiding)
                    outcome = run_each(connection, plan_of(found), found, self._lock_wait)
                except TableAltered:
                    if not tries_left:
                        raise
                    continue
                done += outcome.done
                if not tries_left or not any(isinstance(error, TableAltered) for error in outcome.failed.values()):
                    return Repaired(done, outcome.failed)
        raise AssertionError("the last try returned")

    def _installed(self, found: MySQLState) -> Installation:
        if found.installation is None:
            raise InstallError(f"No journal is installed in {self._info.describe()}.", "Run `cdc install-triggers`.")
        return found.installation

    def extend(self, captures: Sequence[Capture]) -> Sequence[str]:
        with self._session() as connection:
            for tries_left in reversed(range(_REPAIR_TRIES)):
                found = self._inspect(connection).hiding(self._hiding)
                plan = extend_plan(found, self._installed(found), within(found.tables, captures))
                try:
                    run(
                        connection,
                        plan,
                        self._lock_wait,
                        lambda _: None,
                        prove=partial(prove, self._info),
                        another=self._session,
                    )
                except TableAltered:
                    if not tries_left:
                        raise
                else:
                    return [step.title for step in plan.steps]
        raise AssertionError("the last try returned or raised")

    def extend_cascades(self, captures: Sequence[Capture]) -> Sequence[str]:
        """`extend` where triggers journal cascades only; nothing where there are none, or all."""
        with self._session() as connection:
            there = inspect(connection).installation
        return self.extend(captures) if there is not None and there.cascades_only else ()

    def _findings(self, connection: Connection[Any], found: MySQLState, captures: Sequence[Capture]) -> list[Finding]:
        return [*findings_of(connection, found, captures), *capture_findings(self._info, found)]

    def cascade_findings(self, captures: Sequence[Capture]) -> list[Finding] | None:
        """The doctor's checks of triggers that only journal cascades; None when that is not what is installed."""
        with self._session() as connection:
            found = self._inspect(connection)
            only = found.installation is not None and found.installation.cascades_only
            if not only:
                return None
            return [
                *cascade_findings(connection, found, within(found.tables, captures)),
                *capture_findings(self._info, found),
            ]

    def unreadable(self, tables: Sequence[str]) -> list[str]:
        """Return those of these tables that this account may not read, each tried."""
        with self._session() as connection:
            return [table for table in tables if not _may_read(connection, table)]

    # MariaDB takes a second to show the triggers of 1,000 tables: these two do not ask for them

    def existing_tables(self) -> dict[str, tuple[str, ...]]:
        with self._session() as connection:
            return {name: table.names for name, table in read_tables(connection).items() if name not in TABLES}

    def survey(self, *, counted: bool) -> list[SurveyedTable]:
        with self._session() as connection:
            there = installation(connection)
            captures = () if there is None or there.cascades_only else there.captures
            return survey(connection, {capture.table for capture in captures}, counted=counted)


def _may_read(connection: Connection[Any], table: str) -> bool:
    try:
        rows(connection, sqlfile.render("mysql/queries.sql#may_read", table=quote(table)))
    except (pymysql.err.OperationalError, pymysql.err.ProgrammingError) as error:
        if code_of(error) in NO_PRIVILEGE:
            return False
        raise
    return True
