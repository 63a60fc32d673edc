"""Secrets and signatures of webhooks, for the sending and the receiving side.

Two signatures travel with each request: ``webhook-signature`` of the Standard Webhooks specification, which covers id,
time and body, and ``X-Webhook-Signature``, which covers the body alone and which a receiver can check with nothing but
an HMAC function.  Both sign exactly the bytes that are sent.

An endpoint's secret is either symmetric (``whsec_…``: HMAC-SHA256, identifier ``v1``) or the private key of an ed25519
pair (``whsk_…``: identifier ``v1a``), of which the receiver has the public one (``whpk_…``).  With a key pair there is
no ``X-Webhook-Signature``, which needs a secret that both sides know.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from cdc.model.errors import UsageError

SYMMETRIC, PRIVATE, PUBLIC = "whsec_", "whsk_", "whpk_"
#: A receiver refuses a request whose time is further away than this from its own clock (seconds).
TOLERANCE = 300.0
_KEY_BYTES = 32  # of a private (its seed) and of a public ed25519 key


class Signature(StrEnum):
    """The scheme, by the identifier before its signatures."""

    V1 = "v1"
    V1A = "v1a"


# -- secrets ----------------------------------------------------------------------------------------------------------


def new_secret(signature: Signature = Signature.V1) -> str:
    """``whsec_`` and base64 of 32 random bytes, or ``whsk_`` and base64 of a key pair: private, then public key."""
    if signature is Signature.V1:
        return SYMMETRIC + _base64(secrets.token_bytes(32))
    private = Ed25519PrivateKey.generate()
    return PRIVATE + _base64(private.private_bytes_raw() + private.public_key().public_bytes_raw())


def signature_of(secret: str) -> Signature:
    """Return the kind of signature that a secret makes."""
    return Signature.V1A if secret.startswith(PRIVATE) else Signature.V1


def check_secret(secret: str) -> None:
    """Raises `UsageError` when it cannot sign; the error does not repeat it."""
    private_key(secret) if signature_of(secret) is Signature.V1A else secret_key(secret)


def public_key(secret: str) -> str | None:
    """Return the key with which the receiver verifies ``v1a`` (``whpk_…``); None for a symmetric secret."""
    if signature_of(secret) is Signature.V1:
        return None
    return PUBLIC + _base64(private_key(secret).public_key().public_bytes_raw())


@lru_cache(maxsize=1024)
def secret_key(secret: str) -> bytes:
    """The HMAC key inside a symmetric secret.  Raises `UsageError`, which does not repeat the secret."""
    hint = "Write whsec_ followed by the base64 of 24 to 64 random bytes, or leave it out and one is made."
    key = _decoded(secret, SYMMETRIC, "signing secret", hint)
    if not 24 <= len(key) <= 64:  # noqa: PLR2004 - the bounds of the specification
        raise UsageError(f"The signing secret has {len(key)} bytes, not 24 to 64.", hint)
    return key


@lru_cache(maxsize=1024)
def private_key(secret: str) -> Ed25519PrivateKey:
    """The key of ``whsk_…``: its 32 bytes, or these and the public key, as most libraries write a pair.  Raises
    `UsageError`, which does not repeat it."""
    hint = "Write whsk_ followed by the base64 of an ed25519 key (32 bytes) or key pair (64), or leave it out."
    key = _decoded(secret, PRIVATE, "private key", hint)
    if len(key) not in (_KEY_BYTES, 2 * _KEY_BYTES):
        raise UsageError(f"The private key has {len(key)} bytes, not 32 or 64.", hint)
    private = Ed25519PrivateKey.from_private_bytes(key[:_KEY_BYTES])
    if key[_KEY_BYTES:] not in (b"", private.public_key().public_bytes_raw()):
        raise UsageError("The second half of the private key is not the public key that belongs to the first.", hint)
    return private


@lru_cache(maxsize=1024)
def verifying_key(public: str) -> Ed25519PublicKey:
    """The key of ``whpk_…``.  Raises `UsageError`."""
    hint = "Write whpk_ followed by the base64 of 32 bytes: cdc endpoint show prints it."
    key = _decoded(public, PUBLIC, "public key", hint)
    if len(key) != _KEY_BYTES:
        raise UsageError(f"The public key has {len(key)} bytes, not 32.", hint)
    return Ed25519PublicKey.from_public_bytes(key)


def check_verifier(secret: str) -> None:
    """Raises `UsageError` when a receiver cannot verify with it: it is neither ``whsec_…`` nor ``whpk_…``."""
    verifying_key(secret) if secret.startswith(PUBLIC) else secret_key(secret)


def _decoded(text: str, prefix: str, what: str, hint: str) -> bytes:
    if not text.startswith(prefix):
        raise UsageError(f"The {what} does not start with {prefix}.", hint)
    try:
        return base64.b64decode(text.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        raise UsageError(f"The {what} is not base64 behind {prefix}.", hint) from None


def _base64(content: bytes) -> str:
    return binascii.b2a_base64(content, newline=False).decode("ascii")


# -- signing ----------------------------------------------------------------------------------------------------------


def standard_signature(signing: Sequence[str], event_id: str, timestamp: int, body: bytes) -> str:
    """The value of ``webhook-signature``: one ``v1,…`` or ``v1a,…`` for each secret, separated by spaces, in the order
    given."""
    signed = _signed(event_id, timestamp, body)
    return " ".join([_one_signature(secret, signed) for secret in signing])


def _signed(event_id: str, timestamp: int, body: bytes) -> bytes:
    return b"%b.%d.%b" % (event_id.encode(), timestamp, body)


def _one_signature(secret: str, signed: bytes) -> str:
    if secret.startswith(PRIVATE):
        return "v1a," + _base64(private_key(secret).sign(signed))
    return "v1," + _base64(_hmac(secret_key(secret), signed))


def plain_signature(secret: str, body: bytes) -> str:
    """The value of ``X-Webhook-Signature``: keyed with the whole secret as it is written, ``whsec_`` included."""
    return "sha256=" + _hmac(secret.encode(), body).hex()


_BLOCK_BYTES = 64  # that SHA-256 takes in at a time
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


@lru_cache(maxsize=1024)
def _keyed(key: bytes) -> tuple[hashlib._Hash, hashlib._Hash]:
    """Return the inner and the outer hash of HMAC-SHA256 (RFC 2104) with the key taken in."""
    block = (hashlib.sha256(key).digest() if len(key) > _BLOCK_BYTES else key).ljust(_BLOCK_BYTES, b"\0")
    return hashlib.sha256(block.translate(_INNER)), hashlib.sha256(block.translate(_OUTER))


def _hmac(key: bytes, message: bytes) -> bytes:
    """Return what `hmac.digest` returns for SHA-256, at 60 % of its cost: that prepares the key for each message, and
    releases the interpreter's lock, which another thread takes."""
    inner, outer = (prepared.copy() for prepared in _keyed(key))
    inner.update(message)
    outer.update(inner.digest())
    return outer.digest()


# -- verifying --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verification:
    """``reason``: one sentence when the request is not verified, else empty."""

    verified: bool
    reason: str = ""


def verify(
    secret: str, headers: Mapping[str, str], body: bytes, now: datetime, tolerance: float = TOLERANCE
) -> Verification:
    """Check the signatures of a received request; comparisons take the same time wherever values differ.

    ``secret``: ``whsec_…``, for both signatures, or ``whpk_…``, for ``v1a`` alone.  ``now``: aware UTC.  ``headers``:
    names in any case.  Never raises for what the request holds.
    """
    symmetric = not secret.startswith(PUBLIC)
    lowered = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in (*_STANDARD_HEADERS, *([_PLAIN_HEADER] if symmetric else [])) if name not in lowered]
    if missing:
        return Verification(False, f"The header {missing[0]} is missing.")
    event_id, timestamp, standard = (lowered[name] for name in _STANDARD_HEADERS)
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):  # noqa: PLR2004 - until year 33658
        return Verification(False, "The header webhook-timestamp is not a number of seconds.")
    age = now.timestamp() - int(timestamp)
    if abs(age) > tolerance:
        return Verification(False, f"The request is {abs(age):.0f} s {'old' if age > 0 else 'ahead of this clock'}.")
    signed = _signed(event_id, int(timestamp), body)
    fits = _v1(secret, signed) if symmetric else _v1a(secret, signed)
    # Every signature of the list is compared, so that the time taken does not reveal which one fits.
    if not any([fits(given) for given in standard.split(" ")]):  # noqa: C419 - a generator would stop at the first that fits
        what = "secret" if symmetric else "public key"
        return Verification(False, f"No signature in webhook-signature fits id, time, body and {what}.")
    if symmetric and not _same(plain_signature(secret, body), lowered[_PLAIN_HEADER]):
        return Verification(False, "X-Webhook-Signature does not fit body and secret.")
    return Verification(True)


_STANDARD_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
_PLAIN_HEADER = "x-webhook-signature"
_Fits = Callable[[str], bool]  # of one signature with its identifier


def _v1(secret: str, signed: bytes) -> _Fits:
    expected = _one_signature(secret, signed)
    return lambda given: _same(expected, given)


def _v1a(public: str, signed: bytes) -> _Fits:
    key = verifying_key(public)

    def fits(given: str) -> bool:
        scheme, _, encoded = given.partition(",")
        try:
            key.verify(base64.b64decode(encoded.encode("utf-8", "surrogateescape"), validate=True), signed)
        except (InvalidSignature, binascii.Error):
            return False
        return scheme == Signature.V1A

    return fits


def _same(expected: str, given: str) -> bool:
    # As bytes: compare_digest refuses text that is not ASCII, which a header may hold.
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogateescape"))
