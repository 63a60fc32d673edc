"""FacturaScripts' own users, whose administrators may sign in here: what is asked of its database, and PHP's hashes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Protocol

import bcrypt
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError

_BCRYPT: Final = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")
_ARGON2: Final = re.compile(r"(\$argon2i?d?\$v=19\$[a-z0-9=,]+)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)")
#: bcrypt looks at no more bytes of a password, as PHP does.
_BCRYPT_BYTES: Final = 72
#: Beyond, a hash in the database would hold up every sign-in: PHP's own take 64 MiB, 4 passes and 1 thread.  Of memory
#: (KiB) and passes together, so much work.
_MOST_KIBIBYTES, _MOST_PASSES, _MOST_THREADS, _MOST_WORK = 262_144, 12, 8, 1_048_576
_HIGHEST_BCRYPT_COST: Final = 14
#: What PHP 8.4 makes; no password is known to fit.
_DECOY: Final = f"$2b$12${'.' * 53}"


@dataclass(frozen=True, slots=True)
class FacturaScriptsUser:
    """A row of ``users``.  ``totp_secret``: base32; empty when no second factor is switched on."""

    nick: str
    admin: bool
    enabled: bool
    password_hash: str = field(repr=False)
    totp_secret: str = field(default="", repr=False)


class FacturaScriptsUsers(Protocol):
    async def find(self, nick: str) -> FacturaScriptsUser | None:
        """The user of this nick; nothing of it is logged or kept.  Raises `SourceError` when the database cannot be
        asked."""
        ...


class PhpPasswords:
    """Checks what PHP's ``password_hash`` made: bcrypt and argon2.  Takes up to a second: call it in a thread."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()

    def fits(self, password: str, stored: str) -> bool:
        """``stored``: empty where there is no such user; that takes as long as PHP's usual hash, and never fits."""
        if bounded(stored):
            return self._check(password, stored)
        self._check(password, _DECOY)
        return False

    def _check(self, password: str, stored: str) -> bool:
        raw = password.encode("utf-8", "replace")
        if not stored.startswith("$2"):
            try:
                return self._hasher.verify(stored, raw)
            except (VerificationError, InvalidHashError):
                return False
        try:
            fits = bcrypt.checkpw(raw.replace(b"\0", b"?")[:_BCRYPT_BYTES], b"$2b$" + stored[4:].encode())
        except ValueError:  # the salt cannot be one
            return False
        return fits and b"\0" not in raw  # PHP makes no hash of a password with NUL


def bounded(stored: str) -> bool:
    """Return whether it is a hash of a kind that is known, and can be checked in reasonable time and memory."""
    if match := _BCRYPT.fullmatch(stored):
        return int(match[1]) <= _HIGHEST_BCRYPT_COST
    if not _ARGON2.fullmatch(stored):
        return False
    try:
        asked = extract_parameters(stored)
    except InvalidHashError:
        return False
    memory, passes = asked.memory_cost, asked.time_cost
    light = memory <= _MOST_KIBIBYTES and passes <= _MOST_PASSES and memory * passes <= _MOST_WORK
    return light and asked.parallelism <= _MOST_THREADS
