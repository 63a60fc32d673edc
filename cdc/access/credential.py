"""Tokens, session cookies and set-up links: random texts of which only digests are kept; CSRF tokens of a session.

256 random bits cannot be guessed, so a plain SHA-256 is enough for them.  Each kind has its own form, and the digest is
of the text itself, so that nothing is taken for another kind, or is another way to write the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Final

#: What every token begins with.
CDCT: Final = "cdct_"
#: Returns so many random bytes: `secrets.token_bytes`.
Random = Callable[[int], bytes]
_SECRET_BYTES: Final = 32
_ID_BYTES: Final = 6
_STAMP_BYTES: Final = 12
_NONCE_BYTES: Final = 16
_CSRF_PURPOSE: Final = b"csrf:"
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{43}")


def new_token(random: Random) -> str:
    """``cdct_`` and 32 random bytes."""
    return CDCT + new_secret(random)


def new_token_id(random: Random) -> str:
    return f"tok_{random(_ID_BYTES).hex()}"


def new_secret(random: Random) -> str:
    """A cookie's value, or what a set-up link ends with: URL-safe base64 of 32 random bytes."""
    return _text(random(_SECRET_BYTES))


def new_stamp(random: Random) -> str:
    """Return a random stamp of a user (`User.stamp`)."""
    return random(_STAMP_BYTES).hex()


def token_digest(token: str) -> str | None:
    """Return the digest of the secret part; None when the text is no token."""
    return secret_digest(token.removeprefix(CDCT)) if token.startswith(CDCT) else None


def secret_digest(secret: str) -> str | None:
    """Return the digest of a cookie's value or of the end of a set-up link; None when the text is neither."""
    return hashlib.sha256(secret.encode()).hexdigest() if _SECRET.fullmatch(secret) else None


def csrf_token(cookie: str, random: Random) -> str:
    """Return a token for the forms of the session with this cookie.  Each call returns another: compressed pages reveal
    nothing."""
    nonce = random(_NONCE_BYTES)
    return f"{_text(nonce)}.{_text(_csrf_mac(cookie, nonce))}"


def is_csrf_token(token: str, cookie: str) -> bool:
    """Return whether it was made for the session with this cookie."""
    nonce_text, dot, mac_text = token.partition(".")
    if not dot or not token.isascii():
        return False
    try:
        nonce = base64.urlsafe_b64decode(nonce_text + "=" * (-len(nonce_text) % 4))
    except ValueError:
        return False
    if _text(nonce) != nonce_text or len(nonce) != _NONCE_BYTES:
        return False
    return hmac.compare_digest(_text(_csrf_mac(cookie, nonce)), mac_text)


def _csrf_mac(cookie: str, nonce: bytes) -> bytes:
    return hmac.digest(cookie.encode(), _CSRF_PURPOSE + nonce, "sha256")


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
