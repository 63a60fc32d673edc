"""The doctor's check of the session that holds the consumer lock of a source's database."""

from __future__ import annotations

from cdc.capture.base import LockHolder
from cdc.config import SourceConfig
from cdc.model.change import ReaderStore
from cdc.model.connection import Engine
from cdc.model.errors import CdcError
from cdc.model.finding import Finding, Severity


async def finding(source: SourceConfig, readers: ReaderStore, *, served: bool) -> Finding | None:
    """Return that the holder is no process of this outbox; None when it is one, or the lock is free, or another check
    reports why the database cannot be asked.  ``served``: health says whether a consumer waits for the lock; if none
    does, nothing is wrong."""
    if not source.has_database:
        return None
    try:
        holder = await _holder(source)
    except CdcError:
        return None
    if holder is None or holder.noted(await readers.reading_session(source.name)):
        return None
    severity = Severity.WARNING if served else Severity.WRONG
    return Finding("consumer lock", severity, holder.foreign, holder.remedy)


async def _holder(source: SourceConfig) -> LockHolder | None:
    info = source.connection()
    if info.engine is Engine.POSTGRESQL:
        from cdc.capture.postgres_lookup import PostgresLookup

        lookup = PostgresLookup(info, ())
        try:
            await lookup.connect()
            return await lookup.lock_holder()
        finally:
            await lookup.disconnect()
    from cdc.capture.mysql_session import MySQLSession

    session = MySQLSession(info)
    try:
        await session.connect(lambda _connection: None)
        return await session.lock_holder()
    finally:
        await session.disconnect()
