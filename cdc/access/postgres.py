"""Access in the database of the PostgreSQL outbox, over a connection of its own, made when it is first used."""

from __future__ import annotations

from cdc.access.database_access import DatabaseAccess, P, T, Work, rekey, seal_secrets
from cdc.model.audit import Note
from cdc.model.clock import SystemClock
from cdc.model.connection import ConnectionInfo
from cdc.outbox.audit import begin, needs_chain, noting
from cdc.outbox.postgres.database import Lock, PostgresDatabase, PostgresSession, Shared
from cdc.outbox.postgres.schema import migrate_postgres, secret_rights
from cdc.outbox.secret_box import PLAIN, SecretBox


class PostgresAccess(DatabaseAccess):
    """`AccessStore` in the schema ``cdc_outbox`` of a database.  ``box``: seals TOTP secrets and answers in it."""

    def __init__(self, info: ConnectionInfo, *, box: SecretBox = PLAIN) -> None:
        super().__init__(box)
        self._info = info
        self._reads = self._session = PostgresSession(info, Shared("access", box), durable=True, plain=True)

    async def open(self) -> None:
        await migrate_postgres(self._info)
        if not (await self._session.read(secret_rights)).users:
            return
        if await self._session.read(seal_secrets, former=False, dry_run=True):
            await self._write(seal_secrets, former=False)
        if await self._session.read(needs_chain):
            await self._write(begin, SystemClock().now())

    async def close(self) -> None:
        await self._session.close()

    async def rekey(self, note: Note) -> int:
        return await self._session.write(Lock.EXCLUSIVE, noting(note, rekey))

    async def _write(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` without the locks of lanes and without NOTIFY, because no delivery becomes due."""

        async def transaction(db: PostgresDatabase) -> T:
            async with db.connection.transaction():
                await db.alone()
                return await work(db, *args, **kwargs)

        return await self._session.read(transaction)

    async def _step(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._session.read(work, *args, **kwargs)

    async def _note(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._session.read(work, *args, **kwargs)
