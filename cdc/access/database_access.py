"""Access where the outbox is, in SQLite and PostgreSQL: the store, and the functions that it runs in transactions."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar

from cdc.access.model import (
    IDEMPOTENCY_KEPT,
    USE_NOTED,
    Allowance,
    ApiToken,
    AuditFilter,
    Claim,
    ClaimState,
    IdempotentResponse,
    Origin,
    PageSession,
    Portal,
    Role,
    Scope,
    User,
    UserChange,
    alive,
    claim_of,
    clean_name,
    has_room,
    no_token,
    no_user,
    token_exists,
    user_exists,
    user_key,
    within,
    worth_noting,
)
from cdc.access.proxy import is_within
from cdc.model.audit import BEFORE_ALL, AuditChain, AuditEntry, Note, RecordedEntry
from cdc.model.quota import Quota
from cdc.outbox import endpoints, upkeep
from cdc.outbox.audit import append, chain_of, check_quotas, forget, noting, seal_key
from cdc.outbox.database import Database, Row, Session
from cdc.outbox.secret_box import SecretBox

P = ParamSpec("P")
T = TypeVar("T")
Work = Callable[Concatenate[Database, P], Coroutine[Any, Any, T]]


class DatabaseAccess(ABC):
    """``box``: seals TOTP secrets and answers."""

    _reads: Session

    def __init__(self, box: SecretBox) -> None:
        self._box = box

    @abstractmethod
    async def _write(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """``work`` in a transaction, alone among the changes of access."""

    @abstractmethod
    async def _step(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """`_write` for a single statement, which other changes do not disturb."""

    @abstractmethod
    async def _note(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """`_step` for what a power failure may undo."""

    # -- users ------------------------------------------------------------------------------------------------------

    async def add_user(self, user: User, entry: AuditEntry) -> None:
        await self._write(_add_user, self._sealed(user), entry)

    async def user(self, name: str) -> User | None:
        found = await self._reads.read(_users, name)
        return self._opened(found[0]) if found else None

    async def users(self) -> list[User]:
        return [self._opened(each) for each in await self._reads.read(_users, None)]

    async def change_user(self, name: str, change: UserChange, entry: AuditEntry) -> User:
        secret = change.totp_secret
        sealed = replace(change, totp_secret=None if secret is None else self._box.seal(secret))
        return self._opened(await self._write(_change_user, name, sealed, entry))

    async def replace_hash(self, name: str, old: str, new: str) -> bool:
        key = user_key(name)
        return await self._step(lambda db: db.write("replace_hash", name_key=key, old=old, new=new)) > 0

    async def remove_user(self, name: str, entry: AuditEntry) -> None:
        await self._write(_remove_user, name, entry)

    async def take_totp_step(self, owner: str, step: int) -> bool:
        return await self._step(lambda db: db.write("take_totp_step", owner=owner, step=step)) > 0

    def _sealed(self, user: User) -> User:
        return replace(user, totp_secret=self._box.seal(user.totp_secret))

    def _opened(self, user: User) -> User:
        return replace(user, totp_secret=self._box.open(user.totp_secret))

    # -- the first user ---------------------------------------------------------------------------------------------

    async def offer_setup(self, digest: str, until: datetime) -> bool:
        return await self._write(_offer_setup, digest, until)

    async def take_setup(self, digest: str, user: User, entry: AuditEntry, now: datetime) -> bool:
        return await self._write(_take_setup, digest, self._sealed(user), entry, now)

    # -- sessions ---------------------------------------------------------------------------------------------------

    async def add_session(self, session: PageSession, note: Note = ()) -> None:
        await self._write(noting(note, _add_session), session)

    async def use_session(self, digest: str, now: datetime, idle: timedelta) -> PageSession | None:
        found = await self._reads.read(_session, digest)
        session = None if found is None else alive(*found, now, idle)
        if session is not None and worth_noting(session.last_used_at, now):
            noted = now - USE_NOTED
            await self._note(lambda db: db.write("note_session", digest=digest, now=now, noted_before=noted))
            session = replace(session, last_used_at=now)
        return session

    async def add_portal_link(self, link: PageSession, entry: AuditEntry) -> PageSession:
        return await self._write(_add_portal_link, link, entry)

    async def portal_link(self, digest: str) -> PageSession | None:
        found = await self._reads.read(_session, digest)
        return found[0] if found is not None and found[0].origin is Origin.PORTAL_LINK else None

    async def take_portal_link(self, digest: str, begun: PageSession, entry: AuditEntry) -> bool:
        return await self._write(_take_portal_link, digest, begun, entry)

    async def end_portal(self, name: str, sources: Collection[str], entry: AuditEntry) -> int:
        return await self._write(_end_portal, user_key(name), sources, entry)

    async def open_sessions(self, name: str, now: datetime) -> int:
        key = user_key(name)
        ((number,),) = await self._reads.read(lambda db: db.rows("open_sessions", user_key=key, now=now))
        return int(number)

    async def end_session(self, digest: str) -> None:
        await self._step(lambda db: db.write("end_session", digest=digest))

    async def end_sessions(self, name: str) -> int:
        return await self._write(_end_sessions, name)

    # -- tokens -----------------------------------------------------------------------------------------------------

    async def add_token(self, token: ApiToken, digest: str, entry: AuditEntry) -> None:
        await self._write(_add_token, token, digest, entry)

    async def tokens(self) -> list[ApiToken]:
        return [_token_from(row) for row in await self._reads.read(lambda db: db.rows("tokens"))]

    async def use_token(self, digest: str, now: datetime, address: str = "") -> ApiToken | None:
        token = await self.token(digest)
        if token is None or token.expired(now) or not is_within(token.networks, address):
            return None
        if worth_noting(token.last_used_at, now):
            use = {"digest": digest, "now": now, "noted_before": now - USE_NOTED, "address": address}
            await self._note(lambda db: db.write("note_token", **use))
            token = replace(token, last_used_at=now, last_used_from=address)
        return token

    async def token(self, digest: str) -> ApiToken | None:
        row = await self._reads.read(lambda db: db.row("token", digest=digest))
        return None if row is None else _token_from(row)

    async def remove_token(self, token: str, entry: AuditEntry) -> ApiToken:
        return await self._write(_remove_token, token, entry)

    # -- the audit log ----------------------------------------------------------------------------------------------

    async def append(self, entry: AuditEntry) -> int:
        return await self._write(append, entry)

    async def audit(self, which: AuditFilter, limit: int, before: int | None = None) -> list[RecordedEntry]:
        page = {**asdict(which), "limit": limit, "before": before}
        return _recorded(await self._reads.read(lambda db: db.rows("audit", **page)))

    async def audit_after(self, which: AuditFilter, limit: int, after: int = BEFORE_ALL) -> list[RecordedEntry]:
        page = {**asdict(which), "limit": limit, "after": after}
        return _recorded(await self._reads.read(lambda db: db.rows("audit_after", **page)))

    async def audit_chain(self) -> AuditChain:
        return (await self._reads.read(chain_of))[0]

    async def forget_audit(self, until: datetime, limit: int) -> int:
        return await self._write(forget, until, limit)

    # -- idempotency ------------------------------------------------------------------------------------------------

    async def claim(
        self,
        actor: str,
        key: str,
        fingerprint: str,
        now: datetime,
        *,
        most: int | None = None,
        within: Sequence[Quota] = (),
    ) -> Claim:
        return await self._write(_claim, actor, key, fingerprint, now, most=most, within=within)

    async def answer(self, actor: str, key: str, claim: Claim, answer: IdempotentResponse | None) -> None:
        sealed = None if answer is None else replace(answer, body=self._box.seal(answer.body))
        await self._write(_answer, actor, key, claim, sealed)

    # -- secrets at rest --------------------------------------------------------------------------------------------

    async def seal_secrets(self, *, dry_run: bool = False) -> int:
        return await self._write(seal_secrets, former=True, dry_run=dry_run)


async def _users(db: Database, name: str | None) -> list[User]:
    """Return all users, or the one of this name (if any)."""
    key = None if name is None else user_key(name)
    return [_user_from(row) for row in await db.rows("users", name_key=key)]


async def _add_user(db: Database, user: User, entry: AuditEntry) -> None:
    if not await db.write("insert_user", created_at=user.created_at, name=user.name, **_columns(user)):
        raise user_exists(user.name)
    await _end_sessions(db, user.name)
    await append(db, entry)


async def _change_user(db: Database, name: str, change: UserChange, entry: AuditEntry) -> User:
    found = await _users(db, name)
    if not found:
        raise no_user(name)
    changed = change.applied_to(found[0])
    await db.write("update_user", **_columns(changed))
    if change.stamp is not None:
        await _end_sessions(db, name)
    await append(db, entry)
    return changed


async def _remove_user(db: Database, name: str, entry: AuditEntry) -> None:
    if not await db.write("remove_user", name_key=user_key(name)):
        raise no_user(name)
    await _end_sessions(db, name)
    await append(db, entry)


async def _end_sessions(db: Database, name: str) -> int:
    return await db.write("end_sessions", user_key=user_key(name))


async def _offer_setup(db: Database, digest: str, until: datetime) -> bool:
    await db.write("forget_setup")
    if await db.value("any_user"):
        return False
    await db.write("insert_setup", digest=digest, expires_at=until)
    return True


async def _take_setup(db: Database, digest: str, user: User, entry: AuditEntry, now: datetime) -> bool:
    if await db.value("any_user") or not await db.write("take_setup", digest=digest, now=now):
        return False
    await _add_user(db, user, entry)
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


def _user_from(row: Row) -> User:
    name, role, password_hash, totp_secret, stamp, sources, created_at = row
    return User(name, Role(role), created_at, stamp, password_hash, totp_secret, tuple(json.loads(sources)))


async def _add_session(db: Database, session: PageSession) -> None:
    portal = session.portal
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
        portal=None if portal is None else json.dumps(asdict(portal) | {"lifetime": portal.lifetime.total_seconds()}),
    )


async def _add_portal_link(db: Database, link: PageSession, entry: AuditEntry) -> PageSession:
    maker = await _maker(db, link)
    if link.stamp and maker is None:
        raise no_token(link.stamp)
    added = within(link, maker)
    await _add_session(db, added)
    await append(db, entry)
    return added


async def _maker(db: Database, link: PageSession) -> ApiToken | None:
    row = await db.row("find_token", token=link.stamp, name_key="") if link.stamp else None
    return None if row is None else _token_from(row)


async def _take_portal_link(db: Database, digest: str, begun: PageSession, entry: AuditEntry) -> bool:
    if not await db.write("take_portal_link", digest=digest, now=begun.created_at):
        return False
    await _add_session(db, within(begun, await _maker(db, begun)))
    await append(db, entry)
    return True


async def _end_portal(db: Database, key: str, sources: Collection[str], entry: AuditEntry) -> int:
    """``sources``: of those who end it; empty: all."""
    rows = await db.rows("portal_sessions", user_key=key)
    theirs = [digest for digest, text in rows if not sources or set(_portal_from(text).sources) <= set(sources)]
    for digest in theirs:
        await db.write("end_session", digest=digest)
    if theirs:
        await append(db, entry)
    return len(theirs)


async def _session(db: Database, digest: str) -> tuple[PageSession, User | None] | None:
    """A session, and the user of ours with its name, if any."""
    row = await db.row("page_session", digest=digest)
    if row is None:
        return None
    _, name, role, origin, stamp, address, created_at, last_used_at, expires_at, text = row[:10]
    user = row[10:]
    portal = None if text is None else _portal_from(text)
    times = created_at, last_used_at, expires_at
    found = PageSession(digest, name, Role(role), Origin(origin), stamp, address, *times, portal=portal)
    return found, None if user[0] is None else _user_from(user)


async def _add_token(db: Database, token: ApiToken, digest: str, entry: AuditEntry) -> None:
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


async def _remove_token(db: Database, named: str, entry: AuditEntry) -> ApiToken:
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


def _recorded(rows: list[Row]) -> list[RecordedEntry]:
    return [
        RecordedEntry(number, AuditEntry(at, actor, action, subject, json.loads(detail)), hash_, former)
        for number, at, actor, action, subject, detail, hash_, former in rows
    ]


async def _claim(
    db: Database,
    actor: str,
    key: str,
    fingerprint: str,
    now: datetime,
    *,
    most: int | None = None,
    within: Sequence[Quota] = (),
) -> Claim:
    await db.write("forget_requests", before=now - IDEMPOTENCY_KEPT)
    request = {"actor": actor, "request_key": key}
    row = await db.row("request", **request)
    former = None
    if row is not None:
        former_fingerprint, started_at, status, content_type, body, location = row
        answered = None if status is None else IdempotentResponse(status, content_type, db.box.open(body), location)
        former = (former_fingerprint, started_at, answered)
    found = claim_of(former, fingerprint, now)
    if found.state is ClaimState.NEW:
        requests, answered_, first = await db.row("requests_of", actor=actor) or (0, 0, now)
        if row is None and not has_room(requests, answered_, most):
            return Claim(ClaimState.FULL, first)
        if row is None:
            await check_quotas(db, [quota._replace(following=1) for quota in within], now)
        await db.write("insert_request", **request, fingerprint=fingerprint, started_at=now)
    return found


async def _answer(db: Database, actor: str, key: str, claimed: Claim, response: IdempotentResponse | None) -> None:
    """``response``: its body sealed."""
    request = {"actor": actor, "request_key": key, "started_at": claimed.started_at}
    if response is None:
        await db.write("free_request", **request)
        return
    answered = {
        "status": response.status,
        "content_type": response.content_type,
        "body": response.body,
        "location": response.location,
    }
    await db.write("set_answer", **request, **answered)


async def seal_secrets(db: Database, *, former: bool, dry_run: bool = False) -> int:
    """Encrypt plain values, and with ``former`` those under a former key; return how many."""
    box = db.box
    users = [row for row in await db.rows("totp_secrets") if box.stale(row[1], former=former)]
    answers = [row for row in await db.rows("stored_answers") if box.stale(row[2], former=former)]
    if not dry_run:
        with db.overwriting():
            for key, secret in users:
                await db.write("set_totp_secret", secret=box.seal(box.open(secret)), name_key=key)
            for actor, key, body in answers:
                await db.write("set_body", actor=actor, request_key=key, body=box.seal(box.open(body)))
    return len(users) + len(answers) + (await seal_key(db, dry_run=dry_run) if former else 0)


async def rekey(db: Database) -> int:
    """`seal_secrets`, and those of endpoints: under the outbox's lock, and then that of access."""
    await db.alone()
    await upkeep.restart_resealing(db)
    return await endpoints.seal_secrets(db, former=True) + await seal_secrets(db, former=True)
