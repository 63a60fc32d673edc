"""Access where the outbox is: what is the same for SQLite and PostgreSQL."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar

from cdc.access import credentials, records, users
from cdc.access.model import (
    ApiToken,
    AuditFilter,
    Claim,
    IdempotentResponse,
    Origin,
    PageSession,
    User,
    UserChange,
    alive,
    user_key,
    worth_noting,
)
from cdc.access.proxy import is_within
from cdc.model.audit import BEFORE_ALL, AuditChain, AuditEntry, Note, RecordedEntry
from cdc.model.quota import Quota
from cdc.outbox.audit import append, forget, noting
from cdc.outbox.database import Database, Session
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
        await self._write(users.add, self._sealed(user), entry)

    async def user(self, name: str) -> User | None:
        found = await self._reads.read(users.users, name)
        return self._opened(found[0]) if found else None

    async def users(self) -> list[User]:
        return [self._opened(each) for each in await self._reads.read(users.users, None)]

    async def change_user(self, name: str, change: UserChange, entry: AuditEntry) -> User:
        secret = change.totp_secret
        sealed = replace(change, totp_secret=None if secret is None else self._box.seal(secret))
        return self._opened(await self._write(users.change, name, sealed, entry))

    async def replace_hash(self, name: str, old: str, new: str) -> bool:
        return await self._step(users.replace_hash, name, old, new)

    async def remove_user(self, name: str, entry: AuditEntry) -> None:
        await self._write(users.remove, name, entry)

    async def take_totp_step(self, owner: str, step: int) -> bool:
        return await self._step(users.take_totp_step, owner, step)

    def _sealed(self, user: User) -> User:
        return replace(user, totp_secret=self._box.seal(user.totp_secret))

    def _opened(self, user: User) -> User:
        return replace(user, totp_secret=self._box.open(user.totp_secret))

    # -- the first user ---------------------------------------------------------------------------------------------

    async def offer_setup(self, digest: str, until: datetime) -> bool:
        return await self._write(users.offer_setup, digest, until)

    async def take_setup(self, digest: str, user: User, entry: AuditEntry, now: datetime) -> bool:
        return await self._write(users.take_setup, digest, self._sealed(user), entry, now)

    # -- sessions ---------------------------------------------------------------------------------------------------

    async def add_session(self, session: PageSession, note: Note = ()) -> None:
        await self._write(noting(note, credentials.add_session), session)

    async def use_session(self, digest: str, now: datetime, idle: timedelta) -> PageSession | None:
        found = await self._reads.read(credentials.session, digest)
        session = None if found is None else alive(*found, now, idle)
        if session is not None and worth_noting(session.last_used_at, now):
            await self._note(credentials.note_session, digest, now)
            session = replace(session, last_used_at=now)
        return session

    async def add_portal_link(self, link: PageSession, entry: AuditEntry) -> PageSession:
        return await self._write(credentials.add_portal_link, link, entry)

    async def portal_link(self, digest: str) -> PageSession | None:
        found = await self._reads.read(credentials.session, digest)
        return found[0] if found is not None and found[0].origin is Origin.PORTAL_LINK else None

    async def take_portal_link(self, digest: str, begun: PageSession, entry: AuditEntry) -> bool:
        return await self._write(credentials.take_portal_link, digest, begun, entry)

    async def end_portal(self, name: str, sources: Collection[str], entry: AuditEntry) -> int:
        return await self._write(credentials.end_portal, user_key(name), sources, entry)

    async def open_sessions(self, name: str, now: datetime) -> int:
        return await self._reads.read(credentials.open_sessions, name, now)

    async def end_session(self, digest: str) -> None:
        await self._step(credentials.end_session, digest)

    async def end_sessions(self, name: str) -> int:
        return await self._write(users.end_sessions, name)

    # -- tokens -----------------------------------------------------------------------------------------------------

    async def add_token(self, token: ApiToken, digest: str, entry: AuditEntry) -> None:
        await self._write(credentials.add_token, token, digest, entry)

    async def tokens(self) -> list[ApiToken]:
        return await self._reads.read(credentials.tokens)

    async def use_token(self, digest: str, now: datetime, address: str = "") -> ApiToken | None:
        token = await self._reads.read(credentials.token, digest)
        if token is None or token.expired(now) or not is_within(token.networks, address):
            return None
        if worth_noting(token.last_used_at, now):
            await self._note(credentials.note_token, digest, now, address)
            token = replace(token, last_used_at=now, last_used_from=address)
        return token

    async def token(self, digest: str) -> ApiToken | None:
        return await self._reads.read(credentials.token, digest)

    async def remove_token(self, token: str, entry: AuditEntry) -> ApiToken:
        return await self._write(credentials.remove_token, token, entry)

    # -- the audit log ----------------------------------------------------------------------------------------------

    async def append(self, entry: AuditEntry) -> int:
        return await self._write(append, entry)

    async def audit(self, which: AuditFilter, limit: int, before: int | None = None) -> list[RecordedEntry]:
        return await self._reads.read(records.audit, which, limit, before)

    async def audit_after(self, which: AuditFilter, limit: int, after: int = BEFORE_ALL) -> list[RecordedEntry]:
        return await self._reads.read(records.audit_after, which, limit, after)

    async def audit_chain(self) -> AuditChain:
        return await self._reads.read(records.audit_chain)

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
        claim = records.claim
        return await self._write(claim, actor, key, fingerprint=fingerprint, now=now, most=most, within=within)

    async def answer(self, actor: str, key: str, claim: Claim, answer: IdempotentResponse | None) -> None:
        sealed = None if answer is None else replace(answer, body=self._box.seal(answer.body))
        await self._write(records.answer, actor, key, claim, sealed)

    # -- secrets at rest --------------------------------------------------------------------------------------------

    async def seal_secrets(self, *, dry_run: bool = False) -> int:
        return await self._write(records.seal_secrets, former=True, dry_run=dry_run)
