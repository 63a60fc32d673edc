"""Signatures by key pairs (``v1a``), checked by a few lines on `cryptography` that know nothing of ours."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from cdc.dispatch.request import WebhookRequest
from cdc.dispatch.signing import (
    Signature,
    check_secret,
    check_verifier,
    new_secret,
    plain_signature,
    public_key,
    signature_of,
    verify,
)
from cdc.model.errors import UsageError
from support.manual_clock import START as NOW
from support.signed import signed_request


def independently(public: str, headers: Mapping[str, str], body: bytes) -> bool:
    """As the specification words it."""
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_")))
    for signature in headers["webhook-signature"].split():
        if signature.startswith("v1a,"):
            try:
                key.verify(base64.b64decode(signature.removeprefix("v1a,")), content)
            except InvalidSignature:
                continue
            return True
    return False


def pair() -> tuple[str, str]:
    """``whsk_…`` and ``whpk_…``."""
    secret = new_secret(Signature.V1A)
    public = public_key(secret)
    assert public is not None
    return secret, public


def verified(secret: str, request: WebhookRequest, now: datetime = NOW) -> bool:
    return verify(secret, request.headers, request.body, now).verified


def test_the_signature_of_a_key_of_rfc_8032() -> None:
    """Its test 2: the pair is known, and so is what the public one must be."""
    seed = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    for content in (seed, seed + public):
        assert public_key("whsk_" + base64.b64encode(content).decode()) == "whpk_" + base64.b64encode(public).decode()


def test_a_request_is_verified_independently_and_by_us() -> None:
    secret, public = pair()
    request = signed_request(secret=secret)
    assert request.headers["webhook-signature"].startswith("v1a,")
    assert "X-Webhook-Signature" not in request.headers, "nobody else knows a secret that it could be keyed with"
    assert independently(public, request.headers, request.body)
    assert verified(public, request)


@given(st.data())
def test_tampered_stale_and_wrongly_keyed_ones_fail(data: st.DataObject) -> None:
    secret, public = pair()
    request = signed_request(secret=secret)
    changed = bytearray(request.body)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    for wrong in (
        request._replace(body=bytes(changed)),
        request._replace(headers={**request.headers, "webhook-id": "evt_other"}),
        request._replace(headers={**request.headers, "webhook-timestamp": str(int(NOW.timestamp()) + 1)}),
    ):
        assert not independently(public, wrong.headers, wrong.body)
        assert not verified(public, wrong)
    for other in (pair()[1], new_secret()):
        assert not verified(other, request)
    assert not verified(public, request, NOW + timedelta(seconds=301))
    assert not verified(public, request, NOW - timedelta(seconds=301))


@pytest.mark.parametrize("signature", ["", "v1a", "v1a,", "v1a,@@@ v1,, \u00e9\udcff", "v1,{}", "v2,{}"])
def test_malformed_signatures_are_a_reason_not_an_exception(signature: str) -> None:
    secret, public = pair()
    request = signed_request(secret=secret)
    right = request.headers["webhook-signature"].removeprefix("v1a,")
    found = verify(public, {**request.headers, "webhook-signature": signature.format(right)}, request.body, NOW)
    assert not found.verified
    assert "public key" in found.reason


@pytest.mark.parametrize(("present", "former"), [("v1", "v1"), ("v1a", "v1a"), ("v1a", "v1"), ("v1", "v1a")])
def test_both_sign_while_a_rotation_overlaps(present: str, former: str) -> None:
    new, old = new_secret(Signature(present)), new_secret(Signature(former))
    until = NOW + timedelta(hours=24)
    during = signed_request(secret=new, former_secret=old, former_secret_until=until)
    after = signed_request(until, secret=new, former_secret=old, former_secret_until=until)
    keys = [public_key(secret) or secret for secret in (new, old)]
    plain = next((secret for secret in (new, old) if signature_of(secret) is Signature.V1), None)
    if plain is not None:
        assert during.headers["X-Webhook-Signature"] == plain_signature(plain, during.body)
    standard = [verify(key, _with_plain(during, key), during.body, NOW).verified for key in keys]
    assert standard == [True, True]
    assert [verify(key, _with_plain(after, key), after.body, until).verified for key in keys] == [True, False]


def _with_plain(request: WebhookRequest, secret: str) -> dict[str, str]:
    """The headers for a receiver that does not look at `X-Webhook-Signature`, which has room for one secret."""
    return {**request.headers, "X-Webhook-Signature": plain_signature(secret, request.body)}


def test_keys_are_pairs() -> None:
    (first, _), (second, _) = pair(), pair()
    assert first != second
    raw = base64.b64decode(first.removeprefix("whsk_"))
    assert Ed25519PrivateKey.from_private_bytes(raw[:32]).public_key().public_bytes_raw() == raw[32:]
    assert public_key(new_secret()) is None


@pytest.mark.parametrize("length", [0, 31, 33, 63, 64, 65])
def test_unusable_keys_are_refused_without_repeating_them(length: int) -> None:
    content = base64.b64encode(b"k" * length).decode()
    for check, text in ((check_secret, f"whsk_{content}"), (check_verifier, f"whpk_{content}")):
        with pytest.raises(UsageError) as caught:
            check(text)
        assert not content or content not in str(caught.value)
    with pytest.raises(UsageError, match="whsec_"):
        check_verifier(pair()[0])
