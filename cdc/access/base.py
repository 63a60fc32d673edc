"""The stores of users, tokens, sessions and the audit log, which are where the outbox is; cutting the audit log.

Invariants, proved by ``tests/contract/test_access….py`` on each implementation:

* a change of users or tokens and its entry in the audit log are one write;
* names differ by their keys (`user_key`): no two users, no two tokens have the same;
* of tokens, session cookies and the set-up link only digests are stored; TOTP secrets and stored answers are sealed;
* a session has ended when it expired, was not used for too long, its user is gone or has another stamp; a session of a
  FacturaScripts user has ended when there is a user of ours with that name;
* a portal's link begins one session, or none, however many try at once; with the token that made it, both end;
* a set-up link makes one user, the first, or none, however many try at once; a TOTP step is taken once;
* the audit log only grows, and is only ever cut at its old end; each entry is chained to the one before
  (`cdc.model.audit`), also where several processes write.

Times are aware UTC datetimes, always passed in: the store has no clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog

from cdc.access.model import (
    AUDIT_KEPT,
    EXPIRY_WARNING,
    ApiToken,
    AuditFilter,
    Claim,
    IdempotentResponse,
    PageSession,
    User,
    UserChange,
)
from cdc.model.audit import BEFORE_ALL, AuditChain, AuditEntry, Note, RecordedEntry
from cdc.model.clock import Clock
from cdc.model.errors import OutboxError
from cdc.model.quota import Quota


class AccessStore(Protocol):
    async def open(self) -> None:
        """Create or migrate the schema, seal what is not sealed, and chain the entries of an audit log without a chain.
        Raises `OutboxError`."""
        ...

    async def close(self) -> None: ...

    # -- users ------------------------------------------------------------------------------------------------------

    async def add_user(self, user: User, entry: AuditEntry) -> None:
        """Raises `UsageError` when the name is taken.  Sessions of that name end."""
        ...

    async def user(self, name: str) -> User | None: ...

    async def users(self) -> list[User]:
        """Return all users by name."""
        ...

    async def change_user(self, name: str, change: UserChange, entry: AuditEntry) -> User:
        """Change the fields that are not None, and return the changed user, whose sessions end with a new stamp.
        Raises `NotFound`."""
        ...

    async def replace_hash(self, name: str, old: str, new: str) -> bool:
        """Keep the same password in a better hash, unless the hash is not ``old`` any more."""
        ...

    async def remove_user(self, name: str, entry: AuditEntry) -> None:
        """Remove a user and end its sessions.  Raises `NotFound`."""
        ...

    async def take_totp_step(self, owner: str, step: int) -> bool:
        """Return whether ``step`` is later than every one that ``owner`` (`credential.totp_owner`) took."""
        ...

    # -- the first user ---------------------------------------------------------------------------------------------

    async def offer_setup(self, digest: str, until: datetime) -> bool:
        """Keep the digest of the set-up link, the only one from now on; False, and none, when there is a user."""
        ...

    async def take_setup(self, digest: str, user: User, entry: AuditEntry, now: datetime) -> bool:
        """Make the first user; False, and none, when the link is another one, has expired or was used, or somebody is
        there already."""
        ...

    # -- sessions ---------------------------------------------------------------------------------------------------

    async def add_session(self, session: PageSession, note: Note = ()) -> None:
        """Add a session, and remove expired ones.  ``note``: stored in the same write."""
        ...

    async def use_session(self, digest: str, now: datetime, idle: timedelta) -> PageSession | None:
        """Return the session unless it has ended, with its user's present role and sources.  The use is noted, at most
        once a minute (then ``last_used_at`` is ``now``)."""
        ...

    async def add_portal_link(self, link: PageSession, entry: AuditEntry) -> PageSession:
        """Store a link (`Origin.PORTAL_LINK`), and return it: it expires no later than the token that makes it.  Raises
        `NotFound` when that was removed."""
        ...

    async def portal_link(self, digest: str) -> PageSession | None:
        """Return a link that nobody has opened; it may have expired."""
        ...

    async def take_portal_link(self, digest: str, begun: PageSession, entry: AuditEntry) -> bool:
        """Begin the session, which ends no later than its token expires, in the place of its link; False, and nothing,
        when the link was used, has expired or was ended."""
        ...

    async def end_portal(self, name: str, sources: Collection[str], entry: AuditEntry) -> int:
        """End links and sessions of this name (`PORTAL_NAME`) that have no other sources than these; empty: all.
        Return how many; the entry is stored where there were some."""
        ...

    async def open_sessions(self, name: str, now: datetime) -> int:
        """Return how many sessions of a user have not expired."""
        ...

    async def end_session(self, digest: str) -> None: ...

    async def end_sessions(self, name: str) -> int:
        """End all sessions of a user; return their number."""
        ...

    # -- tokens -----------------------------------------------------------------------------------------------------

    async def add_token(self, token: ApiToken, digest: str, entry: AuditEntry) -> None:
        """Raises `UsageError` when the name is taken."""
        ...

    async def tokens(self) -> list[ApiToken]:
        """Oldest first, the expired too."""
        ...

    async def use_token(self, digest: str, now: datetime, address: str = "") -> ApiToken | None:
        """The token unless it has expired or may not be used from this address; the use is noted, at most once a
        minute."""
        ...

    async def token(self, digest: str) -> ApiToken | None:
        """Return the token, also an expired one; no use is noted."""
        ...

    async def remove_token(self, token: str, entry: AuditEntry) -> ApiToken:
        """``token``: its id or name; what it was.  Raises `NotFound`."""
        ...

    # -- the audit log ----------------------------------------------------------------------------------------------

    async def append(self, entry: AuditEntry) -> int:
        """Add an entry; return its number."""
        ...

    async def audit(self, which: AuditFilter, limit: int, before: int | None = None) -> list[RecordedEntry]:
        """Newest first; ``before``: the last number of the page before."""
        ...

    async def audit_after(self, which: AuditFilter, limit: int, after: int = BEFORE_ALL) -> list[RecordedEntry]:
        """Oldest first; ``after``: the last number of the page before."""
        ...

    async def audit_chain(self) -> AuditChain:
        """Return the marks and the key of the chain.  Raises `OutboxError` when no configured key opens that."""
        ...

    async def forget_audit(self, until: datetime, limit: int) -> int:
        """Remove up to ``limit`` of the oldest entries that were made before ``until``; how many."""
        ...

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
        """Return whether a request that ``actor`` makes with an idempotency key must be executed.  ``fingerprint``: a
        digest that distinguishes this request from others.  Answers are stored for `IDEMPOTENCY_KEPT`; a request
        without one for `REQUEST_LEASE`.  An actor has a limited number of requests and answers (`has_room`), and its
        sources those of ``within``."""
        ...

    async def answer(self, actor: str, key: str, claim: Claim, answer: IdempotentResponse | None) -> None:
        """Keep the answer of the request that was claimed; None: it was not made, and the key is free again.  Nothing
        happens when somebody else has claimed it since."""
        ...

    # -- secrets at rest --------------------------------------------------------------------------------------------

    async def seal_secrets(self, *, dry_run: bool = False) -> int:
        """Encrypt with the present key what it has not encrypted, and return how many secrets these were, as
        `EndpointStore.seal_secrets` does."""
        ...

    async def rekey(self, note: Note) -> int:
        """Seal the secrets of users and of endpoints that the present key has not sealed, and store the entries, in one
        write; how many there were.  Raises `OutboxError`, and changes nothing, when no key opens one."""
        ...


#: Seconds.
_EVERY: Final = 3_600.0
_BATCH: Final = 500
_DAY: Final = 86_400.0

log = structlog.get_logger()


async def warn_of_expiry(store: AccessStore, clock: Clock, stop: asyncio.Event) -> None:
    """Log a warning of tokens that expire soon, now and once a day, until ``stop``."""
    while not stop.is_set():
        try:
            now = clock.now()
            for each in await store.tokens():
                if each.expires_at is not None and now < each.expires_at <= now + EXPIRY_WARNING:
                    log.warning("token expires soon", token=each.name, expires_at=each.expires_at.isoformat())
        except OutboxError as error:
            log.warning("tokens were not checked", error=str(error))
        await clock.wait(stop, _DAY)


async def keep_tidy(store: AccessStore, clock: Clock, stop: asyncio.Event, age: timedelta = AUDIT_KEPT) -> None:
    """Remove entries older than ``age``, now and every hour, until ``stop``.  A store that fails is asked again
    then."""
    while not stop.is_set():
        try:
            removed = _BATCH
            while removed == _BATCH and not stop.is_set():
                removed = await store.forget_audit(clock.now() - age, _BATCH)
        except OutboxError as error:
            log.warning("the audit log was not cut", error=str(error))
        await clock.wait(stop, _EVERY)
