"""Users, tokens and links for tenants: added, changed and removed, each with its entry in the audit log.

A first user is set up by a link.  A portal link opens the page for a tenant without a user: the host's program creates
it, and it is used once.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from cdc.access import credential
from cdc.access.base import AccessStore
from cdc.access.credential import Random, new_secret, new_stamp, new_token, new_token_id, secret_digest, token_digest
from cdc.access.model import (
    PORTAL_NAME,
    TOKEN_LIFETIME,
    Allowance,
    ApiToken,
    Origin,
    PageSession,
    Portal,
    Role,
    Scope,
    User,
    UserChange,
    check_name,
    clean_name,
    no_token,
    no_user,
    user_key,
)
from cdc.access.password import Passwords, check_strength
from cdc.access.proxy import checked_networks, is_local
from cdc.admin.principal import Principal
from cdc.config import Config
from cdc.config.section import DEFAULT_LIMITS
from cdc.dispatch.message import LANGUAGES
from cdc.model.audit import AuditEntry
from cdc.model.clock import Clock
from cdc.model.errors import AccessRefused, UsageError
from cdc.model.quota import Limited, QuotaLimits, quotas

#: For how long a set-up link works; `cdc run` prints another one when it starts.
SETUP_LIFETIME: Final = timedelta(hours=1)
#: Characters of a list in the audit log's detail.
_DETAIL: Final = 2000
SETUP_ACTOR: Final = "setup"


class Accounts:
    """``actor``, everywhere: who does it, for the audit log (`AuditEntry.actor`)."""

    def __init__(
        self,
        store: AccessStore,
        clock: Clock,
        *,
        limits: QuotaLimits = DEFAULT_LIMITS,
        passwords: Passwords | None = None,
        random: Random = secrets.token_bytes,
    ) -> None:
        self._limits = limits
        self._store = store
        self._clock = clock
        self._passwords = passwords or Passwords()
        self._random = random

    # -- users ------------------------------------------------------------------------------------------------------

    async def users(self) -> list[User]:
        return await self._store.users()

    async def open_sessions(self, name: str) -> int:
        return await self._store.open_sessions(name, self._clock.now())

    async def add_user(
        self, actor: str, name: str, role: Role, password: str | None, sources: Sequence[str] = ()
    ) -> User:
        """``password``: None, the user signs in by a trusted proxy only.  ``sources``: those that the user sees and
        manages; none: all.  Raises `UsageError`."""
        user = await self._new_user(name, role, password, tuple(sources))
        detail = {"role": role.value} | _of_sources(sources)
        await self._store.add_user(user, self._entry(actor, "user.add", user.name, detail))
        return user

    async def change_password(self, actor: str, name: str, password: str) -> None:
        """Change a password and end all sessions of the user.  Raises `UsageError`."""
        user = await self.user(name)
        check_strength(password, user.name)
        hashed = await asyncio.to_thread(self._passwords.hash, password)
        change = UserChange(password_hash=hashed, stamp=new_stamp(self._random))
        await self._store.change_user(name, change, self._entry(actor, "user.password", user.name))

    async def change_role(self, actor: str, name: str, role: Role, sources: Sequence[str] | None = None) -> None:
        """Change at once, in sessions too, what the user may do.  ``sources``: None leaves them as they are.  Raises
        `NotFound`."""
        user = await self.user(name)
        change = UserChange(role=role, sources=None if sources is None else tuple(sources))
        detail = {"role": role.value, "former": user.role.value}
        if change.sources not in (None, user.sources):
            detail |= {"sources": "all"} | _of_sources(change.sources or ())
        await self._store.change_user(name, change, self._entry(actor, "user.role", user.name, detail))

    async def remove_user(self, actor: str, name: str) -> None:
        """Remove a user and end all sessions.  Raises `NotFound`."""
        user = await self.user(name)
        await self._store.remove_user(name, self._entry(actor, "user.remove", user.name))

    async def switch_totp_on(self, actor: str, name: str, secret: str, code: str | None = None) -> None:
        """Ask for a code from now on, and end all sessions of the user.  ``secret``: of `new_totp_secret`.  ``code``:
        what the user's app shows, to prove that it knows the secret; None when nobody is there to say.  Raises
        `NotFound`, and `UsageError` when the code is wrong."""
        user = await self.user(name)
        if code is not None:
            step = credential.totp_step(secret, code, self._clock.now())
            owner = credential.totp_owner(Origin.PASSWORD, user.key)
            if step is None or not await self._store.take_totp_step(owner, step):
                raise UsageError("The code is not the one that the app shows now.", "See that both clocks are right.")
        change = UserChange(totp_secret=secret, stamp=new_stamp(self._random))
        await self._store.change_user(name, change, self._entry(actor, "user.totp", user.name, {"on": True}))

    async def switch_totp_off(self, actor: str, name: str) -> None:
        """Ask for no code from now on, and end all sessions of the user.  Raises `NotFound`."""
        user = await self.user(name)
        change = UserChange(totp_secret="", stamp=new_stamp(self._random))
        await self._store.change_user(name, change, self._entry(actor, "user.totp", user.name, {"on": False}))

    async def user(self, name: str) -> User:
        """Raises `NotFound`."""
        user = await self._store.user(name)
        if user is None:
            raise no_user(name)
        return user

    async def _new_user(self, name: str, role: Role, password: str | None, sources: tuple[str, ...] = ()) -> User:
        name = check_name(name)
        hashed = ""
        if password is not None:
            check_strength(password, name)
            hashed = await asyncio.to_thread(self._passwords.hash, password)
        return User(name, role, self._clock.now(), new_stamp(self._random), hashed, sources=sources)

    # -- the first user ---------------------------------------------------------------------------------------------

    async def offer_setup(self) -> str | None:
        """Return the end of the set-up link; it works once, for `SETUP_LIFETIME`, and former ones no more.  None when
        there is a user."""
        secret = new_secret(self._random)
        digest = secret_digest(secret)
        assert digest is not None
        until = self._clock.now() + SETUP_LIFETIME
        return secret if await self._store.offer_setup(digest, until) else None

    async def set_up(self, secret: str, name: str, password: str) -> User:
        """Make the first user, a manager.  Raises `UsageError` for name or password, which leave the link as it is, and
        `AccessRefused` when it does not work any more."""
        digest = secret_digest(secret)
        user = await self._new_user(name, Role.MANAGER, password)
        entry = self._entry(SETUP_ACTOR, "user.add", user.name, {"role": user.role.value})
        if digest is None or not await self._store.take_setup(digest, user, entry, self._clock.now()):
            raise AccessRefused(
                "This set-up link does not work: it was used, has expired, or there is a user already.",
                "Restart cdc run for another one, or: cdc user add NAME --role manager",
            )
        return user

    # -- tokens -----------------------------------------------------------------------------------------------------

    async def tokens(self) -> list[ApiToken]:
        return await self._store.tokens()

    async def token(self, named: str) -> ApiToken:
        """``named``: its id or name.  Raises `NotFound`."""
        id_, key = clean_name(named), user_key(named)
        found = [each for each in await self._store.tokens() if each.id == id_ or user_key(each.name) == key]
        if not found:
            raise no_token(named)
        return found[0]

    async def add_token(
        self,
        actor: str,
        name: str,
        scope: Scope,
        lifetime: timedelta | None = TOKEN_LIFETIME,
        sources: Sequence[str] = (),
        *,
        allowed: Sequence[Allowance] = (),
        networks: Sequence[str] = (),
    ) -> tuple[ApiToken, str]:
        """The token's description, and the token itself, which is kept nowhere.  ``lifetime``: None, it never expires.
        ``sources``: of which it sees and manages what there is; none: of all.  ``allowed``: what it may do beyond them.
        ``networks``: from which it may be used; none: from anywhere.  Raises `UsageError`."""
        name = check_name(name)
        if allowed and not (sources and scope is Scope.MANAGE):
            raise UsageError(
                "Only a token that manages some sources can have more permissions.",
                "Name its sources, or leave the permissions out: a token that manages all sources needs none.",
            )
        text = new_token(self._random)
        digest = token_digest(text)
        assert digest is not None
        now = self._clock.now()
        expires = None if lifetime is None else now + lifetime
        made = ApiToken(
            new_token_id(self._random),
            name,
            scope,
            now,
            expires,
            sources=tuple(sources),
            allowed=tuple(allowed),
            networks=checked_networks(networks),
        )
        detail: dict[str, Any] = {"id": made.id, "scope": scope.value, "expires_at": expires and expires.isoformat()}
        detail |= _of_sources(sources)
        if allowed:
            detail["allowed"] = ", ".join(allowed)
        if made.networks:
            detail["networks"] = ", ".join(made.networks)[:_DETAIL]
        within = quotas(self._limits, Limited.TOKENS, sources, "")
        await self._store.add_token(made, digest, replace(self._entry(actor, "token.add", name, detail), within=within))
        return made, text

    async def remove_token(self, actor: str, token: str) -> ApiToken:
        """``token``: its id or name.  Raises `NotFound`."""
        found = await self.token(token)
        return await self._store.remove_token(token, self._entry(actor, "token.remove", found.name, {"id": found.id}))

    def _entry(self, actor: str, action: str, name: str, detail: Mapping[str, Any] | None = None) -> AuditEntry:
        now: datetime = self._clock.now()
        return AuditEntry(now, actor, action, f"{action.partition('.')[0]}:{name}", detail or {})


def _of_sources(sources: Sequence[str]) -> dict[str, str]:
    """Return what the audit log says of them; nothing for all."""
    return {"sources": ", ".join(sources)[:_DETAIL]} if sources else {}


#: Minutes: within which a link must be opened, and that its session lasts then.
LINK_MINUTES: Final = 60
SESSION_MINUTES: Final = 720
_LONGEST_URL: Final = 2000


@dataclass(frozen=True, slots=True)
class NewPortal:
    """``tenant``: for the page and the audit log.  ``sources``: none, those of a caller of some sources.
    ``allowed``: what the session may do beyond its sources.  ``networks``: from which link and session work; none: from
    anywhere."""

    tenant: str
    sources: Sequence[str] = ()
    minutes: int = 10
    session_minutes: int = 60
    language: str = ""
    return_url: str = ""
    read_only: bool = False
    allowed: tuple[Allowance, ...] = ()
    networks: Sequence[str] = ()


class PortalLinks:
    def __init__(
        self, store: AccessStore, clock: Clock, config: Config, *, random: Random = secrets.token_bytes
    ) -> None:
        self._store = store
        self._clock = clock
        self._config = config
        self._random = random

    async def create(
        self, principal: Principal, wanted: NewPortal, scope: Scope = Scope.MANAGE, token_id: str = ""
    ) -> tuple[PageSession, str]:
        """Return the link and its URL, which is stored nowhere.  ``scope``: of the caller; with `Scope.READ` the tenant
        only reads.  ``token_id``: of the token with whose removal link and session end.  Raises `UsageError`."""
        secret = new_secret(self._random)
        digest = secret_digest(secret)
        assert digest is not None
        portal = self._portal(principal, wanted)
        now = self._clock.now()
        if not 1 <= wanted.minutes <= LINK_MINUTES:
            raise UsageError("The link cannot be valid for so long.", f"From 1 to {LINK_MINUTES} minutes.")
        role = Role.MANAGER if scope is Scope.MANAGE and not wanted.read_only else Role.VIEWER
        until = now + timedelta(minutes=wanted.minutes)
        name = f"{PORTAL_NAME}{check_name(wanted.tenant)}"
        link = PageSession(
            digest, name, role, Origin.PORTAL_LINK, token_id, "", now, now, until, portal.sources, portal
        )
        detail: dict[str, Any] = {"sources": ", ".join(portal.sources)[:_LONGEST_URL], "role": role.value}
        if portal.allowed:
            detail["allowed"] = ", ".join(portal.allowed)
        if portal.networks:
            detail["networks"] = ", ".join(portal.networks)[:_LONGEST_URL]
        within = quotas(self._config.limits, Limited.PORTAL_LINKS, portal.sources, principal.name)
        entry = AuditEntry(now, principal.name, "portal.link", name, detail, within)
        link = await self._store.add_portal_link(link, entry)
        return link, f"{self._address()}/portal/{secret}"

    async def revoke(self, principal: Principal, tenant: str) -> int:
        """End the links and sessions of a tenant; of a caller of some sources, those that have no others.  Return how
        many there were."""
        name = f"{PORTAL_NAME}{check_name(tenant)}"
        entry = AuditEntry(self._clock.now(), principal.name, "portal.revoke", name)
        return await self._store.end_portal(name, principal.sources, entry)

    def _portal(self, principal: Principal, wanted: NewPortal) -> Portal:
        sources = tuple(dict.fromkeys(wanted.sources)) or tuple(sorted(principal.sources))
        if not sources or not principal.owns(sources):
            there_are = principal.source_list or ", ".join(sorted(self._config.source))
            raise UsageError("Name the tenant's sources, one or more of those that you have access to.", there_are)
        if not 1 <= wanted.session_minutes <= SESSION_MINUTES:
            raise UsageError("The session cannot last so long.", f"From 1 to {SESSION_MINUTES} minutes.")
        if wanted.language and wanted.language not in LANGUAGES:
            raise UsageError(f"The page has no language {wanted.language!r}.", f"{' or '.join(LANGUAGES)}")
        if principal.sources and not set(principal.allowed).issuperset(wanted.allowed):
            raise UsageError("A link cannot allow more than its caller may do.", "Ask the operator for the permission.")
        self._check_return_url(principal, wanted.return_url)
        lifetime = timedelta(minutes=wanted.session_minutes)
        known, networks = self._config.known_sources(sources), checked_networks(wanted.networks)
        return Portal(known, lifetime, wanted.language, wanted.return_url, wanted.allowed, networks, principal.name)

    def _check_return_url(self, principal: Principal, url: str) -> None:
        """A caller of some sources is not trusted to send people anywhere."""
        if not url:
            return
        origin = _origin(url)
        if origin is None:
            raise UsageError("The return URL cannot be used.", "It is an https URL without user and password.")
        if principal.sources and origin not in self._config.web.frame_ancestors:
            raise UsageError(
                "With access to some sources only, the return URL must be on a site that may frame the portal.",
                "Sites: frame_ancestors under [web]; ask the operator.",
            )

    def _address(self) -> str:
        address = self._config.web.address
        if not address:
            raise UsageError("The page is not served here.", "Set listen under [web], or url where another serves it.")
        return address


def _origin(url: str) -> str | None:
    """Return the origin of a URL to which a browser may be sent; None for others."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    inside = parts.scheme == "http" and (host == "localhost" or is_local(host, forwarded=False))
    plain = url.isascii() and url.isprintable() and not set(url) & set(' "<>\\`')
    if not host or "@" in parts.netloc or not plain or len(url) > _LONGEST_URL:
        return None
    if parts.scheme != "https" and not inside:
        return None
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")
