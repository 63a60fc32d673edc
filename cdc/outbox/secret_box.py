"""Secrets at rest, also URLs and settings of OAuth2: sealed with a key that is not in the outbox, so that its file or a
backup of it reveals none.

A sealed secret is ``fernet:`` and a Fernet token (AES-128-CBC and HMAC-SHA256, of the package ``cryptography``).  The
first key seals; every key opens, so that keys can be rotated while secrets of both are there.  Without a key, secrets
are kept as they are.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from cryptography.fernet import Fernet, InvalidToken

from cdc.model.endpoint import Endpoint
from cdc.model.errors import ConfigError, OutboxError, UsageError
from cdc.outbox.contents import Contents

SEALED = "fernet:"
_KEY_BYTES = 32
_WHERE_KEYS_ARE = "Put the key that sealed them into CDC_SECRET_KEY or the file that [outbox] secret_key_file names"


def new_key() -> str:
    """URL-safe base64 of 32 random bytes."""
    return Fernet.generate_key().decode("ascii")


def is_sealed(stored: str) -> bool:
    return stored.startswith(SEALED)


class SecretBox:
    """``keys``: the present one first, then former ones; base64 of 32 bytes each, in either alphabet.  ``where``: where
    they are from, for errors, which never repeat a key.  ``seal_payloads``: ``contents`` seals row values too.  Raises
    `ConfigError` when one is no key."""

    def __init__(self, keys: Sequence[str] = (), where: str = "The key", *, seal_payloads: bool = False) -> None:
        self._keys = [_checked(key, number, where) for number, key in enumerate(keys, 1)]
        self._fernets = [Fernet(key) for key in self._keys]
        self.contents = Contents([base64.urlsafe_b64decode(key) for key in self._keys], sealing=seal_payloads)

    def __bool__(self) -> bool:
        """Return whether secrets are sealed at all."""
        return bool(self._fernets)

    def derived(self, purpose: str) -> SecretBox:
        """Return a box with keys derived from these.  What this one seals, of anybody's choice, opens in none of
        them."""
        keys = [hmac.digest(base64.urlsafe_b64decode(key), purpose.encode(), "sha256") for key in self._keys]
        return SecretBox([base64.urlsafe_b64encode(key).decode("ascii") for key in keys])

    def seal(self, secret: str) -> str:
        """Seal a secret with the first key; without a key, or for an empty secret (of a removed endpoint), return it
        unchanged.  Raises `UsageError` for one that, unchanged, would be taken for sealed."""
        if not self._fernets and is_sealed(secret):
            raise UsageError(
                f"A secret or a header's value begins with {SEALED}, as those do that are encrypted.",
                "Configure a key that encrypts them (cdc outbox new-key), or choose another value.",
            )
        if not self._fernets or not secret:
            return secret
        return SEALED + self._fernets[0].encrypt(secret.encode()).decode("ascii")

    def open(self, stored: str) -> str:
        """The secret itself, sealed or not.  Raises `OutboxError` when no key opens it."""
        if not is_sealed(stored):
            return stored
        for fernet in self._fernets:
            secret = _opened(fernet, stored)
            if secret is not None:
                return secret
        if not self._fernets:
            raise OutboxError("Secrets in the outbox are encrypted, and no key is configured.", f"{_WHERE_KEYS_ARE}.")
        raise OutboxError(
            "Secrets in the outbox are encrypted with another key than is configured.",
            f"{_WHERE_KEYS_ARE}; nothing was changed. Of several, the present one comes first.",
        )

    def stale(self, stored: str, *, former: bool = True) -> bool:
        """Return whether it must be encrypted: it is plain text, or (``former``) encrypted with a former key.  Raises
        `OutboxError` when no key opens it."""
        self.open(stored)
        if not self._fernets or not stored:
            return False
        return not is_sealed(stored) or (former and _opened(self._fernets[0], stored) is None)

    # -- endpoints --------------------------------------------------------------------------------------------------

    def stale_texts(self, stored: Endpoint, *, former: bool) -> int:
        """Return how many texts of an endpoint, as it is stored, are `stale`.  Raises `OutboxError`."""
        return sum(self.stale(text, former=former) for text in _texts(stored))

    def seal_endpoint(self, endpoint: Endpoint, before: Endpoint | None = None) -> Endpoint:
        """Return the endpoint as it is stored.  ``before``: as it was stored: what is sealed of it stays the same text,
        so that only what was changed looks changed."""
        sealed = {} if before is None else {self.open(text): text for text in _texts(before) if is_sealed(text)}
        return _with(endpoint, lambda text: sealed.get(text) or self.seal(text))

    def open_endpoint(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint from what was stored.  Raises `OutboxError`."""
        return _with(endpoint, self.open)


#: Fields of an endpoint that are sealed as a whole; of its headers, only the values are.
_SEALED_FIELDS: Final = ("secret", "url", "authentication", "credential", "proxy")


def _texts(endpoint: Endpoint) -> list[str]:
    fields = [getattr(endpoint, name) for name in _SEALED_FIELDS]
    return [*fields, endpoint.former_secret or "", *(value for _, value in endpoint.headers)]


def _with(endpoint: Endpoint, convert: Callable[[str], str]) -> Endpoint:
    """Return the row with every secret converted."""
    former = endpoint.former_secret
    fields: dict[str, Any] = {name: convert(getattr(endpoint, name)) for name in _SEALED_FIELDS}
    return replace(
        endpoint,
        **fields,
        former_secret=None if former is None else convert(former),
        headers=tuple((name, convert(value)) for name, value in endpoint.headers),
    )


#: Of an outbox without a key.
PLAIN = SecretBox()


def _opened(fernet: Fernet, stored: str) -> str | None:
    try:
        return fernet.decrypt(stored.removeprefix(SEALED)).decode()
    except InvalidToken:
        return None


def _checked(key: str, number: int, where: str) -> bytes:
    """The key as Fernet takes it.  OpenSSL and most others write base64 with + and /."""
    try:
        raw = base64.b64decode(key.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != _KEY_BYTES:
        raise ConfigError(
            f"{where} holds something that is no key{f' (number {number})' if number > 1 else ''}.",
            "A key is the base64 of 32 random bytes: cdc outbox new-key makes one.",
        )
    return base64.urlsafe_b64encode(raw)
