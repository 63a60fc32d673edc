"""Connections of requests: the part that all requests to a URL share, checked look-ups of names, and tunnels.

A proxy that is not trusted with names gets addresses: they are looked up and checked here, and the proxy is asked for a
tunnel (CONNECT) to the checked address.  TLS is verified by the name, and the request inside the tunnel names it as its
host, also over plain http.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable
from functools import cached_property
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from weakref import WeakSet

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, RawResponseMessage
from yarl import URL

from cdc.dispatch.address import AddressInfo, AddressRefused, EgressPolicy

LookUp = Callable[..., list[Any]]  # as socket.getaddrinfo


class CheckedResolver(AbstractResolver):
    """Looks names up in daemon threads, leaves inside addresses out, and refuses names that have no other ones.

    A name service that hangs holds neither the event loop's thread pool nor the end of the process.  aiohttp looks a
    name up once for all that wait for it, so there is at most one thread for each name.
    """

    def __init__(self, reach: EgressPolicy, look_up: LookUp = socket.getaddrinfo) -> None:
        self._reach = reach
        self._look_up = look_up

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await _in_daemon_thread(lambda: self._look_up(host, port, family=family, type=socket.SOCK_STREAM))
        allowed = [info for info in found if self._reach.refusal(info[4][0]) is None]
        if found and not allowed:
            raise AddressRefused.by_name(host)
        return [_resolved(host, info) for info in allowed]

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


def _resolved(host: str, info: AddressInfo) -> ResolveResult:
    family, _, protocol, _, address = info
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=address[0], port=address[1], family=family, proto=protocol, flags=flags)


async def _in_daemon_thread(call: Callable[[], list[Any]]) -> list[Any]:
    loop = asyncio.get_running_loop()
    result: asyncio.Future[list[Any]] = loop.create_future()

    def settle(value: list[Any] | None, error: Exception | None) -> None:
        if result.done():  # the waiting task was cancelled
            return
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(value or [])

    def run() -> None:
        value, error = None, None
        try:
            value = call()
        except Exception as failure:  # noqa: BLE001 - re-raised in the waiting task
            error = failure
        try:
            loop.call_soon_threadsafe(settle, value, error)
        except RuntimeError:
            if not loop.is_closed():
                raise

    threading.Thread(target=run, name="cdc-name-lookup", daemon=True).start()
    return await result


class Proxy(NamedTuple):
    """``url``: http, without user and password, which are in ``authorization`` (None: it asks for none)."""

    url: URL
    authorization: str | None

    @property
    def headers(self) -> dict[str, str] | None:
        """The headers that go with the CONNECT of a tunnel."""
        return None if self.authorization is None else {"Proxy-Authorization": self.authorization}


def proxy_of(url: str) -> Proxy:
    """``url``: ``http://user:password@host:port``, user and password as they are needed."""
    parsed = URL(url)
    account = None if parsed.user is None else f"{parsed.user}:{parsed.password or ''}"
    return Proxy(parsed.origin(), None if account is None else f"Basic {b64encode(account.encode()).decode()}")


class ConnectRequest(aiohttp.ClientRequest):
    """The connector's view of a request; the key into its pool is computed once."""

    @cached_property
    def connection_key(self) -> ConnectionKey:
        return super().connection_key


class RequestTarget:
    """The part that all requests to a URL share: connection and first lines of the head.

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


#: Connections to try in turn: a server of another protocol speaks first on every one.
_MOST_UNASKED: Final = 8
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)  # one timeout covers the whole exchange
#: Connections that have carried a request.
_USED: Final[WeakSet[ResponseHandler]] = WeakSet()


class PooledConnection:
    """A connection of a connector's pool for one request: aiohttp's protocol of answers without its session."""

    __slots__ = ("_connection", "_protocol")

    def __init__(self, connection: Connection, protocol: ResponseHandler) -> None:
        self._connection, self._protocol = connection, protocol

    def write(self, data: bytes) -> None:
        """Write, unless the connection was lost: then the answer's reader raises it, and uvloop refuses the write."""
        transport = self._protocol.transport
        if transport is not None and not transport.is_closing():
            transport.write(data)

    async def answer(self) -> tuple[RawResponseMessage, aiohttp.StreamReader]:
        """Return the head of the next answer, and its body."""
        return await self._protocol.read()

    def release(self) -> None:
        """Give the connection back to the pool."""
        self._connection.release()

    def abort(self) -> None:
        """Cut the connection: a close would wait for a deaf receiver to read the bytes that are buffered."""
        if self._connection.transport is not None:
            self._connection.transport.abort()
        self._connection.close()


async def connected(target: RequestTarget) -> PooledConnection:
    """Return a connection on which nothing has arrived before the request."""
    for _ in range(_MOST_UNASKED):
        connection = await target.connector.connect(target.connect, [], _NO_TIMEOUT)
        protocol = connection.protocol
        assert protocol is not None, "a new connection has one"
        if protocol.transport is not None and not protocol.should_close and not _has_unread(protocol):
            _USED.add(protocol)
            protocol.set_response_params(read_until_eof=True, auto_decompress=False)
            return PooledConnection(connection, protocol)
        connection.close()  # something came unasked while it was idle: not to be taken for an answer
    raise HttpProcessingError(message="something came before the request")


def _has_unread(protocol: ResponseHandler) -> bool:
    """Return whether something has arrived on a used connection that the loop has not read yet: a second answer to the
    former request, or the connection's end.  (On a new one it may be a part of TLS.)"""
    if protocol not in _USED:
        return False
    assert protocol.transport is not None, "just checked"
    number = protocol.transport.get_extra_info("socket").fileno()
    if not hasattr(select, "poll"):  # Windows, where `select` takes sockets of any number
        return bool(select.select([number], [], [], 0)[0])
    arrived = select.poll()
    arrived.register(number, select.POLLIN)
    return bool(arrived.poll(0))


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
    """Connector through a proxy that is given addresses.  Its own resolver and socket factory are for the proxy;
    ``targets`` looks up the receivers.

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
        """Return the receiver's addresses that are allowed, IPv4 first: few proxies cannot reach those.  Raises
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
        """Start TLS once the proxy has agreed, or a fresh protocol on the same transport for plain http."""
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
