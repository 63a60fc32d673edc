"""Portals of a managed installation with two tenants: links by the API, and visitors that opened one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from support.browsing import Shown, Visitor, visiting
from support.managing import Managed
from support.tenants import OWN

PANEL = "https://panel.example.com"


async def portal_link(managed: Managed, **wanted: Any) -> str:
    """Return the path of a new link; its tenant is ``acme``, of the source ``shop``, unless others are wanted."""
    answered = await managed.ask("POST", "/portal-links", json={"tenant": "acme", "sources": [OWN], **wanted})
    assert answered.status == 201, answered.text
    return urlsplit(str(answered.json["url"])).path


class Tenant(Visitor):
    """A visitor whose forms carry what browsers send: the page's own origin, and the token of a page of the portal."""

    form_page = "/endpoints"

    async def send(self, path: str, form: Any = None, **more: Any) -> Shown:
        return await super().send(path, form, headers={"Origin": self.root, **more.pop("headers", {})}, **more)

    async def open(self, path: str, **more: Any) -> Shown:
        return await self.post(path, **more)


@asynccontextmanager
async def in_portal(managed: Managed, **wanted: Any) -> AsyncIterator[Tenant]:
    async with visiting(managed) as visitor:
        tenant = Tenant(visitor.session, visitor.root)
        opened = await tenant.open(await portal_link(managed, **wanted))
        assert (opened.status, opened.headers["Location"]) == (303, "/endpoints")
        yield tenant
