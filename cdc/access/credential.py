"""Credentials: tokens, session cookies and set-up links, which are random texts of which only digests are stored; CSRF
tokens of a session; one-time codes of an authenticator app (RFC 6238: six digits, thirty seconds, SHA-1, as all apps
know them).

256 random bits cannot be guessed, so a plain SHA-256 is enough for them.  Each kind has its own form, and the digest is
of the text itself, so that nothing is taken for another kind, or is another way to write the same bytes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from datetime import datetime
from typing import Final

import pyotp
import segno
from pyotp.utils import strings_equal

from cdc.access.model import CDCT, Origin

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


TOTP_ISSUER: Final = "facturascripts-cdc"
_TOTP_SECRET_BYTES: Final = 20
_STEP_SECONDS: Final = 30
#: Steps before and after the present one whose codes count: clocks differ, and people type.
_STEPS_AROUND: Final = 1
_CODE: Final = re.compile(r"[0-9]{6}")
_BASE32: Final = re.compile(r"(?:[A-Za-z2-7]{8})*(?:[A-Za-z2-7]{2}|[A-Za-z2-7]{4,5}|[A-Za-z2-7]{7,8})")


def new_totp_secret(random: Random) -> str:
    """Base32 of 160 random bits."""
    return base64.b32encode(random(_TOTP_SECRET_BYTES)).decode("ascii")


def totp_uri(secret: str, name: str) -> str:
    """``otpauth://…``, which apps read from a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=TOTP_ISSUER)


def qr_code(secret: str, name: str) -> segno.QRCode:
    """Return the QR code of the `totp_uri`."""
    return segno.make_qr(totp_uri(secret, name), error="m")


def totp_step(secret: str, code: str, now: datetime) -> int | None:
    """Return the step of the clock of a valid code, else None.  The caller must take the step
    (`AccessStore.take_totp_step`): a code that was seen over a shoulder does not work again.  Spaces within do not
    count.  A secret that is not base32 has no codes."""
    digits = "".join(code.split())
    if not _CODE.fullmatch(digits) or not _BASE32.fullmatch(secret):
        return None
    totp = pyotp.TOTP(secret, interval=_STEP_SECONDS)
    present = int(now.timestamp()) // _STEP_SECONDS
    found = None
    for step in range(present - _STEPS_AROUND, present + _STEPS_AROUND + 1):
        if strings_equal(digits, totp.generate_otp(step)):
            found = step
    return found


def totp_owner(origin: Origin, key: str) -> str:
    """Return the name under which steps are recorded as used: our user and FacturaScripts' of one name have different
    secrets."""
    return f"{origin}:{key}"
