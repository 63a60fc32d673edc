"""Signatures, checked by the specification's own package and by a plain HMAC call."""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from cdc.dispatch.signing import new_secret, plain_signature, secret_key, standard_signature, verify
from cdc.model.errors import UsageError

NOW = datetime(2026, 11, 24, 21, 48, tzinfo=UTC)
secrets = st.binary(min_size=24, max_size=64).map(lambda key: "whsec_" + base64.b64encode(key).decode())
bodies = st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace")))
ids = st.from_regex(r"evt_[A-Za-z0-9]{1,40}", fullmatch=True)


def signed_headers(secret: str, body: bytes, at: datetime = NOW, event_id: str = "evt_1") -> dict[str, str]:
    timestamp = int(at.timestamp())
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": standard_signature([secret], event_id, timestamp, body),
        "X-Webhook-Signature": plain_signature(secret, body),
    }


def test_shared_vector() -> None:
    """The example that implementations of the specification share."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert standard_signature([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == expected


@given(secrets, ids, st.text(max_size=300))
def test_the_reference_package_verifies_our_signature(secret: str, event_id: str, text: str) -> None:
    body = text.encode("utf-8", "replace")
    headers = signed_headers(secret, body, datetime.now(UTC), event_id)
    Webhook(secret).verify(body, headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body + b" ", headers, json_parse=False)


@given(secrets, ids, st.text(max_size=300))
def test_we_verify_what_the_reference_package_signs(secret: str, event_id: str, text: str) -> None:
    body = text.encode("utf-8", "replace")
    headers = signed_headers(secret, body, NOW, event_id)
    headers["webhook-signature"] = Webhook(secret).sign(event_id, NOW, body.decode())
    assert verify(secret, headers, body, NOW).verified


@given(secrets, bodies)
def test_plain_signature_is_one_hash_hmac_call(secret: str, body: bytes) -> None:
    expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    assert plain_signature(secret, body) == expected


def test_plain_signature_in_php_where_there_is_one() -> None:
    secret, body = new_secret(), '{"event":"invoice.paid","data":{"nombre":"Peña & Søn"}}'.encode()
    code = "echo 'sha256=' . hash_hmac('sha256', stream_get_contents(STDIN), $argv[1]);"
    if php := shutil.which("php"):
        expected = subprocess.run([php, "-r", code, "--", secret], input=body, capture_output=True, check=True).stdout
    else:
        expected = b"sha256=" + hmac.new(secret.encode(), body, "sha256").hexdigest().encode()
    assert plain_signature(secret, body).encode() == expected


@given(secrets, secrets)
def test_both_secrets_verify_while_a_rotation_overlaps(present: str, former: str) -> None:
    body, timestamp = b"{}", int(NOW.timestamp())
    headers = signed_headers(present, body)
    headers["webhook-signature"] = standard_signature([present, former], "evt_1", timestamp, body)
    assert verify(present, headers, body, NOW).verified
    headers["X-Webhook-Signature"] = plain_signature(former, body)
    assert verify(former, headers, body, NOW).verified


@given(st.data())
def test_any_changed_byte_is_noticed(data: st.DataObject) -> None:
    secret, body = new_secret(), data.draw(st.binary(min_size=1, max_size=100))
    headers = signed_headers(secret, body)
    place = data.draw(st.integers(0, len(body) - 1))
    changed = bytearray(body)
    changed[place] ^= data.draw(st.integers(1, 255))
    assert not verify(secret, headers, bytes(changed), NOW).verified
    assert not verify(new_secret(), headers, body, NOW).verified


@pytest.mark.parametrize(("seconds", "verified"), [(0, True), (300, True), (301, False), (-300, True), (-301, False)])
def test_old_and_early_requests_are_refused(seconds: int, verified: bool) -> None:
    secret = new_secret()
    headers = signed_headers(secret, b"{}", NOW - timedelta(seconds=seconds))
    assert verify(secret, headers, b"{}", NOW).verified is verified


@pytest.mark.parametrize(
    ("header", "value", "reason"),
    [
        ("webhook-id", None, "webhook-id is missing"),
        ("X-Webhook-Signature", None, "x-webhook-signature is missing"),
        ("webhook-timestamp", "soon", "not a number"),
        ("webhook-timestamp", "-5", "not a number"),
        ("webhook-timestamp", "\u0661", "not a number"),
        ("webhook-timestamp", "9" * 400, "not a number"),
        ("webhook-signature", "", "fits"),
        ("webhook-signature", "v1", "fits"),
        ("webhook-signature", "v1,@@@ v2,, \u00e9\udcff", "fits"),
        ("X-Webhook-Signature", "sha256=", "X-Webhook-Signature"),
        ("X-Webhook-Signature", "\u00e9", "X-Webhook-Signature"),
        ("webhook-id", "evt_2", "fits"),
    ],
)
def test_malformed_headers_are_a_reason_not_an_exception(header: str, value: str | None, reason: str) -> None:
    secret = new_secret()
    headers = signed_headers(secret, b"{}")
    if value is None:
        del headers[header]
    else:
        headers[header] = value
    found = verify(secret, headers, b"{}", NOW)
    assert not found.verified
    assert reason in found.reason


def test_header_names_in_any_case() -> None:
    secret = new_secret()
    headers = {name.upper(): value for name, value in signed_headers(secret, b"{}").items()}
    assert verify(secret, headers, b"{}", NOW).verified


def test_new_secrets_differ_and_hold_32_bytes() -> None:
    first, second = new_secret(), new_secret()
    assert first != second
    assert len(secret_key(first)) == 32


@pytest.mark.parametrize("secret", ["", "MfKQ9r8G", "whsec_", "whsec_MfKQ9r8G", "whsec_!!!!", "whsec_" + "A" * 100])
def test_unusable_secrets_are_refused_without_repeating_them(secret: str) -> None:
    with pytest.raises(UsageError) as caught:
        secret_key(secret)
    assert not secret.removeprefix("whsec_") or secret.removeprefix("whsec_") not in str(caught.value)
