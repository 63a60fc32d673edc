"""Sends to message brokers: a connection for each endpoint, opened when needed and closed when idle.

The name of the host is looked up here, and the client is given the checked address.  The clients' own reconnecting is
off: a new connection is to an address that is checked again, and nothing is sent later than its attempt."""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from types import TracebackType
from typing import Final, NamedTuple, Self

import structlog

from cdc.dispatch.address import AddressRefused, EgressPolicy
from cdc.dispatch.broker.base import BrokerConnection, BrokerRefused, Message, Target, credentials
from cdc.dispatch.connection import CheckedResolver
from cdc.dispatch.failure import NotConfigured, describe_error, system_error
from cdc.dispatch.request import WebhookRequest
from cdc.dispatch.retry import Answer
from cdc.dispatch.sender import Deadline
from cdc.extras import check_client
from cdc.model.broker import BrokerUrl, broker_url, server_urls
from cdc.model.delivery import Attempt
from cdc.model.errors import UsageError

#: As the log shows what a broker has confirmed: the status of HTTP for it.
ACCEPTED: Final = 200
#: A connection that sends nothing for so long is closed (seconds), and closing takes no longer than this.
IDLE: Final = 60.0
CLOSING: Final = 1.0
#: Headers that mean something to HTTP alone, or to the connection.
_NOT_SENT: Final = frozenset({"user-agent", "accept", "accept-encoding", "authorization"})

log = structlog.get_logger()


class _Key(NamedTuple):
    url: str
    authorization: str
    client_certificate: str


class _Link:
    """The connection for a key.  ``lock``: one is opened at a time.  ``servers``: as URLs, the next to try first."""

    def __init__(self, servers: Sequence[str]) -> None:
        self.servers = deque(servers)
        self.lock = asyncio.Lock()
        self.connection: BrokerConnection | None = None
        self.used = 0.0
        self.in_flight = 0


class BrokerSender:
    """A `cdc.dispatch.sender.Sender`, and an async context manager."""

    def __init__(
        self,
        reach: EgressPolicy,
        client_certificates: Mapping[str, ssl.SSLContext],
        *,
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
        attempts: Callable[[str], Awaitable[Sequence[Attempt]]] | None = None,
    ) -> None:
        """``tls``: makes the context for endpoints that name no client certificate.  ``attempts``: the recorded ones of
        a delivery; without it none is a replay."""
        self._reach = reach
        self._resolver = CheckedResolver(reach)
        self._contexts: dict[str, ssl.SSLContext] = dict(client_certificates)
        self._tls = tls
        self._attempts = attempts
        self._links: dict[_Key, _Link] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        links, self._links = list(self._links.values()), {}
        await asyncio.gather(*self._closing, *(close_connection(link.connection) for link in links if link.connection))

    async def send(self, request: WebhookRequest) -> Answer:
        now = asyncio.get_running_loop().time
        started = now()
        key = _Key(request.url, _authorization(request), request.client_certificate)
        link = self._links.get(key) or self._links.setdefault(key, _Link(server_urls(request.url)))
        link.in_flight += 1
        connection: BrokerConnection | None = None
        try:
            with Deadline(request.timeout):
                for others in reversed(range(len(link.servers))):
                    connection = await self._connection(link, key, request.timeout)
                    try:
                        said = await _publish(connection, self._message(request))
                        break
                    except BrokerRefused as refused:
                        if not (refused.elsewhere and others):
                            raise
                        await self._drop(link, connection)
            return Answer(ACCEPTED, now() - started, body=said.encode())
        except BrokerRefused as refused:
            broker = broker_url(link.servers[0]).scheme.broker.title
            sentence = f"{broker} refused the event: {refused.reason}."
            return Answer(refused.status, now() - started, error=sentence, final=refused.final)
        except UsageError as error:
            return Answer(None, now() - started, error=error.message)
        except Exception as error:  # noqa: BLE001 - any error is a failed attempt; described by its type
            at = request._replace(url=link.servers[0])
            failed = Answer(None, now() - started, error=describe_error(system_error(error), at))
            await self._drop(link, connection)
            return failed
        finally:
            link.in_flight -= 1
            link.used = now()
            self._sweep = self._sweep or asyncio.get_running_loop().call_later(IDLE, self._close_idle)

    async def _connection(self, link: _Link, key: _Key, seconds: float) -> BrokerConnection:
        """Return the link's connection, or one to the first server that answers; each has a part of the time."""
        async with link.lock:
            if link.connection is not None and link.connection.closed:
                await self._drop(link, link.connection)
            for others in reversed(range(len(link.servers))):
                if link.connection is not None:
                    break
                try:
                    async with asyncio.timeout(seconds / len(link.servers) if others else None):
                        link.connection = await self._connected(broker_url(link.servers[0]), key, seconds)
                except Exception as error:
                    if not others:
                        raise
                    log.debug("server of a broker passed over", error=type(error).__name__)
                    link.servers.rotate(-1)
            assert link.connection is not None, "the last server has answered or raised"
            return link.connection

    async def _connected(self, url: BrokerUrl, key: _Key, seconds: float) -> BrokerConnection:
        broker = url.scheme.broker
        check_client(broker)
        connect: Callable[[Target], Awaitable[BrokerConnection]] = import_module(
            f"cdc.dispatch.broker.{broker.extra}_client"
        ).connect
        return await connect(await self._target(url, key, seconds))

    async def _target(self, url: BrokerUrl, key: _Key, seconds: float) -> Target:
        """Raises `AddressRefused`, `NotConfigured` or `OSError`."""
        self._reach.check_target(key.url)
        address = await self._address(url.host, url.port)
        tls = self._context(key.client_certificate) if url.scheme.tls else None
        account = credentials(key.authorization)
        return Target(url.host, address, url.port, tls, url.place, seconds, self._address, *account)

    async def _address(self, host: str, port: int) -> str:
        """Return the address of a host, looked up and checked.  Raises `AddressRefused` or `OSError`."""
        kind = self._reach.literal_refusal(host)
        if kind is not None:
            raise AddressRefused.inside(host, kind)
        return (await self._resolver.resolve(host, port))[0]["host"]

    def _context(self, certificate: str) -> ssl.SSLContext:
        if certificate not in self._contexts:
            if certificate:
                raise NotConfigured("client certificate", certificate)
            self._contexts[""] = self._tls()
        return self._contexts[certificate]

    def _message(self, request: WebhookRequest) -> Message:
        about = request.about
        assert about is not None, "one delivery makes one message"
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _NOT_SENT}
        place = broker_url(server_urls(request.url)[0]).filled(about.event_name, about.source, about.record)
        replays = partial(self._replays, about.id)
        return Message(place, about.record, request.headers["webhook-id"], headers, request.body, replays)

    async def _replays(self, delivery_id: str) -> int:
        """Return how often a delivery was completed: each time after the first somebody asked for it again."""
        return sum(not each.error for each in await self._attempts(delivery_id)) if self._attempts else 0

    async def _drop(self, link: _Link, connection: BrokerConnection | None) -> None:
        """Close the connection of a failed attempt, so that nothing of it is sent later; the next one is to the next
        server."""
        if connection is None:
            return
        if link.connection is connection:
            link.connection = None
            link.servers.rotate(-1)
        await close_connection(connection)

    def _close_idle(self) -> None:
        loop = asyncio.get_running_loop()
        oldest = loop.time() - IDLE
        idle = [key for key, link in self._links.items() if link.used <= oldest and not link.in_flight]
        for connection in [self._links.pop(key).connection for key in idle]:
            if connection is not None:
                task = loop.create_task(close_connection(connection))
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
        self._sweep = loop.call_later(IDLE, self._close_idle) if self._links else None


async def _publish(connection: BrokerConnection, message: Message) -> str:
    """A client that lost its connection may cancel what waits for it, which is no cancellation of the attempt."""
    try:
        return await connection.publish(message)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise ConnectionResetError(errno.ECONNRESET, "connection closed") from None


async def close_connection(connection: BrokerConnection) -> None:
    """Close it within `CLOSING` seconds."""
    try:
        with Deadline(CLOSING):
            await connection.close()
    except Exception as error:  # noqa: BLE001 - no error of a connection that is given up may end an attempt; it is logged
        log.debug("broker's connection not closed in order", error=type(error).__name__)


def _authorization(request: WebhookRequest) -> str:
    return next((value for name, value in request.headers.items() if name.lower() == "authorization"), "")
