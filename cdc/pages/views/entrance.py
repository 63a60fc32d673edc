"""Signing in and out, also at an OpenID Connect provider; the first user; the portal of a tenant without a user."""

from __future__ import annotations

import secrets
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from aiohttp import web

from cdc.access.model import Origin
from cdc.access.sign_in import SignedIn
from cdc.model.errors import AccessRefused, CdcError, ProviderError, UsageError
from cdc.pages.language import LANGUAGE_COOKIE
from cdc.pages.page import Page, Refused, Route
from cdc.pages.session_auth import COOKIE, PORTAL_COOKIE
from cdc.pages.views.overview import own_path

if TYPE_CHECKING:
    from cdc.access.oidc import OpenIdConnect


async def sign_in_form(page: Page) -> web.StreamResponse:
    if not await page.site.auth.open_to_others():
        return page.see("/set-up")
    return _sign_in_page(page, to=page.query("to"))


def _sign_in_page(
    page: Page, status: int = HTTPStatus.OK, *, to: str = "", name: str = "", wrong: str = ""
) -> web.Response:
    oidc = page.site.service.config.oidc
    provider = oidc.name or urlsplit(oidc.issuer).hostname
    return page.render("sign_in.html", status, to=to, name=name, wrong=wrong, provider=provider)


async def sign_in(page: Page) -> web.StreamResponse:
    sent = await page.form()
    name, to = sent.get("name", ""), sent.get("to", "")
    try:
        signed_in = await page.site.auth.sign_in.with_password(
            name,
            sent.get("password", ""),
            sent.get("code", ""),
            address=page.site.auth.address(page.request),
            former_cookie=page.request.cookies.get(COOKIE, ""),
        )
    except CdcError as error:  # refused, or FacturaScripts' users cannot be asked
        return _sign_in_page(page, _status(error), to=to, name=name, wrong=page.language.error(error))
    return _let_in(page, signed_in, to if own_path(to) else "/")


def _status(error: CdcError) -> HTTPStatus:
    return HTTPStatus.UNAUTHORIZED if isinstance(error, AccessRefused) else HTTPStatus.SERVICE_UNAVAILABLE


async def oidc_begin(page: Page) -> web.StreamResponse:
    """Send the browser to the provider.  A former session ends here: its cookie does not come with the provider's
    answer."""
    auth, to = page.site.auth, page.query("to")
    oidc = _oidc(page)
    try:
        where, cookie = await oidc.start(to, secrets.token_bytes)
    except ProviderError as error:
        return _sign_in_page(page, _status(error), to=to, wrong=page.language.error(error))
    await auth.sign_in.sign_out(page.request.cookies.get(COOKIE, ""))
    response = page.see(where)
    auth.set_flow_cookie(page.request, response, cookie)
    return response


async def oidc_callback(page: Page) -> web.StreamResponse:
    """Take the provider's answer.  The page that follows continues by itself: browsers send the session's cookie only
    with requests that this site began."""
    auth, request = page.site.auth, page.request
    _oidc(page)
    answer = {name: request.query.getall(name) for name in request.query}
    try:
        signed_in, to = await auth.sign_in.with_oidc(auth.flow_cookie(request), answer, address=auth.address(request))
    except CdcError as error:
        response = _sign_in_page(page, _status(error), wrong=page.language.error(error))
    else:
        response = page.render("continue.html", to=to if own_path(to) else "/")
        auth.admit(request, response, signed_in)
    auth.set_flow_cookie(request, response, "")
    return response


def _oidc(page: Page) -> OpenIdConnect:
    oidc = page.site.auth.sign_in.oidc
    if oidc is None:
        raise Refused(HTTPStatus.NOT_FOUND, "Page not found.")
    return oidc


def _let_in(page: Page, signed_in: SignedIn, path: str) -> web.StreamResponse:
    response = page.see(path)
    page.site.auth.admit(page.request, response, signed_in)
    return response


async def sign_out(page: Page) -> web.StreamResponse:
    oidc, principal = page.site.auth.sign_in.oidc, page.principal
    there = await oidc.end() if oidc is not None and principal is not None and principal.origin is Origin.OIDC else ""
    response = page.render("continue.html", to=there) if there else page.see("/sign-in", notice="signed-out")
    await page.site.auth.dismiss(page.request, response)
    return response


async def set_up_needed(page: Page) -> web.StreamResponse:
    """Show how to get in for the first time; nothing else is served until then."""
    if await page.site.auth.open_to_others():
        return page.see("/sign-in")
    return page.render("set_up_needed.html")


async def set_up_form(page: Page) -> web.StreamResponse:
    await _only_here(page)
    return page.render("set_up.html", name="", wrong="")


async def set_up(page: Page) -> web.StreamResponse:
    await _only_here(page)
    sent = await page.form()
    name, password = sent.get("name", ""), sent.get("password", "")
    auth = page.site.auth
    try:
        if password != sent.get("again", ""):
            raise UsageError(page.language.text("The two passwords differ."))
        user = await auth.accounts.set_up(page.path("link"), name, password)
    except CdcError as error:
        return page.render("set_up.html", HTTPStatus.UNPROCESSABLE_ENTITY, name=name, wrong=page.language.error(error))
    signed_in = await auth.sign_in.with_password(user.name, password, address=auth.address(page.request))
    return _let_in(page, signed_in, "/")


async def _only_here(page: Page) -> None:
    if not page.site.auth.local(page.request):
        raise Refused(HTTPStatus.FORBIDDEN, "The set-up is for a browser on this machine (or through an SSH tunnel).")


_CACHED: Final = {"Cache-Control": "max-age=300"}


async def ask(page: Page) -> web.StreamResponse:
    """Ask to open the portal: programs that follow links, as mail scanners do, send no form and so use up no link.  The
    page's script sends it, unless a user has signed in."""
    at_once = page.principal is None or page.principal.portal is not None
    return page.render("portal.html", at_once=at_once)


async def enter(page: Page) -> web.StreamResponse:
    auth, request = page.site.auth, page.request
    try:
        signed_in = await auth.sign_in.with_portal_link(
            page.path("link"), address=auth.address(request), former_cookie=request.cookies.get(PORTAL_COOKIE, "")
        )
    except AccessRefused as error:
        return page.render("portal_ended.html", HTTPStatus.FORBIDDEN, message=page.language.error(error), back="")
    response = page.see("/endpoints")
    auth.set_portal_cookie(request, response, PORTAL_COOKIE, signed_in.cookie)
    portal = signed_in.session.portal
    if portal is not None and portal.language:
        auth.set_portal_cookie(request, response, LANGUAGE_COOKIE, portal.language)
    return response


async def ended(page: Page) -> web.StreamResponse:
    message = page.language.text("Your session has ended: open the page again where you found the link.")
    return page.render("portal_ended.html", message=message, back="")


async def leave(page: Page) -> web.StreamResponse:
    """Sign out.  The way back is a link, whose address the host gave: no request says where it leads."""
    portal = page.principal.portal if page.principal else None
    if portal is None:
        raise Refused(HTTPStatus.NOT_FOUND, "Page not found.")
    message = page.language.text("You have signed out.")
    response = replace(page, principal=None).render("portal_ended.html", message=message, back=portal.return_url)
    await page.site.auth.leave_portal(page.request, response)
    return response


async def style(page: Page) -> web.StreamResponse:
    return web.Response(text=page.site.brand.style, content_type="text/css", headers=_CACHED)


async def logo(page: Page) -> web.StreamResponse:
    if page.site.brand.logo is None:
        raise Refused(HTTPStatus.NOT_FOUND, "Page not found.")
    kind, content = page.site.brand.logo
    return web.Response(body=content, content_type=kind, headers=_CACHED)


ROUTES = (
    Route("GET", "/sign-in", sign_in_form, None),
    Route("POST", "/sign-in", sign_in, None),
    Route("GET", "/sign-in/oidc", oidc_begin, None),
    Route("GET", "/sign-in/oidc/callback", oidc_callback, None),
    Route("POST", "/sign-out", sign_out, enrolment=True),
    Route("GET", "/set-up", set_up_needed, None),
    Route("GET", "/set-up/{link}", set_up_form, None),
    Route("POST", "/set-up/{link}", set_up, None),
    Route("GET", "/portal/ended", ended, None),
    Route("GET", "/portal/leave", ended, None),
    Route("POST", "/portal/leave", leave, None),
    Route("GET", "/portal/brand.css", style, None),
    Route("GET", "/portal/logo", logo, None),
    Route("GET", "/portal/{link}", ask, None),
    Route("POST", "/portal/{link}", enter, None),
)
