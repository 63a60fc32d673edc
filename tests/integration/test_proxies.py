"""Deliveries through a forward proxy: tunnels for https, whole URLs for http; what it refuses or hides."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trustme

from cdc.dispatch.handshake import ask
from cdc.dispatch.retry import Answer
from cdc.dispatch.sender import HttpSender
from cdc.dispatch.signing import new_secret
from cdc.dispatch.target import proxy_of
from support.dispatching import endpoint
from support.forward_proxy import ForwardProxy, forward_proxy
from support.http_faults import Behaviour, answer, read_request, receiver, refusing
from support.signed import signed_request

AUTHORITY = trustme.CA()
OUTSIDE = {"shop.example": "127.0.0.1"}  # a public receiver, as far as we know


def tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def noting(heads: list[str], status: str = "204 No Content") -> Behaviour:
    """Keeps the head of each request."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, _ = await read_request(reader)
            heads.append(head.decode())
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()

    return behave


@asynccontextmanager
async def sending(proxy: ForwardProxy, **options: Any) -> AsyncIterator[Callable[..., Any]]:
    """``await send(url)`` by this proxy.  Names cannot be looked up, nor inside addresses be reached: the proxy can."""

    def nothing(*_: Any, **__: Any) -> list[Any]:
        raise AssertionError("the proxy looks names up")

    async with HttpSender(proxies={"dmz": proxy.url}, tls=tls(), look_up=nothing, **options) as sender:

        async def send(target: str) -> Answer:
            return await sender.send(signed_request(url=target, proxy="dmz", secret=new_secret()))

        yield send


@pytest.fixture
async def proxy() -> AsyncIterator[ForwardProxy]:
    async with forward_proxy(names=OUTSIDE) as made:
        yield made


@pytest.fixture
async def guarded_proxy() -> AsyncIterator[ForwardProxy]:
    async with forward_proxy("user:hunter2", names=OUTSIDE) as made:
        yield made


def server_tls() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    AUTHORITY.issue_cert("shop.example").configure_cert(context)
    return context


async def test_https_goes_through_a_tunnel_that_is_used_again(proxy: ForwardProxy) -> None:
    heads: list[str] = []
    async with receiver(noting(heads), server_tls()) as port, sending(proxy) as send:
        url = f"https://shop.example:{port}/hook?token=s3cret"
        answers = [await send(url) for _ in range(3)]
    assert [each.status for each in answers] == [204] * 3, answers
    assert [head.split("\r\n")[0] for head in proxy.heads] == [f"CONNECT shop.example:{port} HTTP/1.1"]
    assert {head.split("\r\n")[0] for head in heads} == {"POST /hook?token=s3cret HTTP/1.1"}
    assert "webhook-signature" not in proxy.heads[0].lower()


async def test_http_goes_with_the_whole_url(proxy: ForwardProxy) -> None:
    heads: list[str] = []
    async with receiver(noting(heads)) as port, sending(proxy, allow_http=True) as send:
        assert (await send(f"http://shop.example:{port}/hook")).status == 204
    assert proxy.heads[0].startswith(f"POST http://shop.example:{port}/hook HTTP/1.1\r\nHost: shop.example:{port}\r\n")
    assert heads[0].startswith("POST /hook HTTP/1.1\r\n")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_asks_who_it_is(guarded_proxy: ForwardProxy, scheme: str) -> None:
    heads: list[str] = []
    context = server_tls() if scheme == "https" else None
    async with receiver(noting(heads), context) as port:
        options = {"proxies": {"dmz": guarded_proxy.url}, "tls": tls(), "allow_http": True}
        async with HttpSender(**options) as sender:
            request = signed_request(url=f"{scheme}://shop.example:{port}/", proxy="dmz")
            assert (await sender.send(request)).status == 204
        options["proxies"] = {"dmz": guarded_proxy.url.replace("hunter2", "wrong")}
        async with HttpSender(**options) as sender:
            refused = await sender.send(request)
    assert len(heads) == 1
    assert not any("proxy-authorization" in head.lower() for head in heads)
    if scheme == "https":
        assert refused.error == "The proxy dmz answered 407 Proxy Authentication Required."
    else:
        assert refused.status == 407


async def test_what_a_proxy_cannot_reach(proxy: ForwardProxy) -> None:
    async with refusing() as port, sending(proxy) as send:
        answered = await send(f"https://shop.example:{port}/")
    assert answered.error == "The proxy dmz answered 502 Bad Gateway."


async def test_a_proxy_that_is_not_there() -> None:
    async with refusing() as port, HttpSender(proxies={"dmz": f"http://user:hunter2@127.0.0.1:{port}"}) as sender:
        answered = await sender.send(signed_request(url="https://shop.example/", proxy="dmz"))
    assert answered.error == "The proxy dmz refused the connection."


async def test_a_proxy_whose_name_is_unknown() -> None:
    def unknown(*_: Any, **__: Any) -> list[Any]:
        raise OSError("no such name")

    async with HttpSender(proxies={"dmz": "http://proxy.invalid:1"}, look_up=unknown) as sender:
        answered = await sender.send(signed_request(url="https://shop.example/", proxy="dmz"))
    assert answered.error.startswith("The host name of the proxy dmz cannot be looked up")


async def test_a_bad_certificate_behind_a_proxy_is_the_receivers(proxy: ForwardProxy) -> None:
    no_content = answer("204 No Content")
    async with receiver(no_content, server_tls()) as port, HttpSender(proxies={"dmz": proxy.url}) as sender:
        answered = await sender.send(signed_request(url=f"https://shop.example:{port}/", proxy="dmz"))
    assert answered.error.startswith(f"The TLS certificate of shop.example:{port} is not valid: ")


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "[::1]", "localhost", "169.254.169.254", "0x7f000001"])
async def test_no_inside_address_is_asked_of_a_proxy(proxy: ForwardProxy, host: str) -> None:
    async with sending(proxy) as send:
        answered = await send(f"https://{host}/")
    assert "deliveries to such addresses are not allowed" in answered.error
    assert proxy.heads == []


async def test_a_proxy_that_the_configuration_does_not_have() -> None:
    async with HttpSender() as sender:
        answered = await sender.send(signed_request(url="https://shop.example/", proxy="dmz"))
    assert answered.error == "The configuration has no proxy 'dmz', which the endpoint names."


async def test_an_endpoint_behind_a_proxy_is_asked_by_it(proxy: ForwardProxy) -> None:
    agreeing = answer("200 OK", "WebHook-Allowed-Origin: *")
    async with receiver(agreeing, server_tls()) as port, HttpSender(proxies={"dmz": proxy.url}, tls=tls()) as sender:
        agreed = await ask(sender, endpoint(f"https://shop.example:{port}/", proxy="dmz"), "events.example.com")
    assert agreed.origin == "events.example.com"
    assert proxy.heads[0].startswith(f"CONNECT shop.example:{port} ")


def test_user_and_password_are_written_as_in_urls() -> None:
    proxy = proxy_of("http://us%3Aer:p%40ss@proxy.example:3128")
    assert str(proxy.url) == "http://proxy.example:3128"
    assert proxy.authorization == f"Basic {b64encode(b'us:er:p@ss').decode()}"
    assert proxy_of("http://proxy.example").authorization is None


def test_the_same_on_uvloop() -> None:
    """The product runs on uvloop where it exists, which has its own way to begin TLS on a connection that stands."""
    uvloop = pytest.importorskip("uvloop", reason="not made for this platform")

    async def tunnelled() -> int | None:
        async with (
            forward_proxy(names=OUTSIDE) as proxy,
            receiver(noting([]), server_tls()) as port,
            sending(proxy) as send,
        ):
            status: int | None = (await send(f"https://shop.example:{port}/")).status
            return status

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(tunnelled()) == 204
