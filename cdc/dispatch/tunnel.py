"""Connections through a proxy that is not trusted with names: they are looked up and checked here, and the proxy is
asked for a tunnel (CONNECT) to the checked address.

TLS is verified by the name, and the request inside the tunnel names it as its host, also over plain http.
"""

from __future__ import annotations

import asyncio
import socket
from http import HTTPStatus
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from cdc.dispatch.address import AddressRefused
from cdc.dispatch.resolver import CheckedResolver

#: The most addresses of one name that a proxy is asked for.
MOST_ADDRESSES = 4


class TargetNameError(aiohttp.ClientConnectorDNSError):
    """The name of the receiver, not that of the proxy, cannot be looked up."""


class _Aimed(aiohttp.ClientRequest):
    """A request to an address of a name; of plain http, too, the connector makes a tunnel."""

    plain = False

    def is_ssl(self) -> bool:
        return True


class TunnelConnector(aiohttp.TCPConnector):
    """Its own resolver and socket factory are for the proxy; ``targets`` looks up where tunnels lead.

    The pool keeps connections by name, so that one that was verified for a name is used for no other one.
    """

    def __init__(self, targets: CheckedResolver, **options: Any) -> None:
        super().__init__(**options)
        self._targets = targets

    async def _create_proxy_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the name that the overridden method gives it
    ) -> tuple[asyncio.BaseTransport, ResponseHandler]:
        addresses = await self._addresses(req)
        for address in addresses[:-1]:
            try:
                return await super()._create_proxy_connection(_aimed(req, address), traces, timeout)
            except aiohttp.ClientHttpProxyError as error:
                if error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                    raise  # the proxy refuses; else it does not get through to this address
        return await super()._create_proxy_connection(_aimed(req, addresses[-1]), traces, timeout)

    async def _addresses(self, req: aiohttp.ClientRequest) -> list[str]:
        """Those of the receiver that may be connected to, IPv4 first: few proxies have no way to it.  Raises
        `AddressRefused`, `TargetNameError`."""
        host = req.url.raw_host or ""
        try:
            found = await self._targets.resolve(host, req.url.port or 0)
        except AddressRefused:
            raise
        except OSError as error:
            raise TargetNameError(req.connection_key, error) from error
        return [each["host"] for each in sorted(found, key=_is_ipv6)][:MOST_ADDRESSES]

    async def _start_tls_connection(
        self, underlying_transport: asyncio.Transport, req: aiohttp.ClientRequest, *args: Any, **options: Any
    ) -> tuple[asyncio.BaseTransport, ResponseHandler]:
        """What follows the proxy's consent: TLS, or a fresh protocol on the same transport for plain http."""
        if not (isinstance(req, _Aimed) and req.plain):
            return await super()._start_tls_connection(underlying_transport, req, *args, **options)
        protocol = self._factory()
        underlying_transport.set_protocol(protocol)
        protocol.connection_made(underlying_transport)
        return underlying_transport, protocol


def _is_ipv6(found: Any) -> bool:
    return bool(found["family"] == socket.AF_INET6)


def _aimed(req: aiohttp.ClientRequest, address: str) -> _Aimed:
    """The same request to an address of its host."""
    aimed = _Aimed(
        req.method,
        req.url.with_host(address),
        loop=asyncio.get_running_loop(),
        ssl=req.ssl,
        proxy=req.proxy,
        proxy_headers=req.proxy_headers,
        server_hostname=req.server_hostname or req.url.raw_host,
    )
    aimed.plain = not req.is_ssl()
    return aimed
