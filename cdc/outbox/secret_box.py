"""Secrets at rest: sealed with a key that is not in the outbox, so that its file or a backup of it reveals none.

A sealed secret is ``fernet:`` and a Fernet token (AES-128-CBC and HMAC-SHA256, of the package ``cryptography``).  The
first key seals; every key opens, so that keys can be rotated while secrets of both are there.  Without a key, secrets
are kept as they are.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from cryptography.fernet import Fernet, InvalidToken

from cdc.model.endpoint import Endpoint, EndpointChange, Header
from cdc.model.errors import ConfigError, OutboxError, UsageError

SEALED = "fernet:"
_KEY_BYTES = 32
_WHERE_KEYS_ARE = "Put the key that sealed them into CDC_SECRET_KEY or the file that [outbox] secret_key_file names"


def new_key() -> str:
    """URL-safe base64 of 32 random bytes."""
    return Fernet.generate_key().decode("ascii")


# An endpoint's number, and its secrets as they are stored: present and former; headers, as a JSON list of pairs; the
# secret of its authentication.
Row = tuple[int, str, str | None, str, str | None]


class SecretBox:
    """``keys``: the present one first, then former ones; base64 of 32 bytes each, in either alphabet.  ``where``: where
    they are from, for errors, which never repeat a key.  Raises `ConfigError` when one is no key."""

    def __init__(self, keys: Sequence[str] = (), where: str = "The key") -> None:
        self._keys = [_checked(key, number, where) for number, key in enumerate(keys, 1)]
        self._fernets = [Fernet(key) for key in self._keys]

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
        if not self._fernets and secret.startswith(SEALED):
            raise UsageError(
                f"A secret or a header's value begins with {SEALED}, as those do that are encrypted.",
                "Configure a key that encrypts them (cdc outbox new-key), or choose another value.",
            )
        if not self._fernets or not secret:
            return secret
        return SEALED + self._fernets[0].encrypt(secret.encode()).decode("ascii")

    def open(self, stored: str) -> str:
        """The secret itself, sealed or not.  Raises `OutboxError` when no key opens it."""
        if not stored.startswith(SEALED):
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
        return not stored.startswith(SEALED) or (former and _opened(self._fernets[0], stored) is None)

    def reseal(self, rows: Iterable[Row], *, former: bool) -> tuple[int, list[Row]]:
        """Return how many stored secrets are `stale`, and the rows that have one, with their secrets sealed again.

        Raises `OutboxError` when no key opens one, of any row: nothing must be written then."""
        number, changed = 0, list[Row]()
        for key, secret, former_secret, headers, credential in rows:
            pairs: list[Header] = json.loads(headers)
            each_of = (secret, former_secret, credential, *(value for _, value in pairs))
            stale = [self.stale(each or "", former=former) for each in each_of]
            number += sum(stale)
            if any(stale):
                sealed = json.dumps([(name, self._again(value)) for name, value in pairs])
                again = self._again(secret), former_secret and self._again(former_secret), sealed
                changed.append((key, *again, self._again(credential or "")))
        return number, changed

    def _again(self, stored: str) -> str:
        return self.seal(self.open(stored))

    # -- endpoints --------------------------------------------------------------------------------------------------

    def seal_endpoint(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint as it is stored."""
        return _with(endpoint, self.seal)

    def open_endpoint(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint from what was stored.  Raises `OutboxError`."""
        return _with(endpoint, self.open)

    def seal_change(self, change: EndpointChange) -> EndpointChange:
        secret, headers, credential = change.secret, change.headers, change.credential
        return replace(
            change,
            credential=None if credential is None else self.seal(credential),
            secret=None if secret is None else self.seal(secret),
            headers=None if headers is None else tuple((name, self.seal(value)) for name, value in headers),
        )


def _with(endpoint: Endpoint, convert: Callable[[str], str]) -> Endpoint:
    """Return the row with every secret converted."""
    former = endpoint.former_secret
    return replace(
        endpoint,
        secret=convert(endpoint.secret),
        former_secret=None if former is None else convert(former),
        headers=tuple((name, convert(value)) for name, value in endpoint.headers),
        credential=convert(endpoint.credential),
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
