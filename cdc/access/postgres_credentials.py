"""Sessions and tokens in PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from cdc.access.model import USE_NOTED, ApiToken, PageSession, User, clean_name, user_key
from cdc.access.postgres_users import rows, write
from cdc.access.rows import same, session_from, session_row, token_from, token_row
from cdc.access.shared import no_token, token_exists
from cdc.audit import AuditEntry
from cdc.outbox.postgres.audit import append
from cdc.outbox.postgres.session import Db

_FORGET_SESSIONS: Final = "DELETE FROM cdc_outbox.access_session WHERE expires_at <= %(now)s"
_END_SESSION: Final = "DELETE FROM cdc_outbox.access_session WHERE digest = %(digest)s"
_DELETE: Final = "DELETE FROM cdc_outbox.access_token WHERE id = %(id)s"


async def add_session(db: Db, session: PageSession) -> None:
    await db.query(_FORGET_SESSIONS, {"now": session.created_at})
    await write(db, "insert_session", **session_row(session, same))


async def session(db: Db, digest: str) -> tuple[PageSession, User | None] | None:
    found = await rows(db, "session", digest=digest)
    return session_from(found[0], same) if found else None


async def note_session(db: Db, digest: str, now: datetime) -> None:
    await write(db, "note_session", digest=digest, now=now, noted_before=now - USE_NOTED)


async def end_session(db: Db, digest: str) -> None:
    await db.query(_END_SESSION, {"digest": digest})


async def add_token(db: Db, token: ApiToken, digest: str, entry: AuditEntry) -> None:
    if not await write(db, "insert_token", **token_row(token, digest, same)):
        raise token_exists(token.name)
    await append(db, entry)


async def tokens(db: Db) -> list[ApiToken]:
    return [token_from(row, same) for row in await rows(db, "tokens")]


async def token(db: Db, digest: str) -> ApiToken | None:
    found = await rows(db, "token", digest=digest)
    return token_from(found[0], same) if found else None


async def note_token(db: Db, digest: str, now: datetime) -> None:
    await write(db, "note_token", digest=digest, now=now, noted_before=now - USE_NOTED)


async def remove_token(db: Db, named: str, entry: AuditEntry) -> ApiToken:
    found = await rows(db, "find_token", token=clean_name(named), name_key=user_key(named))
    if not found:
        raise no_token(named)
    removed = token_from(found[0], same)
    await db.query(_DELETE, {"id": removed.id})
    await append(db, entry)
    return removed
