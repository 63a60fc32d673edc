"""Calls that an API refused, in a small SQLite file beside the outbox: it can be written before there is an outbox."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from cdc.outbox.sqlite.errors import sentence
from cdc.outbox.sqlite.file import keep_private

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
