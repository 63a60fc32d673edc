"""One-time codes of an authenticator app (RFC 6238: six digits, thirty seconds, SHA-1, as every app knows them)."""

from __future__ import annotations

import base64
import re
from datetime import datetime
from typing import Final

import pyotp
import segno
from pyotp.utils import strings_equal

from cdc.access.credential import Random
from cdc.access.model import Origin

ISSUER: Final = "facturascripts-cdc"
_SECRET_BYTES: Final = 20
_STEP_SECONDS: Final = 30
#: Steps before and after the present one whose codes count: clocks differ, and people type.
_STEPS_AROUND: Final = 1
_CODE: Final = re.compile(r"[0-9]{6}")
_BASE32: Final = re.compile(r"(?:[A-Za-z2-7]{8})*(?:[A-Za-z2-7]{2}|[A-Za-z2-7]{4,5}|[A-Za-z2-7]{7,8})")


def new_secret(random: Random) -> str:
    """Base32 of 160 random bits."""
    return base64.b32encode(random(_SECRET_BYTES)).decode("ascii")


def uri(secret: str, name: str) -> str:
    """``otpauth://…``, which apps read from a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=ISSUER)


def qr_code(secret: str, name: str) -> segno.QRCode:
    """Return the QR code of the `uri`."""
    return segno.make_qr(uri(secret, name), error="m")


def step_of(secret: str, code: str, now: datetime) -> int | None:
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


def owner_of(origin: Origin, key: str) -> str:
    """Return the name under which steps are recorded as used: our user and FacturaScripts' of one name have different
    secrets."""
    return f"{origin}:{key}"
