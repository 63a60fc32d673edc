"""The embedded outbox: one SQLite file, several processes.

Two connections, each in its own thread: one writes (and reads what the hot paths need), the other reads the log, so
that a slow listing delays nobody.  Calls that an API refused are in a small file beside it (`RefusalFile`), which can
be written before there is an outbox.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from cdc.model.audit import Note
from cdc.model.delivery import LeasedDelivery, Outcome
from cdc.model.event import Event
from cdc.outbox import endpoints, upkeep
from cdc.outbox.database_outbox import DatabaseOutbox
from cdc.outbox.secret_box import PLAIN, SecretBox
from cdc.outbox.sqlite import dispatch
from cdc.outbox.sqlite.database import SqliteDatabase, SqliteThread, log_in_use, sentence
from cdc.outbox.sqlite.file import ProcessLock, copy, forget_log, keep_private, open_file

_CREATE: Final = "CREATE TABLE IF NOT EXISTS refusal (api TEXT PRIMARY KEY, content TEXT NOT NULL)"
_READ: Final = "SELECT content FROM refusal WHERE api = ?"
_WRITE: Final = "INSERT OR REPLACE INTO refusal (api, content) VALUES (?, ?)"
#: Seconds to wait for another process, which writes a few bytes.
_TIMEOUT: Final = 10.0


class RefusalFile:
    """``outbox``: the path of the outbox, which need not exist."""

    def __init__(self, outbox: Path) -> None:
        self._path = outbox.with_name(f"{outbox.name}-refusals")

    async def read(self, api: str) -> str:
        """Raises `OutboxError`, as `change` does."""
        return await asyncio.to_thread(self._read, api) if self._path.exists() else ""

    async def change(self, api: str, change: Callable[[str], str]) -> None:
        await asyncio.to_thread(self._change, api, change)

    def _read(self, api: str) -> str:
        try:
            with closing(sqlite3.connect(self._path, timeout=_TIMEOUT)) as db:
                return _content(db, api)
        except sqlite3.Error as error:
            raise sentence(error, self._path) from error

    def _change(self, api: str, change: Callable[[str], str]) -> None:
        new = not self._path.exists()
        keep_private(self._path)  # an account that can open it could hold its lock
        try:
            with closing(sqlite3.connect(self._path, isolation_level=None, timeout=_TIMEOUT)) as db:
                db.execute("BEGIN IMMEDIATE")
                db.execute(_CREATE)
                db.execute(_WRITE, (api, change(_content(db, api))))
                db.execute("COMMIT")
        except sqlite3.Error as error:
            raise sentence(error, self._path) from error
        if new and os.geteuid() == 0:  # the consumer's user, who owns the folder, writes it too
            owner = self._path.parent.stat()
            os.chown(self._path, owner.st_uid, owner.st_gid)


def _content(db: sqlite3.Connection, api: str) -> str:
    tables = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'refusal'").fetchone()
    found = db.execute(_READ, (api,)).fetchone() if tables else None
    return str(found[0]) if found else ""


#: KiB.  The log, and kept rows, are walked once: what is needed again are the pages above the leaves.
_READER_CACHE: Final = 4096


class SqliteOutbox(DatabaseOutbox):
    """`OutboxStore` in the file ``path`` (made with mode 0600 when absent: it holds secrets).

    ``busy_timeout``: seconds to wait for another process's write.  ``box``: seals the endpoints' secrets in it.
    """

    def __init__(self, path: Path | str, *, busy_timeout: float = 5.0, box: SecretBox = PLAIN) -> None:
        super().__init__()
        self._path = Path(path)
        self._use(
            SqliteThread(self._path, busy_timeout, box=box),
            SqliteThread(self._path, busy_timeout, _READER_CACHE, box),
        )
        self._seen: tuple[int, int] | None = None
        self._dispatch_lock = ProcessLock(self._path)
        self._readers: dict[str, ProcessLock] = {}
        self._refusals = RefusalFile(self._path)

    def _use(self, writer: SqliteThread, reader: SqliteThread) -> None:
        self._writer, self._reader = writer, reader
        self._read_own = writer.read
        self.read_log = self._read_snapshot = self._read_due = reader.read
        self._change = self.alter = self._add = self._step = writer.write
        self._dispatch = self._tidy = writer.write_relaxed

    async def exists(self) -> bool:
        return self._path.exists()

    async def check(self) -> None:
        await asyncio.to_thread(self._writer.check_file)

    async def save(self, now: datetime) -> Path | None:
        target = self._path.with_name(f"{self._path.name}-saved-{now:%Y%m%dT%H%M%S}")
        await self._writer.rescue(lambda db: copy(db, self._path, target))
        return target

    async def open(self) -> None:
        seal = partial(endpoints.seal_secrets, former=False)
        await open_file(self._path, self._writer, self._reader, seal)
        try:
            await self._reader.read(upkeep.check_keys)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        self._dispatch_lock.release()
        for reader in self._readers.values():
            reader.release()
        await self._reader.close()
        await self._writer.close()

    async def _forget_pages(self) -> None:
        await self._writer.read(_let_go)

    async def become_reader(self, source: str) -> bool:
        return self._readers.setdefault(source, ProcessLock(self._path, f"source-{source}")).take()

    async def stop_reading(self, source: str) -> None:
        if (reader := self._readers.pop(source, None)) is not None:
            reader.release()

    async def refusals(self, api: str) -> str:
        return await self._refusals.read(api)

    async def change_refusals(self, api: str, change: Callable[[str], str]) -> None:
        await self._refusals.change(api, change)

    # -- dispatch: a power failure may undo the newest of these, so that something is sent once more -----------------

    async def become_dispatcher(self) -> bool:
        return self._dispatch_lock.take()

    async def lease(
        self,
        worker: str,
        now: datetime,
        until: datetime,
        limit: int,
        room: Mapping[str, int] | None = None,
        *,
        only: bool = False,
    ) -> list[LeasedDelivery]:
        lease, room = dispatch.lease, room or {}
        return await self._writer.write_relaxed(lease, worker, now, until, limit=limit, room=room, only=only)

    async def lease_of(
        self, endpoint_id: str, worker: str, now: datetime, until: datetime, limit: int
    ) -> list[LeasedDelivery]:
        return await self._writer.write_relaxed(dispatch.lease_of, endpoint_id, worker, now, until, limit=limit)

    async def finish(
        self, worker: str, outcomes: Sequence[Outcome], now: datetime, announcements: Sequence[Event] = ()
    ) -> None:
        await self._writer.write_relaxed(dispatch.finish, worker, outcomes, now, announcements)

    def on_write(self, wake: Callable[[], None]) -> None:
        pass  # a file sends no notices

    async def changed(self) -> bool:
        now = await self._writer.read(_versions)
        changed, self._seen = now != self._seen, now
        return changed

    async def version(self) -> object:
        return await self._writer.read(_versions)

    async def expunge(self, event_ids: Sequence[str], now: datetime, note: Note = ()) -> int:
        cancelled = await super().expunge(event_ids, now, note)
        if not await self._writer.read(forget_log):
            raise log_in_use(self._path)
        return cancelled


async def _let_go(db: SqliteDatabase) -> None:
    """The pages that hold kept rows: they are not looked at again, and would fill the cache."""
    db.connection.execute("PRAGMA shrink_memory")


async def _versions(db: SqliteDatabase) -> tuple[int, int]:
    """Two numbers that move: with the commits of other connections, and with the writes of this one."""
    version = db.connection.execute("PRAGMA data_version").fetchone()[0]
    return int(version), db.connection.total_changes
