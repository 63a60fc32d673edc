"""The names under which page, API, health and metrics answer.

With DNS rebinding a foreign page gives its own name the address of this server, and the browser then lets its scripts
read the answers.  The browser sends that name as ``Host``, so a request for an unknown name is refused.
"""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus
from ipaddress import ip_address

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware


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
