"""The public key of an endpoint's JWTs, at an address that receivers fetch it from."""

from __future__ import annotations

import asyncio
import hashlib
import json
from base64 import urlsafe_b64encode
from dataclasses import replace
from datetime import UTC, datetime

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cdc.dispatch.request import build_request
from cdc.model.endpoint import Endpoint, settings_text
from support.dispatching import endpoint
from support.managing import API, managing
from support.memory_outbox import MemoryOutbox
from support.signed import leased


def signing(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey, **more: str) -> Endpoint:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return endpoint("https://shop.example.com/", authentication=settings_text({"type": "jwt", **more}), credential=pem)


@pytest.mark.parametrize(("key_id", "algorithm"), [("", "EdDSA"), ("", "ES256"), ("k1", "ES256")])
async def test_a_receiver_verifies_by_the_address_of_the_keys(key_id: str, algorithm: str) -> None:
    key = ed25519.Ed25519PrivateKey.generate() if algorithm == "EdDSA" else ec.generate_private_key(ec.SECP256R1())
    to = signing(key, **({"key_id": key_id} if key_id else {}))
    token = build_request(leased(), to, datetime.now(UTC)).headers["Authorization"].removeprefix("Bearer ")
    outbox = MemoryOutbox()
    async with managing(outbox) as managed:
        await outbox.add_endpoint(to)
        address = str(managed.client.make_url(f"{API}/endpoints/{to.id}/jwks.json"))
        found = await asyncio.to_thread(jwt.PyJWKClient(address).get_signing_key_from_jwt, token)
        assert jwt.decode(token, found, [algorithm])["jti"] == "evt_1"
        (public,) = (await managed.ask("GET", f"/endpoints/{to.id}/jwks.json", None)).json["keys"]
    assert not public.keys() & {"d", "p", "q"}, "only the public half is served"
    assert public["kid"] == key_id or public["kid"] == thumbprint(public)


def thumbprint(public: dict[str, str]) -> str:
    """By RFC 7638: of the required members in the order of their names."""
    members = {name: public[name] for name in ("crv", "kty", "x", "y") if name in public}
    digest = hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest()
    return urlsafe_b64encode(digest).decode().rstrip("=")


async def test_endpoints_without_jwt_and_unknown_ones_have_no_key() -> None:
    outbox = MemoryOutbox()
    async with managing(outbox) as managed:
        plain = replace(signing(ed25519.Ed25519PrivateKey.generate()), authentication="", credential="")
        await outbox.add_endpoint(plain)
        for name in (plain.id, "ep_unknown", "%00"):
            answer = await managed.ask("GET", f"/endpoints/{name}/jwks.json", None)
            assert (answer.status, answer.json["detail"]) == (404, "There is no key at this path.")
        statuses = [(await managed.ask("GET", "/endpoints/ep/jwks.json", None)).status for _ in range(18)]
    assert statuses == [404] * 17 + [429], "strangers are limited by their address"
