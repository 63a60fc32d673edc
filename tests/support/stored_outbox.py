"""An outbox on disk, and everything that is stored in it: what a thief of the file or the tables reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.secret_box import SecretBox
from cdc.outbox.sqlite.outbox import SqliteOutbox
from support.database import Database


class StoredOutbox:
    """Can be opened with different keys."""

    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self.path = folder / "outbox.db"
        self.database: Database | None = None
        if request.param == "postgresql":
            self.database = request.getfixturevalue("postgres_outbox_db")

    @asynccontextmanager
    async def opened(self, *keys: str, seal_payloads: bool = False) -> AsyncIterator[PostgresOutbox | SqliteOutbox]:
        box = SecretBox(keys, seal_payloads=seal_payloads)
        outbox = PostgresOutbox(self.database.info, box=box) if self.database else SqliteOutbox(self.path, box=box)
        try:
            await outbox.open()
            yield outbox
        finally:
            await outbox.close()

    def holds(self, word: str) -> bool:
        """Return whether any byte of it tells the word, in any case."""
        text = self.content().lower()
        return word.lower() in text or word.encode().hex() in text

    def content(self) -> str:
        if self.database is None:
            files = self.path.parent.glob(f"{self.path.name}*")
            return "".join(file.read_bytes().decode("latin-1") for file in files)
        tables = self.database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'cdc_outbox'")
        texts = [self.database.execute(f"SELECT each::text FROM cdc_outbox.{name} AS each") for (name,) in tables]
        return "\n".join(str(row) for rows in texts for row in rows)
