"""The file of a SQLite outbox: locks, schema, backups, and the file as one side of a move (`cdc.outbox.transfer`).

Nobody but its owner reads it, for it holds secrets; and what is to be gone is gone.  `ProcessLock` is for what only one
process of an outbox may do.  Dispatch: two would take each other's leases for those of a former life.  Reading a source
that has no lock of its own.  SQLite stores the number of the newest migration in the file's ``user_version``, and ours
in its ``application_id``.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

from cdc.files import CLOSED_IN_CHILDREN, is_root, replace_durably
from cdc.model.errors import OutboxError, UsageError
from cdc.outbox.database import Migration, Row, migrations, sqlite_statements
from cdc.outbox.sqlite.database import CODEC, SqliteDatabase, SqliteThread, errors_of, primary_code, sentence
from cdc.outbox.sqlite.rows import converted, stored
from cdc.outbox.transfer import BATCH, COLUMNS, TransferPart

_APPLICATION_ID: Final = 0x66634364  # "fcCd"
_NEW: Final = os.O_CREAT | os.O_EXCL | os.O_RDWR | CLOSED_IN_CHILDREN


def migrate_sqlite(connection: sqlite3.Connection, path: Path, steps: Sequence[Migration] | None = None) -> None:
    """Bring the file to the newest schema.  The connection is in autocommit mode; ``path`` is for the sentences.

    Several processes may do so at once: each step looks at the version again under the write lock.
    """
    wanted = migrations("sqlite") if steps is None else steps
    _check_version(connection, path, len(wanted))
    for migration in wanted:
        if migration.number > _pragma(connection, "user_version"):
            _apply(connection, migration)


def _check_version(connection: sqlite3.Connection, path: Path, newest: int) -> None:
    connection.execute("BEGIN")  # one view of the three answers
    version, application = _pragma(connection, "user_version"), _pragma(connection, "application_id")
    tables = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
    connection.execute("COMMIT")
    if tables and application != _APPLICATION_ID:
        raise OutboxError(
            f"The SQLite database {path} belongs to another program.", "Name a file of its own in [outbox] url."
        )
    if version > newest:
        raise OutboxError(
            f"The outbox {path} has schema version {version}, newer than this program's {newest}.",
            "Upgrade facturascripts-cdc, or name another file in [outbox] url.",
        )


def _apply(connection: sqlite3.Connection, migration: Migration) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if migration.number > _pragma(connection, "user_version"):
            for statement in statements(migration.script):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {migration.number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one: ``executescript`` would commit before it starts."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    assert not pending.strip(), "a migration ends with a semicolon"


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def read_schema(path: Path) -> dict[str, object]:
    """Return the schema's version and the definition of each table and index.  Raises `OutboxError`."""
    with errors_of(path), closing(sqlite3.connect(path)) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        made = db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC, name").fetchall()
    return {"version": version, "statements": [statement for (statement,) in made]}


class ProcessLock:
    """``part``: what it is about.

    An open exclusive transaction on a small file beside the outbox.  However the process that holds it ends, the system
    lets it go."""

    def __init__(self, outbox: Path, part: str = "dispatch") -> None:
        self._path = outbox.with_name(f"{outbox.name}-{part}")
        self._connection: sqlite3.Connection | None = None

    def take(self) -> bool:
        """Return whether it is ours now; never waits.  Raises `OutboxError` when the file cannot be made."""
        if self._connection is not None:
            return True
        keep_private(self._path)  # an account that can open it could hold the lock and stop dispatch
        connection = None
        try:
            connection = sqlite3.connect(self._path, isolation_level=None, timeout=0)
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            if primary_code(error) == sqlite3.SQLITE_BUSY:
                return False
            raise sentence(error, self._path) from error
        self._connection = connection
        return True

    def release(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Seal(Protocol):
    """Seal the secrets that are not, and return how many there were."""

    def __call__(self, db: SqliteDatabase, /, *, dry_run: bool = False) -> Coroutine[Any, Any, int]: ...


async def open_file(path: Path, writer: SqliteThread, reader: SqliteThread, seal: Seal) -> None:
    """Open both connections to the file, created or migrated where needed, and ``seal`` its secrets.  Raises
    `OutboxError`, and closes both."""
    keep_private(path)
    await writer.open()
    try:
        await writer.rescue(lambda db: migrate_sqlite(db, path))
        await reader.open()
        if await reader.read(seal, dry_run=True):
            await writer.write(seal)
            await writer.empty_log()
    except BaseException:
        await reader.close()
        await writer.close()
        raise


def keep_private(path: Path) -> None:
    """Make the file, or take it from everyone but its owner; SQLite gives owner and mode to the files beside it.

    A file that root makes belongs to the folder's owner, the account of the service, which writes it too.  An existing
    file is not opened: closing it would drop the locks of this process's other connections.
    """
    try:
        if not path.exists():
            place = path.resolve()
            with suppress(FileExistsError), os.fdopen(os.open(place, _NEW, 0o600)) as made:
                if is_root():
                    owner = place.parent.stat()
                    os.fchown(made.fileno(), owner.st_uid, owner.st_gid)
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise OutboxError(
            f"The outbox {path} cannot be opened: {error.strerror}.",
            "See that its folder exists and that this user may write there.",
        ) from error


def back_up(path: Path, target: Path) -> int:
    """Write the copy, whole or not at all, for its owner's eyes only; its size in bytes.  What was expunged or removed
    is not in it.  Raises `UsageError` when there is nothing to copy, or something at ``target``; `OutboxError`."""
    if not path.is_file():
        raise UsageError(
            f"There is no outbox {path}.", "Name the configuration that it belongs to: cdc --config PATH …"
        )
    if target.exists():
        raise UsageError(f"{target} is there already.", "Name a file that is not: a backup overwrites nothing.")
    with errors_of(path), closing(sqlite3.connect(path, isolation_level=None)) as db:
        copy(db, path, target)
    return target.stat().st_size


def copy(db: sqlite3.Connection, path: Path, target: Path) -> None:
    """Write what ``db``, the open outbox ``path``, holds to the new file ``target``, whole or not at all."""
    partial = target.with_name(f"{target.name}.partial")
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise OutboxError(
            f"The backup {partial} cannot be made: {error.strerror}.",
            "See that its folder exists and that this user may write there; remove what an earlier try left.",
        ) from error
    try:
        with errors_of(path):
            db.execute("VACUUM INTO ?", (str(partial),))
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        _check_readable(partial)
        replace_durably(partial, target)
    except BaseException:
        with suppress(FileNotFoundError):
            partial.unlink()
        raise


def _check_readable(copy: Path) -> None:
    """A backup that cannot be read is none."""
    with errors_of(copy), closing(sqlite3.connect(copy)) as db:
        (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise OutboxError(f"The backup {copy} is not whole: {found}.", "See the system's log about that disk.")


def place_outbox(path: Path, target: Path, owner: tuple[int, int], before: Callable[[], None]) -> None:
    """Move the outbox to a place where there is none, for the account ``owner`` (user and group): copied whole, then
    renamed.  ``before``: called when the copy is complete and nobody writes to the old file, whose name then ends with
    .moved.  Raises `OutboxError`, also when a process dispatches from it."""
    draft = target.with_name(f"{target.name}.placed")
    draft.unlink(missing_ok=True)  # of an attempt that was interrupted
    draft.with_name(f"{draft.name}.partial").unlink(missing_ok=True)
    with sqlite_side(path), errors_of(path), closing(sqlite3.connect(path, isolation_level=None)) as reader:
        copy(reader, path, draft)
        os.chown(draft, *owner)
        before()
        replace_durably(draft, target)
        for end in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                path.with_name(f"{path.name}{end}").rename(path.with_name(f"{path.name}.moved{end}"))
        for lock in path.parent.glob(f"{path.name}-*"):
            lock.unlink()


class SqliteSide:
    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.name = f"The outbox {path}"
        self._db = connection

    def counts(self) -> dict[TransferPart, int]:
        return {part: self._db.execute(f"SELECT COUNT(*) FROM {part}").fetchone()[0] for part in TransferPart}  # noqa: S608 - members of an enumeration

    def leased(self, now: datetime) -> int:
        query = "SELECT COUNT(*) FROM delivery WHERE worker IS NOT NULL AND due > ?"
        return int(self._db.execute(query, (stored(now),)).fetchone()[0])

    def read(self, part: TransferPart) -> Iterator[list[Row]]:
        if part is TransferPart.ENDPOINTS:
            cursor = self._db.execute(sqlite_statements()["all_endpoints"])
        else:
            cursor = self._db.execute(f"SELECT {', '.join(COLUMNS[part])} FROM {part} ORDER BY 1")  # noqa: S608 - constants, and a member of an enumeration
        while found := cursor.fetchmany(BATCH):
            rows = converted(found, cursor.description)
            endpoints = part is TransferPart.ENDPOINTS
            yield [(row[0], CODEC.endpoint(row[2:]), row[1]) for row in rows] if endpoints else rows

    def write(self, part: TransferPart, rows: Sequence[Row]) -> None:
        if part is TransferPart.ENDPOINTS:
            for number, endpoint, removed_at in rows:
                row = {name: stored(value) for name, value in CODEC.row(endpoint).items()}
                self._db.execute(sqlite_statements()["insert_endpoint"], row)
                renumber = "UPDATE endpoint SET number = ?, removed_at = ? WHERE id = ?"
                self._db.execute(renumber, (number, stored(removed_at), endpoint.id))
            return
        names = COLUMNS[part]
        values = ", ".join("?" * len(names))
        insert = f"INSERT INTO {part} ({', '.join(names)}) VALUES ({values})"  # noqa: S608 - constants, and a member of an enumeration
        self._db.executemany(insert, [tuple(map(stored, row)) for row in rows])

    def complete(self) -> None:
        self._db.execute(sqlite_statements()["count_finished"])
        self._db.execute("COMMIT")


@contextmanager
def sqlite_side(path: Path) -> Iterator[SqliteSide]:
    """Open the side of an outbox whose schema is up to date.  Raises `OutboxError`, also when a process dispatches from
    it."""
    lock = ProcessLock(path)
    if not lock.take():
        raise OutboxError(f"A process dispatches from the outbox {path}.", "Stop every cdc run first.")
    try:
        with errors_of(path), closing(sqlite3.connect(path, isolation_level=None, timeout=5.0)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield SqliteSide(path, connection)  # closing undoes what was not committed
    finally:
        lock.release()
