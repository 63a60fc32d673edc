"""The JWT of a request.  PyJWT signs with EdDSA (Ed25519), ES256 (P-256) or RS256, by the kind of the private key.

Claims: ``iat``, ``exp``; ``jti``, the webhook-id; ``body_sha256``, the digest of the body in hexadecimal; ``iss`` and
``aud`` where they are set.
"""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64encode
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import get_default_algorithms

from cdc.model.endpoint import Authentication, Header
from cdc.model.errors import UsageError

_LEAST_RSA_BITS: Final = 2048
_PUBLIC_MEMBERS: Final = frozenset({"kty", "crv", "x", "y", "n", "e"})
_HINT: Final = "It is PEM without a password, of the kind Ed25519, EC P-256, or RSA with 2048 bits or more."


@lru_cache(maxsize=256)
def signing_key(pem: str) -> tuple[Any, str]:
    """Return the private key and the algorithm that it signs with.  Raises `UsageError`, which does not repeat it."""
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UsageError("The private key of the JWT cannot be read.", _HINT) from None
    if isinstance(key, Ed25519PrivateKey):
        return key, "EdDSA"
    if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1):
        return key, "ES256"
    if isinstance(key, RSAPrivateKey) and key.key_size >= _LEAST_RSA_BITS:
        return key, "RS256"
    raise UsageError("The private key of the JWT is of a kind that is not supported.", _HINT)


def public_members(pem: str, key_id: str) -> dict[str, str]:
    """Return the public key as a JWK (RFC 7517)."""
    algorithm = signing_key(pem)[1]
    return {**_public(pem), "alg": algorithm, "use": "sig", "kid": key_id or thumbprint(pem)}


@lru_cache(maxsize=256)
def thumbprint(pem: str) -> str:
    """Return the thumbprint of the public key (RFC 7638), the key id where none was chosen."""
    canonical = json.dumps(_public(pem), sort_keys=True, separators=(",", ":"))
    return urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()


def _public(pem: str) -> dict[str, str]:
    key, algorithm = signing_key(pem)
    members = get_default_algorithms()[algorithm].to_jwk(key.public_key(), as_dict=True)
    return {name: value for name, value in members.items() if name in _PUBLIC_MEMBERS}


def jwt_header(settings: Authentication, pem: str, message_id: str, body: bytes, now: datetime) -> Header:
    """Return the header that carries the JWT of a request.  ``now``: aware UTC."""
    key, algorithm = signing_key(pem)
    issued = int(now.timestamp())
    claims = {
        "iat": issued,
        "exp": issued + settings.lifetime,
        "jti": message_id,
        "body_sha256": hashlib.sha256(body).hexdigest(),
        **({"iss": settings.issuer} if settings.issuer else {}),
        **({"aud": settings.audience} if settings.audience else {}),
    }
    token = jwt.encode(claims, key, algorithm=algorithm, headers={"kid": settings.key_id or thumbprint(pem)})
    return settings.header, f"Bearer {token}" if settings.header.lower() == "authorization" else token
