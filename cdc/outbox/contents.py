"""Row values at rest (payloads, answers, skipped changes, snapshot rows), sealed with `[outbox] seal_payloads`.

A sealed content is `MAGIC`, the id of its key, a salt, a nonce and what AES-256-GCM makes of it.  The salt makes a key
of its own for each process, and again after `_MESSAGES`: so few random nonces meet under one key that none is repeated.
The first key seals; every key opens.
"""

from __future__ import annotations

import base64
import hmac
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cdc.model.errors import OutboxError

#: No payload and no snapshot row begins so; texts that do (answers, which strangers write) are sealed or escaped.
MAGIC: Final = b"\0cdc"
TEXT: Final = "\x02cdc:"
#: The form of contents that are not sealed.
PLAIN: Final = "plain"
_ID, _SALT, _NONCE = 4, 12, 12
_HEAD: Final = len(MAGIC) + _ID + _SALT + _NONCE
_MESSAGES: Final = 1 << 24


class Contents:
    """``keys``: 32 bytes each, the present one first.  ``sealing``: new contents are sealed."""

    def __init__(self, keys: Sequence[bytes], *, sealing: bool) -> None:
        ids = [hmac.digest(key, b"id of the key of contents", "sha256")[:_ID] for key in keys]
        self._keys = dict(zip(ids, keys, strict=True))
        self._id = ids[0] if sealing else None
        self._salt, self._left = b"", 0

    @property
    def sealing(self) -> bool:
        return self._id is not None

    @property
    def form(self) -> str:
        """Return how new contents are stored: the id of the key, or `PLAIN`."""
        return PLAIN if self._id is None else self._id.hex()

    def knows(self, form: str) -> bool:
        """Return whether contents of this form can be read."""
        return form == PLAIN or bytes.fromhex(form) in self._keys

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
