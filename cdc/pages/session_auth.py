"""Authentication of the page: a session's cookie, or a proxy that vouches for a user."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from aiohttp import web

from cdc.access.base import AccessStore
from cdc.access.credential import Random, csrf_token, is_csrf_token
from cdc.access.model import OIDC_NAME, PORTAL_NAME, Origin, PageSession, Portal, Role, actor_of
from cdc.access.proxy import FORWARDED, Network, client_address, is_local, trusts, vouched_name
from cdc.access.sign_in import SignedIn, SignIn
from cdc.admin.accounts import Accounts
from cdc.model.errors import AccessRefused


@dataclass(frozen=True, slots=True)
class SessionPrincipal:
    """A signed-in user.  ``csrf``: the token that forms must carry.  ``cookie``: a new one, for the browser to store.
    ``sources``: those that the principal sees and manages; empty: all.  ``portal``: of a tenant without a user.
    ``must_enrol``: the principal may do nothing but set up a second factor."""

    name: str
    role: Role
    csrf: str
    origin: Origin = Origin.PASSWORD
    cookie: str = ""
    sources: tuple[str, ...] = ()
    portal: Portal | None = None
    must_enrol: bool = False

    @property
    def manages(self) -> bool:
        return self.role is Role.MANAGER

    @property
    def actor(self) -> str:
        """Return the actor for the audit log."""
        return actor_of(self.origin, self.name)

    @property
    def shown_name(self) -> str:
        if self.portal:
            return self.name.removeprefix(PORTAL_NAME)
        return self.name.removeprefix(OIDC_NAME) if self.origin is Origin.OIDC else self.name

    def may(self, role: Role, *, every_source: bool) -> bool:
        """Return whether the principal may see what needs this role, or this role for all sources."""
        return self.role.scope.allows(role.scope) and not (every_source and self.sources)


COOKIE: Final = "cdc_session"
#: Of a sign-in at the OpenID Connect provider that has begun.  With the prefix a browser takes it from this host only.
FLOW_COOKIE: Final = "cdc_oidc"
#: Of a portal's session, beside one's own: who opens a portal does not sign out.
PORTAL_COOKIE: Final = "cdc_portal"


_FLOW_SECONDS: Final = 600


@dataclass(frozen=True, slots=True)
class Proxies:
    """``networks``: of proxies that are believed.  ``header``: in which one names the user; empty: none does."""

    networks: Sequence[Network] = ()
    header: str = ""


class SessionAuth:
    """The authentication of users, and the cookies of their sessions."""

    def __init__(
        self,
        store: AccessStore,
        accounts: Accounts,
        sign_in: SignIn,
        proxies: Proxies,
        *,
        theirs: bool = False,
        sources: Collection[str] = (),
        frame_ancestors: Sequence[str] = (),
        random: Random = secrets.token_bytes,
    ) -> None:
        """``theirs``: administrators of FacturaScripts may sign in.  ``sources``: all that there are.
        ``frame_ancestors``: sites that may show portals in a frame."""
        self.store = store
        self.accounts = accounts
        self.sign_in = sign_in
        self._proxies = proxies
        self._theirs = theirs
        self._sources = frozenset(sources)
        self._framed = bool(frame_ancestors)
        #: For the Content Security Policy; empty: no site may.
        self.frame_ancestors = " ".join(frame_ancestors)
        self._random = random

    async def principal(self, request: web.Request) -> SessionPrincipal | None:
        """Return the sender of this request, if they signed in."""
        portal = await self._portal(request)
        if portal is not None:
            return portal
        cookie = request.cookies.get(COOKIE, "")
        vouched = self._vouched(request)
        if vouched is not None:
            try:
                signed_in = await self.sign_in.with_header(vouched, address=self.address(request), cookie=cookie)
            except AccessRefused:
                return None
            return self._principal(signed_in.session, signed_in.cookie, fresh=signed_in.cookie != cookie)
        session = await self.sign_in.session(cookie)
        return None if session is None else self._principal(session, cookie, fresh=False)

    async def _portal(self, request: web.Request) -> SessionPrincipal | None:
        """Return the tenant of a portal, of the sources that there still are; none left would mean all."""
        cookie = request.cookies.get(PORTAL_COOKIE)
        session = await self.sign_in.session(cookie, address=self.address(request)) if cookie else None
        if session is None or session.portal is None:
            return None
        left = tuple(each for each in session.sources if each in self._sources)
        principal = self._principal(session, cookie or "", fresh=False)
        return replace(principal, sources=left, portal=session.portal) if left else None

    def _principal(self, session: PageSession, cookie: str, *, fresh: bool) -> SessionPrincipal:
        csrf = csrf_token(cookie, self._random)
        return SessionPrincipal(
            session.user,
            session.role,
            csrf,
            session.origin,
            cookie if fresh else "",
            session.sources,
            must_enrol=self.sign_in.must_enrol(session),
        )

    def _vouched(self, request: web.Request) -> str | None:
        if not self._proxies.header:
            return None
        return vouched_name(self._proxies.networks, _peer(request), request.headers.getall(self._proxies.header, []))

    def proves(self, request: web.Request, principal: SessionPrincipal, token: str) -> bool:
        """Return whether a form with this CSRF token is the user's own."""
        stored = request.cookies.get(PORTAL_COOKIE if principal.portal else COOKIE, "")
        return is_csrf_token(token, principal.cookie or stored)

    async def open_to_others(self) -> bool:
        """Return whether anybody can sign in; else there is only the set-up."""
        others = self._theirs or bool(self._proxies.header) or self.sign_in.oidc is not None
        return others or bool(await self.store.users())

    def local(self, request: web.Request) -> bool:
        """Return whether the request comes from this machine."""
        return is_local(_peer(request), forwarded=any(name in request.headers for name in FORWARDED))

    def address(self, request: web.Request) -> str:
        """Return the client's address."""
        forwarded = request.headers.getall("X-Forwarded-For", [])
        return client_address(self._proxies.networks, _peer(request), forwarded)

    def admit(self, request: web.Request, response: web.StreamResponse, signed_in: SignedIn) -> None:
        """Have the browser remember who it is."""
        self.set_cookie(request, response, signed_in.cookie)

    def set_cookie(self, request: web.Request, response: web.StreamResponse, cookie: str) -> None:
        response.set_cookie(COOKIE, cookie, httponly=True, samesite="Strict", secure=self.secure(request), path="/")

    def flow_cookie(self, request: web.Request) -> str:
        return request.cookies.get(self._flow_cookie_name(request), "")

    def set_flow_cookie(self, request: web.Request, response: web.StreamResponse, value: str) -> None:
        """Set it so that it comes back from the provider, another site; empty: remove it."""
        response.set_cookie(
            self._flow_cookie_name(request),
            value,
            max_age=_FLOW_SECONDS if value else 0,
            httponly=True,
            samesite="Lax",
            secure=self.secure(request),
            path="/",
        )

    def _flow_cookie_name(self, request: web.Request) -> str:
        return f"__Host-{FLOW_COOKIE}" if self.secure(request) else FLOW_COOKIE

    def set_portal_cookie(
        self, request: web.Request, response: web.StreamResponse, name: str, value: str, max_age: int | None = None
    ) -> None:
        """Set a cookie of a portal.  In a frame of another site browsers send only cookies that allow it, and keep
        those of each site apart (``Partitioned``)."""
        framed = self._framed and self.secure(request)
        parts = [f"{name}={value}", "HttpOnly", "Path=/", "SameSite=None" if framed else "SameSite=Strict"]
        parts += [f"Max-Age={max_age}"] if max_age is not None else []
        parts += ["Secure"] if self.secure(request) else []
        parts += ["Partitioned"] if framed else []  # http.cookies of Python 3.11 does not know it
        response.headers.add("Set-Cookie", "; ".join(parts))

    def secure(self, request: web.Request) -> bool:
        """Return whether the browser uses https, to us or to a trusted proxy."""
        by_proxy = request.headers.get("X-Forwarded-Proto", "") == "https"
        return request.secure or (by_proxy and trusts(self._proxies.networks, _peer(request)))

    async def leave_portal(self, request: web.Request, response: web.StreamResponse) -> None:
        await self.sign_in.sign_out(request.cookies.get(PORTAL_COOKIE, ""))
        self.set_portal_cookie(request, response, PORTAL_COOKIE, "", max_age=0)

    async def dismiss(self, request: web.Request, response: web.StreamResponse) -> None:
        """Sign out."""
        await self.sign_in.sign_out(request.cookies.get(COOKIE, ""))
        response.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict", secure=self.secure(request))


def _peer(request: web.Request) -> str:
    """The address of the connection's other end."""
    return request.remote or ""
