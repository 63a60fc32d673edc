"""The portal of a tenant without a user: its link is opened, its session ends."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import Final

from aiohttp import web

from cdc.model.errors import AccessRefused
from cdc.pages.language import LANGUAGE_COOKIE
from cdc.pages.page import Page, Refused, Route
from cdc.pages.session_auth import PORTAL_COOKIE

_KEPT: Final = {"Cache-Control": "max-age=300"}


async def ask(page: Page) -> web.StreamResponse:
    """Ask to open the portal: programs that follow links, as mail scanners do, send no form and so use up no link.  The
    page's script sends it, unless a user has signed in."""
    at_once = page.visitor is None or page.visitor.portal is not None
    return page.render("portal.html", at_once=at_once)


async def enter(page: Page) -> web.StreamResponse:
    door, request = page.site.door, page.request
    try:
        signed_in = await door.sign_in.with_portal_link(
            page.path("link"), address=door.address(request), former_cookie=request.cookies.get(PORTAL_COOKIE, "")
        )
    except AccessRefused as error:
        return page.render("portal_ended.html", HTTPStatus.FORBIDDEN, message=page.language.error(error), back="")
    response = page.see("/endpoints")
    door.set_portal_cookie(request, response, PORTAL_COOKIE, signed_in.cookie)
    portal = signed_in.session.portal
    if portal is not None and portal.language:
        door.set_portal_cookie(request, response, LANGUAGE_COOKIE, portal.language)
    return response


async def ended(page: Page) -> web.StreamResponse:
    message = page.language.text("Your session has ended: open the page again where you found the link.")
    return page.render("portal_ended.html", message=message, back="")


async def leave(page: Page) -> web.StreamResponse:
    """Sign out.  The way back is a link, whose address the host gave: no request says where it leads."""
    portal = page.visitor.portal if page.visitor else None
    if portal is None:
        raise Refused(HTTPStatus.NOT_FOUND, "Page not found.")
    message = page.language.text("You have signed out.")
    response = replace(page, visitor=None).render("portal_ended.html", message=message, back=portal.return_url)
    await page.site.door.leave_portal(page.request, response)
    return response


async def style(page: Page) -> web.StreamResponse:
    return web.Response(text=page.site.brand.style, content_type="text/css", headers=_KEPT)


async def logo(page: Page) -> web.StreamResponse:
    if page.site.brand.logo is None:
        raise Refused(HTTPStatus.NOT_FOUND, "Page not found.")
    kind, content = page.site.brand.logo
    return web.Response(body=content, content_type=kind, headers=_KEPT)


ROUTES = (
    Route("GET", "/portal/ended", ended, None),
    Route("GET", "/portal/leave", ended, None),
    Route("POST", "/portal/leave", leave, None),
    Route("GET", "/portal/brand.css", style, None),
    Route("GET", "/portal/logo", logo, None),
    Route("GET", "/portal/{link}", ask, None),
    Route("POST", "/portal/{link}", enter, None),
)
