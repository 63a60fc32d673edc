"""Sessions and tokens, as they are stored."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict
from datetime import datetime, timedelta

from cdc.access.model import (
    USE_NOTED,
    Allowance,
    ApiToken,
    Origin,
    PageSession,
    Portal,
    Role,
    Scope,
    User,
    clean_name,
    no_token,
    token_exists,
    user_key,
    within,
)
from cdc.access.users import user_from
from cdc.model.audit import AuditEntry
from cdc.outbox.audit import append
from cdc.outbox.database import Database, Row


async def add_session(db: Database, session: PageSession) -> None:
    await db.write("forget_sessions", now=session.created_at)
    await db.write(
        "insert_session",
        digest=session.digest,
        user_key=session.key,
        user_name=session.user,
        role=session.role.value,
        origin=session.origin.value,
        stamp=session.stamp,
        address=session.address,
        created_at=session.created_at,
        last_used_at=session.last_used_at,
        expires_at=session.expires_at,
        portal=None if session.portal is None else _portal_text(session.portal),
    )


async def add_portal_link(db: Database, link: PageSession, entry: AuditEntry) -> PageSession:
    maker = await _maker(db, link)
    if link.stamp and maker is None:
        raise no_token(link.stamp)
    added = within(link, maker)
    await add_session(db, added)
    await append(db, entry)
    return added


async def _maker(db: Database, link: PageSession) -> ApiToken | None:
    row = await db.row("find_token", token=link.stamp, name_key="") if link.stamp else None
    return None if row is None else _token_from(row)


async def take_portal_link(db: Database, digest: str, begun: PageSession, entry: AuditEntry) -> bool:
    if not await db.write("take_portal_link", digest=digest, now=begun.created_at):
        return False
    await add_session(db, within(begun, await _maker(db, begun)))
    await append(db, entry)
    return True


async def end_portal(db: Database, key: str, sources: Collection[str], entry: AuditEntry) -> int:
    """``sources``: of those who end it; empty: all."""
    rows = await db.rows("portal_sessions", user_key=key)
    theirs = [digest for digest, text in rows if not sources or set(_portal_from(text).sources) <= set(sources)]
    for digest in theirs:
        await db.write("end_session", digest=digest)
    if theirs:
        await append(db, entry)
    return len(theirs)


async def session(db: Database, digest: str) -> tuple[PageSession, User | None] | None:
    """A session, and the user of ours with its name, if any."""
    row = await db.row("page_session", digest=digest)
    if row is None:
        return None
    _, name, role, origin, stamp, address, created_at, last_used_at, expires_at, text = row[:10]
    user = row[10:]
    portal = None if text is None else _portal_from(text)
    times = created_at, last_used_at, expires_at
    found = PageSession(digest, name, Role(role), Origin(origin), stamp, address, *times, portal=portal)
    return found, None if user[0] is None else user_from(user)


async def note_session(db: Database, digest: str, now: datetime) -> None:
    await db.write("note_session", digest=digest, now=now, noted_before=now - USE_NOTED)


async def open_sessions(db: Database, name: str, now: datetime) -> int:
    ((number,),) = await db.rows("open_sessions", user_key=user_key(name), now=now)
    return int(number)


async def end_session(db: Database, digest: str) -> None:
    await db.write("end_session", digest=digest)


async def add_token(db: Database, token: ApiToken, digest: str, entry: AuditEntry) -> None:
    added = await db.write(
        "insert_token",
        id=token.id,
        name_key=user_key(token.name),
        name=token.name,
        scope=token.scope.value,
        digest=digest,
        created_at=token.created_at,
        expires_at=token.expires_at,
        last_used_at=token.last_used_at,
        sources=json.dumps(token.sources),
        allowed=json.dumps(token.allowed),
        networks=json.dumps(token.networks),
    )
    if not added:
        raise token_exists(token.name)
    await append(db, entry)


async def tokens(db: Database) -> list[ApiToken]:
    return [_token_from(row) for row in await db.rows("tokens")]


async def token(db: Database, digest: str) -> ApiToken | None:
    row = await db.row("token", digest=digest)
    return None if row is None else _token_from(row)


async def note_token(db: Database, digest: str, now: datetime, address: str) -> None:
    await db.write("note_token", digest=digest, now=now, noted_before=now - USE_NOTED, address=address)


async def remove_token(db: Database, named: str, entry: AuditEntry) -> ApiToken:
    row = await db.row("find_token", token=clean_name(named), name_key=user_key(named))
    if row is None:
        raise no_token(named)
    removed = _token_from(row)
    await db.write("remove_token", id=removed.id)
    await db.write("end_portals_of_token", token=removed.id)
    await append(db, entry)
    return removed


def _token_from(row: Row) -> ApiToken:
    identity, name, scope, created_at, expires_at, last_used_at, sources, allowed, networks, last_used_from = row
    beyond = tuple(Allowance(each) for each in json.loads(allowed))
    named = tuple(json.loads(sources))
    where = tuple(json.loads(networks)), last_used_from
    return ApiToken(identity, name, Scope(scope), created_at, expires_at, last_used_at, named, beyond, *where)


def _portal_text(portal: Portal) -> str:
    fields = asdict(portal) | {"lifetime": portal.lifetime.total_seconds()}
    return json.dumps(fields)


def _portal_from(text: str) -> Portal:
    fields = json.loads(text)
    return Portal(
        tuple(fields["sources"]),
        timedelta(seconds=fields["lifetime"]),
        fields["language"],
        fields["return_url"],
        tuple(map(Allowance, fields["allowed"])),
        tuple(fields.get("networks", ())),
        fields.get("made_by", ""),
    )
