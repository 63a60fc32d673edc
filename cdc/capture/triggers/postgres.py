"""The trigger installer of PostgreSQL, the doctor's checks, and the proof that the triggers journal changes; before
them the parts that the installer of slots shares: a connection whose errors are ours, steps in transactions, and taking
back.

Each step is a transaction that locks one table of the ERP at most: no deadlock with the ERP is possible, and nobody
waits behind us for longer than one lock timeout.  When a step fails, what the steps before it made is taken back."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors

from cdc.capture.triggers import postgres_plan
from cdc.capture.triggers.base import Hiding, Installer, Plan, Progress, S, Step, hide_nothing, require_proof, within
from cdc.capture.triggers.postgres_plan import refuse_table, unfit_server
from cdc.capture.triggers.postgres_render import connects, grants, qualified, quote
from cdc.capture.triggers.postgres_state import Connection, PostgresState, Waiting, inspect
from cdc.database.postgres_capture import JOURNAL_VERSION, LOCK_CLASS, LOCK_CONSUMER, PROBE
from cdc.database.postgres_connection import accounts_of, connect, connecting_roles, own_words
from cdc.database.sqlfile import load
from cdc.model.column import Capture
from cdc.model.connection import AccountChoice, ConnectionInfo
from cdc.model.errors import CdcError, InstallError, LockTimeout, SourceUnavailable
from cdc.model.finding import NO_KEY, Finding, Repaired, Severity, SurveyedTable, backlog


@dataclass(frozen=True, slots=True)
class LockWait:
    """``lock_seconds``: how long one try may wait for a lock, and hold up the writers that queue behind it.
    ``lock_tries``, with ``pause_seconds`` between them, in which those writers get through."""

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


def run_patiently(connection: Connection, step: Step, schema: str, lock_wait: LockWait) -> None:
    """Raises `LockTimeout` when the lock is not had in any try."""
    for left in reversed(range(lock_wait.lock_tries)):
        try:
            return run_step(connection, step, lock_wait.lock_seconds)
        except errors.LockNotAvailable as error:
            blocked = lock_timeout(connection, step, schema, lock_wait.lock_tries)
            if not left:
                raise blocked from error
        lock_wait.pause(lock_wait.pause_seconds)
    return None


def run_step(connection: Connection, step: Step, lock_seconds: float) -> None:
    """Run a step in one transaction.  Raises psycopg's LockNotAvailable when a lock is not had in time."""
    with connection.transaction():
        connection.execute(b"SELECT set_config('lock_timeout', %s, true)", [f"{int(lock_seconds * 1000)}ms"])
        connection.execute(b"SET LOCAL client_min_messages = warning")
        for statement in step.statements:
            connection.execute(statement.encode())


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
    head = [f"-- {note}" for note in plan.notes]
    head += ["\\set ON_ERROR_STOP on", f"SET lock_timeout = '{int(lock_seconds * 1000)}ms';"]
    head += ["SET client_min_messages = warning;"]  # dropping a function reports each trigger that is dropped with it
    blocks = [f"\n-- {step.title}\nBEGIN;\n" + "\n".join(step.statements) + "COMMIT;" for step in plan.steps]
    return (
        "\n".join([*head, *blocks, ""])
        if plan.steps
        else "\n".join([*head[: len(plan.notes)], "-- Nothing to do.", ""])
    )


def only_these_connect(connection: Connection, choice: AccountChoice) -> str:
    """Return the statements that keep all other accounts of the server from connecting; empty where that is so."""
    roles = None if choice.shared else connecting_roles(connection)
    return "" if roles is None else connects(connection.info.dbname, roles)


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

    def _is_base(self, table: Any) -> bool:
        return table.kind in "rp"

    @abstractmethod
    def _run(self, connection: Connection, step: Step, found: S) -> None:
        """One step."""

    @abstractmethod
    def _restoring(self, found: S, before: S) -> Plan:
        """Plan the way back from the present installation to the one before."""

    def survey(self, *, counted: bool) -> list[SurveyedTable]:  # noqa: ARG002 - the interface's: PostgreSQL's counts cost nothing
        with self._session() as connection:
            return self._survey(connection, self._inspect(connection))

    @abstractmethod
    def _survey(self, connection: Connection, found: S) -> list[SurveyedTable]: ...

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
        except BaseException as error:
            if done:
                self._take_back(connection, before, error)
            raise

    def _take_back(self, connection: Connection, before: S, cause: BaseException) -> None:
        """Undo; the error names what cannot be undone now."""
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


def survey(connection: Connection, schema: str, installed: Collection[str]) -> list[SurveyedTable]:
    """The base tables of a schema."""
    rows = connection.execute(load("postgres/trigger/queries.sql#survey").encode(), [schema]).fetchall()
    return [
        SurveyedTable(name, None if count < 0 else count, "" if has_key else NO_KEY, name in installed)
        for name, count, has_key in rows
    ]


INSTALL = "cdc install-triggers"
_CHECK = "capture"
_AGAIN = "cdc uninstall-triggers; cdc install-triggers"
_CHANGES = (
    b"INSERT INTO cdc.cdc_probe VALUES (pg_backend_pid(), 1)",
    b"UPDATE cdc.cdc_probe SET n = 2 WHERE id = pg_backend_pid()",
    b"DELETE FROM cdc.cdc_probe WHERE id = pg_backend_pid()",
)


def findings(found: PostgresState, captures: Sequence[Capture], waiting: Waiting | None) -> list[Finding]:
    """``waiting``: None without a journal."""
    sound = f"PostgreSQL {found.server.version // 10000}, schema {found.schema}"
    checks = [unfit_server(found.server) or Finding("server", Severity.OK, sound), _journal(found)]
    if waiting is not None:
        checks += _tables(found, captures)
        if waiting.consumer:  # whose: another check
            checks.append(Finding("consumer", Severity.OK, "a session holds its lock"))
        else:
            detail = "no consumer reads this database"
            checks.append(Finding("consumer", Severity.WARNING, detail, "cdc run"))
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


def capture_findings(connection: Connection, found: PostgresState) -> Iterator[Finding]:
    """The proof as the doctor does it, with the account that it has."""
    if found.version is None or found.journal_lost:
        return
    if PROBE not in found.functions:
        detail = "Not proved: the table cdc.cdc_probe is missing."
        yield Finding(_CHECK, Severity.WARNING, detail, "cdc install-triggers; then what cdc grants prints")
    else:
        yield prove(connection)


def prove(connection: Connection) -> Finding:
    """Write the probe, read what the triggers made of it, and roll both back."""
    try:
        if denied := _denied(connection):
            return denied
        recorded = [_transaction(connection) for _ in range(2)]
    except psycopg.Error as error:
        if connection.broken:
            raise
        reason = error.diag.message_primary or type(error).__name__
        detail = f"A write to cdc.cdc_probe fails, and so do those to captured tables: {reason}."
        return Finding(_CHECK, Severity.WRONG, detail, _AGAIN)
    for operations, _ in recorded:
        if operations != ["I", "U", "D"]:
            detail = f"3 changes of cdc.cdc_probe left {len(operations)} rows in the journal."
            return Finding(_CHECK, Severity.WRONG, detail, _AGAIN)
    if len({token for _, tokens in recorded for token in tokens}) != len(recorded):
        return Finding(_CHECK, Severity.WRONG, "The triggers do not keep transactions together.", _AGAIN)
    return Finding(_CHECK, Severity.OK, f"proved by {len(recorded)} transactions: each kept together")


def _denied(connection: Connection) -> Finding | None:
    row = connection.execute(load("postgres/trigger/queries.sql#may_prove").encode()).fetchone()
    missing = row[0] if row else []
    if not missing:
        return None
    role = connection.info.user
    detail = f"Not proved: role {role} lacks {', '.join(missing)}."
    return Finding(_CHECK, Severity.WARNING, detail, "; ".join(f"GRANT {each} TO {quote(role)}" for each in missing))


def _transaction(connection: Connection) -> tuple[list[str], list[str]]:
    """Change the probe and take it back; the operations and the tokens of what was journaled."""
    with connection.transaction(force_rollback=True):
        for change in _CHANGES:
            connection.execute(change)
        rows = connection.execute(load("postgres/trigger/queries.sql#recorded").encode()).fetchall()
    return [operation for operation, _ in rows], [token for _, token in rows]


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

    def _grants(
        self, connection: Connection, found: PostgresState, captures: Sequence[Capture], choice: AccountChoice
    ) -> str:
        accounts = accounts_of(choice, self._info, connection)
        return grants(found, captures, accounts, choice, only_these_connect(connection, choice))

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
        return [*findings(found, captures, backlog), *capture_findings(connection, found)]

    def unreadable(self, tables: Sequence[str]) -> list[str]:
        """Return those of these tables that this account may not read."""
        with self._session() as connection:
            sql = load("postgres/trigger/queries.sql#unreadable").encode()
            found = connection.execute(sql, [inspect(connection).schema, list(tables)]).fetchall()
        return [name for (name,) in found]

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


def waiting(connection: Connection) -> Waiting:
    sql = load("postgres/trigger/queries.sql#backlog").encode()
    row = connection.execute(sql, {"lock_class": LOCK_CLASS, "lock_consumer": LOCK_CONSUMER}).fetchone()
    changes, age, disk, consumer = row or (0, None, 0, False)
    return Waiting(int(changes), float(age or 0), int(disk), bool(consumer))
