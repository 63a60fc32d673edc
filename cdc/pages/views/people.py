"""Users and tokens, one's own account, and the audit log with its exports."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus

from aiohttp import web

from cdc.access import credential
from cdc.access.model import TOKEN_LIFETIME, AuditFilter, Origin, Role, Scope
from cdc.admin.audit_log import FORMATS, exported
from cdc.model.errors import CdcError, UsageError
from cdc.pages.language import parsed_number
from cdc.pages.page import Page, Refused, Route
from cdc.pages.views.delivery_log import time_of


async def people(page: Page) -> web.StreamResponse:
    return await _people(page)


async def _people(page: Page, *, wrong: str = "", token: str = "") -> web.StreamResponse:
    """``token``: a new one, shown this once."""
    store = page.site.auth.store
    return page.render(
        "people.html",
        HTTPStatus.UNPROCESSABLE_ENTITY if wrong else HTTPStatus.OK,
        users=await store.users(),
        tokens=await store.tokens(),
        roles=list(Role),
        scopes=list(Scope),
        sources=list(page.site.service.config.source),
        now=page.site.clock.now(),
        token_days=TOKEN_LIFETIME.days,
        wrong=wrong,
        token=token,
    )


async def add_user(page: Page) -> web.StreamResponse:
    sent = await page.form()
    try:
        role, sources = _role(sent.get("role", "")), _sources(page, sent.get("sources", ""))
        password = sent.get("password", "")
        await page.site.auth.accounts.add_user(page.actor, sent.get("name", ""), role, password, sources)
    except UsageError as error:
        return await _people(page, wrong=page.language.error(error))
    return page.see("/people", notice="created")


async def change_role(page: Page) -> web.StreamResponse:
    sent = await page.form()
    try:
        role, sources = _role(sent.get("role", "")), _sources(page, sent.get("sources", ""))
        await page.site.auth.accounts.change_role(page.actor, page.path("name"), role, sources)
    except UsageError as error:
        return await _people(page, wrong=page.language.error(error))
    return page.see("/people", notice="saved")


async def remove_user(page: Page) -> web.StreamResponse:
    name = page.path("name")
    if name == page.principal_name:
        return await _people(page, wrong=page.language.text("You cannot remove yourself."))
    await page.site.auth.accounts.remove_user(page.actor, name)
    return page.see("/people", notice="removed")


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        raise UsageError("There is no such role.") from None


async def add_token(page: Page) -> web.StreamResponse:
    sent = await page.form()
    try:
        scope = Scope(sent.get("scope", ""))
        days = parsed_number(sent.get("days", "") or str(TOKEN_LIFETIME.days))
        lifetime = timedelta(days=days) if days > 0 else None
        sources = _sources(page, sent.get("sources", ""))
        networks = sent.get("networks", "").replace(",", " ").split()
        _, token = await page.site.auth.accounts.add_token(
            page.actor, sent.get("name", ""), scope, lifetime, sources, networks=networks
        )
    except CdcError as error:
        return await _people(page, wrong=page.language.error(error))
    except (ValueError, OverflowError):
        return await _people(page, wrong=page.language.text("A value is invalid."))
    return await _people(page, token=token)


def _sources(page: Page, text: str) -> tuple[str, ...]:
    """Return the sources of a list with commas.  Raises `UsageError` for an unknown name, which must not give access to
    all."""
    names = tuple(dict.fromkeys(each.strip() for each in text.split(",") if each.strip()))
    try:
        known = page.site.service.config.known_sources(names)
    except UsageError:
        known = ()
    if text.strip() and not known:
        raise UsageError(page.language.text("There is no such source here."))
    return known


async def remove_token(page: Page) -> web.StreamResponse:
    await page.site.auth.accounts.remove_token(page.actor, page.path("id"))
    return page.see("/people", notice="removed")


async def account(page: Page) -> web.StreamResponse:
    return await _account(page)


async def _account(page: Page, *, wrong: str = "", totp_secret: str = "") -> web.StreamResponse:
    user = await page.site.auth.store.user(page.principal_name)
    own = page.principal is not None and page.principal.origin is Origin.PASSWORD
    secret = totp_secret or credential.new_totp_secret(secrets.token_bytes)
    return page.render(
        "account.html",
        HTTPStatus.UNPROCESSABLE_ENTITY if wrong else HTTPStatus.OK,
        user=user if own else None,
        totp_secret=secret,
        totp_uri=credential.totp_uri(secret, page.principal_name),
        totp_qr=credential.qr_code(secret, page.principal_name).svg_inline(scale=4, light="#fff", omitsize=False),
        required=page.principal is not None and page.site.auth.sign_in.needs_second_factor(page.principal.role),
        wrong=wrong,
    )


async def change_password(page: Page) -> web.StreamResponse:
    """Change the password.  The present one is asked for: a stranger at an open browser does not know it."""
    sent, auth = await page.form(), page.site.auth
    try:
        if sent.get("password", "") != sent.get("again", ""):
            raise UsageError(page.language.text("The two passwords differ."))
        await auth.sign_in.check_password(
            page.principal_name, sent.get("present", ""), address=auth.address(page.request)
        )
        await auth.accounts.change_password(page.actor, page.principal_name, sent.get("password", ""))
    except CdcError as error:
        return await _account(page, wrong=page.language.error(error))
    return page.see("/sign-in", notice="saved")


async def totp_on(page: Page) -> web.StreamResponse:
    sent = await page.form()
    secret = sent.get("secret", "")
    user = await page.site.auth.store.user(page.principal_name)
    try:
        if user is not None and user.totp_secret:  # which only the password replaces
            raise UsageError(page.language.text("Two-step verification is on: turn it off first."))
        code = sent.get("code", "")
        await page.site.auth.accounts.switch_totp_on(page.actor, page.principal_name, secret, code)
    except CdcError as error:
        return await _account(page, wrong=page.language.error(error), totp_secret=secret)
    return page.see("/sign-in", notice="saved")


async def totp_off(page: Page) -> web.StreamResponse:
    sent, auth = await page.form(), page.site.auth
    try:
        if page.principal is not None and auth.sign_in.needs_second_factor(page.principal.role):
            raise UsageError(page.language.text("Two-step verification is required here and stays on."))
        await auth.sign_in.check_password(
            page.principal_name, sent.get("present", ""), address=auth.address(page.request)
        )
        await auth.accounts.switch_totp_off(page.actor, page.principal_name)
    except CdcError as error:
        return await _account(page, wrong=page.language.error(error))
    return page.see("/sign-in", notice="saved")


_PAGE = 100
#: Seconds for a browser to take a page of an export.
_SLOW_READER = 30.0
_NUMBER = re.compile(r"[0-9]{1,18}")  # of 64 bits
_TERMS = ("actor", "action", "subject", "since", "until")


async def audit(page: Page) -> web.StreamResponse:
    given = {name: page.query(name) for name in _TERMS}
    before = page.query("before")
    number = int(before) if _NUMBER.fullmatch(before) else None
    wrong = ""
    try:
        found = await page.site.auth.store.audit(_filter(page, given), _PAGE + 1, number)
    except UsageError as error:
        found, wrong = [], page.language.error(error)
    older = page.link("audit", **given, before=str(found[_PAGE - 1].number)) if len(found) > _PAGE else ""
    exports = {kind: page.link("audit", "export", **given, format=kind) for kind in FORMATS}
    return page.render("audit.html", entries=found[:_PAGE], given=given, older=older, exports=exports, wrong=wrong)


def _filter(page: Page, given: Mapping[str, str]) -> AuditFilter:
    """Raises `UsageError`."""
    times = (time_of(page, given["since"]), time_of(page, given["until"]))
    return AuditFilter(given["actor"] or None, given["action"] or None, given["subject"] or None, *times)


async def export_audit(page: Page) -> web.StreamResponse:
    """Write the entries that the filter means as a file, a page of them at a time."""
    kind = page.query("format")
    if kind not in FORMATS:
        raise Refused(HTTPStatus.NOT_FOUND, "Page not found.")
    which = _filter(page, {name: page.query(name) for name in _TERMS})
    response = web.StreamResponse(headers={"Content-Type": FORMATS[kind]})
    response.headers["Content-Disposition"] = f'attachment; filename="audit.{kind}"'
    await response.prepare(page.request)
    async for text in exported(page.site.auth.store, which, kind):
        async with asyncio.timeout(_SLOW_READER):
            await response.write(text.encode())
    await response.write_eof()
    return response


ROUTES = (
    Route("GET", "/people", people, Role.MANAGER, every_source=True),
    Route("POST", "/people/users", add_user, Role.MANAGER, every_source=True),
    Route("POST", "/people/users/{name}/role", change_role, Role.MANAGER, every_source=True),
    Route("POST", "/people/users/{name}/remove", remove_user, Role.MANAGER, every_source=True),
    Route("POST", "/people/tokens", add_token, Role.MANAGER, every_source=True),
    Route("POST", "/people/tokens/{id}/remove", remove_token, Role.MANAGER, every_source=True),
    Route("GET", "/account", account, enrolment=True),
    Route("POST", "/account/password", change_password),
    Route("POST", "/account/totp-on", totp_on, enrolment=True),
    Route("POST", "/account/totp-off", totp_off),
    Route("GET", "/audit", audit, Role.MANAGER, every_source=True),
    Route("GET", "/audit/export", export_audit, Role.MANAGER, every_source=True),
)
