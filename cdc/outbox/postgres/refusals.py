"""Calls that an API refused, among the small states of the PostgreSQL outbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cdc.outbox.postgres.database import PostgresDatabase
from cdc.outbox.shared import refusal_lock

_NAME: Final = "refusals"
_TEXT: Final = "SELECT value FROM cdc_outbox.source_state WHERE source = %(source)s AND name = %(name)s"
_LOCK: Final = "SELECT pg_advisory_xact_lock(%(lock)s)"


async def text(db: PostgresDatabase, api: str) -> str:
    found = await db.query(_TEXT, {"source": _owner(api), "name": _NAME})
    return str(found[0][0]) if found else ""


async def change(db: PostgresDatabase, api: str, changed: Callable[[str], str]) -> None:
    async with db.connection.transaction():
        await db.query(_LOCK, {"lock": refusal_lock(api)})
        value = changed(await text(db, api))
        await db.write_each("set_state", {"name": [_NAME], "value": [value]}, source=_owner(api))


def _owner(api: str) -> str:
    """No source has such a name."""
    return f"api {api}"
