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
#: Beyond, a hash in the database would take the server down (PHP's own are 64 MiB).
_MOST_KIBIBYTES: Final = 1_048_576
_HIGHEST_BCRYPT_COST: Final = 15
#: What PHP 8.4 makes, until a hash of the database was seen.
_PHP_DEFAULT: Final = f"$2b$12${'.' * 53}"


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
        self._decoy = _PHP_DEFAULT

    def fits(self, password: str, stored: str) -> bool:
        """``stored``: empty where there is no such user; that takes as long as the last hash that was seen, and never
        fits."""
        if bounded(stored):
            self._decoy = decoy_of(stored)
            return self._check(password, stored)
        self._check(password, self._decoy)
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
    """Whether it is a hash of a kind that is known, and can be checked in reasonable time and memory."""
    if match := _BCRYPT.fullmatch(stored):
        return int(match[1]) <= _HIGHEST_BCRYPT_COST
    if not _ARGON2.fullmatch(stored):
        return False
    try:
        return extract_parameters(stored).memory_cost <= _MOST_KIBIBYTES
    except InvalidHashError:
        return False


def decoy_of(stored: str) -> str:
    """A hash that takes as long to check, and that no password is known to fit."""
    if match := _ARGON2.fullmatch(stored):
        return f"{match[1]}${'A' * len(match[2])}${'A' * len(match[3])}"
    return f"$2b${stored[4:7]}{'.' * 53}"
