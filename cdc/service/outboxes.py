"""Which outbox a configuration means, and moving from one to another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from cdc.clock import SystemClock
from cdc.config import Config
from cdc.config.outbox import OutboxConfig, SecretKeys
from cdc.errors import UsageError
from cdc.outbox.base import OutboxStore

if TYPE_CHECKING:
    from cdc.outbox.transfer import Side


def open_outbox(config: Config) -> OutboxStore:
    """The configured outbox; not opened yet."""
    return outbox_of(config.outbox)


def outbox_of(outbox: OutboxConfig) -> OutboxStore:
    return _outbox(outbox, outbox.secret_keys())


def _outbox(outbox: OutboxConfig, keys: SecretKeys) -> OutboxStore:
    from cdc.outbox.secret_box import SecretBox

    box = SecretBox(*keys)
    if outbox.path is None:
        from cdc.outbox.postgres.outbox import PostgresOutbox

        return PostgresOutbox(outbox.connection(), box=box)
    from cdc.outbox.sqlite.outbox import SqliteOutbox

    return SqliteOutbox(outbox.path, box=box)


async def migrate_outbox(
    source: OutboxConfig, target: OutboxConfig, keys: SecretKeys, progress: Callable[[str, int, int], None]
) -> dict[str, int]:
    """Move everything to an empty outbox; the source stays as it is.  How many rows of each table were moved.

    ``progress``: table, rows done, rows in all."""
    from cdc.outbox.transfer import move

    if source.path is not None and not source.path.exists():
        raise UsageError(f"There is no outbox {source.path}.", "Name an existing one first, a new one second.")
    for each in (source, target):
        store = _outbox(each, keys)
        try:
            await store.open()  # makes the schema, or brings it up to date
        finally:
            await store.close()

    def work() -> dict[str, int]:
        with _transfer_side(source) as there, _transfer_side(target) as here:
            return {part.value: count for part, count in move(there, here, SystemClock().now(), progress).items()}

    return await asyncio.to_thread(work)


def _transfer_side(outbox: OutboxConfig) -> AbstractContextManager[Side]:
    if outbox.path is None:
        from cdc.outbox.postgres.transfer import postgres_side

        return postgres_side(outbox.connection())
    from cdc.outbox.sqlite.transfer import sqlite_side

    return sqlite_side(outbox.path)


def back_up_outbox(outbox: OutboxConfig, target: Path) -> int:
    """A copy of it in the file ``target``; its size in bytes.  Raises `UsageError` for one in PostgreSQL."""
    if outbox.path is None:
        info = outbox.connection()
        raise UsageError(
            f"The outbox in {info.describe()} is backed up by its server's own tools.",
            f"pg_dump --schema=cdc_outbox --format=custom --host={info.host} --port={info.port} "
            f"--username={info.user} --file={target} {info.database}",
        )
    from cdc.outbox.sqlite.backup import back_up

    return back_up(outbox.path, target)


async def describe_schema(outbox: OutboxConfig) -> dict[str, object]:
    """What its tables are like, and their version: no row of them.  Of one that has been opened."""
    if outbox.path is None:
        from cdc.outbox.postgres.schema import read_schema

        return await read_schema(outbox.connection())
    from cdc.outbox.sqlite import schema

    return schema.read_schema(outbox.path)


def outbox_script() -> str:
    """What a DBA runs to make the outbox's tables in PostgreSQL."""
    from cdc.outbox.postgres.migrate import migration_script

    return migration_script()
