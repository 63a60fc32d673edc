"""Secrets at rest, also URLs and settings of OAuth2: sealed with a key that is not in the outbox, so that its file or a
backup of it reveals none.

A sealed secret is ``fernet:`` and a Fernet token (AES-128-CBC and HMAC-SHA256, of the package ``cryptography``).  The
first key seals; every key opens, so that keys can be rotated while secrets of both are there.  Without a key, secrets
are kept as they are.

Row values at rest (payloads, answers, skipped changes, snapshot rows) are sealed with `[outbox] seal_payloads`.  A
sealed content is `MAGIC`, the id of its key, a salt, a nonce and what AES-256-GCM makes of it.  The salt makes a key of
its own for each process, and again after `_MESSAGES`: so few random nonces meet under one key that none is repeated.
The first key seals; every key opens.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cdc.model.endpoint import Endpoint
from cdc.model.errors import ConfigError, OutboxError, UsageError

#: No payload and no snapshot row begins so; texts that do (answers, which strangers write) are sealed or escaped.
MAGIC: Final = b"\0cdc"
TEXT: Final = "\x02cdc:"
#: The form of contents that are not sealed.
UNSEALED: Final = "plain"
_ID, _SALT, _NONCE = 4, 12, 12
_HEAD: Final = len(MAGIC) + _ID + _SALT + _NONCE
_MESSAGES: Final = 1 << 24


class Contents:
    """``keys``: 32 bytes each, the present one first.  ``sealing``: new contents are sealed."""

    def __init__(self, keys: Sequence[bytes], *, sealing: bool) -> None:
        ids = [hmac.digest(key, b"id of the key of contents", "sha256")[:_ID] for key in keys]
        self._keys = dict(zip(ids, keys, strict=True))
        self.sealing = sealing
        self._id = ids[0] if sealing else None
        self._salt, self._left = b"", 0

    @property
    def form(self) -> str:
        """Return how new contents are stored: the id of the key, or `UNSEALED`."""
        return UNSEALED if self._id is None else self._id.hex()

    def knows(self, form: str) -> bool:
        """Return whether contents of this form can be read."""
        return form == UNSEALED or bytes.fromhex(form) in self._keys

    def seal(self, content: bytes) -> bytes:
        """Return the content as it is stored; an empty one, which was expunged, stays empty."""
        if self._id is None or not content:
            return content
        if self._left == 0:
            self._salt, self._left = os.urandom(_SALT), _MESSAGES
        self._left -= 1
        nonce = os.urandom(_NONCE)
        sealed = _cipher(self._keys[self._id], self._salt).encrypt(nonce, content, None)
        return b"".join((MAGIC, self._id, self._salt, nonce, sealed))

    def open(self, stored: bytes) -> bytes:
        """Return the content of what is stored, sealed or not.  Raises `OutboxError`."""
        if stored[: len(MAGIC)] != MAGIC:
            return stored
        at = len(MAGIC)
        key = self._keys.get(stored[at : at + _ID])
        if key is None:
            raise no_key()
        salt, nonce = stored[at + _ID : _HEAD - _NONCE], stored[_HEAD - _NONCE : _HEAD]
        try:
            return _cipher(key, salt).decrypt(nonce, stored[_HEAD:], None)
        except InvalidTag:
            raise OutboxError(
                "A sealed payload in the outbox was changed or is damaged.", "Restore the outbox from a backup."
            ) from None

    def is_current(self, stored: bytes) -> bool:
        """Return whether it is stored as `seal` would store it now."""
        if not stored:
            return True
        present = MAGIC if self._id is None else MAGIC + self._id
        return (stored[: len(present)] == present) is self.sealing

    def is_current_text(self, stored: str) -> bool:
        if not stored or not stored.startswith(TEXT):
            return not stored or not self.sealing
        return self.is_current(base64.b64decode(stored[len(TEXT) :]))

    def seal_text(self, text: str) -> str:
        if self._id is None or not text:
            return f" {text}" if text.startswith(TEXT) else text
        return TEXT + base64.b64encode(self.seal(text.encode(errors="replace"))).decode("ascii")

    def open_text(self, stored: str) -> str:
        """Raises `OutboxError`."""
        if not stored.startswith(TEXT):
            return stored
        return self.open(base64.b64decode(stored[len(TEXT) :])).decode()


def no_key() -> OutboxError:
    return OutboxError(
        "Payloads in the outbox are encrypted with a key that is not configured.",
        "Put the key that sealed them into CDC_SECRET_KEY or the file that [outbox] secret_key_file names, after the "
        "present one.",
    )


@lru_cache(maxsize=1024)
def _cipher(key: bytes, salt: bytes) -> AESGCM:
    return AESGCM(hmac.digest(key, b"contents" + salt, "sha256"))


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
