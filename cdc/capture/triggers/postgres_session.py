"""One installer's connection to PostgreSQL: its errors in our words, a step in a transaction, who holds a lock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import errors

from cdc.capture.triggers.base import Step
from cdc.capture.triggers.postgres_render import qualified
from cdc.capture.triggers.postgres_state import Connection
from cdc.database.postgres_connection import connect
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import InstallError, LockTimeout, SourceUnavailable
from cdc.sqlfile import load


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
            f"No connection to {info.describe()}: {reason(error)}.",
            "Is the server up, are the account and address right?",
        ) from error
    try:
        with connection:
            yield connection
    except errors.InsufficientPrivilege as error:
        raise InstallError(
            f"{info.describe()}: {reason(error)}.", "cdc grants prints what the account needs."
        ) from error
    except psycopg.Error as error:
        kind = SourceUnavailable if connection.broken else InstallError
        raise kind(f"{info.describe()}: {reason(error)}.") from error


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
    """All of it in one transaction.  Raises psycopg's LockNotAvailable when a lock is not had in time."""
    with connection.transaction():
        connection.execute(b"SELECT set_config('lock_timeout', %s, true)", [f"{int(lock_seconds * 1000)}ms"])
        connection.execute(b"SET LOCAL client_min_messages = warning")
        for statement in step.statements:
            connection.execute(statement.encode())


def lock_timeout(connection: Connection, step: Step, schema: str, tries: int) -> LockTimeout:
    """The sentence that names whoever holds the lock now."""
    table = qualified(schema, step.table) if step.table else "cdc.cdc_journal"
    sql = load("postgres/trigger/blockers.sql").encode()
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


def reason(error: psycopg.Error) -> str:
    """The server's own sentence, or the last line of libpq's; neither ever has a password or a query's values."""
    text = error.diag.message_primary or (str(error).strip().splitlines() or [type(error).__name__])[-1]
    return text.strip().rstrip(".")
