"""Deliveries through a forward proxy: tunnels to addresses that were looked up and checked here, or, where the proxy
resolves names, tunnels for https and whole URLs for http; what it refuses or hides."""

from __future__ import annotations

import asyncio
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trustme

from cdc.dispatch.connection import LookUp, proxy_of
from cdc.dispatch.retry import Answer
from cdc.dispatch.sender import HttpSender, ask
from cdc.dispatch.signing import new_secret
from support.dispatching import endpoint
from support.forward_proxy import ForwardProxy, forward_proxy
from support.http_faults import Behaviour, answer, read_request, receiver, refusing
from support.signed import signed_request

AUTHORITY = trustme.CA()
PUBLIC = "93.184.215.14"
OUTSIDE = {"shop.example": "127.0.0.1", PUBLIC: "127.0.0.1"}  # a public receiver, as far as we know


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


def names(known: Mapping[str, Sequence[str]]) -> LookUp:
    """A name service that knows these names, and addresses as they are."""

    def look_up(host: str, port: int, **_: Any) -> list[Any]:
        if host not in known and not host.replace(".", "").isdigit():
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port))
            for each in known.get(host, [host])
        ]

    return look_up


SHOP = names({"shop.example": [PUBLIC]})


@asynccontextmanager
async def sending(proxy: ForwardProxy, look_up: LookUp = SHOP, **options: Any) -> AsyncIterator[Callable[..., Any]]:
    """``await send(url)`` by this proxy.  Inside addresses cannot be reached: the proxy can."""
    async with HttpSender(proxies={"dmz": proxy.url}, tls=tls(), look_up=look_up, **options) as sender:

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
    assert [head.split("\r\n")[0] for head in proxy.heads] == [f"CONNECT {PUBLIC}:{port} HTTP/1.1"]
    assert {head.split("\r\n")[0] for head in heads} == {"POST /hook?token=s3cret HTTP/1.1"}
    assert {head.split("\r\n")[1] for head in heads} == {f"Host: shop.example:{port}"}
    assert "webhook-signature" not in proxy.heads[0].lower()


async def test_http_goes_through_a_tunnel_too(proxy: ForwardProxy) -> None:
    heads: list[str] = []
    async with receiver(noting(heads)) as port, sending(proxy, allow_http=True) as send:
        answers = [await send(f"http://shop.example:{port}/hook") for _ in range(3)]
    assert [each.status for each in answers] == [204] * 3, answers
    assert [head.split("\r\n")[0] for head in proxy.heads] == [f"CONNECT {PUBLIC}:{port} HTTP/1.1"]
    assert all(head.startswith(f"POST /hook HTTP/1.1\r\nHost: shop.example:{port}\r\n") for head in heads)
    assert len(heads) == 3


async def test_a_connection_for_one_name_is_used_for_no_other(proxy: ForwardProxy) -> None:
    """Both names have the same address; the certificate is that of one of them."""
    look_up = names({"shop.example": [PUBLIC], "other.example": [PUBLIC]})
    async with receiver(noting([]), server_tls()) as port, sending(proxy, look_up) as send:
        assert (await send(f"https://shop.example:{port}/")).status == 204
        other = await send(f"https://other.example:{port}/")
    assert other.error.startswith(f"The TLS certificate of other.example:{port} is not valid: ")


async def test_the_next_address_is_tried_where_the_proxy_does_not_get_through(proxy: ForwardProxy) -> None:
    look_up = names({"shop.example": ["2606:2800::1", "127.0.0.9", "93.184.215.99", PUBLIC]})
    proxy.names = {**OUTSIDE, "93.184.215.99": "127.0.0.2"}
    async with receiver(noting([]), server_tls()) as port, sending(proxy, look_up) as send:
        assert (await send(f"https://shop.example:{port}/")).status == 204
    asked = [head.split()[1].rpartition(":")[0] for head in proxy.heads]
    assert asked == ["93.184.215.99", PUBLIC]


async def test_https_with_names_that_the_proxy_looks_up(proxy: ForwardProxy) -> None:
    async with receiver(noting([]), server_tls()) as port, sending(proxy, names({}), proxy_resolves=True) as send:
        assert (await send(f"https://shop.example:{port}/hook")).status == 204
    assert proxy.heads[0].startswith(f"CONNECT shop.example:{port} HTTP/1.1\r\n")


async def test_http_goes_with_the_whole_url_where_the_proxy_looks_names_up(proxy: ForwardProxy) -> None:
    heads: list[str] = []
    options = {"allow_http": True, "proxy_resolves": True}
    async with receiver(noting(heads)) as port, sending(proxy, names({}), **options) as send:
        assert (await send(f"http://shop.example:{port}/hook")).status == 204
    assert proxy.heads[0].startswith(f"POST http://shop.example:{port}/hook HTTP/1.1\r\nHost: shop.example:{port}\r\n")
    assert heads[0].startswith("POST /hook HTTP/1.1\r\n")


@pytest.mark.parametrize("resolves", [True, False])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_asks_who_it_is(guarded_proxy: ForwardProxy, scheme: str, resolves: bool) -> None:
    heads: list[str] = []
    context = server_tls() if scheme == "https" else None
    async with receiver(noting(heads), context) as port:
        options = {"proxies": {"dmz": guarded_proxy.url}, "tls": tls(), "allow_http": True, "look_up": SHOP}
        options["proxy_resolves"] = resolves
        async with HttpSender(**options) as sender:
            request = signed_request(url=f"{scheme}://shop.example:{port}/", proxy="dmz")
            assert (await sender.send(request)).status == 204
        options["proxies"] = {"dmz": guarded_proxy.url.replace("hunter2", "wrong")}
        async with HttpSender(**options) as sender:
            refused = await sender.send(request)
    assert len(heads) == 1
    assert not any("proxy-authorization" in head.lower() for head in heads)
    if scheme == "https" or not resolves:
        assert refused.error == "The proxy dmz answered 407 Proxy Authentication Required."
    else:
        assert refused.status == 407


async def test_what_a_proxy_cannot_reach(proxy: ForwardProxy) -> None:
    async with refusing() as port, sending(proxy) as send:
        answered = await send(f"https://shop.example:{port}/")
    assert answered.error == "The proxy dmz answered 502 Bad Gateway."


async def test_a_proxy_that_is_not_there() -> None:
    async with (
        refusing() as port,
        HttpSender(proxies={"dmz": f"http://user:hunter2@127.0.0.1:{port}"}, look_up=SHOP) as sender,
    ):
        answered = await sender.send(signed_request(url="https://shop.example/", proxy="dmz"))
    assert answered.error == "The proxy dmz refused the connection."


async def test_a_proxy_whose_name_is_unknown() -> None:
    async with HttpSender(proxies={"dmz": "http://proxy.invalid:1"}, look_up=SHOP) as sender:
        answered = await sender.send(signed_request(url="https://shop.example/", proxy="dmz"))
    assert answered.error.startswith("The host name of the proxy dmz cannot be looked up")


async def test_a_receiver_whose_name_is_unknown(proxy: ForwardProxy) -> None:
    async with sending(proxy) as send:
        answered = await send("https://nobody.example/")
    assert answered.error == "The host name nobody.example cannot be looked up: Name or service not known."
    assert proxy.heads == []


async def test_a_bad_certificate_behind_a_proxy_is_the_receivers(proxy: ForwardProxy) -> None:
    no_content = answer("204 No Content")
    options = {"proxies": {"dmz": proxy.url}, "look_up": SHOP}
    async with receiver(no_content, server_tls()) as port, HttpSender(**options) as sender:
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
    assert answered.error == "The configuration has no proxy named 'dmz', which the endpoint names."


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_an_endpoint_behind_a_proxy_is_asked_by_it(proxy: ForwardProxy, scheme: str) -> None:
    agreeing = answer("200 OK", "WebHook-Allowed-Origin: *")
    options = {"proxies": {"dmz": proxy.url}, "tls": tls(), "look_up": SHOP, "allow_http": True}
    context = server_tls() if scheme == "https" else None
    async with receiver(agreeing, context) as port, HttpSender(**options) as sender:
        agreed = await ask(sender, endpoint(f"{scheme}://shop.example:{port}/", proxy="dmz"), "events.example.com")
    assert agreed.origin == "events.example.com"
    assert proxy.heads[0].startswith(f"CONNECT {PUBLIC}:{port} ")


def test_user_and_password_are_written_as_in_urls() -> None:
    proxy = proxy_of("http://us%3Aer:p%40ss@proxy.example:3128")
    assert str(proxy.url) == "http://proxy.example:3128"
    assert proxy.authorization == f"Basic {b64encode(b'us:er:p@ss').decode()}"
    assert proxy_of("http://proxy.example").authorization is None


def test_the_same_on_uvloop() -> None:
    """The product runs on uvloop where it exists, which has its own way to begin TLS on a connection that stands."""
    uvloop = pytest.importorskip("uvloop", reason="not made for this platform")

    async def tunnelled(scheme: str) -> list[int | None]:
        async with (
            forward_proxy(names=OUTSIDE) as proxy,
            receiver(noting([]), server_tls() if scheme == "https" else None) as port,
            sending(proxy, allow_http=True) as send,
        ):
            return [(await send(f"{scheme}://shop.example:{port}/")).status for _ in range(2)]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(tunnelled("https")) == [204, 204]
        assert runner.run(tunnelled("http")) == [204, 204]
