"""Passwords of our own users: argon2id at rest, and what may be one."""

from __future__ import annotations

import unicodedata
from typing import Final

from argon2 import PasswordHasher
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
