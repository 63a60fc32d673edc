"""OAuth2 and JWT of endpoints: a token endpoint is no way inside, harms no other endpoint, and no secret comes out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cdc.access.model import Allowance, Scope
from cdc.dispatch.request import build_request
from cdc.dispatch.retry import Answer
from cdc.dispatch.sender import HttpSender
from cdc.dispatch.signing import new_secret
from cdc.model.endpoint import Endpoint, settings_text
from support.browsing import visiting
from support.dispatching import endpoint
from support.forward_proxy import ForwardProxy
from support.http_faults import Behaviour, answer, read_request, receiver, says
from support.managing import API, Managed, managing
from support.manual_clock import START
from support.memory_outbox import MemoryOutbox
from support.outboxes import endpoint as stored_endpoint
from support.outboxes import event as stored_event
from support.outboxes import lease, store
from support.signed import leased
from support.token_server import gateway

SECRET = "planted-secret"
SOURCES = {name: {"url": f"postgresql://cdc@db.example.com/{name}"} for name in ("main", "shop")}
OAUTH2 = {"type": "oauth2", "token_url": "https://auth.example.com/token", "client_id": "cdc"}


def protected(url: str, token_url: str, **fields: Any) -> Endpoint:
    settings = {"type": "oauth2", "token_url": token_url, "client_id": "cdc"}
    return endpoint(url, authentication=settings_text(settings), credential=SECRET, **fields)


async def sent(sender: HttpSender, to: Endpoint) -> Answer:
    return await sender.send(build_request(leased(), to, START))


# -- a hostile token endpoint ------------------------------------------------------------------------------------------


def given(**fields: Any) -> Behaviour:
    return answer("200 OK", "Content-Type: application/json", body=json.dumps(fields).encode())


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await read_request(reader)
    await reader.read()


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b'{"access_token": "' + b"x" * 65536)
        await writer.drain()


async def trickling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


NO_TOKEN, NO_EXPIRY = "holds no bearer token", "expires_in that is no time to come"


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (silent, "did not answer within"),
        (endless, NO_TOKEN),
        (trickling, f"{NO_TOKEN}|did not answer within"),
        (answer("302 Found", "Location: http://127.0.0.1/"), "answered 302"),
        (answer("200 OK", body=b"{" * 100_000), NO_TOKEN),
        (answer("200 OK", body=b"not JSON"), NO_TOKEN),
        (answer("200 OK", body=b"[]"), NO_TOKEN),
        (answer("400 Bad Request", body=b'{"error": "planted\\u0000\\n"}'), "answered 400."),
        (says(b"\0\1\2"), "closed the connection|not HTTP"),
        (given(access_token="a\r\nX-Injected: 1"), NO_TOKEN),
        (given(access_token="x" * 20_000), NO_TOKEN),
        (given(access_token=["x"]), NO_TOKEN),
        (given(access_token="x", token_type="mac"), NO_TOKEN),
        (given(access_token="x", expires_in=-1), NO_EXPIRY),
        (given(access_token="x", expires_in=0), NO_EXPIRY),
        (given(access_token="x", expires_in=True), NO_EXPIRY),
        (given(access_token="x", expires_in="never"), NO_EXPIRY),
        (given(access_token="x", expires_in=float("nan")), NO_TOKEN),
    ],
)
async def test_hostile_token_endpoint_fails_its_own_attempt_only(behaviour: Behaviour, reason: str) -> None:
    async with receiver(behaviour) as port, gateway() as other, HttpSender(allow_private=True) as sender:
        token_url = f"http://127.0.0.1:{port}/token"
        timeout = 1.0 if behaviour in (silent, trickling) else 30.0
        hostile = asyncio.create_task(
            sent(sender, protected(other.url, token_url, endpoint_id="ep_2", timeout=timeout))
        )
        assert (await sent(sender, protected(other.url, other.token_url, timeout=30.0))).status == 204
        failed = await hostile
    assert failed.status is None
    assert failed.error.startswith("No access token: ")
    assert any(each in failed.error for each in reason.split("|")), failed.error
    assert "planted" not in failed.error
    assert failed.error.isprintable()
    assert len(other.delivered) == 1, "nothing was sent without a token"


async def test_far_expiry_is_bounded() -> None:
    async with receiver(given(access_token="x", expires_in=10**300)) as port, gateway() as other:
        other.valid.add("x")
        async with HttpSender(allow_private=True) as sender:
            to = protected(other.url, f"http://127.0.0.1:{port}/", timeout=30.0)
            assert (await sent(sender, to)).status == 204
            (kept,) = sender._tokens._kept.values()
            assert kept.until - asyncio.get_running_loop().time() <= 86_400


# -- the way to it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "token_url",
    ["https://127.0.0.1/token", "https://169.254.169.254/latest", "https://localhost/", "https://inside.example.com/"],
)
async def test_token_endpoint_inside_is_refused_as_deliveries_are(token_url: str) -> None:
    def look_up(host: str, port: int, **_: Any) -> list[Any]:
        return [(2, 1, 6, "", ("10.0.0.1", port))]

    async with HttpSender(look_up=look_up) as sender:
        failed = await sent(sender, protected("https://shop.example.com/", token_url, timeout=30.0))
    assert failed.status is None
    assert failed.error.startswith("No access token: ")
    assert "private" in failed.error or "loopback" in failed.error or "inside" in failed.error, failed.error


@pytest.mark.parametrize(
    "token_url", ["http://auth.example.com/", "https://10.0.0.1/", "https://a:b@auth.example.com/"]
)
async def test_token_url_inside_is_not_accepted(token_url: str) -> None:
    async with owned(dispatch={}) as managed:
        given = {"authentication": OAUTH2 | {"token_url": token_url, "client_secret": SECRET}}
        refused = await managed.ask("PATCH", "/endpoints/ep_1", json=given)
    assert refused.status == 422
    assert "The token URL cannot be used" in refused.json["detail"]
    assert SECRET not in refused.text


async def test_token_is_fetched_by_the_proxy_of_the_endpoint() -> None:
    proxy = ForwardProxy()
    async with (
        gateway() as server,
        receiver(proxy.serve) as proxy.port,
        HttpSender(allow_private=True, proxies={"dmz": proxy.url}) as sender,
    ):
        to = protected(server.url, server.token_url, proxy="dmz", timeout=30.0)
        assert (await sent(sender, to)).status == 204
    places = [url.split("/")[2] for url in (server.token_url, server.url)]
    assert [head.split()[1] for head in proxy.heads] == places


# -- who may set and see it --------------------------------------------------------------------------------------------


@asynccontextmanager
async def owned(*, dispatch: dict[str, Any] | None = None, **fields: Any) -> AsyncIterator[Managed]:
    outbox = MemoryOutbox()
    await outbox.open()
    await outbox.add_endpoint(stored_endpoint("ep_1", url="https://shop.example.com/a", sources=("shop",), **fields))
    async with managing(outbox, source=SOURCES, dispatch=dispatch or {}) as managed:
        yield managed


async def test_api_takes_a_secret_and_never_shows_it() -> None:
    async with owned() as managed:
        settings = OAUTH2 | {
            "token_url": "https://auth.example.com/token?tenant=planted",
            "parameters": {"a": "planted"},
        }
        given = {"authentication": settings | {"client_secret": SECRET}}
        texts = [(await managed.ask("PATCH", "/endpoints/ep_1", json=given)).text]
        texts += [(await managed.ask("GET", "/endpoints/ep_1")).text]
        for scope in Scope:
            texts.append((await managed.ask("GET", "/endpoints", scope)).text)
        read = await managed.ask("GET", "/endpoints/ep_1", Scope.READ)
        assert read.json["authentication"]["token_url"] == "https://auth.example.com/…"
        assert "planted" not in read.text
        assert SECRET not in "".join(texts)
        stay = await managed.ask("PATCH", "/endpoints/ep_1", json={"authentication": settings | {"scope": "x"}})
        assert (stay.status, stay.json["authentication"]["scope"]) == (200, "x")
        found = await managed.store.endpoint("ep_1")
        assert found is not None
        assert found.credential == SECRET
        moved = OAUTH2 | {"token_url": "https://evil.example.com/"}
        refused = await managed.ask("PATCH", "/endpoints/ep_1", json={"authentication": moved})
        assert (refused.status, "client_secret" in refused.text) == (422, True)
        jwt = {"type": "jwt"}
        assert (await managed.ask("PATCH", "/endpoints/ep_1", json={"authentication": jwt})).status == 422
        gone = await managed.ask("PATCH", "/endpoints/ep_1", json={"authentication": {"type": "none"}})
        assert gone.json["authentication"] is None
        assert (await managed.store.endpoint("ep_1")).credential == ""  # type: ignore[union-attr] # it is there


async def test_page_of_a_delivery_shows_no_token() -> None:
    """The request that it shows is built again, but for what authenticates it."""
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    signing = {"authentication": settings_text({"type": "jwt"}), "credential": pem, "secret": new_secret()}
    async with owned(**signing) as managed:
        await store(managed.store, stored_event(1, "a:1", source="shop"))
        (sending,) = await lease(managed.store)
        async with visiting(managed, "ann") as ann:
            text = (await ann.get(f"/deliveries/{sending.id}")).text
    assert "webhook-signature" in text
    assert "Authorization" in text
    assert "eyJ" not in text


async def test_tenant_touches_no_authentication_of_the_operator_and_keeps_its_own() -> None:
    async def tenant(managed: Managed, *sources: str, allowed: tuple[Allowance, ...] = ()) -> str:
        name = "-".join((*sources, *allowed))
        return (await managed.accounts.add_token("cli:root", name, Scope.MANAGE, None, sources, allowed=allowed))[1]

    async def patch(managed: Managed, token: str, **body: Any) -> int:
        head = {"Authorization": f"Bearer {token}"}
        async with managed.client.patch(f"{API}/endpoints/ep_1", headers=head, json=body) as answered:
            return answered.status

    mine = OAUTH2 | {"client_secret": "of the tenant"}
    async with owned(authentication=settings_text(OAUTH2), credential=SECRET) as managed:
        shop, trusted = await tenant(managed, "shop"), await tenant(managed, "shop", allowed=(Allowance.CREDENTIALS,))
        assert await patch(managed, shop, url="https://shop.example.com/b") == 422
        assert await patch(managed, shop, authentication={"type": "none"}) == 422
        assert await patch(managed, trusted, headers={"X-Tenant": "1"}) == 200
        assert await patch(managed, shop, description="x") == 422, "the secret is the operator's still"
    async with owned() as managed:
        shop = await tenant(managed, "shop")
        assert await patch(managed, shop, authentication=mine) == 200
        assert await patch(managed, shop, headers={"X-Tenant": "1"}) == 200
        assert await patch(managed, shop, url="https://shop.example.com/b") == 200
        assert await patch(managed, shop, url="https://evil.example.com/", headers={}) == 422
        assert await managed.ask("PATCH", "/endpoints/ep_1", json={"authentication": mine}) is not None
        assert await patch(managed, shop, description="y") == 422
