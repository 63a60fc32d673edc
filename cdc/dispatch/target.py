"""Where a request connects to, and the head's first lines: worked out once for a URL, not for each request."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from functools import cached_property
from typing import NamedTuple

import aiohttp
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL


class Proxy(NamedTuple):
    """``url``: http, without user and password, which are in ``authorization`` (None: it asks for none)."""

    url: URL
    authorization: str | None

    @property
    def headers(self) -> dict[str, str] | None:
        """With the CONNECT of a tunnel."""
        return None if self.authorization is None else {"Proxy-Authorization": self.authorization}


def proxy_of(url: str) -> Proxy:
    """``url``: ``http://user:password@host:port``, user and password as they are needed."""
    parsed = URL(url)
    account = None if parsed.user is None else f"{parsed.user}:{parsed.password or ''}"
    return Proxy(parsed.origin(), None if account is None else f"Basic {b64encode(account.encode()).decode()}")


class ConnectRequest(aiohttp.ClientRequest):
    """What the connector asks about where to connect; the key into its pool is worked out once."""

    @cached_property
    def connection_key(self) -> ConnectionKey:
        return super().connection_key


class RequestTarget:
    """Of a URL, what is the same for each request: how to connect, and the head's first lines.

    Through a proxy, requests go by a tunnel (CONNECT), of which the connector takes care; where the proxy resolves
    names (not ``tunnelled``), it reads the head of http itself, which names the whole URL then.
    """

    __slots__ = ("connect", "connector", "head")

    def __init__(
        self,
        method: str,
        url: str,
        tls: ssl.SSLContext | bool,
        connector: aiohttp.TCPConnector,
        proxy: Proxy | None = None,
        *,
        tunnelled: bool = False,
    ) -> None:
        self.connector = connector
        self.connect = ConnectRequest(
            method,
            URL(url),
            loop=asyncio.get_running_loop(),
            ssl=tls,
            proxy=proxy.url if proxy else None,
            proxy_headers=proxy.headers if proxy else None,
        )
        place, host = self.connect.url.raw_path_qs, self.connect.headers["Host"]
        self.head = f"{method} {place} HTTP/1.1\r\nHost: {host}\r\n"
        if proxy and not tunnelled and not self.connect.is_ssl():
            self.head = f"{method} http://{host}{place} HTTP/1.1\r\nHost: {host}\r\n"
            if proxy.authorization is not None:
                self.head += f"Proxy-Authorization: {proxy.authorization}\r\n"
