"""Users, TOTP steps and the set-up link, as they are stored.  What changes runs alone, in a transaction."""

from __future__ import annotations

import json
from datetime import datetime

from cdc.access.model import Role, User, UserChange, no_user, user_exists, user_key
from cdc.model.audit import AuditEntry
from cdc.outbox.audit import append
from cdc.outbox.database import Database, Row


async def users(db: Database, name: str | None) -> list[User]:
    """Return all users, or the one of this name (if any)."""
    key = None if name is None else user_key(name)
    return [user_from(row) for row in await db.rows("users", name_key=key)]


async def add(db: Database, user: User, entry: AuditEntry) -> None:
    if not await db.write("insert_user", created_at=user.created_at, name=user.name, **_columns(user)):
        raise user_exists(user.name)
    await end_sessions(db, user.name)
    await append(db, entry)


async def change(db: Database, name: str, wanted: UserChange, entry: AuditEntry) -> User:
    found = await users(db, name)
    if not found:
        raise no_user(name)
    changed = wanted.applied_to(found[0])
    await db.write("update_user", **_columns(changed))
    if wanted.stamp is not None:
        await end_sessions(db, name)
    await append(db, entry)
    return changed


async def replace_hash(db: Database, name: str, old: str, new: str) -> bool:
    return await db.write("replace_hash", name_key=user_key(name), old=old, new=new) > 0


async def remove(db: Database, name: str, entry: AuditEntry) -> None:
    if not await db.write("remove_user", name_key=user_key(name)):
        raise no_user(name)
    await end_sessions(db, name)
    await append(db, entry)


async def end_sessions(db: Database, name: str) -> int:
    return await db.write("end_sessions", user_key=user_key(name))


async def take_totp_step(db: Database, owner: str, step: int) -> bool:
    return await db.write("take_totp_step", owner=owner, step=step) > 0


async def offer_setup(db: Database, digest: str, until: datetime) -> bool:
    await db.write("forget_setup")
    if await db.value("any_user"):
        return False
    await db.write("insert_setup", digest=digest, expires_at=until)
    return True


async def take_setup(db: Database, digest: str, user: User, entry: AuditEntry, now: datetime) -> bool:
    if await db.value("any_user") or not await db.write("take_setup", digest=digest, now=now):
        return False
    await add(db, user, entry)
    return True


def _columns(user: User) -> dict[str, str]:
    return {
        "name_key": user.key,
        "role": user.role.value,
        "password_hash": user.password_hash,
        "totp_secret": user.totp_secret,
        "stamp": user.stamp,
        "sources": json.dumps(user.sources),
    }


def user_from(row: Row) -> User:
    name, role, password_hash, totp_secret, stamp, sources, created_at = row
    return User(name, Role(role), created_at, stamp, password_hash, totp_secret, tuple(json.loads(sources)))
