"""A visitor of the page: cookies, forms with their CSRF tokens, no scripts."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

import aiohttp

from cdc.pages.session_auth import COOKIE
from support.managing import PASSWORD, Managed


@dataclass(frozen=True)
class Shown:
    status: int
    headers: Mapping[str, str]
    text: str


class Visitor:
    #: A page with a form, whose token is taken.
    form_page = "/account"

    def __init__(self, session: aiohttp.ClientSession, root: str) -> None:
        self.session = session
        self.root = root

    @property
    def cookie(self) -> str:
        """The session's; empty when there is none."""
        return next((each.value for each in self.session.cookie_jar if each.key == COOKIE), "")

    async def get(self, path: str, **more: Any) -> Shown:
        return await self._ask("GET", path, **more)

    async def post(self, path: str, form: Mapping[str, Any] | None = None, **more: Any) -> Shown:
        """Post without a CSRF token, unless the form has it."""
        return await self._ask("POST", path, data=dict(form or {}), **more)

    async def send(self, path: str, form: Mapping[str, Any] | None = None, **more: Any) -> Shown:
        """Post with a CSRF token, as the page's own form does."""
        return await self.post(path, {"csrf": await self.csrf(), **(form or {})}, **more)

    async def csrf(self, page: str = "") -> str:
        match = re.search(r'name="csrf" value="([^"]+)"', (await self.get(page or self.form_page)).text)
        assert match, "nobody has signed in"
        return match[1]

    async def sign_in(self, name: str, password: str = PASSWORD, **more: Any) -> Shown:
        return await self.post("/sign-in", {"name": name, "password": password}, **more)

    async def _ask(self, method: str, path: str, **more: Any) -> Shown:
        async with self.session.request(method, self.root + path, allow_redirects=False, **more) as answer:
            return Shown(answer.status, answer.headers, await answer.text())


@asynccontextmanager
async def visiting(managed: Managed, name: str = "") -> AsyncIterator[Visitor]:
    """``name``: who signs in; nobody otherwise."""
    jar = aiohttp.CookieJar(unsafe=True)  # the host is an address
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        visitor = Visitor(session, str(managed.client.make_url("")).rstrip("/"))
        if name:
            assert (await visitor.sign_in(name)).status == 303
        yield visitor


class Markup(HTMLParser):
    """``tags``: of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
