"""Links that open the page for a tenant without a user: made by the host's program, used once; and their end."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from cdc.access.base import AccessStore
from cdc.access.credential import Random, new_secret, secret_digest
from cdc.access.model import PORTAL_NAME, Allowance, Origin, PageSession, Portal, Role, Scope, check_name
from cdc.access.proxy import checked_networks, is_local
from cdc.admin.principal import Principal
from cdc.config import Config
from cdc.dispatch.message import LANGUAGES
from cdc.model.audit import AuditEntry
from cdc.model.clock import Clock
from cdc.model.errors import UsageError
from cdc.model.quota import Limited, quotas

#: Minutes: within which a link must be opened, and that its session lasts then.
LINK_MINUTES: Final = 60
SESSION_MINUTES: Final = 720
_LONGEST_URL: Final = 2000


@dataclass(frozen=True, slots=True)
class PortalWanted:
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
        self, principal: Principal, wanted: PortalWanted, scope: Scope = Scope.MANAGE, token_id: str = ""
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

    def _portal(self, principal: Principal, wanted: PortalWanted) -> Portal:
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
