"""Limits of attempts to sign in: after some failures, growing pauses, for each user and each address.

An attempt counts as failed from its beginning, so that many at once are no way around; a success takes that back.
Attempts within a pause are refused without being looked at, and do not lengthen it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from cdc.access.model import user_key
from cdc.access.proxy import network_of
from cdc.model.errors import TooManyAttempts

#: Users or addresses that are remembered; beyond, those that failed longest ago are forgotten.
_MOST: Final = 100_000


@dataclass(frozen=True, slots=True)
class ThrottleLimits:
    """The pauses between attempts.  After ``free`` failures: a second, and twice as long each time, up to ``longest``
    (seconds).  After ``forgotten_after`` seconds without a failure the count starts from zero."""

    free: int
    longest: float
    forgotten_after: float = 3_600.0

    def pause(self, failures: int) -> float:
        over = failures - self.free
        return min(self.longest, 2.0 ** min(over - 1, 30)) if over > 0 else 0.0


#: Somebody else's failures must not keep a user out for long; 1,440 guesses a day find no password.
USER: Final = ThrottleLimits(free=3, longest=60.0)
#: An office is one address.
ADDRESS: Final = ThrottleLimits(free=10, longest=900.0)


@dataclass(slots=True)
class _Failures:
    number: int
    last: float


class _Counter:
    def __init__(self, bounds: ThrottleLimits) -> None:
        self._bounds = bounds
        self._failures: OrderedDict[bytes, _Failures] = OrderedDict()

    def wait(self, key: bytes, now: float) -> float:
        """Seconds; 0 when an attempt may be made."""
        found = self._failures.get(key)
        if found is None:
            return 0.0
        return max(0.0, found.last + self._bounds.pause(found.number) - now)

    def fail(self, key: bytes, now: float) -> None:
        found = self._failures.pop(key, None)
        if found is None or found.last + self._bounds.forgotten_after <= now:
            found = _Failures(0, now)
        self._failures[key] = _Failures(found.number + 1, now)
        if len(self._failures) > _MOST:
            self._failures.popitem(last=False)

    def take_back(self, key: bytes) -> None:
        found = self._failures.get(key)
        if found is not None:
            found.number -= 1
            if found.number == 0:
                del self._failures[key]

    def forget(self, key: bytes) -> None:
        self._failures.pop(key, None)


class Throttle:
    """The limits of one process, in memory: a restart resets them.  Names that are one user's (`user_key`) are one
    here; so are the addresses of one IPv6 network of 64 bits, which one customer has."""

    def __init__(self, user: ThrottleLimits = USER, address: ThrottleLimits = ADDRESS) -> None:
        self._users = _Counter(user)
        self._addresses = _Counter(address)

    def begin(self, name: str, address: str, now: float) -> None:
        """Count an attempt at ``now`` (monotonic seconds).  Raises `TooManyAttempts` when none may be made yet."""
        user, network = _keys(name, address)
        wait = max(self._users.wait(user, now), self._addresses.wait(network, now))
        if wait > 0:
            raise TooManyAttempts(wait)
        self._users.fail(user, now)
        self._addresses.fail(network, now)

    def succeeded(self, name: str, address: str) -> None:
        """Note that the attempt that was begun succeeded.  Of the address only that one is taken back: nobody can use
        an account of their own to continue guessing others' passwords."""
        user, network = _keys(name, address)
        self._users.forget(user)
        self._addresses.take_back(network)


def _keys(name: str, address: str) -> tuple[bytes, bytes]:
    """Return the keys of a user and of a network: digests, so that a long name takes no more memory."""
    return _digest(user_key(name)), _digest(network_of(address))


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
