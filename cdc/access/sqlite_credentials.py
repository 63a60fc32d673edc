"""Sessions and tokens in SQLite."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from cdc.access.model import USE_NOTED, ApiToken, PageSession, User, clean_name, user_key
from cdc.access.rows import session_from, session_row, token_from, token_row
from cdc.access.shared import no_token, token_exists
from cdc.access.sqlite_users import statement
from cdc.audit import AuditEntry
from cdc.outbox.sqlite.audit import append
from cdc.outbox.sqlite.rows import micros, moment

# -- sessions -------------------------------------------------------------------------------------------------------


def add_session(db: sqlite3.Connection, session: PageSession) -> None:
    db.execute("DELETE FROM access_session WHERE expires_at <= ?", (micros(session.created_at),))
    statement(db, "insert_session", session_row(session, micros))


def session(db: sqlite3.Connection, digest: str) -> tuple[PageSession, User | None] | None:
    row = statement(db, "session", {"digest": digest}).fetchone()
    return None if row is None else session_from(row, moment)


def note_session(db: sqlite3.Connection, digest: str, now: datetime) -> None:
    statement(db, "note_session", {"digest": digest, "now": micros(now), "noted_before": micros(now - USE_NOTED)})


def end_session(db: sqlite3.Connection, digest: str) -> None:
    db.execute("DELETE FROM access_session WHERE digest = ?", (digest,))


# -- tokens ---------------------------------------------------------------------------------------------------------


def add_token(db: sqlite3.Connection, token: ApiToken, digest: str, entry: AuditEntry) -> None:
    if not statement(db, "insert_token", token_row(token, digest, micros)).rowcount:
        raise token_exists(token.name)
    append(db, entry)


def tokens(db: sqlite3.Connection) -> list[ApiToken]:
    return [token_from(row, moment) for row in statement(db, "tokens", {})]


def token(db: sqlite3.Connection, digest: str) -> ApiToken | None:
    row = statement(db, "token", {"digest": digest}).fetchone()
    return None if row is None else token_from(row, moment)


def note_token(db: sqlite3.Connection, digest: str, now: datetime) -> None:
    statement(db, "note_token", {"digest": digest, "now": micros(now), "noted_before": micros(now - USE_NOTED)})


def remove_token(db: sqlite3.Connection, named: str, entry: AuditEntry) -> ApiToken:
    row = statement(db, "find_token", {"token": clean_name(named), "name_key": user_key(named)}).fetchone()
    if row is None:
        raise no_token(named)
    removed = token_from(row, moment)
    db.execute("DELETE FROM access_token WHERE id = ?", (removed.id,))
    append(db, entry)
    return removed
