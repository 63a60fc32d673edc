"""Users, TOTP steps and the set-up link in PostgreSQL.  What changes runs inside a `transaction`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final, TypeVar

from cdc.access.model import User, UserChange, user_key
from cdc.access.rows import same, user_from, user_row
from cdc.access.shared import no_user, user_exists
from cdc.audit import AuditEntry
from cdc.outbox.postgres.audit import LOCK, append
from cdc.outbox.postgres.session import Db

T = TypeVar("T")

_DELETE_USER: Final = "DELETE FROM cdc_outbox.access_user WHERE name_key = %(key)s RETURNING 1"
_END_SESSIONS: Final = "DELETE FROM cdc_outbox.access_session WHERE user_key = %(key)s RETURNING 1"
_ANY_USER: Final = "SELECT EXISTS (SELECT FROM cdc_outbox.access_user)"


async def transaction(db: Db, work: Callable[[Db], Awaitable[T]]) -> T:
    """``work`` in a transaction, alone among the changes of access.  The lanes of the outbox are not locked for it, and
    nobody is told: nothing became due."""
    async with db.connection.transaction():
        await db.query(LOCK, {})
        return await work(db)


async def rows(db: Db, name: str, /, **parameters: Any) -> list[tuple[Any, ...]]:
    """What ``sql/postgres/outbox/access/<name>.sql`` gives."""
    return await db.rows(f"access/{name}", **parameters)


async def write(db: Db, name: str, /, **parameters: Any) -> int:
    """How many rows it changed."""
    return await db.write(f"access/{name}", **parameters)


async def users(db: Db, name: str | None) -> list[User]:
    """All, or the one of this name (if any)."""
    key = None if name is None else user_key(name)
    return [user_from(row, same) for row in await rows(db, "users", name_key=key)]


async def add(db: Db, user: User, entry: AuditEntry) -> None:
    if not await write(db, "insert_user", **user_row(user, same)):
        raise user_exists(user.name)
    await end_sessions(db, user.name)
    await append(db, entry)


async def change(db: Db, name: str, wanted: UserChange, entry: AuditEntry) -> User:
    found = await users(db, name)
    if not found:
        raise no_user(name)
    changed = wanted.applied_to(found[0])
    await write(db, "update_user", **user_row(changed, same))
    if wanted.stamp is not None:
        await end_sessions(db, name)
    await append(db, entry)
    return changed


async def replace_hash(db: Db, name: str, old: str, new: str) -> bool:
    return await write(db, "replace_hash", name_key=user_key(name), old=old, new=new) > 0


async def remove(db: Db, name: str, entry: AuditEntry) -> None:
    if not await db.query(_DELETE_USER, {"key": user_key(name)}):
        raise no_user(name)
    await end_sessions(db, name)
    await append(db, entry)


async def end_sessions(db: Db, name: str) -> int:
    return len(await db.query(_END_SESSIONS, {"key": user_key(name)}))


async def take_totp_step(db: Db, owner: str, step: int) -> bool:
    return await write(db, "take_totp_step", owner=owner, step=step) > 0


async def offer_setup(db: Db, digest: str, until: datetime) -> bool:
    await db.query("DELETE FROM cdc_outbox.access_setup", {})
    if await _occupied(db):
        return False
    await write(db, "insert_setup", digest=digest, expires_at=until)
    return True


async def take_setup(db: Db, digest: str, user: User, entry: AuditEntry, now: datetime) -> bool:
    if await _occupied(db) or not await write(db, "take_setup", digest=digest, now=now):
        return False
    await add(db, user, entry)
    return True


async def _occupied(db: Db) -> bool:
    return bool((await db.query(_ANY_USER, {}))[0][0])
