"""Signing in and out, and the set-up of the first user."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

from cdc.access.sign_in import SignedIn
from cdc.model.errors import AccessRefused, CdcError, UsageError
from cdc.pages.page import Page, Refused, Route
from cdc.pages.session_auth import COOKIE
from cdc.pages.views.overview import own_path


async def sign_in_form(page: Page) -> web.StreamResponse:
    if not await page.site.door.open_to_others():
        return page.see("/set-up")
    return page.render("sign_in.html", to=page.query("to"), name="", wrong="")


async def sign_in(page: Page) -> web.StreamResponse:
    sent = await page.form()
    name, to = sent.get("name", ""), sent.get("to", "")
    try:
        signed_in = await page.site.door.sign_in.with_password(
            name,
            sent.get("password", ""),
            sent.get("code", ""),
            address=page.site.door.address(page.request),
            former_cookie=page.request.cookies.get(COOKIE, ""),
        )
    except CdcError as error:  # refused, or FacturaScripts' users cannot be asked
        status = HTTPStatus.UNAUTHORIZED if isinstance(error, AccessRefused) else HTTPStatus.SERVICE_UNAVAILABLE
        return page.render("sign_in.html", status, to=to, name=name, wrong=page.language.error(error))
    return _let_in(page, signed_in, to if own_path(to) else "/")


def _let_in(page: Page, signed_in: SignedIn, path: str) -> web.StreamResponse:
    response = page.see(path)
    page.site.door.admit(page.request, response, signed_in)
    return response


async def sign_out(page: Page) -> web.StreamResponse:
    response = page.see("/sign-in", notice="signed-out")
    await page.site.door.dismiss(page.request, response)
    return response


async def set_up_needed(page: Page) -> web.StreamResponse:
    """Show how to get in for the first time; nothing else is served until then."""
    if await page.site.door.open_to_others():
        return page.see("/sign-in")
    return page.render("set_up_needed.html")


async def set_up_form(page: Page) -> web.StreamResponse:
    await _only_here(page)
    return page.render("set_up.html", name="", wrong="")


async def set_up(page: Page) -> web.StreamResponse:
    await _only_here(page)
    sent = await page.form()
    name, password = sent.get("name", ""), sent.get("password", "")
    door = page.site.door
    try:
        if password != sent.get("again", ""):
            raise UsageError(page.language.text("The two passwords differ."))
        user = await door.accounts.set_up(page.path("link"), name, password)
    except CdcError as error:
        return page.render("set_up.html", HTTPStatus.UNPROCESSABLE_ENTITY, name=name, wrong=page.language.error(error))
    signed_in = await door.sign_in.with_password(user.name, password, address=door.address(page.request))
    return _let_in(page, signed_in, "/")


async def _only_here(page: Page) -> None:
    if not page.site.door.local(page.request):
        raise Refused(HTTPStatus.FORBIDDEN, "The set-up is for a browser on this machine (or through an SSH tunnel).")


ROUTES = (
    Route("GET", "/sign-in", sign_in_form, None),
    Route("POST", "/sign-in", sign_in, None),
    Route("POST", "/sign-out", sign_out, enrolment=True),
    Route("GET", "/set-up", set_up_needed, None),
    Route("GET", "/set-up/{link}", set_up_form, None),
    Route("POST", "/set-up/{link}", set_up, None),
)
