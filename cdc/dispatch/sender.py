"""Sends one request and says what came of it: HTTP by aiohttp, errors as one sentence each."""

from __future__ import annotations

import asyncio
import ssl
from io import BytesIO
from types import TracebackType
from typing import Protocol, Self

import aiohttp
from yarl import URL

from cdc.dispatch.address import CheckedResolver, LookUp, guard_socket
from cdc.dispatch.failure import describe_error
from cdc.dispatch.request import WebhookRequest
from cdc.dispatch.retry import Answer

#: How much of an answer's body is read and kept (bytes).
ANSWER_BYTES = 1000
#: How long an answer's body may take behind its head (seconds): the status has decided by then.
BODY_GRACE = 1.0
#: Idle connections are closed before the usual servers close theirs after five seconds: a request that meets a
#: closing connection fails.
KEEP_ALIVE = 4.0
#: The last bound on connections to one host and port; the endpoints' own concurrency normally stays far below.
CONNECTIONS_PER_HOST = 256


class Sender(Protocol):
    async def send(self, request: WebhookRequest) -> Answer:
        """Never raises for what a receiver or the network does."""
        ...


class HttpSender:
    """An async context manager around one `aiohttp.ClientSession`.

    The status decides as soon as the head of the answer has arrived; the body is only for the log.  So a body that is
    slow, endless or broken changes nothing: at most `ANSWER_BYTES` of it are read, for at most `BODY_GRACE` seconds.
    A connection whose answer was not read to its end is closed, not reused.
    """

    def __init__(
        self, allow_private: bool = False, tls: ssl.SSLContext | None = None, look_up: LookUp | None = None
    ) -> None:
        self._allow_private = allow_private
        self._tls = tls
        self._resolver = CheckedResolver(allow_private, look_up) if look_up else CheckedResolver(allow_private)
        self._session: aiohttp.ClientSession | None = None
        self._targets: dict[tuple[str, float], _Target] = {}

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            resolver=self._resolver,
            socket_factory=None if self._allow_private else guard_socket,
            ssl=self._tls or True,
            limit=0,  # the dispatcher bounds what is in flight, before a request's time starts to count
            limit_per_host=CONNECTIONS_PER_HOST,
            keepalive_timeout=KEEP_ALIVE,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, request: WebhookRequest) -> Answer:
        assert self._session is not None, "used outside of `async with`"
        now = asyncio.get_running_loop().time
        started = now()
        try:
            target = self._target(request)
            response = await self._session.post(
                target.url,
                data=request.body if len(request.body) <= _LARGE_BODY else BytesIO(request.body),
                headers=request.headers,
                timeout=target.timeout,
                allow_redirects=False,
            )
        except Exception as error:  # noqa: BLE001 - whatever a receiver provokes is an answer; the sentence names it
            return Answer(None, now() - started, error=describe_error(error, request))
        duration = now() - started
        body = await _first_bytes(response)
        return Answer(response.status, duration, response.headers.get("Retry-After"), body)

    def _target(self, request: WebhookRequest) -> _Target:
        """URL parsed and timeout built once for each endpoint rather than for each request."""
        key = (request.url, request.timeout)
        target = self._targets.get(key)
        if target is None:
            if len(self._targets) >= _MOST_TARGETS:
                self._targets.clear()
            target = self._targets[key] = _Target(request.url, request.timeout)
        return target


_LARGE_BODY = 1 << 20  # bytes: aiohttp writes more than this in pieces only when it comes as a file
_MOST_TARGETS = 4096  # URLs of endpoints long gone do not pile up


class _Target:
    __slots__ = ("timeout", "url")

    def __init__(self, url: str, timeout: float) -> None:
        self.url = URL(url)
        # Without the threshold aiohttp rounds timeouts above five seconds up to whole seconds of its clock.
        self.timeout = aiohttp.ClientTimeout(total=timeout, ceil_threshold=float("inf"))


async def _first_bytes(response: aiohttp.ClientResponse) -> bytes:
    """Up to `ANSWER_BYTES` of the body, as far as it comes in time; the connection is given back or closed."""
    content = response.content
    if content.at_eof():  # no body, or an empty one: nothing to wait for, the connection is free already
        response.release()
        return b""
    body = b""
    try:
        async with asyncio.timeout(BODY_GRACE):
            while len(body) < ANSWER_BYTES and not content.at_eof():
                body += await content.read(ANSWER_BYTES - len(body))
    except (TimeoutError, aiohttp.ClientError, OSError):
        pass  # the status has decided; what came of the body before is kept
    finally:
        # Closes the connection unless the body has ended by itself.
        response.close()
    return body
