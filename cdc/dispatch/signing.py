"""Secrets and signatures of webhooks, for the sending and the receiving side.

Two signatures travel with each request: ``webhook-signature`` of the Standard Webhooks specification (``v1``), which
covers id, time and body, and ``X-Webhook-Signature``, which covers the body alone and which a receiver can check with
nothing but an HMAC function.  Both sign exactly the bytes that are sent.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cdc.errors import UsageError

PREFIX = "whsec_"
#: A receiver refuses a request whose time is further away than this from its own clock (seconds).
TOLERANCE = 300.0


def new_secret() -> str:
    """``whsec_`` and base64 of 32 random bytes."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode("ascii")


@lru_cache(maxsize=1024)
def secret_key(secret: str) -> bytes:
    """The HMAC key inside a secret.  Raises `UsageError`, which does not repeat the secret."""
    hint = "Write whsec_ followed by the base64 of 24 to 64 random bytes, or leave it out and one is made."
    if not secret.startswith(PREFIX):
        raise UsageError(f"The signing secret does not start with {PREFIX}.", hint)
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise UsageError(f"The signing secret is not base64 behind {PREFIX}.", hint) from None
    if not 24 <= len(key) <= 64:  # noqa: PLR2004 - the bounds of the specification
        raise UsageError(f"The signing secret has {len(key)} bytes, not 24 to 64.", hint)
    return key


def standard_signature(signing: Sequence[str], event_id: str, timestamp: int, body: bytes) -> str:
    """The value of ``webhook-signature``: one ``v1,…`` for each secret, separated by spaces, in the order given."""
    signed = b"%b.%d.%b" % (event_id.encode(), timestamp, body)
    return " ".join([_one_signature(secret, signed) for secret in signing])


def _one_signature(secret: str, signed: bytes) -> str:
    digest = hmac.digest(secret_key(secret), signed, "sha256")
    return "v1," + binascii.b2a_base64(digest, newline=False).decode("ascii")


def plain_signature(secret: str, body: bytes) -> str:
    """The value of ``X-Webhook-Signature``: keyed with the whole secret as it is written, ``whsec_`` included."""
    return "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex()


@dataclass(frozen=True, slots=True)
class Verification:
    """``reason``: one sentence when the request is not verified, else empty."""

    verified: bool
    reason: str = ""


def verify(
    secret: str, headers: Mapping[str, str], body: bytes, now: datetime, tolerance: float = TOLERANCE
) -> Verification:
    """Check both signatures of a received request; comparisons take the same time wherever values differ.

    ``now``: aware UTC.  ``headers``: names in any case.  Never raises for what the request holds.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    try:
        event_id, timestamp, standard, plain = (lowered[name] for name in _SIGNED_HEADERS)
    except KeyError as missing:
        return Verification(False, f"The header {missing.args[0]} is missing.")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):  # noqa: PLR2004 - until year 33658
        return Verification(False, "The header webhook-timestamp is not a number of seconds.")
    age = now.timestamp() - int(timestamp)
    if abs(age) > tolerance:
        return Verification(False, f"The request is {abs(age):.0f} s {'old' if age > 0 else 'ahead of this clock'}.")
    expected = standard_signature([secret], event_id, int(timestamp), body)
    # Every signature of the list is compared, so that the time taken does not tell which one fits.
    if not any([_same(expected, given) for given in standard.split(" ")]):  # noqa: C419 - see above
        return Verification(False, "No signature in webhook-signature fits id, time, body and secret.")
    if not _same(plain_signature(secret, body), plain):
        return Verification(False, "X-Webhook-Signature does not fit body and secret.")
    return Verification(True)


_SIGNED_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature", "x-webhook-signature")


def _same(expected: str, given: str) -> bool:
    # As bytes: compare_digest refuses text that is not ASCII, which a header may hold.
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogateescape"))
