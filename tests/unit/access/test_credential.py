"""Tokens, cookies, set-up links and CSRF tokens."""

from __future__ import annotations

import base64
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.access import credential
from cdc.access.credential import csrf_token, is_csrf_token, secret_digest, token_digest


def counted(size: int) -> bytes:
    return bytes(range(size))


def test_a_token_is_its_prefix_and_32_random_bytes() -> None:
    token = credential.new_token(counted)
    assert token == "cdct_" + base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip("=")
    assert len({credential.new_token(secrets.token_bytes) for _ in range(100)}) == 100
    assert credential.new_token_id(counted) == "tok_000102030405"


def test_only_whole_tokens_have_a_digest() -> None:
    token = credential.new_token(counted)
    secret = token.removeprefix("cdct_")
    assert token_digest(token) == secret_digest(secret) is not None
    others = [
        "", "cdct_", secret, f"CDCT_{secret}", f"cdct_cdct_{secret}", f" {token}", f"{token} ", f"{token}\n",
        f"{token}=", token[:-1], f"whsec_{secret}", credential.new_token_id(counted),
        "cdct_" + "ä" * 43, "cdct_" + "٣" * 43,
    ]  # fmt: skip
    assert [each for each in others if token_digest(each) is not None] == []
    assert secret_digest(token) is None, "a token is no cookie"


def test_another_way_to_write_the_same_bytes_is_another_token() -> None:
    """43 characters hold two bits more than 32 bytes."""
    token = credential.new_token(counted)
    alias = token[:-1] + chr(ord(token[-1]) + 1)
    assert base64.urlsafe_b64decode(alias[5:] + "=") == base64.urlsafe_b64decode(token[5:] + "=")
    assert token_digest(alias) != token_digest(token)


def test_a_csrf_token_belongs_to_its_session() -> None:
    ann, eve = (credential.new_secret(secrets.token_bytes) for _ in range(2))
    token = csrf_token(ann, secrets.token_bytes)
    assert is_csrf_token(token, ann)
    assert not is_csrf_token(token, eve)
    assert csrf_token(ann, secrets.token_bytes) != token


@given(st.text(), st.integers(0, 70))
def test_nothing_else_is_a_csrf_token(text: str, place: int) -> None:
    cookie = credential.new_secret(counted)
    good = csrf_token(cookie, counted)
    changed = good[:place] + text + good[place + 1 :]
    assert is_csrf_token(changed, cookie) == (changed == good)
    assert not is_csrf_token(text, cookie)


@pytest.mark.parametrize("token", ["", ".", "a.b", f"{'A' * 22}.", f".{'A' * 43}", "\ud800.x"])
def test_malformed_csrf_tokens(token: str) -> None:
    assert not is_csrf_token(token, credential.new_secret(counted))
