"""Parts that both installers of PostgreSQL share: a connection whose errors are ours, steps in transactions, and taking
back.

Each step is a transaction that locks one table of the ERP at most: no deadlock with the ERP is possible, and nobody
waits behind us for longer than one lock timeout.  When a step fails, what the steps before it made is taken back.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors

from cdc.capture.triggers.base import Installer, Plan, Progress, S, Step
from cdc.capture.triggers.postgres_render import connects, qualified
from cdc.capture.triggers.postgres_state import Connection
from cdc.database.postgres_connection import connect, connecting_roles, own_words
from cdc.database.sqlfile import load
from cdc.model.connection import AccountChoice, ConnectionInfo
from cdc.model.errors import CdcError, InstallError, LockTimeout, SourceUnavailable
from cdc.model.finding import NO_KEY, SurveyedTable


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
