"""The embedded outbox: one SQLite file, several processes.

Two connections, each in its own thread: one writes (and reads what the hot paths need), the other reads the log, so
that a slow listing delays nobody.  Calls that an API refused are in a small file beside it, which can be written before
there is an outbox.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from cdc.model.audit import Note
from cdc.model.delivery import Outcome
from cdc.model.errors import OutboxError
from cdc.model.event import Event
from cdc.outbox import endpoints, upkeep
from cdc.outbox.secret_box import PLAIN, SecretBox
from cdc.outbox.sqlite import dispatch
from cdc.outbox.sqlite.database import SqliteDatabase, SqliteThread, errors_of
from cdc.outbox.sqlite.file import ProcessLock, copy, keep_private, open_file
from cdc.outbox.store import MOST_OUTCOMES, OutboxStore, StoreQueue, T, Via, method

#: Seconds to wait for another process that writes refusals: a few bytes.
_TIMEOUT: Final = 10.0
#: KiB.  The log, and kept rows, are walked once: what is needed again are the pages above the leaves.
_READER_CACHE: Final = 4096
#: Seconds for which outcomes are recorded in a transaction, which stores wait for; and the fewest that one records.
_FINISH_SECONDS: Final = 0.01
_FEWEST_OUTCOMES: Final = 64


class SqliteOutbox(OutboxStore):
    """`OutboxStore` in the file ``path`` (made with mode 0600 when absent: it holds secrets).

    ``busy_timeout``: seconds to wait for another process's write.  ``box``: seals the endpoints' secrets in it.
    """

    def __init__(self, path: Path | str, *, busy_timeout: float = 5.0, box: SecretBox = PLAIN) -> None:
        self._path = Path(path)
        self._use(
            SqliteThread(self._path, busy_timeout, box=box),
            SqliteThread(self._path, busy_timeout, _READER_CACHE, box),
        )
        self._stores = StoreQueue(self._store)
        self._seen: tuple[int, int] | None = None
        self._dispatch_lock = ProcessLock(self._path)
        self._readers: dict[str, ProcessLock] = {}
        self._refusals = self._path.with_name(f"{self._path.name}-refusals")

    def _use(self, writer: SqliteThread, reader: SqliteThread) -> None:
        self._writer, self._reader = writer, reader
        self.runs = dict.fromkeys(Via, writer.write)
        self.runs |= {Via.OWN: writer.read, Via.SNAPSHOT: reader.read, Via.LOG: reader.read, Via.DUE: reader.read}
        self.runs |= {Via.DISPATCH: writer.write_relaxed, Via.TIDY: writer.write_bulk}

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
        await self._stores.close()
        self._dispatch_lock.release()
        for reader in self._readers.values():
            reader.release()
        await self._reader.close()
        await self._writer.close()

    async def _forget_pages(self) -> None:
        async def shrink(db: SqliteDatabase) -> None:
            db.connection.execute("PRAGMA shrink_memory")  # the pages are not read again, and would fill the cache

        await self._writer.read(shrink)

    async def become_reader(self, source: str) -> bool:
        return self._readers.setdefault(source, ProcessLock(self._path, f"source-{source}")).take()

    async def stop_reading(self, source: str) -> None:
        if (reader := self._readers.pop(source, None)) is not None:
            reader.release()

    async def refusals(self, api: str) -> str:
        if not self._refusals.exists():
            return ""
        return await asyncio.to_thread(self._use_refusals, lambda db: _refusal(db, api))

    async def change_refusals(self, api: str, change: Callable[[str], str]) -> None:
        def replace(db: sqlite3.Connection) -> None:
            db.execute("BEGIN IMMEDIATE")
            db.execute("CREATE TABLE IF NOT EXISTS refusal (api TEXT PRIMARY KEY, content TEXT NOT NULL)")
            content = change(_refusal(db, api))
            db.execute("INSERT OR REPLACE INTO refusal (api, content) VALUES (?, ?)", (api, content))
            db.execute("COMMIT")

        keep_private(self._refusals)  # an account that can open it could hold its lock
        await asyncio.to_thread(self._use_refusals, replace)

    def _use_refusals(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with (
            errors_of(self._refusals),
            closing(sqlite3.connect(self._refusals, isolation_level=None, timeout=_TIMEOUT)) as db,
        ):
            return work(db)

    # -- dispatch: a power failure may undo the newest of these, so that something is sent once more -----------------

    async def become_dispatcher(self) -> bool:
        return self._dispatch_lock.take()

    lease = method(Via.DISPATCH, dispatch.lease)
    lease_of = method(Via.DISPATCH, dispatch.lease_of)

    async def finish(
        self, worker: str, outcomes: Sequence[Outcome], now: datetime, announcements: Sequence[Event] = ()
    ) -> None:
        await self._writer.write_bulk(dispatch.finish, worker, outcomes, now, announcements)
        share = _FINISH_SECONDS / max(self._writer.bulk_seconds, 1e-6)  # of the time that it may take
        if share < 1:
            self.most_outcomes = max(int(len(outcomes) * share), _FEWEST_OUTCOMES)
        elif len(outcomes) > self.most_outcomes // 2:
            self.most_outcomes = min(int(self.most_outcomes * min(share, 2.0)), MOST_OUTCOMES)

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
        if not await self._writer.empty_log():
            raise OutboxError(
                f"The payloads are emptied, but another process still reads what they were from {self._path}-wal.",
                "Do the same again in a moment.",
            )
        return cancelled


def _refusal(db: sqlite3.Connection, api: str) -> str:
    tables = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'refusal'").fetchone()
    row = db.execute("SELECT content FROM refusal WHERE api = ?", (api,)).fetchone() if tables else None
    return str(row[0]) if row else ""


async def _versions(db: SqliteDatabase) -> tuple[int, int]:
    """Two numbers that move: with the commits of other connections, and with the writes of this one."""
    version = db.connection.execute("PRAGMA data_version").fetchone()[0]
    return int(version), db.connection.total_changes
