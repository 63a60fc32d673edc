"""The SQLite outbox and its store of access with their file in memory and without threads: no call ends the turn of
the event loop, so that tests with a clock of their own run the same way every time."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from cdc.access.sqlite import SqliteAccess
from cdc.outbox.audit import begin
from cdc.outbox.sqlite.database import SqliteThread, finished, sentence
from cdc.outbox.sqlite.file import migrate_sqlite
from cdc.outbox.sqlite.outbox import SqliteOutbox
from support.manual_clock import START

T = TypeVar("T")
_PATH = Path("memory")


def empty_database(made: list[sqlite3.Connection] = []) -> sqlite3.Connection:  # noqa: B006 - migrated once a process
    """Return a database in memory with the newest schema."""
    if not made:
        made.append(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False))  # of any test
        migrate_sqlite(made[0], _PATH)
    database = sqlite3.connect(":memory:", isolation_level=None, cached_statements=512, check_same_thread=False)
    made[0].backup(database)
    database.execute("PRAGMA foreign_keys = ON")
    return database


class MemoryThread(SqliteThread):
    """Runs everything at once, in the caller's thread."""

    def __init__(self) -> None:
        super().__init__(_PATH, 0.0)
        self._connection = empty_database()
        weakref.finalize(self, self._connection.close)

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def check_file(self) -> None: ...

    write_bulk = SqliteThread.write_relaxed  # how long it takes must change nothing

    async def _unchecked(self, function: Callable[[], T], waits: float = 0.0) -> T:
        try:
            return function()
        except sqlite3.Error as error:
            raise sentence(error, _PATH) from error


class MemoryOutbox(SqliteOutbox):
    """An open outbox, which its process alone reads and writes.  What it holds outlives `close`."""

    def __init__(self) -> None:
        super().__init__(_PATH)
        self.thread = MemoryThread()
        self._use(self.thread, self.thread)
        self._refused: dict[str, str] = {}

    async def exists(self) -> bool:
        return True

    async def check(self) -> None: ...

    async def save(self, now: datetime) -> Path | None:
        return None

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def become_reader(self, source: str) -> bool:
        return True

    async def become_dispatcher(self) -> bool:
        return True

    async def refusals(self, api: str) -> str:
        return self._refused.get(api, "")

    async def change_refusals(self, api: str, change: Callable[[str], str]) -> None:
        self._refused[api] = change(self._refused.get(api, ""))


class MemoryAccess(SqliteAccess):
    """``outbox``: whose database it shares."""

    def __init__(self, outbox: MemoryOutbox | None = None) -> None:
        super().__init__(_PATH)
        self._writer = self._reader = self._reads = outbox.thread if outbox else MemoryThread()
        finished(self._writer.write(begin, START))

    async def open(self) -> None: ...

    async def close(self) -> None: ...
