"""Authentication: by a password (and a code), a proxy or an OpenID Connect provider that vouches for a user, a portal's
link, a session's cookie, or a token.

Every attempt with a password does the same work for every name: one check of a hash of ours and, where
FacturaScripts' administrators may sign in, one look into its table and one check of a hash of PHP's.  So neither the
time nor the sentence reveals which names exist, or what was wrong.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import structlog

from cdc.access.base import AccessStore
from cdc.access.credential import Random, new_secret, secret_digest, token_digest, totp_owner, totp_step
from cdc.access.failures import FailedSignIns, Throttle
from cdc.access.model import (
    ApiToken,
    ClaimState,
    IdempotentResponse,
    Origin,
    PageSession,
    Role,
    User,
    actor_of,
    clean_name,
    user_key,
)
from cdc.access.password import FacturaScriptsUser, FacturaScriptsUsers, Passwords, PhpPasswords
from cdc.access.proxy import is_within, plain_address
from cdc.model.audit import AuditEntry
from cdc.model.clock import Clock
from cdc.model.errors import AccessRefused, SourceError, TooManyAttempts

if TYPE_CHECKING:
    from cdc.access.oidc import OpenIdConnect

#: Unless a session is used, it ends after this long.
IDLE: Final = timedelta(hours=2)
#: Hashes that are checked at once: each takes a core and some memory.
_CHECKS_AT_ONCE: Final = 2

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SignedIn:
    """``cookie``: the value of the session's cookie, which is stored nowhere else."""

    session: PageSession
    cookie: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A user whose password was right, or for whom somebody vouches.  ``lifetime``: of the session; None: the usual."""

    name: str
    role: Role
    origin: Origin
    stamp: str = ""
    totp_secret: str = field(default="", repr=False)
    lifetime: timedelta | None = None


class SignIn:
    """``lifetime``: of a session, however much it is used.  ``theirs``: FacturaScripts' users, when its administrators
    may sign in; a user of ours with the same name takes precedence.  ``second_factor_for``: roles that need one.
    ``oidc``: the OpenID Connect provider, and ``oidc_lifetime``: after which its users must sign in there again.
    ``failures``: each refused attempt is recorded there."""

    def __init__(
        self,
        store: AccessStore,
        clock: Clock,
        *,
        lifetime: timedelta = timedelta(hours=12),
        idle: timedelta = IDLE,
        theirs: FacturaScriptsUsers | None = None,
        second_factor_for: Collection[Role] = (),
        oidc: OpenIdConnect | None = None,
        oidc_lifetime: timedelta = timedelta(hours=1),
        throttle: Throttle | None = None,
        passwords: Passwords | None = None,
        random: Random = secrets.token_bytes,
    ) -> None:
        self._store = store
        self._clock = clock
        self._lifetime = lifetime
        self._idle = idle
        self._theirs = theirs
        self._second_factor_for = frozenset(second_factor_for)
        self.oidc = oidc
        self._oidc_lifetime = oidc_lifetime
        self._throttle = throttle or Throttle()
        self._passwords = passwords or Passwords()
        self._php = PhpPasswords()
        self._random = random
        self._free = asyncio.Semaphore(_CHECKS_AT_ONCE)
        self.failures = FailedSignIns(store, clock)

    async def with_password(
        self, name: str, password: str, code: str = "", *, address: str, former_cookie: str = ""
    ) -> SignedIn:
        """``address``: where the attempt is from.  ``former_cookie``: what the browser had before; that session ends.

        Raises `TooManyAttempts`, `AccessRefused`; `SourceError` when FacturaScripts' users cannot be asked and nobody
        of ours fits."""
        await self._admit(name, address, "password")
        found, account = await self._candidate(clean_name(name), password)
        if found is None or not await self._second_factor(found, code):
            log.warning("sign-in refused", address=address, user=found.name if found else None)
            await self.failures.record("code" if found else "password", address, account)
            raise AccessRefused(
                "Name, password or code is wrong.", "See that Caps Lock is off, and the clock is right."
            )
        self._throttle.succeeded(name, address)
        if found.origin is Origin.FACTURASCRIPTS and not found.totp_secret and self.needs_second_factor(found.role):
            await self.failures.record("code", address, account)
            raise AccessRefused("A second factor is required here: turn it on in FacturaScripts, then sign in again.")
        return await self._start_session(found, address, former_cookie)

    async def _admit(self, name: str, address: str, by: str) -> None:
        """Count an attempt.  Raises `TooManyAttempts`."""
        try:
            self._throttle.count_attempt(name, address, self._clock.monotonic())
        except TooManyAttempts:
            await self.failures.record(by, address)
            raise

    async def check_password(self, name: str, password: str, *, address: str) -> None:
        """Return whether who uses a session of this user of ours knows the password.  Raises `TooManyAttempts`,
        `AccessRefused`."""
        await self._admit(name, address, "password")
        user = await self._store.user(name)
        if await self._ours(user, password) is None:
            await self.failures.record("password", address, f"user:{user.name}" if user else "")
            raise AccessRefused("The current password is wrong.")
        self._throttle.succeeded(name, address)

    def needs_second_factor(self, role: Role) -> bool:
        return role in self._second_factor_for

    def must_enrol(self, session: PageSession) -> bool:
        """Return whether the user must set up a second factor before anything else."""
        ours = session.origin is Origin.PASSWORD
        return ours and not session.second_factor and self.needs_second_factor(session.role)

    async def with_header(self, name: str, *, address: str, cookie: str = "") -> SignedIn:
        """Return the session of a user of ours for whom a proxy vouches (`proxy.vouched_name`): that of ``cookie``
        while it is this user's, else a new one.  Raises `AccessRefused` when there is no such user."""
        present = await self._used(cookie, self._clock.now())
        if present is not None and present.origin is Origin.HEADER and present.key == user_key(name):
            return SignedIn(present, cookie)
        user = await self._store.user(name)
        if user is None:
            await self.failures.record("header", address)
            raise AccessRefused(
                "The proxy names a user who does not exist here.", "cdc user add NAME --role viewer --no-password"
            )
        found = _Candidate(user.name, user.role, Origin.HEADER, user.stamp)
        return await self._start_session(found, address, cookie)

    async def with_oidc(
        self, flow_cookie: str, answer: Mapping[str, Sequence[str]], *, address: str
    ) -> tuple[SignedIn, str]:
        """Return the session of a person for whom the OpenID Connect provider vouches, and the page to return to.
        ``answer``: the values of each parameter of its answer.  Raises `TooManyAttempts`, `AccessRefused`,
        `ProviderError`."""
        assert self.oidc is not None, "there is no button without a provider"
        attempt = new_secret(self._random)  # only the address counts: there is no name yet
        await self._admit(attempt, address, "oidc")
        try:
            found = await self.oidc.finish(flow_cookie, answer)
            await self._use_once(found.name, found.nonce)
        except AccessRefused:
            await self.failures.record("oidc", address)
            raise
        self._throttle.succeeded(attempt, address)
        candidate = _Candidate(found.name, found.role, Origin.OIDC, found.stamp, lifetime=self._oidc_lifetime)
        return await self._start_session(candidate, address, ""), found.to

    async def _use_once(self, actor: str, nonce: str) -> None:
        """Raise `AccessRefused` when a session began by this ``nonce`` before, in any process."""
        claim = await self._store.claim(actor, nonce, "", self._clock.now())
        if claim.state is not ClaimState.NEW:
            raise AccessRefused("This sign-in was used already.", "Sign in again.")
        await self._store.answer(actor, nonce, claim, IdempotentResponse(200, "", ""))

    async def with_portal_link(self, secret: str, *, address: str, former_cookie: str = "") -> SignedIn:
        """Return the session that a portal's link opens, once.  Raises `AccessRefused`."""
        digest, now, cookie = secret_digest(secret), self._clock.now(), new_secret(self._random)
        link = None if digest is None else await self._store.portal_link(digest)
        if link is not None and link.portal is not None and not is_within(link.portal.networks, address):
            await self.failures.record("address", address, link.user)
            raise AccessRefused("This link may not be opened from this address.", "Ask who gave it to you.")
        if link is not None and link.portal is not None:
            begun = replace(
                link,
                digest=secret_digest(cookie) or "",
                origin=Origin.PORTAL,
                address=address,
                created_at=now,
                last_used_at=now,
                expires_at=now + link.portal.lifetime,
                sources=link.portal.sources,
            )
            if await self._store.take_portal_link(link.digest, begun, _session_entry(begun)):
                await self.sign_out(former_cookie)
                return SignedIn(begun, cookie)
        log.warning("portal link refused", address=address)
        await self.failures.record("portal", address, link.user if link is not None else "")
        raise AccessRefused(
            "This link does not work: it was used, or has expired.", "Open the page again where you found the link."
        )

    async def session(self, cookie: str, *, address: str = "") -> PageSession | None:
        """Return the session with this cookie unless it has ended, and note its use.  One that a proxy vouched for
        counts only while it does (`with_header`): signing out there signs out here.  ``address``: the client's; one of
        a portal counts only from its networks."""
        now = self._clock.now()
        found = await self._used(cookie, now)
        if found is not None and found.portal is not None and not is_within(found.portal.networks, address):
            await self.failures.record("address", address, found.user)
            return None
        if found is None or found.origin in (Origin.PASSWORD, Origin.PORTAL):
            return found
        if found.origin is Origin.OIDC:
            grant = None if self.oidc is None else self.oidc.grant(found.stamp)
            return None if grant is None else replace(found, role=grant.role, sources=grant.sources)
        return found if found.origin is Origin.FACTURASCRIPTS and await self._still_admitted(found, now) else None

    async def sign_out(self, cookie: str) -> None:
        digest = secret_digest(cookie)
        if digest is not None:
            await self._store.end_session(digest)

    async def token(self, token: str, *, address: str) -> ApiToken | None:
        """Return the stored token and note its use; None when it is none, was removed or has expired.  Raises
        `AccessRefused` when it may not be used from this address."""
        digest, now = token_digest(token), self._clock.now()
        if digest is None:
            return None
        found = await self._store.use_token(digest, now, plain_address(address))
        if found is not None:
            return found
        refused = await self._store.token(digest)
        elsewhere = refused is not None and not refused.expired(now)
        by = "address" if elsewhere else "token"
        await self.failures.record(by, address, f"token:{refused.name}" if refused else "")
        if elsewhere:
            raise AccessRefused("This token may not be used from this address.", "Ask who made it for another one.")
        return None

    # -- a password -------------------------------------------------------------------------------------------------

    async def _candidate(self, name: str, password: str) -> tuple[_Candidate | None, str]:
        """Return the user if the password is right, and the account that exists with this name, for the audit log."""
        user = await self._store.user(name)
        account = f"user:{user.name}" if user is not None else ""
        ours = await self._ours(user, password)
        if self._theirs is None:
            return ours, account
        unasked: SourceError | None = None
        found: FacturaScriptsUser | None = None
        try:
            found = await self._theirs.find(name)
        except SourceError as error:
            unasked = error
        # Names that the database takes for equal (accents, blanks) would each have pauses of their own.
        found = found if found is not None and found.nick == name else None
        fits = await self._fits_theirs(found, password)
        account = account or (f"user:{found.nick}" if found is not None else "")
        if user is not None or not fits or found is None:
            if ours is None and unasked is not None:
                raise unasked
            return ours, account
        theirs = _Candidate(found.nick, Role.MANAGER, Origin.FACTURASCRIPTS, totp_secret=found.totp_secret)
        return theirs, account

    async def _ours(self, user: User | None, password: str) -> _Candidate | None:
        stored = "" if user is None else user.password_hash
        async with self._free:
            fits = await asyncio.to_thread(self._passwords.fits, password, stored)
        if user is None or not fits:
            return None
        if self._passwords.outdated(stored):
            async with self._free:
                better = await asyncio.to_thread(self._passwords.hash, password)
            await self._store.replace_hash(user.name, stored, better)
        return _Candidate(user.name, user.role, Origin.PASSWORD, user.stamp, user.totp_secret)

    async def _fits_theirs(self, found: FacturaScriptsUser | None, password: str) -> bool:
        allowed = found is not None and found.admin and found.enabled
        async with self._free:
            stored = found.password_hash if found is not None else ""
            return await asyncio.to_thread(self._php.fits, password, stored) and allowed

    async def _second_factor(self, found: _Candidate, code: str) -> bool:
        if not found.totp_secret:
            return True
        step = totp_step(found.totp_secret, code, self._clock.now())
        owner = totp_owner(found.origin, user_key(found.name))
        return step is not None and await self._store.take_totp_step(owner, step)

    async def _still_admitted(self, session: PageSession, now: datetime) -> bool:
        """A user of FacturaScripts, who is read again when the use is noted, once a minute; else the session ends."""
        looked_up = session.last_used_at != now
        if self._theirs is not None and (looked_up or await self._still_admin(self._theirs, session.user)):
            return True
        await self._store.end_session(session.digest)
        return False

    async def _still_admin(self, theirs: FacturaScriptsUsers, nick: str) -> bool:
        try:
            found = await theirs.find(nick)
        except SourceError as error:
            # While the ERP's database is away, who signed in before may look on, until the session ends by itself.
            log.warning("a session's user cannot be looked up", error=str(error))
            return True
        if found is None or (self.needs_second_factor(Role.MANAGER) and not found.totp_secret):
            return False
        return found.nick == nick and found.admin and found.enabled

    # -- a session --------------------------------------------------------------------------------------------------

    async def _used(self, cookie: str, now: datetime) -> PageSession | None:
        digest = secret_digest(cookie)
        return None if digest is None else await self._store.use_session(digest, now, self._idle)

    async def _start_session(self, found: _Candidate, address: str, former_cookie: str) -> SignedIn:
        """Start a session, always with a new cookie: one that was planted in the browser before is worth nothing."""
        now = self._clock.now()
        await self.sign_out(former_cookie)
        cookie = new_secret(self._random)
        digest = secret_digest(cookie)
        assert digest is not None
        session = self._new_session(found, digest, address, now)
        note = [] if found.origin is Origin.HEADER else [_session_entry(session)]  # a proxy has a log of its own
        await self._store.add_session(session, note)
        return SignedIn(session, cookie)

    def _new_session(self, found: _Candidate, digest: str, address: str, now: datetime) -> PageSession:
        return PageSession(
            digest=digest,
            user=found.name,
            role=found.role,
            origin=found.origin,
            stamp=found.stamp,
            address=address,
            created_at=now,
            last_used_at=now,
            expires_at=now + (found.lifetime or self._lifetime),
        )


def _session_entry(session: PageSession) -> AuditEntry:
    actor = actor_of(session.origin, session.user)
    how = {"by": session.origin.value, "address": session.address}
    return AuditEntry(session.created_at, actor, "session.begin", actor, how)
