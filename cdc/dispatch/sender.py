"""Sends one request and says what came of it: HTTP by aiohttp, errors as one sentence each; the outcomes of the
deliveries that travelled in it; and one attempt alone, for `cdc endpoint test`.

`ask` asks an endpoint whether it agrees to get events: the validation of CloudEvents' "HTTP 1.1 Web Hooks for Event
Delivery" (an OPTIONS request).  It protects hosts that nobody who runs them has registered.  Agreement by
calling back, which the specification offers too, is not asked for: nothing of ours can be called.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

import aiohttp

from cdc.dispatch.address import AddressInfo, EgressPolicy, Network
from cdc.dispatch.connection import (
    CheckedResolver,
    LookUp,
    PooledConnection,
    Proxy,
    RequestTarget,
    TunnelConnector,
    connected,
    proxy_of,
)
from cdc.dispatch.failure import NotConfigured, TooManyInterim, describe_error
from cdc.dispatch.request import ORIGIN_HEADER, USER_AGENT, WebhookRequest, authenticated, build_request, is_test
from cdc.dispatch.retry import DELIVERED, Answer, Verdict, judge
from cdc.dispatch.tokens import AccessTokens, authorized
from cdc.dispatch.transform import TransformFailed
from cdc.model.broker import scheme_of
from cdc.model.clock import Clock
from cdc.model.delivery import Attempt, DeliveryState, LeasedDelivery, Outcome
from cdc.model.endpoint import Endpoint, redacted, shown_url
from cdc.model.errors import ConfigError, EndpointRefused
from cdc.model.event import Labels, no_labels


class Deadline:
    """``with Deadline(seconds):`` does what ``async with asyncio.timeout(seconds)`` does, at a third of its cost.

    The awaits within are cut short by cancelling the task; that comes out as `TimeoutError`.  A cancellation from
    elsewhere passes through.
    """

    __slots__ = ("_before", "_handle", "_reached", "_task")

    def __init__(self, seconds: float) -> None:
        task = asyncio.current_task()
        assert task is not None, "awaits happen in tasks"
        self._task = task
        self._before = task.cancelling()
        self._reached = False
        self._handle = asyncio.get_running_loop().call_later(seconds, self._reach)

    def _reach(self) -> None:
        self._reached = True
        self._task.cancel()

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.cancel()
        if self._reached and self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise TimeoutError from error


#: How much of an answer's body is read and kept (bytes).
ANSWER_BYTES = 1000
#: How long an answer's body may take behind its head (seconds): the status has decided by then.
BODY_GRACE = 1.0
#: Interim answers (100 Continue, 103 Early Hints) before the answer itself; a receiver that sends more is cut off.
INTERIM_ANSWERS = 16
#: Bytes that the system holds of what a receiver sends; it doubles them.  Few, because sixteen connections of one
#: endpoint may fill theirs at once, and all of it is parsed before the loop does anything else.
RECEIVE_BUFFER = 8 * 1024
#: Idle connections are closed before the usual servers close theirs after five seconds: a request that meets a
#: closing connection fails.
KEEP_ALIVE = 4.0
#: The last bound on connections to one host and port; the endpoints' own concurrency normally stays far below.
CONNECTIONS_PER_HOST = 256


class Sender(Protocol):
    async def send(self, request: WebhookRequest) -> Answer:
        """Send the request.  Failures of the receiver or the network are part of the answer, never raised."""
        ...


class HttpSender:
    """An async context manager around an `aiohttp.TCPConnector`: its pool, TLS, name look-ups and response parser; and
    another one for each proxy.

    `aiohttp.ClientSession` is left out: a webhook needs none of what it does for each request (cookies, redirects,
    proxies, decompression, URL and header parsing), and without it a request costs half.

    The status decides as soon as the head of the answer has arrived; the body is only for the log.  So a body that is
    slow, endless or broken changes nothing: at most `ANSWER_BYTES` of it are read, for at most `BODY_GRACE` seconds.
    A connection whose answer was not read to its end is closed, not reused.
    """

    def __init__(
        self,
        allow_private: bool = False,
        tls: ssl.SSLContext | None = None,
        look_up: LookUp | None = None,
        *,
        allow_networks: Sequence[Network] = (),
        allow_http: bool = False,
        client_certificates: Mapping[str, ssl.SSLContext] | None = None,
        proxies: Mapping[str, str] | None = None,
        proxy_resolves: bool = False,
    ) -> None:
        """``allow_private`` allows http too; ``client_certificates`` and ``proxies`` (URLs) are by name.
        ``proxy_resolves``: proxies look names up themselves, and are trusted to reach no inside address."""
        self._reach = EgressPolicy(allow_private, tuple(allow_networks), plain=allow_http or allow_private)
        self._contexts: dict[str, ssl.SSLContext | bool] = {"": tls or True, **(client_certificates or {})}
        self._proxies = {name: proxy_of(url) for name, url in (proxies or {}).items()}
        self._tunnelled = not proxy_resolves
        self._look_up = {"look_up": look_up} if look_up else {}
        self._connectors: dict[str, aiohttp.TCPConnector] = {}
        self._targets: dict[tuple[str, str, str, str], RequestTarget] = {}
        self._tokens = AccessTokens(self.send)

    async def __aenter__(self) -> Self:
        self._connectors = {"": self._connector(self._reach)}
        self._connectors |= {name: self._proxy_connector() for name in self._proxies}
        return self

    def _connector(self, reach: EgressPolicy) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(**self._options(reach))

    def _proxy_connector(self) -> aiohttp.TCPConnector:
        """Return the connector to the proxies.  Their addresses are the operator's choice and not guarded; the
        receivers' addresses are, where a tunnel is asked for."""
        anywhere = EgressPolicy(private=True)
        if not self._tunnelled:
            return self._connector(anywhere)
        return TunnelConnector(CheckedResolver(self._reach, **self._look_up), **self._options(anywhere))

    def _options(self, reach: EgressPolicy) -> dict[str, Any]:
        return {
            "resolver": CheckedResolver(reach, **self._look_up),
            "socket_factory": _sockets(reach.guarded_socket),
            "ssl": self._contexts[""],
            "limit": 0,  # the dispatcher bounds what is in flight, before a request's time starts to count
            "limit_per_host": CONNECTIONS_PER_HOST,
            "keepalive_timeout": KEEP_ALIVE,
        }

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._tokens.close()
        for connector in self._connectors.values():
            await connector.close()

    async def ask(self, method: str, request: WebhookRequest) -> Mapping[str, str]:
        """Send a request that is no delivery, guarded and routed as these are, and return the headers of the answer,
        names in any case.  Raises whatever keeps the answer from arriving."""
        if request.grant is not None:
            request = authorized(request, await self._tokens.token(request))
        exchange = _Exchange()
        try:
            with Deadline(request.timeout):
                await exchange.run(self._target(request, method), request)
            return exchange.headers
        finally:
            exchange.close()

    async def send(
        self, request: WebhookRequest, most: int = ANSWER_BYTES, grace: float = BODY_GRACE, *, method: str = "POST"
    ) -> Answer:
        """``most``, ``grace``: how much of an answer's body is read, and how long it may take."""
        assert self._connectors, "used outside of `async with`"
        if request.grant is not None:
            return await self._tokens.send(request, self.send)
        now = asyncio.get_running_loop().time
        started = now()
        exchange = _Exchange()
        try:
            with Deadline(request.timeout):
                await exchange.run(self._target(request, method), request)
            duration = now() - started
            body = b"" if exchange.empty else await exchange.first_bytes(min(grace, request.timeout - duration), most)
        except Exception as error:  # noqa: BLE001 - any error is a failed attempt; described by its type
            return Answer(None, now() - started, error=describe_error(error, request))
        finally:
            exchange.close()
        return Answer(exchange.status, duration, exchange.headers.get("Retry-After"), body)

    def _target(self, request: WebhookRequest, method: str = "POST") -> RequestTarget:
        key = method, request.url, request.proxy, request.client_certificate
        target = self._targets.get(key)
        if target is None:
            if len(self._targets) >= _MOST_TARGETS:
                self._targets.clear()
            target = self._targets[key] = self._new_target(*key)
        return target

    def _new_target(self, method: str, url: str, proxy_name: str, certificate: str) -> RequestTarget:
        """Raises `AddressRefused` or `NotConfigured`."""
        self._reach.check_target(url)
        proxy: Proxy | None = None
        if proxy_name and (proxy := self._proxies.get(proxy_name)) is None:
            raise NotConfigured("proxy", proxy_name)
        if certificate not in self._contexts:
            raise NotConfigured("client certificate", certificate)
        tls, connector = self._contexts[certificate], self._connectors[proxy_name]
        return RequestTarget(method, url, tls, connector, proxy, tunnelled=self._tunnelled)


def _sockets(make: Callable[[AddressInfo], socket.socket]) -> Callable[[AddressInfo], socket.socket]:
    """Return ``make`` with a small receive buffer: all that has arrived is parsed in one go."""

    def small(address_info: AddressInfo) -> socket.socket:
        made = make(address_info)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        return made

    return small


_MOST_TARGETS = 4096  # URLs of endpoints long gone do not pile up
_FINAL, _SWITCHING = 200, 101  # a status below says that there is more to come, but for one


class _Exchange:
    """One request and its answer on one connection, which goes back to the pool when the answer ended well."""

    __slots__ = ("_connection", "_content", "headers", "status")

    def __init__(self) -> None:
        self._connection: PooledConnection | None = None
        self._content: aiohttp.StreamReader | None = None
        self.status: int | None = None
        self.headers: Mapping[str, str] = {}

    async def run(self, target: RequestTarget, request: WebhookRequest) -> None:
        """Send the request and wait for the head of the answer.  Raises `TooManyInterim`."""
        self._connection = connection = await connected(target)
        # after this round of the loop: the requests that it makes are written in a row, so that a receiver on the same
        # machine is woken once and not by each of them, which took a sixth of what a request costs
        whole = request_head(target.head, request) + request.body
        asyncio.get_running_loop().call_soon(connection.write, whole)
        for _ in range(INTERIM_ANSWERS + 1):
            message, content = await connection.answer()  # does not wait where several arrived at once
            if message.code >= _FINAL or message.code == _SWITCHING:
                self.status, self._content, self.headers = message.code, content, message.headers
                return
        raise TooManyInterim

    @property
    def empty(self) -> bool:
        """The answer has no body, or it ended without one: there is nothing to wait for."""
        return self._content is None or self._content.at_eof()

    async def first_bytes(self, seconds: float, most: int) -> bytes:
        """Return up to ``most`` bytes of the body, as far as they arrive in time."""
        content = self._content
        assert content is not None, "an answer that is not empty has a body"
        body = b""
        try:
            with Deadline(seconds):
                while len(body) < most and not content.at_eof():
                    body += await content.read(most - len(body))
        except Exception:  # noqa: BLE001 - whatever breaks the body off: the status has decided
            return body
        return body

    def close(self) -> None:
        """Give the connection back when the answer was read to its end, else cut it."""
        if self._connection is None:
            return
        if self._content is not None and self._content.is_eof():
            self._connection.release()
        else:
            self._connection.abort()


def request_head(start: str, request: WebhookRequest) -> bytes:
    """The head of the request as bytes.  Raises ValueError when a header would make more lines than one."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in request.headers.items()])
    if lines.count("\n") != len(request.headers) or lines.count("\r") != len(request.headers):
        raise ValueError("a header holds a line break")
    return f"{start}{lines}Content-Length: {len(request.body)}\r\n\r\n".encode()


class ReloadableSender:
    """A `Sender` whose means can be replaced: a request that has begun ends by the former ones, which are closed then.
    An async context manager."""

    def __init__(self) -> None:
        self._means: _Means | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._retire()
        await asyncio.gather(*self._closing)

    async def use(self, sending: AbstractAsyncContextManager[Sender]) -> None:
        """Send by these means.  Raises what entering them raises; then nothing changes."""
        closing = AsyncExitStack()
        sender = await closing.enter_async_context(sending)
        self._retire()
        self._means = _Means(sender, closing)

    def _retire(self) -> None:
        means, self._means = self._means, None
        if means is not None:
            task = asyncio.create_task(means.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def send(self, request: WebhookRequest) -> Answer:
        means = self._means
        assert means is not None, "`use` comes first"
        means.in_flight += 1
        try:
            return await means.sender.send(request)
        finally:
            means.in_flight -= 1
            if not means.in_flight:
                means.idle.set()


class _Means:
    def __init__(self, sender: Sender, closing: AsyncExitStack) -> None:
        self.sender = sender
        self.in_flight = 0
        self.idle = asyncio.Event()
        self._closing = closing

    async def close(self) -> None:
        """Close, once no request is in flight."""
        while self.in_flight:
            self.idle.clear()
            await self.idle.wait()
        await self._closing.aclose()


class BySchemeSender:
    """A `Sender`: everything goes to ``http`` but what the others have, by the scheme of the URL."""

    def __init__(self, http: Sender, others: Mapping[str, Sender]) -> None:
        self._http = http
        self._others = others

    def send(self, request: WebhookRequest) -> Coroutine[Any, Any, Answer]:
        return self._others.get(scheme_of(request.url), self._http).send(request)


_HINT = "It holds, as PEM without a password, the certificate, those that it was issued by, and the private key."


def client_context(name: str, path: Path) -> ssl.SSLContext:
    """Verifies receivers as without it, and shows them this certificate.  ``name``: in the configuration.  Raises
    `ConfigError`."""
    context = ssl.create_default_context()
    where = f"The client certificate {name!r} in {path}"
    try:
        context.load_cert_chain(path, password=_no_password)
    except _Encrypted:
        raise ConfigError(f"{where} has a private key that is encrypted.", _HINT) from None
    except ssl.SSLError as error:  # an OSError: first
        reason = (error.reason or "no PEM").replace("_", " ").lower()
        raise ConfigError(f"{where} is not usable: {reason}.", _HINT) from None
    except OSError as error:
        raise ConfigError(f"{where} cannot be read: {error.strerror}.", _HINT) from error
    return context


class _Encrypted(Exception):
    pass


def _no_password() -> str:
    """Refuse an encrypted key; without this callback OpenSSL would ask on the terminal."""
    raise _Encrypted


def outcomes(
    batch: Sequence[LeasedDelivery], endpoint: Endpoint, answer: Answer, verdict: Verdict, started_at: datetime
) -> list[Outcome]:
    """An attempt of each delivery, all with the same answer and verdict; the first one's carries the reason to disable
    the endpoint.  A test that fails is cancelled: it is neither tried again nor a dead letter.  Nothing of it holds
    the path of the URL, also where the answer repeats it."""
    error, said = redacted(verdict.error, endpoint.url), redacted(answer_text(answer.body), endpoint.url)
    common = shown_url(endpoint), answer.status, started_at, answer.duration, error, said
    alike = verdict.state, verdict.due_at, "", len(batch), batch[0].endpoint_id
    # tuple.__new__: there is one for each event that is ever sent, and calling the classes takes three times as long
    made = [
        tuple.__new__(
            Outcome,
            (
                tuple.__new__(Attempt, (each.id, each.attempt, each.event_id, each.event_name, *common)),
                *alike,
                each.source,
                each.record,
            ),
        )
        for each in batch
    ]
    if verdict.state is not DeliveryState.DELIVERED and any(map(is_test, batch)):
        made = [  # outcomes of one batch are alike, and these are not
            outcome._replace(state=DeliveryState.CANCELLED, due_at=None, batch=1)
            if is_test(each)
            else outcome._replace(batch=1)
            for each, outcome in zip(batch, made, strict=True)
        ]
    if verdict.disable_reason:
        made[0] = made[0]._replace(disable_reason=verdict.disable_reason)
    return made


def removed(delivery: LeasedDelivery, now: datetime) -> Outcome:
    """Return the outcome of a delivery whose endpoint was removed before a request was made."""
    attempt = Attempt(
        delivery_id=delivery.id,
        number=delivery.attempt,
        event_id=delivery.event_id,
        event_name=delivery.event_name,
        url="",
        status=None,
        started_at=now,
        duration=0.0,
        error="The endpoint was removed before the request was made.",
        answer="",
    )
    return Outcome(attempt, DeliveryState.CANCELLED)


def waiting(delivery: LeasedDelivery, endpoint: Endpoint, now: datetime) -> Outcome:
    """Return how a test of a consumer begins: it waits to be fetched."""
    answer = Answer(HTTPStatus.ACCEPTED.value, 0.0, body=b"It waits until the consumer fetches it.")
    (outcome,) = outcomes((delivery,), endpoint, answer, DELIVERED, now)
    return outcome


def answer_text(body: bytes) -> str:
    """The first bytes of an answer for the log; NUL, which no text column of PostgreSQL takes, replaced as well."""
    return body[:ANSWER_BYTES].decode("utf-8", "replace").replace("\0", "\ufffd") if body else ""


def unsent(failed: TransformFailed) -> Answer:
    """Return what takes the place of an answer where no request could be made."""
    return Answer(None, 0.0, error=failed.reason, unsent=True, disable_reason=failed.reason if failed.exceeded else "")


async def attempt_once(
    sender: Sender, delivery: LeasedDelivery, endpoint: Endpoint, clock: Clock, labels: Labels = no_labels
) -> Outcome:
    """Send a test and judge the answer.  A failure is final: it is shown at once."""
    started_at = clock.now()
    try:
        answer = await sender.send(build_request(delivery, endpoint, started_at, labels))
    except TransformFailed as failed:
        answer = unsent(failed)
    verdict = judge(answer, (), delivery.attempt, clock.now(), lambda: 0.0)
    (outcome,) = outcomes((delivery,), endpoint, answer, verdict, started_at)
    return outcome


ALLOWED_ORIGIN = "WebHook-Allowed-Origin"
ALLOWED_RATE = "WebHook-Allowed-Rate"


class Agreement(NamedTuple):
    """``origin``: what each delivery must carry from now on.  ``rate``: requests a minute; None when any are."""

    origin: str
    rate: int | None


async def ask(sender: HttpSender, endpoint: Endpoint, origin: str) -> Agreement:
    """Ask the endpoint whether it agrees to deliveries from ``origin``, the host name of this sender, with its headers,
    its connection and its timeout.  Raises `EndpointRefused` when it does not agree or does not answer."""
    headers = {"User-Agent": USER_AGENT, ORIGIN_HEADER: origin, **dict(endpoint.headers)}
    url, way = endpoint.url, (endpoint.proxy, endpoint.client_certificate)
    request = WebhookRequest(url, headers, b"", endpoint.timeout, *way)
    request = authenticated(request, endpoint, f"validation_{token_hex(16)}", datetime.now(UTC))
    try:
        answered = await sender.ask("OPTIONS", request)  # of any status, which says nothing
    except Exception as error:
        raise EndpointRefused(f"The endpoint was not validated: {describe_error(error, request)}") from error
    agreed = agreement(answered, origin)
    if agreed is None:
        raise EndpointRefused(
            f"The endpoint {shown_url(endpoint)!r} does not agree to receive events from {origin}.",
            f"It must answer OPTIONS with the header {ALLOWED_ORIGIN}: {origin} (or *); or leave --validate out.",
        )
    return agreed


def agreement(answered: Mapping[str, str], origin: str) -> Agreement | None:
    """Return the agreement in the headers of the answer, None without any.  Its status does not count: hosts that know
    nothing of events answer OPTIONS too."""
    allowed = answered.get(ALLOWED_ORIGIN, "").strip()
    if allowed != "*" and allowed.lower() != origin.lower():
        return None
    rate = answered.get(ALLOWED_RATE, "").strip()
    number = int(rate) if rate.isascii() and rate.isdigit() and len(rate) <= _LONGEST_RATE else 0
    return Agreement(origin, number or None)


_LONGEST_RATE = 9  # digits
