"""Access in the file of the SQLite outbox, over connections of its own: one writes, one reads."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from cdc.access.database_access import DatabaseAccess, P, T, Work, rekey, seal_secrets
from cdc.model.audit import Note
from cdc.model.clock import SystemClock
from cdc.outbox.audit import begin, needs_chain, noting
from cdc.outbox.secret_box import PLAIN, SecretBox
from cdc.outbox.sqlite.database import SqliteThread
from cdc.outbox.sqlite.file import open_file


class SqliteAccess(DatabaseAccess):
    """`AccessStore` in the file ``path``.  ``busy_timeout``: seconds to wait for another process's write.  ``box``:
    seals TOTP secrets and answers in it."""

    def __init__(self, path: Path | str, *, busy_timeout: float = 5.0, box: SecretBox = PLAIN) -> None:
        super().__init__(box)
        self._path = Path(path)
        self._writer = SqliteThread(self._path, busy_timeout, box=box)
        self._reads = self._reader = SqliteThread(self._path, busy_timeout, box=box)

    async def open(self) -> None:
        seal = partial(seal_secrets, former=False)
        await open_file(self._path, self._writer, self._reader, seal)
        try:
            if await self._reader.read(needs_chain):
                await self._writer.write(begin, SystemClock().now())
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await self._reader.close()
        await self._writer.close()

    async def rekey(self, note: Note) -> int:
        return await self._writer.write(noting(note, rekey))

    async def _write(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._writer.write(work, *args, **kwargs)

    async def _step(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._writer.write(work, *args, **kwargs)

    async def _note(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._writer.write_relaxed(work, *args, **kwargs)
