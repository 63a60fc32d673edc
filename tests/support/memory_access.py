"""The store of access in memory: the twin of the durable ones, for tests.  Nothing survives the process."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from cdc.access.model import (
    IDEMPOTENCY_KEPT,
    ApiToken,
    AuditFilter,
    Claim,
    ClaimState,
    IdempotentResponse,
    Origin,
    PageSession,
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
from support.memory_outbox.audit import MemoryAudit


class MemoryAccess:
    """`AccessStore` without a database."""

    def __init__(self, log: MemoryAudit | None = None) -> None:
        """``log``: the one of the outbox in memory that it belongs to."""
        self._log = log or MemoryAudit()
        self._users: dict[str, User] = {}
        self._steps: dict[str, int] = {}
        self._setup: tuple[str, datetime] | None = None
        self._sessions: dict[str, PageSession] = {}
        self._tokens: dict[str, ApiToken] = {}  # by digest
        self._requests: dict[tuple[str, str], tuple[str, datetime, IdempotentResponse | None]] = {}

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    # -- users ------------------------------------------------------------------------------------------------------

    async def add_user(self, user: User, entry: AuditEntry) -> None:
        if user.key in self._users:
            raise user_exists(user.name)
        self._users[user.key] = user
        self._end(user.key)
        self._log.append(entry)

    async def user(self, name: str) -> User | None:
        return self._users.get(user_key(name))

    async def users(self) -> list[User]:
        return [self._users[key] for key in sorted(self._users)]

    async def change_user(self, name: str, change: UserChange, entry: AuditEntry) -> User:
        key = user_key(name)
        if key not in self._users:
            raise no_user(name)
        self._users[key] = change.applied_to(self._users[key])
        if change.stamp is not None:
            self._end(key)
        self._log.append(entry)
        return self._users[key]

    async def replace_hash(self, name: str, old: str, new: str) -> bool:
        user = self._users.get(user_key(name))
        if user is None or user.password_hash != old:
            return False
        self._users[user.key] = replace(user, password_hash=new)
        return True

    async def remove_user(self, name: str, entry: AuditEntry) -> None:
        if self._users.pop(user_key(name), None) is None:
            raise no_user(name)
        self._end(user_key(name))
        self._log.append(entry)

    async def take_totp_step(self, owner: str, step: int) -> bool:
        if step <= self._steps.get(owner, step - 1):
            return False
        self._steps[owner] = step
        return True

    # -- the first user ---------------------------------------------------------------------------------------------

    async def offer_setup(self, digest: str, until: datetime) -> bool:
        self._setup = None if self._users else (digest, until)
        return not self._users

    async def take_setup(self, digest: str, user: User, entry: AuditEntry, now: datetime) -> bool:
        if self._users or self._setup is None or self._setup[0] != digest or self._setup[1] <= now:
            return False
        self._setup = None
        await self.add_user(user, entry)
        return True

    # -- sessions ---------------------------------------------------------------------------------------------------

    async def add_session(self, session: PageSession, note: Note = ()) -> None:
        now = session.created_at
        self._sessions = {digest: each for digest, each in self._sessions.items() if each.expires_at > now}
        self._sessions[session.digest] = session
        self._log.note(note)

    async def use_session(self, digest: str, now: datetime, idle: timedelta) -> PageSession | None:
        found = self._sessions.get(digest)
        session = None if found is None else alive(found, self._users.get(found.key), now, idle)
        if session is not None and worth_noting(session.last_used_at, now):
            session = self._sessions[digest] = replace(session, last_used_at=now)
        return session

    async def add_portal_link(self, link: PageSession, entry: AuditEntry) -> PageSession:
        if link.stamp and self._maker(link) is None:
            raise no_token(link.stamp)
        added = within(link, self._maker(link))
        await self.add_session(added, [entry])
        return added

    def _maker(self, link: PageSession) -> ApiToken | None:
        return next((each for each in self._tokens.values() if each.id == link.stamp), None)

    async def portal_link(self, digest: str) -> PageSession | None:
        found = self._sessions.get(digest)
        return found if found is not None and found.origin is Origin.PORTAL_LINK else None

    async def take_portal_link(self, digest: str, begun: PageSession, entry: AuditEntry) -> bool:
        found = await self.portal_link(digest)
        if found is None or found.expires_at <= begun.created_at:
            return False
        del self._sessions[digest]
        await self.add_session(within(begun, self._maker(begun)), [entry])
        return True

    async def end_portal(self, name: str, sources: Collection[str], entry: AuditEntry) -> int:
        theirs = [
            digest
            for digest, each in self._sessions.items()
            if each.key == user_key(name)
            and each.portal is not None
            and (not sources or set(each.portal.sources) <= set(sources))
        ]
        for digest in theirs:
            del self._sessions[digest]
        if theirs:
            self._log.append(entry)
        return len(theirs)

    async def open_sessions(self, name: str, now: datetime) -> int:
        key = user_key(name)
        return sum(each.key == key and each.expires_at > now for each in self._sessions.values())

    async def end_session(self, digest: str) -> None:
        self._sessions.pop(digest, None)

    async def end_sessions(self, name: str) -> int:
        return self._end(user_key(name))

    def _end(self, key: str) -> int:
        ended = [digest for digest, each in self._sessions.items() if each.key == key]
        for digest in ended:
            del self._sessions[digest]
        return len(ended)

    # -- tokens -----------------------------------------------------------------------------------------------------

    async def add_token(self, token: ApiToken, digest: str, entry: AuditEntry) -> None:
        if any(user_key(each.name) == user_key(token.name) for each in self._tokens.values()):
            raise token_exists(token.name)
        self._tokens[digest] = token
        self._log.append(entry)

    async def tokens(self) -> list[ApiToken]:
        return sorted(self._tokens.values(), key=lambda each: (each.created_at, each.id))

    async def use_token(self, digest: str, now: datetime, address: str = "") -> ApiToken | None:
        token = self._tokens.get(digest)
        if token is None or token.expired(now) or not is_within(token.networks, address):
            return None
        if worth_noting(token.last_used_at, now):
            token = self._tokens[digest] = replace(token, last_used_at=now, last_used_from=address)
        return token

    async def token(self, digest: str) -> ApiToken | None:
        return self._tokens.get(digest)

    async def remove_token(self, token: str, entry: AuditEntry) -> ApiToken:
        for digest, each in self._tokens.items():
            if each.id == clean_name(token) or user_key(each.name) == user_key(token):
                del self._tokens[digest]
                self._sessions = {
                    key: open_ for key, open_ in self._sessions.items() if not (open_.portal and open_.stamp == each.id)
                }
                self._log.append(entry)
                return each
        raise no_token(token)

    # -- the audit log ----------------------------------------------------------------------------------------------

    async def append(self, entry: AuditEntry) -> int:
        return self._log.append(entry)

    async def audit(self, which: AuditFilter, limit: int, before: int | None = None) -> list[RecordedEntry]:
        found = [
            each
            for each in reversed(self._log.entries)
            if (before is None or each.number < before) and _fits(which, each.entry)
        ]
        return found[:limit]

    async def audit_after(self, which: AuditFilter, limit: int, after: int = BEFORE_ALL) -> list[RecordedEntry]:
        return [each for each in self._log.entries if each.number > after and _fits(which, each.entry)][:limit]

    async def audit_chain(self) -> AuditChain:
        return self._log.chain

    async def forget_audit(self, until: datetime, limit: int) -> int:
        old = 0
        while old < min(limit, len(self._log.entries)) and self._log.entries[old].entry.at < until:
            old += 1
        self._log.forget(old)
        return old

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
        self._requests = {name: made for name, made in self._requests.items() if made[1] + IDEMPOTENCY_KEPT > now}
        claim = claim_of(self._requests.get((actor, key)), fingerprint, now)
        own = [made for (each, _), made in self._requests.items() if each == actor]
        answered = sum(len(made[2].body) for made in own if made[2] is not None)
        if (
            claim.state is ClaimState.NEW
            and (actor, key) not in self._requests
            and not has_room(len(own), answered, most)
        ):
            return Claim(ClaimState.FULL, min(made[1] for made in own))
        if claim.state is ClaimState.NEW:
            self._requests[actor, key] = (fingerprint, now, None)
        return claim

    async def answer(self, actor: str, key: str, claim: Claim, answer: IdempotentResponse | None) -> None:
        fingerprint, started_at, former = self._requests.get((actor, key), ("", None, None))
        if started_at != claim.started_at or former is not None:
            return
        if answer is None:
            del self._requests[actor, key]
        else:
            self._requests[actor, key] = (fingerprint, claim.started_at, answer)

    # -- secrets at rest --------------------------------------------------------------------------------------------

    async def seal_secrets(self, *, dry_run: bool = False) -> int:
        return 0

    async def rekey(self, note: Note) -> int:
        return 0


def _fits(which: AuditFilter, entry: AuditEntry) -> bool:
    pairs = ((which.actor, entry.actor), (which.action, entry.action), (which.subject, entry.subject))
    since, until = which.since or entry.at, which.until
    return all(term in (None, value) for term, value in pairs) and since <= entry.at and (not until or entry.at < until)
