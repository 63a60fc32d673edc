"""Users, TOTP steps and the set-up link in SQLite.  What changes runs inside a transaction of `SqliteThread`."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from typing import Any

from cdc.access.model import User, UserChange, user_key
from cdc.access.rows import user_from, user_row
from cdc.access.shared import no_user, user_exists
from cdc.audit import AuditEntry
from cdc.outbox.sqlite.audit import append
from cdc.outbox.sqlite.rows import micros, moment
from cdc.sqlfile import load


def statement(db: sqlite3.Connection, name: str, parameters: dict[str, Any]) -> sqlite3.Cursor:
    """Runs ``sql/sqlite/access/<name>.sql``."""
    return db.execute(load(f"sqlite/access/{name}.sql"), parameters)


def users(db: sqlite3.Connection, name: str | None) -> list[User]:
    """All, or the one of this name (if any)."""
    key = None if name is None else user_key(name)
    return [user_from(row, moment) for row in statement(db, "users", {"name_key": key})]


def add(db: sqlite3.Connection, user: User, entry: AuditEntry) -> None:
    if not statement(db, "insert_user", user_row(user, micros)).rowcount:
        raise user_exists(user.name)
    end_sessions(db, user.name)
    append(db, entry)


def change(db: sqlite3.Connection, name: str, wanted: UserChange, entry: AuditEntry) -> User:
    found = users(db, name)
    if not found:
        raise no_user(name)
    changed = wanted.applied_to(found[0])
    statement(db, "update_user", user_row(changed, micros))
    if wanted.stamp is not None:
        end_sessions(db, name)
    append(db, entry)
    return changed


def replace_hash(db: sqlite3.Connection, name: str, old: str, new: str) -> bool:
    return statement(db, "replace_hash", {"name_key": user_key(name), "old": old, "new": new}).rowcount > 0


def remove(db: sqlite3.Connection, name: str, entry: AuditEntry) -> None:
    if not db.execute("DELETE FROM access_user WHERE name_key = ?", (user_key(name),)).rowcount:
        raise no_user(name)
    end_sessions(db, name)
    append(db, entry)


def end_sessions(db: sqlite3.Connection, name: str) -> int:
    return db.execute("DELETE FROM access_session WHERE user_key = ?", (user_key(name),)).rowcount


def take_totp_step(db: sqlite3.Connection, owner: str, step: int) -> bool:
    return statement(db, "take_totp_step", {"owner": owner, "step": step}).rowcount > 0


def offer_setup(db: sqlite3.Connection, digest: str, until: datetime) -> bool:
    db.execute("DELETE FROM access_setup")
    if _occupied(db):
        return False
    statement(db, "insert_setup", {"digest": digest, "expires_at": micros(until)})
    return True


def take_setup(db: sqlite3.Connection, digest: str, user: User, entry: AuditEntry, now: datetime) -> bool:
    if _occupied(db) or not statement(db, "take_setup", {"digest": digest, "now": micros(now)}).rowcount:
        return False
    add(db, user, entry)
    return True


def _occupied(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM access_user LIMIT 1").fetchone() is not None
