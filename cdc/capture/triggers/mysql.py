"""The installer for MariaDB and MySQL; see `cdc.capture.triggers.base.Installer`.  It runs a plan with short lock waits
and retries, and takes everything back on failure."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from queue import SimpleQueue
from threading import Event, Lock
from typing import Any

import pymysql
from pymysql.connections import Connection

from cdc.capture.triggers.base import Hiding, Installer, Plan, Progress, Step, hide_nothing, within
from cdc.capture.triggers.mysql_findings import capture_findings, cascade_findings, findings_of, prove, read_backlog
from cdc.capture.triggers.mysql_plan import Proof, extend_plan, install_plan, repair_plan, restore_plan, uninstall_plan
from cdc.capture.triggers.mysql_state import Installation, MySQLState, grants_text, inspect, installation
from cdc.database import sqlfile
from cdc.database.mysql_connection import (
    BAD_COLUMN,
    LOCK_CONFLICTS,
    MISSING_TABLE,
    NO_PRIVILEGE,
    Flavour,
    code_of,
    connect,
    errors_of,
    quote,
    rows,
)
from cdc.database.mysql_inspect import account_of, read_tables, survey
from cdc.database.mysql_journal import JOURNAL, TABLES, Tokens
from cdc.model.column import Capture
from cdc.model.connection import AccountChoice, AccountRole, ConnectionInfo
from cdc.model.errors import CdcError, InstallError, LockTimeout, SourceError, TableAltered
from cdc.model.finding import Finding, Repaired, Severity, SurveyedTable

_BINLOG_NEEDS_SUPER = 1419
_REGISTRY_CLOSED = 4133
#: Seconds after which a query that reads nothing has waited for a lock.
_LOCKED = 0.2
#: Sessions of an installation, and the steps for which one more is worth opening.
_SESSIONS = 4
_STEPS_WORTH_A_SESSION = 10
_UNLOCK = "UNLOCK TABLES"
#: Triggers run with what is in force when they are created: strict, so that nothing is cut or replaced in silence.
SESSION = (
    "SET NAMES utf8mb4",
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES'",
    "SET SESSION autocommit = 1",
    "SET SESSION time_zone = '+00:00'",  # of the times at which triggers were created
)
#: What the plan was made from is not there any more (a column, a table, a trigger), or what it creates is there by now
#: (a table, a procedure, a trigger).
_ALTERED = frozenset({BAD_COLUMN, MISSING_TABLE, 1360, 1050, 1304, 1359})


@dataclass(frozen=True, slots=True)
class LockTries:
    """The time that DDL may wait for a table (and make the ERP queue behind it), and how often it tries."""

    seconds: int = 2
    attempts: int = 5


def _run_independent(
    connection: Connection[Any],
    groups: Sequence[Sequence[Step]],
    lock_wait: LockTries,
    progress: Progress,
    another: Callable[[], AbstractContextManager[Connection[Any]]],
) -> None:
    """Run groups of steps in several sessions: MariaDB writes through to disk about ten times for a trigger, and these
    waits overlap.  After a failure no further step begins.  A step that one session waited for too long is finished
    when the others have ended: one of these may have had the lock."""
    rest: list[Step] = []
    free: SimpleQueue[Connection[Any]] = SimpleQueue()
    reporting, ended = Lock(), Event()

    def work(group: Sequence[Step]) -> None:
        session = free.get()
        try:
            for step in group:
                if ended.is_set():
                    return
                with reporting:
                    progress(step.title)
                if (unfinished := _attempted(session, step, lock_wait)) is not None:
                    rest.append(unfinished[0])
        finally:
            free.put(session)

    with ExitStack() as opened:
        sessions = [connection]
        worth = sum(map(len, groups)) // _STEPS_WORTH_A_SESSION
        for _ in range(min(_SESSIONS, worth, len(groups)) - 1):
            try:
                sessions.append(opened.enter_context(another()))
            except SourceError:  # the account may open no more
                break
            _prepare(sessions[-1], lock_wait)
        for session in sessions:
            free.put(session)
        workers = opened.enter_context(ThreadPoolExecutor(len(sessions), thread_name_prefix="cdc-install"))
        running = [workers.submit(work, group) for group in groups]
        try:
            wait(running, return_when=FIRST_EXCEPTION)
        finally:
            ended.set()
        for each in running:
            each.result()
    for step in rest:
        _run_step(connection, step, lock_wait)


def _apart(steps: Iterable[Step], found: MySQLState) -> list[list[Step]]:
    """Return the steps in groups that can run at the same time: a lock of a table also locks those that foreign keys
    connect with it."""
    joined: dict[str, str] = {}

    def first(table: str) -> str:
        while (other := joined.get(table, table)) != table:
            table = other
        return table

    for key in found.foreign_keys:
        joined[first(key.table)] = first(key.parent)
    groups: dict[str, list[Step]] = {}
    for step in steps:
        groups.setdefault(first(step.table), []).append(step)
    return list(groups.values())


def run_each(connection: Connection[Any], plan: Plan, before: MySQLState, lock_wait: LockTries) -> Repaired:
    """Run all steps in order, each table's by itself: a failure is taken back for its table alone.  ``before``: the
    state from which the plan was made.  Raises an error of the journal, without which no table can be captured."""
    done: list[str] = []
    failed = dict(plan.refused)
    if plan.obstacle:
        raise plan.obstacle
    if plan.steps:
        _prepare(connection, lock_wait)
    restored = _being_restored(connection, [step.table for step in plan.steps if step.lost])
    for step in plan.steps:
        if step.table in restored:
            locked = f"Could not {step.title}: the table is locked, perhaps by a dump that is being restored."
            failed[step.table] = InstallError(locked, "It is tried again.")
            continue
        try:
            _run_step(connection, step, lock_wait)  # nothing for a `Proof`, which has no statements
        except InstallError as error:
            if not step.table:
                raise
            _take_back(connection, before, lock_wait, error, step.table)
            failed[step.table] = error
        else:
            done += [step.title] if step.statements else []
    return Repaired(tuple(done), failed)


def _being_restored(connection: Connection[Any], tables: Sequence[str]) -> set[str]:
    """Return those of these tables, which lost their triggers, that somebody has locked.

    A dump creates its triggers when it has unlocked the table.  It would fail if ours were there already, so that they
    are only created for tables that stay unlocked for a second."""
    locked: set[str] = set()
    for pause in (0, 1) if tables else ():
        rows(connection, f"DO SLEEP({pause})")
        for table in tables:
            asked = time.monotonic()
            try:
                rows(connection, f"SELECT 1 FROM {quote(table)} LIMIT 0")  # noqa: S608 - `quote` quotes the name
            except pymysql.err.MySQLError as error:
                if code_of(error) not in (*LOCK_CONFLICTS, MISSING_TABLE):
                    raise
                locked.add(table)
            if time.monotonic() - asked > _LOCKED:
                locked.add(table)
    return locked


def _prepare(connection: Connection[Any], lock_wait: LockTries) -> None:
    seconds = int(lock_wait.seconds)
    waits = (f"SET SESSION lock_wait_timeout = {seconds}", f"SET SESSION innodb_lock_wait_timeout = {seconds}")
    for sql in (*SESSION, *waits):
        rows(connection, sql)


def _run_step(connection: Connection[Any], step: Step, lock_wait: LockTries) -> None:
    unfinished = _attempted(connection, step, lock_wait)
    if unfinished is not None:
        raise unfinished[1]


def _attempted(connection: Connection[Any], step: Step, lock_wait: LockTries) -> tuple[Step, LockTimeout] | None:
    """Run the statements; return the rest, and the error, if a lock was not had in time.  After a lock conflict they
    are tried again from the first that is not final: a statement is final by itself, those under LOCK TABLES
    together."""
    final = failures = 0
    while final < len(step.statements):
        locked = False
        try:
            for number, sql in enumerate(step.statements[final:], final + 1):
                rows(connection, sql)
                locked = (locked or sql.startswith("LOCK TABLES")) and sql != _UNLOCK
                if not locked:
                    final = number
        except pymysql.err.MySQLError as error:
            if connection.open:
                rows(connection, _UNLOCK)
            failures += 1
            if code_of(error) not in LOCK_CONFLICTS:
                raise _explained(error, step) from error
            if failures == lock_wait.attempts:
                named = re.findall(r"TABLE (?:IF EXISTS )?`([^`]+)`", step.statements[0])
                table = step.table or (named[-1] if named else "of the journal")
                tries = f"{lock_wait.attempts} times {lock_wait.seconds} s"
                timeout = LockTimeout(
                    f"Could not {step.title}: table {table} stayed locked for {tries}, {_blocker(connection, table)}.",
                    "Wait until that connection ends its transaction, or end it with KILL, then run this again.",
                )
                timeout.__cause__ = error
                return replace(step, statements=step.statements[final:]), timeout
    return None


def _explained(error: pymysql.err.MySQLError, step: Step) -> InstallError:
    code = code_of(error)
    where = f"Could not {step.title}"
    if code == _BINLOG_NEEDS_SUPER:
        return InstallError(
            f"{where}: this account may not create triggers while the server writes a binlog (error 1419).",
            "Run SET GLOBAL log_bin_trust_function_creators = 1, or install with an account that has SUPER.",
        )
    if code == _REGISTRY_CLOSED:
        return InstallError(
            f"{where}: MariaDB does not open mysql.transaction_registry (error {code}).",
            "Restart the server, then run this again.",
        )
    if code in NO_PRIVILEGE:
        return InstallError(
            f"{where}: the account lacks a privilege (error {code}: {error.args[-1]}).",
            "cdc grants prints what an installing account needs.",
        )
    if code in _ALTERED:
        return TableAltered(
            f"{where}: the database was altered at the same time ({error.args[-1]}).", "Run this again."
        )
    return InstallError(f"{where}: error {code}: {error.args[-1]}.")


def _blocker(connection: Connection[Any], table: str) -> str:
    """Return words that name the connection in the way, as far as this server and account show it."""
    mysql = Flavour.MARIADB.value not in str(connection.get_server_info()).lower()
    try:
        if mysql:
            found = rows(connection, sqlfile.load("mysql/queries.sql#blockers_mysql"), (table,))
        else:
            found = rows(connection, sqlfile.load("mysql/queries.sql#blockers_mariadb"))
    except pymysql.err.MySQLError as error:
        return f"by a connection that this account may not see (error {code_of(error)}; it would need PROCESS)"
    if not found:
        return "by a connection that this server does not show"
    number, user, host, seconds = found[0]
    likely = "by" if mysql else "most likely by"
    return f"{likely} connection {number} of {user}@{host}, idle or busy with its last statement for {seconds} s"


def _take_back(
    connection: Connection[Any], before: MySQLState, lock_wait: LockTries, cause: CdcError, table: str | None = None
) -> None:
    """Bring triggers and journal back to their state before this run; the error names what cannot be undone now.
    Shapes that remain are unused and harmless.  ``table``: only its triggers; None: everything."""
    try:
        now = inspect(connection)
        old, new = ({each for each in found.own_triggers if table in (None, each.table)} for found in (before, now))
        undo = [f"DROP TRIGGER {quote(trigger.name)}" for trigger in new - old]
        undo += [
            f"CREATE DEFINER = CURRENT_USER TRIGGER {quote(trigger.name)} {trigger.timing} {trigger.event} "
            f"ON {quote(trigger.table)} FOR EACH ROW\n{trigger.body}"
            for trigger in old - new
            if trigger.table in now.tables
        ]
        if table is None:
            undo += [f"DROP TABLE {quote(name)}" for name in sorted(now.own_objects - before.own_objects)]
        for sql in undo:
            for tries_left in reversed(range(lock_wait.attempts)):
                try:
                    rows(connection, sql)
                    break
                except pymysql.err.OperationalError as error:
                    if code_of(error) not in LOCK_CONFLICTS or not tries_left:
                        raise
    except pymysql.err.MySQLError as error:
        raise InstallError(
            f"{cause.message} What had been done could not be taken back either (error {code_of(error)}).",
            "Run cdc install-triggers again at a quieter time.",
        ) from cause


_DELIMITER = "$$"
_REPAIR_TRIES = 5


class MySQLInstaller(Installer["Connection[Any]", MySQLState]):
    """The installer for MariaDB and MySQL.  ``lock_wait``: how long and how often DDL waits for a table in use.
    ``hiding``: what repairs hide besides what was installed as secret.  ``replica``: the server may be one on which
    triggers do not run for what it receives."""

    def __init__(
        self,
        info: ConnectionInfo,
        lock_wait: LockTries | None = None,
        hiding: Hiding = hide_nothing,
        *,
        replica: bool = False,
    ) -> None:
        self._info = info
        self._replica = replica
        self._lock_wait = lock_wait or LockTries()
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
        """Return the steps for what is missing or different.  ``tokens``: how MySQL's triggers are to learn their
        transaction; None: as installed, or the default.

        ``cascades_only``: just the triggers of parents, which journal what foreign keys do to captured tables, for a
        consumer that reads everything else in the binlog."""
        with self._inspected() as (_, state):
            found = replace(state, asked_tokens=tokens)
            return install_plan(found, within(found.tables, captures), cascades_only=cascades_only)

    def plan_uninstall(self) -> Plan:
        with self._inspected() as (connection, found):
            waiting = read_backlog(connection, found) if JOURNAL in found.own_objects else None
        return uninstall_plan(found, waiting[0] if waiting else 0)

    def script(self, plan: Plan) -> str:
        lines = [f"-- {note}" for note in plan.notes]
        lines += [f"{sql};" for sql in (*SESSION, f"SET SESSION lock_wait_timeout = {self._lock_wait.seconds}")]
        lines.append(f"DELIMITER {_DELIMITER}")
        for step in plan.steps:
            lines.append(f"-- {step.title}")
            lines += [f"{sql}{_DELIMITER}" for sql in step.statements]
        return "\n".join([*lines, "DELIMITER ;", ""])

    def _apply(self, connection: Connection[Any], plan: Plan, progress: Progress) -> None:
        """Run all steps in order, independent ones in several sessions.  When one fails, this run's changes are taken
        back before the error is raised."""
        if plan.obstacle:
            raise plan.obstacle
        if not plan.steps:
            return
        _prepare(connection, self._lock_wait)
        before = inspect(connection)
        try:
            for independent, steps in groupby(plan.steps, key=attrgetter("independent")):
                if independent:
                    groups = _apart(steps, before)
                    _run_independent(connection, groups, self._lock_wait, progress, self._session)
                    continue
                for step in steps:
                    progress(step.title)
                    if not isinstance(step, Proof):
                        _run_step(connection, step, self._lock_wait)
                    elif (proved := prove(self._info, step)).severity is not Severity.OK:
                        raise InstallError(proved.detail, proved.fix)
        except CdcError as error:
            _take_back(connection, before, self._lock_wait, error)
            raise

    def grants(self, captures: Sequence[Capture], choice: AccountChoice) -> str:
        with self._inspected() as (connection, found):
            definer = next((trigger.definer for trigger in found.own_triggers), "")
            accounts = {
                AccountRole.INSTALLER: account_of(choice, AccountRole.INSTALLER, self._info, connection, definer),
                AccountRole.CONSUMER: account_of(choice, AccountRole.CONSUMER, self._info, connection),
            }
            return grants_text(found, within(found.tables, captures), self._info.database, accounts, choice)

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
                    self._apply(connection, plan, lambda _: None)
                except TableAltered:
                    if not tries_left:
                        raise
                else:
                    return [step.title for step in plan.steps]
        raise AssertionError("the last try returned or raised")

    def extend_cascades(self, captures: Sequence[Capture]) -> Sequence[str]:
        """Do what `extend` does where triggers journal cascades only; nothing where there are none, or all."""
        with self._session() as connection:
            there = inspect(connection).installation
        return self.extend(captures) if there is not None and there.cascades_only else ()

    def findings(self, captures: Sequence[Capture]) -> list[Finding]:
        with self._inspected() as (connection, found):
            checks = findings_of(connection, found, within(found.tables, captures))
            return [*checks, *capture_findings(self._info, found)]

    def cascade_findings(self, captures: Sequence[Capture]) -> list[Finding] | None:
        """Return the doctor's checks of triggers that only journal cascades; None when that is not what is
        installed."""
        with self._inspected() as (connection, found):
            if found.installation is None or not found.installation.cascades_only:
                return None
            checks = cascade_findings(connection, found, within(found.tables, captures))
            return [*checks, *capture_findings(self._info, found)]

    def unreadable(self, tables: Sequence[str]) -> list[str]:
        """Return those of these tables that this account may not read, each tried."""
        refused = []
        with self._session() as connection:
            for table in tables:
                try:
                    rows(connection, sqlfile.render("mysql/queries.sql#may_read", table=quote(table)))
                except (pymysql.err.OperationalError, pymysql.err.ProgrammingError) as error:
                    if code_of(error) not in NO_PRIVILEGE:
                        raise
                    refused.append(table)
        return refused

    # MariaDB takes a second to show the triggers of 1,000 tables: these two do not ask for them

    def existing_tables(self) -> dict[str, tuple[str, ...]]:
        with self._session() as connection:
            return {name: table.names for name, table in read_tables(connection).items() if name not in TABLES}

    def survey(self, *, counted: bool) -> list[SurveyedTable]:
        with self._session() as connection:
            there = installation(connection)
            captures = () if there is None or there.cascades_only else there.captures
            return survey(connection, {capture.table for capture in captures}, counted=counted)
