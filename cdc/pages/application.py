"""The site as an aiohttp application: who visits, in which language, may they; then the view.  Closed by default."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, tzinfo
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from ipaddress import ip_address
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from cdc.access.model import Role
from cdc.model.errors import CdcError, LimitReached, NotFound, OutboxError
from cdc.pages.language import LANGUAGE_COOKIE, ZONE_COOKIE, Language, language, negotiate
from cdc.pages.page import NavigationEntry, Page, Refused, Route, Site, View
from cdc.pages.session_auth import COOKIE, PORTAL_COOKIE
from cdc.pages.views import (
    delivery_log,
    endpoints,
    entrance,
    explain,
    jobs,
    overview,
    people,
    records,
    search,
    sources,
)

#: No form of ours is larger (bytes).
LARGEST_FORM = 256 * 1024
#: Nothing from anywhere else, nothing inline, in nobody's frame.
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_POLICY = "Content-Security-Policy"
#: Beginnings of the paths that a tenant without a user may open, and nothing else.
PORTAL_PATHS = (
    *("/endpoints", "/deliveries", "/events", "/explain", "/records", "/search", "/catalogue"),
    *("/live/", "/language", "/portal/"),
)
_STATIC_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FORM = "application/x-www-form-urlencoded"

log = structlog.get_logger()


def application(hosts: Collection[str] = ()) -> web.Application:
    """Return an application without routes, which answers with `HEADERS`, and under the names ``hosts`` only, besides
    addresses and loopback names."""
    app = web.Application(client_max_size=LARGEST_FORM, middlewares=[only_for(hosts)])
    app.on_response_prepare.append(_add_headers)
    return app


def add_site(app: web.Application, site: Site) -> None:
    """Add the pages after all other routes: any other path is a page, or does not exist."""
    every = routes()
    for each in (*every, *_ways_back(every)):
        app.router.add_route(each.method, each.path, _handler(site, each))
    for name, body in _static_files().items():
        app.router.add_get(f"/static/{name}", _static(name, body))
    app.router.add_route("*", "/{anything:.*}", _handler(site, Route("*", "", _nothing, None)))


def _ways_back(routes: Sequence[Route]) -> Iterator[Route]:
    """A page that answers a form has an address that only forms are sent to: who asks for it again, reloads it or
    changes its language, gets the page that is nearest above."""
    shown = {each.path for each in routes if each.method == "GET"}
    for path in sorted({each.path for each in routes} - shown):
        above, length = path, 0
        while above not in shown:
            above, length = above.rpartition("/")[0] or "/", length + 1
        yield Route("GET", path, _up(length), None)


def _up(length: int) -> View:
    async def up(page: Page) -> web.StreamResponse:
        return page.see(page.request.rel_url.raw_path.rsplit("/", length)[0] or "/")

    return up


def _handler(site: Site, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        principal = await site.auth.principal(request)
        page = Page(request, site, _language(site, request), principal)
        try:
            if route.view is not overview.overview:  # which counts the problems itself
                page = await overview.with_health(page)
            response = await _answer(page, route)
            if principal is not None and request.method == "POST":
                overview.forget_health(page, principal)
        except Refused as error:
            response = page.problem(error)
        except CdcError as error:
            if isinstance(error, LimitReached):
                site.process.refused(error)
            response = page.problem(error, _status(error))
        except (web.HTTPException, ConnectionError):  # aiohttp's own refusals; the client is gone
            raise
        except Exception:
            log.exception("a page broke off", method=request.method, path=route.path)  # a real path may hold a link
            broken = Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "An error occurred; see the server's log.")
            response = page.problem(broken)
        if page.of_portal and site.auth.frame_ancestors and not response.prepared:
            ancestors = f"frame-ancestors {site.auth.frame_ancestors}"
            response.headers[_POLICY] = HEADERS[_POLICY].replace("frame-ancestors 'none'", ancestors)
        return response

    return handle


async def _answer(page: Page, route: Route) -> web.StreamResponse:
    principal = page.principal
    if principal is not None and principal.portal is not None and not route.path.startswith(PORTAL_PATHS):
        if page.request.path == "/":
            return page.see("/endpoints")
        raise Refused(HTTPStatus.NOT_FOUND, "Page not found.")
    if principal is not None and principal.must_enrol and route.role is not None and not route.enrolment:
        if page.request.method == "GET":
            return page.see("/account")
        raise Refused(HTTPStatus.FORBIDDEN, "Set up two-step verification first.")
    if route.role is not None and principal is None:
        public = route.catalogue and page.site.public_catalogue
        return await (_public(page, route) if public else _welcome(page))
    await _check(page, route)
    response = await route.view(page)
    if principal is not None and principal.cookie and not response.prepared:
        page.site.auth.set_cookie(page.request, response, principal.cookie)
    return response


async def _public(page: Page, route: Route) -> web.StreamResponse:
    """Return a page for a stranger, as often as the API would answer one."""
    wait = page.site.strangers.reserve(page.site.auth.address(page.request), page.site.clock.monotonic())
    if not wait:
        return await route.view(page)
    response = page.problem(Refused(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests: wait a few seconds."))
    response.headers["Retry-After"] = str(math.ceil(wait))
    return response


async def _welcome(page: Page) -> web.StreamResponse:
    """Return the page to which users are sent who have not signed in."""
    if PORTAL_COOKIE in page.request.cookies and COOKIE not in page.request.cookies:
        return page.see("/portal/ended")
    if not await page.site.auth.open_to_others():
        return page.see("/set-up")
    return page.see("/sign-in", **({"to": page.request.path_qs} if page.request.method == "GET" else {}))


async def _check(page: Page, route: Route) -> None:
    principal = page.principal
    if route.role is not None and (principal is None or not principal.may(route.role, every_source=False)):
        raise Refused(HTTPStatus.FORBIDDEN, "For managers only.")
    if route.every_source and principal is not None and principal.sources:
        raise Refused(HTTPStatus.FORBIDDEN, "For managers of all sources only.")
    if page.request.method == "POST":
        if page.request.content_type != _FORM:
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "A form is expected here.")
        origin = page.request.headers.get("Origin", "")
        of_portal = principal is not None and principal.portal is not None  # whose cookie other sites' forms may carry
        if (origin or of_portal) and urlsplit(origin).netloc != page.request.host:
            raise Refused(HTTPStatus.FORBIDDEN, "This form was sent from another site.")
        token = (await page.form()).get("csrf", "")
        if principal is not None and not page.site.auth.proves(page.request, principal, token):
            raise Refused(HTTPStatus.FORBIDDEN, "This form is not yours, or too old: go back, reload, and try again.")


def _status(error: CdcError) -> HTTPStatus:
    if isinstance(error, NotFound):
        return HTTPStatus.NOT_FOUND
    if isinstance(error, LimitReached):
        return HTTPStatus.CONFLICT if error.retry_after is None else HTTPStatus.TOO_MANY_REQUESTS
    return HTTPStatus.SERVICE_UNAVAILABLE if isinstance(error, OutboxError) else HTTPStatus.UNPROCESSABLE_ENTITY


def _language(site: Site, request: web.Request) -> Language:
    code = negotiate(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("Accept-Language", ""))
    return language(code, site.zone or _browser_zone(request))


@cache
def _zones() -> Collection[str]:
    return available_timezones()


def _browser_zone(request: web.Request) -> tzinfo:
    """The zone that the page's script has found; UTC where there is none."""
    name = request.cookies.get(ZONE_COOKIE, "")
    return ZoneInfo(name) if name in _zones() else UTC


async def _nothing(_page: Page) -> web.StreamResponse:
    raise Refused(HTTPStatus.NOT_FOUND, "Page not found.")


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Add headers, also to streams and to aiohttp's own refusals.  A portal's page may have a policy of its own."""
    policy = response.headers.get(_POLICY)
    response.headers.update(HEADERS)
    if policy is not None:
        response.headers[_POLICY] = policy
        del response.headers["X-Frame-Options"]  # knows no list of sites
    response.headers.setdefault("Cache-Control", "no-store")


def _static_files() -> dict[str, bytes]:
    folder = files("cdc.pages") / "static"
    return {
        file.name: file.read_bytes() for file in folder.iterdir() if file.name[file.name.rfind(".") :] in _STATIC_TYPES
    }


def _static(name: str, body: bytes) -> Callable[[web.Request], Awaitable[web.Response]]:
    kind = _STATIC_TYPES[name[name.rfind(".") :]]

    async def serve(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type=kind, charset="utf-8", headers={"Cache-Control": "max-age=300"})

    return serve


#: Titles are texts of the catalogues.
SECTIONS = (
    NavigationEntry("/", "Overview", "squares-2x2"),
    NavigationEntry("/endpoints", "Endpoints", "paper-airplane", portal=True),
    NavigationEntry("/deliveries", "Deliveries", "inbox-stack", also="/explain", portal=True),
    NavigationEntry("/events", "Events", "bolt", also="/catalogue", portal=True),
    NavigationEntry("/records", "Records", "clock", portal=True),
    NavigationEntry("/sources", "Sources", "circle-stack", also="/backfills"),
    NavigationEntry("/replays", "Replays", "arrow-path", Role.MANAGER),
    NavigationEntry("/people", "Users and tokens", "users", Role.MANAGER, every_source=True, also="/audit"),
)


def routes() -> tuple[Route, ...]:
    return (
        *overview.ROUTES,
        *endpoints.ROUTES,
        *delivery_log.routes(),
        *explain.ROUTES,
        *records.ROUTES,
        *search.ROUTES,
        *jobs.ROUTES,
        *sources.ROUTES,
        *people.ROUTES,
        *entrance.ROUTES,
    )


def known_host(host: str, names: Collection[str]) -> bool:
    """Return whether a ``Host`` header is an address, this machine, one of ``names``, or empty (not sent)."""
    name = _without_port(host).rstrip(".").lower()
    if not name or name == "localhost" or name.endswith(".localhost") or name in names:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def only_for(names: Collection[str]) -> Middleware:
    """Return a middleware that answers 421 to requests for other hosts."""
    known = frozenset(name.lower() for name in names)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if known_host(request.headers.get("Host", ""), known):
            return await handler(request)
        return web.Response(
            status=HTTPStatus.MISDIRECTED_REQUEST,
            text="This host name is not configured. Add it to hosts under [web].\n",
        )

    return check


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
