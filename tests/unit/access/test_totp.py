"""One-time codes: RFC 6238's own vectors, the window, what is no code."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.access import credential
from cdc.access.model import Origin
from support.outboxes import NOW

SECRET = base64.b32encode(b"12345678901234567890").decode()


@pytest.mark.parametrize(("seconds", "code"), [(59, "287082"), (1111111109, "081804"), (20000000000, "353130")])
def test_the_vectors_of_the_rfc(seconds: int, code: str) -> None:
    """Its codes have eight digits; six are the last six of them."""
    assert credential.totp_step(SECRET, code, datetime.fromtimestamp(seconds, UTC)) == seconds // 30


def test_a_code_counts_for_a_step_before_and_after_its_own() -> None:
    code = pyotp.TOTP(SECRET).at(NOW)
    step = int(NOW.timestamp()) // 30
    found = [credential.totp_step(SECRET, code, NOW + timedelta(seconds=30 * away)) for away in (-2, -1, 0, 1, 2)]
    assert found == [None, step, step, step, None]
    assert credential.totp_step(SECRET, f" {code[:3]} {code[3:]}\n", NOW) == step


@pytest.mark.parametrize("code", ["", "12345", "1234567", "abcdef", "١٢٣٤٥٦", "123456\0", "-12345", "1e1111"])
def test_what_is_no_code(code: str) -> None:
    assert credential.totp_step(SECRET, code, NOW) is None


@pytest.mark.parametrize("secret", ["", "A", "ABC", "not base32!", "-", "18909018"])
@given(code=st.from_regex(r"\A[0-9]{6}\Z"))
def test_a_secret_that_is_none_has_no_codes(secret: str, code: str) -> None:
    assert credential.totp_step(secret, code, NOW) is None or secret == ""


def test_secrets_are_long_and_apps_read_them() -> None:
    secret = credential.new_totp_secret(lambda size: bytes(range(size)))
    assert base64.b32decode(secret) == bytes(range(20))
    parts = urlsplit(credential.totp_uri(secret, "zoë@example.com"))
    assert (parts.scheme, parts.netloc) == ("otpauth", "totp")
    assert parse_qs(parts.query) == {"secret": [secret], "issuer": ["facturascripts-cdc"]}


def test_users_of_one_name_have_steps_of_their_own() -> None:
    assert credential.totp_owner(Origin.PASSWORD, "ann") != credential.totp_owner(Origin.FACTURASCRIPTS, "ann")
