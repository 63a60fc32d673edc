"""The audit log: its pages, and exports as files."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web

from cdc.access.model import AuditFilter, Role
from cdc.admin.audit_log import FORMATS, exported
from cdc.model.errors import UsageError
from cdc.pages.page import Page, Refused, Route
from cdc.pages.views.log_search import time_of

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
        found = await page.site.door.store.audit(_filter(page, given), _PAGE + 1, number)
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
    async for text in exported(page.site.door.store, which, kind):
        async with asyncio.timeout(_SLOW_READER):
            await response.write(text.encode())
    await response.write_eof()
    return response


ROUTES = (
    Route("GET", "/audit", audit, Role.MANAGER, every_source=True),
    Route("GET", "/audit/export", export_audit, Role.MANAGER, every_source=True),
)
