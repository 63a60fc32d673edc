"""An OpenID Connect provider on loopback, which keeps to the rules unless a test has it break one."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

import aiohttp
import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from cdc.model.clock import Clock, SystemClock
from support.browsing import Shown, Visitor

CLIENT, SECRET = "cdc", "planted secret/é"
Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]
Claims = dict[str, Any]


@dataclass(frozen=True)
class Key:
    """A key pair of the provider."""

    name: str
    algorithm: str
    private: Any

    @property
    def public(self) -> Claims:
        kind = ECAlgorithm if self.algorithm == "ES256" else RSAAlgorithm
        return {**kind.to_jwk(self.private.public_key(), as_dict=True), "kid": self.name, "use": "sig"}


@cache
def rsa_key(name: str = "first", bits: int = 2048) -> Key:
    return Key(name, "RS256", generate_rsa_key(65537, bits))


@cache
def ec_key(name: str = "second") -> Key:
    return Key(name, "ES256", generate_private_key(SECP256R1()))


@dataclass
class IdentityProvider:
    """``person``: the claims about the person.  ``altered``: changes the claims of ID tokens; ``sign``: makes them
    in place of ``keys[0]``; ``metadata``: replaces fields of the configuration; ``answers``: replaces the answers at
    paths.  ``lenient``: takes a code again, and without PKCE.  ``asked``: paths of all requests.  ``ended``: queries of
    sign-outs.  ``released``: set at the end of the test, for answers that wait."""

    issuer: str = ""
    clock: Clock = field(default_factory=SystemClock)
    keys: list[Key] = field(default_factory=lambda: [rsa_key()])
    person: Claims = field(default_factory=lambda: {"sub": "1", "preferred_username": "eva", "groups": ["admins"]})
    altered: Callable[[Claims], None] = lambda _claims: None
    sign: Callable[[Claims], str] | None = None
    user_info: Claims | None = None
    metadata: Claims = field(default_factory=dict)
    answers: dict[str, Answering] = field(default_factory=dict)
    lenient: bool = False
    released: asyncio.Event = field(default_factory=asyncio.Event)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    ended: list[dict[str, str]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        special = self.answers.get(request.path)
        if special is not None:
            return await special(request)
        return await getattr(self, request.path.rpartition("/")[2].replace("-", "_"))(request)  # type: ignore[no-any-return]

    async def openid_configuration(self, _request: web.Request) -> web.StreamResponse:
        names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks"}
        names |= {"userinfo_endpoint": "userinfo"} if self.user_info is not None else {}
        names |= {"end_session_endpoint": "end"}
        found = {"issuer": self.issuer, **{name: f"{self.issuer}/{path}" for name, path in names.items()}}
        return web.json_response(found | self.metadata)

    async def jwks(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response({"keys": [key.public for key in self.keys]})

    async def authorize(self, request: web.Request) -> web.StreamResponse:
        """Let the person in without a question: a page with a link, as people press a button at real ones."""
        query = dict(request.query)
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        code = f"code-{len(self.codes)}"
        self.codes[code] = query
        sent = {"code": code, "state": query["state"], "iss": self.issuer}
        link = f"{query['redirect_uri']}?{urlencode(sent)}".replace("&", "&amp;")
        return web.Response(text=f'<a href="{link}">Sign in as eva</a>', content_type="text/html")

    async def token(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        account = base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode()
        assert [unquote_plus(each) for each in account.split(":")] == [CLIENT, SECRET]
        begun = self.codes.get(form["code"]) if self.lenient else self.codes.pop(form["code"], None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).decode()
        proved = begun is not None and challenge.rstrip("=") == begun["code_challenge"]
        if begun is None or begun["redirect_uri"] != form["redirect_uri"] or not (proved or self.lenient):
            return web.json_response({"error": "invalid_grant"}, status=400)
        now = int(self.clock.now().timestamp())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": begun["nonce"],
        } | self.person
        self.altered(claims)
        token = self.signed(claims) if self.sign is None else self.sign(claims)
        return web.json_response({"access_token": "access", "token_type": "Bearer", "id_token": token})

    def signed(self, claims: Claims, key: Key | None = None, **head: Any) -> str:
        key = key or self.keys[0]
        return jwt.encode(claims, key.private, key.algorithm, {"kid": key.name, **head})

    async def userinfo(self, request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == "Bearer access"
        return web.json_response(self.user_info)

    async def end(self, request: web.Request) -> web.StreamResponse:
        self.ended.append(dict(request.query))
        return web.Response(text="signed out")

    async def callback(self, address: str) -> str:
        """Return the path and query with which the browser comes back.  ``address``: where it was sent."""
        async with aiohttp.ClientSession() as session, session.get(address) as shown:
            text = await shown.text()
        parts = urlsplit(text.partition('href="')[2].partition('"')[0].replace("&amp;", "&"))
        return f"{parts.path}?{parts.query}"


@asynccontextmanager
async def identity_provider(host: str = "127.0.0.1") -> AsyncIterator[IdentityProvider]:
    provider = IdentityProvider()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", provider.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    provider.issuer = f"http://{host}:{runner.addresses[0][1]}/realm"
    try:
        yield provider
    finally:
        provider.released.set()
        await runner.cleanup()


async def begun(visitor: Visitor, provider: IdentityProvider, to: str = "/") -> str:
    """Press the button and sign in at the provider; the path and query with which the browser comes back."""
    sent = await visitor.get("/sign-in/oidc", params={"to": to})
    assert sent.status == 303, sent.text
    return await provider.callback(sent.headers["Location"])


async def through(visitor: Visitor, provider: IdentityProvider, to: str = "/") -> Shown:
    return await visitor.get(await begun(visitor, provider, to))


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def unsigned(claims: Claims, **head: Any) -> str:
    """Return a token with an empty signature."""
    parts = (json.dumps(each).encode() for each in ({"alg": "none", **head}, claims))
    return ".".join(base64.urlsafe_b64encode(each).decode().rstrip("=") for each in parts) + "."
