"""Passwords: argon2id and rules for our own users; PHP's hashes of FacturaScripts' users, whose administrators may sign
in here."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import Final, Protocol

import bcrypt
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError

from cdc.access.model import user_key
from cdc.model.errors import UsageError

SHORTEST: Final = 10
LONGEST: Final = 256
#: A password needs so many different characters.
_FEWEST_DIFFERENT: Final = 5
#: For a small server: 32 MiB and about 60 ms of a core; more than the least that OWASP asks for (19 MiB, 2 passes).
_PASSES: Final = 3
_KIBIBYTES: Final = 32_768


class Passwords:
    """Makes and checks hashes.  All methods take a core for about 60 ms: call them in a thread.

    ``passes``, ``kibibytes``: of new hashes; hashes made with others still count."""

    def __init__(self, passes: int = _PASSES, kibibytes: int = _KIBIBYTES) -> None:
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=kibibytes, parallelism=1)
        # As a hash of ours looks; no password is known to fit.
        self._decoy = f"$argon2id$v=19$m={kibibytes},t={passes},p=1${'A' * 22}${'A' * 43}"

    def hash(self, password: str) -> str:
        return self._hasher.hash(_normal(password))

    def fits(self, password: str, stored: str) -> bool:
        """``stored``: empty where there is no user or no password; that takes as long, and never fits."""
        if len(password) > LONGEST:
            password, stored = password[:LONGEST], ""
        try:
            return self._hasher.verify(stored or self._decoy, _normal(password)) and bool(stored)
        except (VerificationError, InvalidHashError):
            return False

    def outdated(self, stored: str) -> bool:
        """Return whether a correct hash should be replaced because it was made with other parameters."""
        return self._hasher.check_needs_rehash(stored)


def check_strength(password: str, name: str) -> None:
    """Raises `UsageError` when anybody could guess it.  Length is what counts; there are no rules on kinds of
    characters, which people meet by ``Password1!``."""
    if len(password) < SHORTEST:
        raise UsageError(f"A password has at least {SHORTEST} characters.", "Four or five words make a good one.")
    if len(password) > LONGEST:
        raise UsageError(f"A password has at most {LONGEST} characters.", "Take a shorter one.")
    plain, key = user_key(password), user_key(name)
    rest = plain.replace(key, "") if key else plain
    if len(set(rest)) < _FEWEST_DIFFERENT:
        raise UsageError(
            "That password is too easy to guess: it is close to the user's name, or repeats the same characters.",
            "Four or five words make a good one.",
        )


def _normal(password: str) -> bytes:
    """The same bytes however a keyboard composes its characters (NIST SP 800-63B); half a character cannot be typed."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "replace")


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
        """The user of this nick; nothing of it is logged or stored.  Raises `SourceError` when the database cannot be
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
