"""Notifies an open page of news, at most once a second; the page then asks for its rows again.

So a page never gets more than it can show: of 500 events a second it shows the newest of each second, and says so.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from http import HTTPStatus

import orjson
from aiohttp import web

from cdc.model.quota import Limited
from cdc.pages.page import Page, Refused, Route

#: Seconds between two looks.
_EVERY = 1.0
#: A page is notified at least this often (seconds): other processes may have done something.
_AT_LEAST = 5.0
#: Open pages that are notified, of all visitors.
_MOST = 100


class Live:
    def __init__(self) -> None:
        self._open = 0

    async def deliveries(self, page: Page) -> web.StreamResponse:
        return await self._tell(page, "attempts")

    async def events(self, page: Page) -> web.StreamResponse:
        return await self._tell(page, "events")

    async def _tell(self, page: Page, what: str) -> web.StreamResponse:
        if self._open >= _MOST:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "Too many pages are open: reload this one by hand.")
        assert page.visitor is not None, "a route with a role has a visitor"
        with page.site.service.in_use.counted(Limited.LIVE_PAGES, page.visitor.sources, page.actor):
            return await self._notify(page, what)

    async def _notify(self, page: Page, what: str) -> web.StreamResponse:
        self._open += 1
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        try:
            await response.prepare(page.request)
            with suppress(ConnectionError):  # the browser is gone: how nearly all of these end
                await _follow(page, what, response)
            return response
        finally:
            self._open -= 1


async def _follow(page: Page, what: str, response: web.StreamResponse) -> None:
    """Send news until the visitor goes away, has signed out, or must set up a second factor."""
    never, quiet, before = asyncio.Event(), _AT_LEAST, page.site.process.progress()[what]
    while (visitor := await page.site.door.visitor(page.request)) is not None and not visitor.must_enrol:
        now = page.site.process.progress()[what]
        if now != before or quiet >= _AT_LEAST:
            # The count is of all sources, so users of some do not get it.
            number = 0 if page.visitor is None or page.visitor.sources else round((now - before) / _EVERY)
            await response.write(b"data: %s\n\n" % orjson.dumps({"number": number}))
            before, quiet = now, 0.0
        await page.site.clock.wait(never, _EVERY)
        quiet += _EVERY


def routes() -> tuple[Route, ...]:
    live = Live()
    return Route("GET", "/live/deliveries", live.deliveries), Route("GET", "/live/events", live.events)
