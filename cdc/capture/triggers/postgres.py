"""The trigger installer of PostgreSQL, the doctor's checks, and the proof that the triggers journal changes; before
them the parts that the installer of slots shares: a connection whose errors are ours, steps in transactions, and taking
back.

Each step is a transaction that locks one table of the ERP at most: no deadlock with the ERP is possible, and nobody
waits behind us for longer than one lock timeout.  When a step fails, what the steps before it made is taken back."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

import psycopg
from psycopg import errors

from cdc.capture.triggers import postgres_plan
from cdc.capture.triggers.base import Hiding, Inspected, Installer, Plan, Progress, Step, hide_nothing, within
from cdc.capture.triggers.postgres_plan import refuse_table, unfit_server
from cdc.capture.triggers.postgres_render import connects, grants, qualified, quote
from cdc.capture.triggers.postgres_state import Connection, PostgresState, Relation, Waiting, inspect
from cdc.database.postgres_capture import JOURNAL_VERSION, LOCK_CLASS, LOCK_CONSUMER, PROBE
from cdc.database.postgres_connection import accounts_of, connect, connecting_roles, own_words
from cdc.database.sqlfile import load
from cdc.model.column import Capture
from cdc.model.connection import AccountChoice, Accounts, ConnectionInfo
from cdc.model.errors import CdcError, InstallError, LockTimeout, SourceUnavailable
from cdc.model.finding import NO_KEY, Finding, Repaired, Severity, SurveyedTable, backlog


@dataclass(frozen=True, slots=True)
class LockWait:
    """The time that a step may wait for the lock of a table.  ``lock_seconds``: how long one try may wait for a lock,
    and hold up the writers that queue behind it.  ``lock_tries``, with ``pause_seconds`` between them, in which those
    writers get through."""

    lock_seconds: float = 1.0
    lock_tries: int = 5
    pause_seconds: float = 1.0
    pause: Callable[[float], None] = time.sleep


@contextmanager
def session(info: ConnectionInfo) -> Iterator[Connection]:
    """A connection in autocommit mode; database errors that nobody expected come out as `InstallError`."""
    try:
        connection = connect(info, "cdc installer")
    except psycopg.OperationalError as error:
        raise SourceUnavailable(
            f"No connection to {info.describe()}: {own_words(error)}.",
            "Is the server up, are the account and address right?",
        ) from error
    try:
        with connection:
            yield connection
    except errors.InsufficientPrivilege as error:
        raise InstallError(
            f"{info.describe()}: {own_words(error)}.", "cdc grants prints what the account needs."
        ) from error
    except psycopg.Error as error:
        kind = SourceUnavailable if connection.broken else InstallError
        raise kind(f"{info.describe()}: {own_words(error)}.") from error


def run_step(connection: Connection, step: Step, schema: str, lock_wait: LockWait) -> None:
    """Run a step in one transaction, again when a lock is not had in time.  Raises `LockTimeout` after the last try."""
    for left in reversed(range(lock_wait.lock_tries)):
        try:
            with connection.transaction():
                timeout = f"{int(lock_wait.lock_seconds * 1000)}ms"
                connection.execute(b"SELECT set_config('lock_timeout', %s, true)", [timeout])
                connection.execute(b"SET LOCAL client_min_messages = warning")
                for statement in step.statements:
                    connection.execute(statement.encode())
                return
        except errors.LockNotAvailable as error:
            blocked = lock_timeout(connection, step, schema, lock_wait.lock_tries)
            if not left:
                raise blocked from error
        lock_wait.pause(lock_wait.pause_seconds)


def lock_timeout(connection: Connection, step: Step, schema: str, tries: int) -> LockTimeout:
    """Return the error that names the session that holds the lock now."""
    table = qualified(schema, step.table) if step.table else "cdc.cdc_journal"
    sql = load("postgres/trigger/queries.sql#blockers").encode()
    row = connection.execute(sql, [table]).fetchone()
    what = f"{step.title}: table {step.table or 'cdc.cdc_journal'} stayed locked through {tries} tries"
    if row is None:
        return LockTimeout(f"{what}.", "Try again at a quieter time.")
    pid, user, application, state, age = row
    details = [f"user {user}" if user else "", application and f"application {application}", state]
    holder = ", ".join(each for each in details if each)
    return LockTimeout(
        f"{what}; connection {pid} ({holder}) has had a transaction open for {age:.0f} s.",
        f"Let it finish, or end it with SELECT pg_terminate_backend({pid}); then run the command again.",
    )


def script(plan: Plan, lock_seconds: float) -> str:
    """Return a script for psql: each step a transaction of its own, so that no lock is held while waiting for the next
    one."""
    notes = [f"-- {note}" for note in plan.notes]
    if not plan.steps:
        return "\n".join([*notes, "-- Nothing to do.", ""])
    head = ["\\set ON_ERROR_STOP on", f"SET lock_timeout = '{int(lock_seconds * 1000)}ms';"]
    head += ["SET client_min_messages = warning;"]  # dropping a function reports each trigger that is dropped with it
    blocks = [f"\n-- {step.title}\nBEGIN;\n" + "\n".join(step.statements) + "COMMIT;" for step in plan.steps]
    return "\n".join([*notes, *head, *blocks, ""])


class InspectedSchema(Inspected, Protocol):
    """The state of a database of which one schema holds the ERP's tables.  ``installed``: the captured tables."""

    @property
    def schema(self) -> str: ...

    @property
    def tables(self) -> Mapping[str, Relation]: ...

    @property
    def installed(self) -> Collection[str]: ...


S = TypeVar("S", bound=InspectedSchema)


class PostgresBase(Installer[Connection, S]):
    """The skeleton of PostgreSQL's two installers.  ``COMMANDS``: those that install and uninstall."""

    COMMANDS: tuple[str, str]

    def __init__(self, info: ConnectionInfo, lock_wait: LockWait | None) -> None:
        self._info = info
        self._lock_wait = lock_wait or LockWait()

    def _session(self) -> AbstractContextManager[Connection]:
        return session(self._info)

    def script(self, plan: Plan) -> str:
        return script(plan, self._lock_wait.lock_seconds)

    def existing_tables(self) -> dict[str, tuple[str, ...]]:
        with self._inspected() as (_, found):
            return {name: tuple(table.names) for name, table in found.tables.items() if table.kind in "rp"}

    def survey(self, *, counted: bool) -> list[SurveyedTable]:  # noqa: ARG002 - the interface's: PostgreSQL's counts cost nothing
        with self._inspected() as (connection, found):
            sql = load("postgres/trigger/queries.sql#survey").encode()
            rows = connection.execute(sql, [found.schema]).fetchall()
            installed = found.installed
        return [
            SurveyedTable(name, None if count < 0 else count, "" if has_key else NO_KEY, name in installed)
            for name, count, has_key in rows
        ]

    def _accounts(self, connection: Connection, choice: AccountChoice) -> tuple[Accounts, str]:
        """Return the accounts, and the statements that keep all others from connecting; none where that is so."""
        roles = None if choice.shared else connecting_roles(connection)
        connecting = "" if roles is None else connects(connection.info.dbname, roles)
        return accounts_of(choice, self._info, connection), connecting

    @abstractmethod
    def _run(self, connection: Connection, step: Step, found: S) -> None:
        """Run one step."""

    @abstractmethod
    def _restoring(self, found: S, before: S) -> Plan:
        """Plan the way back from the present installation to the one before."""

    def _apply(self, connection: Connection, plan: Plan, progress: Progress) -> None:
        if not plan.steps:
            return
        before = self._inspect(connection)
        done = 0
        try:
            for step in plan.steps:
                progress(step.title)
                self._run(connection, step, before)
                done += 1
        except BaseException as cause:
            if not done:
                raise
            try:
                found = self._inspect(connection)
                for step in self._restoring(found, before).steps:
                    self._run(connection, step, found)
            except CdcError as error:
                install, uninstall = self.COMMANDS
                raise InstallError(
                    f"{cause} What had been done could not be taken back either: {error.message}",
                    f"Run cdc {uninstall} (or {install}) again at a quieter time.",
                ) from cause
            raise


INSTALL = "cdc install-triggers"
_CHECK = "capture"
_AGAIN = "cdc uninstall-triggers; cdc install-triggers"
_CHANGES = (
    b"INSERT INTO cdc.cdc_probe VALUES (pg_backend_pid(), 1)",
    b"UPDATE cdc.cdc_probe SET n = 2 WHERE id = pg_backend_pid()",
    b"DELETE FROM cdc.cdc_probe WHERE id = pg_backend_pid()",
)


def findings(found: PostgresState, captures: Sequence[Capture], waiting: Waiting | None) -> list[Finding]:
    """Return the doctor's checks.  ``waiting``: None without a journal."""
    sound = f"PostgreSQL {found.server.version // 10000}, schema {found.schema}"
    checks = [unfit_server(found.server) or Finding("server", Severity.OK, sound), _journal(found)]
    if waiting is not None:
        checks += _tables(found, captures)
        if waiting.consumer:  # whose: another check
            checks.append(Finding("consumer", Severity.OK, "a session holds its lock"))
        else:
            checks.append(Finding("consumer", Severity.WARNING, "no consumer reads this database", "cdc run"))
        checks.append(backlog(waiting.changes, waiting.age, waiting.disk))
    if roles := ", ".join(found.server.silent_roles):
        detail = f"no trigger fires in sessions of {roles}: session_replication_role is replica there by default"
        checks.append(
            Finding("silent sessions", Severity.WARNING, detail, "ALTER ROLE … RESET session_replication_role")
        )
    return checks


def _journal(found: PostgresState) -> Finding:
    if found.journal_lost:
        tables = len(found.functions.keys() - {PROBE})
        detail = f"it is gone, but {tables} tables have triggers that write to it: nothing is recorded"
        return Finding("journal", Severity.WRONG, detail, INSTALL)
    if found.version == JOURNAL_VERSION:
        new = any("cdc.cdc_append" in function.source for function in found.functions.values())
        if new and (phrase := postgres_plan.append_drift(found)):
            return Finding("journal", Severity.WRONG, f"{phrase}: nothing is recorded", INSTALL)
        return Finding("journal", Severity.OK, f"version {found.version}, {len(found.captures)} tables captured")
    if found.version is not None:
        detail = f"version {found.version}, not {JOURNAL_VERSION}"
        return Finding("journal", Severity.WRONG, detail, f"cdc uninstall-triggers, then {INSTALL}")
    if found.server.present:
        detail = f"role {found.server.role} may not read the schema cdc"
        return Finding("journal", Severity.WRONG, detail, "cdc grants prints what it needs")
    return Finding("journal", Severity.WRONG, "not installed", INSTALL)


def _tables(found: PostgresState, captures: Sequence[Capture]) -> Iterator[Finding]:
    wrong = False
    for capture in captures:
        phrases = _table(found, capture)
        if phrases:
            wrong = True
            yield Finding(f"table {capture.table}", Severity.WRONG, "; ".join(phrases), INSTALL)
        elif capture.table in found.tables and (foreign := found.tables[capture.table].foreign):
            detail = f"its rows are not read: {foreign}, which would run with the rights of the reading account"
            fix = "drop it, or let a superuser own that function"
            yield Finding(f"table {capture.table}", Severity.WRONG, detail, fix)
    wanted = {capture.table for capture in captures}
    for table in sorted(found.captures.keys() - wanted):
        wrong = True
        yield Finding(f"table {table}", Severity.WARNING, "captured, but no rule needs it", INSTALL)
    if not wrong:
        yield Finding("triggers", Severity.OK, f"as installed on {len(captures)} tables")


def _table(found: PostgresState, capture: Capture) -> list[str]:
    installed = found.captures.get(capture.table)
    if capture.table not in found.tables:
        return ["the table does not exist"]
    if installed is None:
        return ["the rules capture it since the installation (tables or include changed): it is not captured yet"]
    try:
        refuse_table(found, capture.table)
    except InstallError as error:
        return [error.message]
    changed = [] if installed.secrets == capture.secrets else ["its list of secret columns is not as configured"]
    return changed or postgres_plan.drift(found, capture)


def prove(connection: Connection) -> Finding:
    """Write the probe, read what the triggers made of it, and roll both back."""
    recorded = []
    try:
        row = connection.execute(load("postgres/trigger/queries.sql#may_prove").encode()).fetchone()
        if missing := row[0] if row else []:
            role = connection.info.user
            detail = f"Not proved: role {role} lacks {', '.join(missing)}."
            fix = "; ".join(f"GRANT {each} TO {quote(role)}" for each in missing)
            return Finding(_CHECK, Severity.WARNING, detail, fix)
        for _ in range(2):
            with connection.transaction(force_rollback=True):
                for change in _CHANGES:
                    connection.execute(change)
                recorded.append(connection.execute(load("postgres/trigger/queries.sql#recorded").encode()).fetchall())
    except psycopg.Error as error:
        if connection.broken:
            raise
        reason = error.diag.message_primary or type(error).__name__
        detail = f"A write to cdc.cdc_probe fails, and so do those to captured tables: {reason}."
        return Finding(_CHECK, Severity.WRONG, detail, _AGAIN)
    for journaled in recorded:
        if [operation for operation, _ in journaled] != ["I", "U", "D"]:
            detail = f"3 changes of cdc.cdc_probe left {len(journaled)} rows in the journal."
            return Finding(_CHECK, Severity.WRONG, detail, _AGAIN)
    if len({token for journaled in recorded for _, token in journaled}) != len(recorded):
        return Finding(_CHECK, Severity.WRONG, "The triggers do not keep transactions together.", _AGAIN)
    return Finding(_CHECK, Severity.OK, f"proved by {len(recorded)} transactions: each kept together")


class PostgresInstaller(PostgresBase[PostgresState]):
    """The installer of PostgreSQL's triggers.  ``hiding``: what repairs hide besides what was installed as secret."""

    COMMANDS = ("install-triggers", "uninstall-triggers")

    def __init__(self, info: ConnectionInfo, lock_wait: LockWait | None = None, hiding: Hiding = hide_nothing) -> None:
        super().__init__(info, lock_wait)
        self._hiding = hiding

    def _inspect(self, connection: Connection) -> PostgresState:
        return inspect(connection)

    def plan_install(self, captures: Sequence[Capture]) -> Plan:
        with self._inspected() as (_, found):
            return postgres_plan.plan_install(found, within(found.tables, captures))

    def plan_uninstall(self) -> Plan:
        with self._inspected() as (connection, found):
            mine = found.complete and found.server.schema_owned
            return postgres_plan.plan_uninstall(found, waiting(connection).changes if mine else 0)

    def grants(self, captures: Sequence[Capture], choice: AccountChoice) -> str:
        with self._inspected() as (connection, found):
            return grants(found, within(found.tables, captures), choice, *self._accounts(connection, choice))

    def repair(self, tables: Sequence[str] | None = None) -> Repaired:
        with self._inspected() as (connection, state):
            found = state.hiding(self._hiding)
            there = [table for table in found.captures if table in found.tables]
            plan = postgres_plan.plan_repair(found, there if tables is None else tables)
            return self._apply_each(connection, plan, found.schema)

    def restore(self, captures: Sequence[Capture], consumer: str) -> Repaired:
        """Create a lost journal again; see `cdc.capture.triggers.mysql.MySQLInstaller.restore`."""
        with self._inspected() as (connection, found):
            plan = postgres_plan.plan_restore(found.hiding(self._hiding), within(found.tables, captures), consumer)
            return self._apply_each(connection, plan, found.schema)

    def extend(self, captures: Sequence[Capture]) -> Sequence[str]:
        with self._inspected() as (connection, found):
            plan = postgres_plan.plan_extend(found, within(found.tables, captures))
            self._apply(connection, plan, lambda _title: None)
        return [step.title for step in plan.steps]

    def findings(self, captures: Sequence[Capture]) -> list[Finding]:
        with self._inspected() as (connection, found):
            backlog = waiting(connection) if found.complete else None
            checks = findings(found, within(found.tables, captures), backlog)
            if found.version is None or found.journal_lost:
                return checks
            if PROBE in found.functions:  # the proof, with the account that the doctor has
                return [*checks, prove(connection)]
            detail = "Not proved: the table cdc.cdc_probe is missing."
            fix = "cdc install-triggers; then what cdc grants prints"
            return [*checks, Finding(_CHECK, Severity.WARNING, detail, fix)]

    def unreadable(self, tables: Sequence[str]) -> list[str]:
        """Return those of these tables that this account may not read."""
        with self._inspected() as (connection, found):
            sql = load("postgres/trigger/queries.sql#unreadable").encode()
            return [name for (name,) in connection.execute(sql, [found.schema, list(tables)]).fetchall()]

    # -- applying ---------------------------------------------------------------------------------------------------

    def _run(self, connection: Connection, step: Step, found: PostgresState) -> None:
        if step is not postgres_plan.PROOF:
            run_step(connection, step, found.schema, self._lock_wait)
        elif (proved := prove(connection)).severity is not Severity.OK:
            raise InstallError(proved.detail, proved.fix)

    def _restoring(self, found: PostgresState, before: PostgresState) -> Plan:
        return postgres_plan.restoring(found, None if before.version is None else before.captures)

    def _apply_each(self, connection: Connection, plan: Plan, schema: str) -> Repaired:
        """Run each table's step by itself.  Raises an error of the journal, without which no table can be captured."""
        done: list[str] = []
        failed = dict(plan.refused)
        for step in plan.steps:
            try:
                run_step(connection, step, schema, self._lock_wait)
            except (InstallError, psycopg.Error) as error:
                if not step.table or connection.broken:
                    raise
                failed[step.table] = (
                    error if isinstance(error, InstallError) else InstallError(f"{step.title}: {own_words(error)}.")
                )
            else:
                done.append(step.title)
        return Repaired(tuple(done), failed)


def waiting(connection: Connection) -> Waiting:
    sql = load("postgres/trigger/queries.sql#backlog").encode()
    row = connection.execute(sql, {"lock_class": LOCK_CLASS, "lock_consumer": LOCK_CONSUMER}).fetchone()
    changes, age, disk, consumer = row or (0, None, 0, False)
    return Waiting(int(changes), float(age or 0), int(disk), bool(consumer))
