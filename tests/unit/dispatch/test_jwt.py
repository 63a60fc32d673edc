"""The JWT of a delivery, verified as a receiver does it: by PyJWT, with the public JWK of the endpoint."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cdc.admin.endpoint_checks import check_fields, check_together
from cdc.config import Config
from cdc.dispatch.authentication import public_jwk
from cdc.dispatch.request import build_batch, build_request
from cdc.dispatch.sender import HttpSender
from cdc.model.endpoint import Endpoint, settings_text
from cdc.model.errors import UsageError
from support.dispatching import endpoint
from support.http_servers import served
from support.signed import leased


def pem(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


ED25519, P256 = pem(ed25519.Ed25519PrivateKey.generate()), pem(ec.generate_private_key(ec.SECP256R1()))
CONFIG = Config.model_validate({"source": {"main": {"url": "postgresql://cdc@db.example.com/erp"}}})


def signing(url: str = "https://shop.example.com/", key: str = ED25519, **more: Any) -> Endpoint:
    return endpoint(url, authentication=settings_text({"type": "jwt", **more}), credential=key)


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize(("key", "algorithm"), [(ED25519, "EdDSA"), (P256, "ES256")])
async def test_receiver_verifies_the_token_and_the_body(key: str, algorithm: str, batched: bool) -> None:
    got: list[tuple[dict[str, str], bytes]] = []

    async def receive(request: web.Request) -> web.Response:
        got.append((dict(request.headers), await request.read()))
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/{path:.*}", receive)
    async with served(app) as url, HttpSender(allow_private=True) as sender:
        to = signing(url, key, issuer="https://erp.example.com", audience="shop", key_id="k1", lifetime=90)
        now = datetime.now(UTC)
        sent = build_batch((leased(1), leased(2)), to, now) if batched else build_request(leased(1), to, now)
        assert (await sender.send(sent)).status == 204
    headers, body = got[0]
    public = public_jwk(to)
    assert public is not None
    assert (public["alg"], public["kid"], public["use"]) == (algorithm, "k1", "sig")
    assert not public.keys() & {"d", "p", "q"}, "only the public half is shown"
    token = headers["Authorization"].removeprefix("Bearer ")
    assert jwt.get_unverified_header(token)["kid"] == "k1"
    claims = jwt.decode(
        token, jwt.PyJWK(public), [algorithm], audience="shop", issuer="https://erp.example.com",
        options={"require": ["iat", "exp", "jti"]},
    )  # fmt: skip
    assert claims["exp"] - claims["iat"] == 90
    assert claims["jti"] == headers["webhook-id"]
    assert claims["body_sha256"] == hashlib.sha256(body).hexdigest()


def test_rsa_key_signs_rs256() -> None:
    to = signing(key=pem(rsa.generate_private_key(65537, 2048)))
    token = build_request(leased(), to, datetime.now(UTC)).headers["Authorization"].removeprefix("Bearer ")
    public = public_jwk(to)
    assert public is not None
    assert jwt.decode(token, jwt.PyJWK(public), ["RS256"])["jti"] == "evt_1"


def test_another_header_carries_the_token_alone() -> None:
    headers = build_request(leased(), signing(header="X-Assertion"), datetime.now(UTC)).headers
    assert jwt.get_unverified_header(headers["X-Assertion"])["alg"] == "EdDSA"
    assert "Authorization" not in headers


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"key": "planted"}, "cannot be read"),
        ({"key": pem(ec.generate_private_key(ec.SECP384R1()))}, "kind that is not supported"),
        ({"key": pem(rsa.generate_private_key(65537, 1024))}, "kind that is not supported"),
        ({"key": ""}, "needs a private_key"),
        ({"header": "webhook-id"}, "set by every delivery"),
        ({"header": "X: y"}, "not the name of a header"),
        ({"issuer": "a\r\nb"}, "not printable"),
        ({"lifetime": 0}, "cannot be valid for"),
        ({"url": "mailto:ops@example.com"}, "for endpoints of https"),
        ({"url": "redis://broker.example.com/0/stream"}, "for endpoints of https|not encrypted|is redis"),
        ({"url": "pull:shop"}, "fetches its events"),
    ],
)
def test_what_cannot_be_used_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        _check(signing(**fields))
    assert "planted" not in str(caught.value)


def _check(endpoint: Endpoint) -> None:
    check_fields(CONFIG, endpoint, {"authentication", "credential", "headers"})
    check_together(endpoint)


def test_one_header_authorization() -> None:
    with pytest.raises(UsageError, match="header Authorization already"):
        check_fields(CONFIG, replace(signing(), headers=(("authorization", "x"),)), {"headers"})
