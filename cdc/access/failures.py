"""Failed sign-ins: growing pauses for each user and each address, and entries in the audit log.

An attempt counts as failed from its beginning, so that many at once are no way around; a success takes that back.
Attempts within a pause are refused unread, and do not lengthen it.

Of each network the first failure is recorded at once, further ones of the hour as one entry with their number.
Networks beyond the first `MOST_NETWORKS` share one entry, so that no attack floods the log."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import structlog

from cdc.access.base import AccessStore
from cdc.access.model import user_key
from cdc.access.proxy import network_of, plain_address
from cdc.model.audit import AuditEntry
from cdc.model.clock import Clock
from cdc.model.errors import OutboxError, TooManyAttempts

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

    def count_attempt(self, name: str, address: str, now: float) -> None:
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


#: Seconds from a network's first failure until its further ones are written.
WINDOW: Final = 3_600.0
#: Networks that have entries of their own at a time, and accounts that an entry names.
MOST_NETWORKS: Final = 20
MOST_ACCOUNTS: Final = 10
#: Seconds between two checks for windows that have ended.
_EVERY: Final = 60.0
_LONGEST: Final = 100
_OTHERS: Final = "other addresses"

log = structlog.get_logger()


@dataclass(slots=True)
class _Window:
    """Failures of one network that have no entry yet.  ``until``: monotonic seconds.  ``ways`` and ``accounts``: as
    ordered sets."""

    address: str
    until: float
    since: datetime
    count: int = 0
    ways: dict[str, None] = field(default_factory=dict)
    accounts: dict[str, None] = field(default_factory=dict)

    def add(self, by: str, account: str) -> None:
        self.count += 1
        self.ways[by] = None
        if account and len(self.accounts) < MOST_ACCOUNTS:
            self.accounts[account] = None


class FailedSignIns:
    """Counts and records failed sign-ins.  In memory until they are written: a crash loses the counts of an hour."""

    def __init__(self, store: AccessStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._windows: dict[str, _Window] = {}

    async def record(self, by: str, address: str, account: str = "") -> None:
        """Record that a sign-in failed.  ``by``: how it was tried (``password``, ``code``, ``token`` …).  ``account``:
        an existing one (``user:ann``, ``token:shop``), else empty.  Never a text that was typed: it may be a password.
        """
        await self._write_ended(self._clock.monotonic())
        account = account if account.isprintable() and len(account) <= _LONGEST else ""
        network = network_of(address)
        first = network not in self._windows
        if first and len(self._windows.keys() - {_OTHERS}) >= MOST_NETWORKS:
            network, first = _OTHERS, False
        window = self._windows.get(network)
        if window is None:
            shown = plain_address(network) if network != _OTHERS else _OTHERS
            window = _Window(shown, self._clock.monotonic() + WINDOW, self._clock.now())
            self._windows[network] = window
        if first:
            detail = {"by": by, "address": plain_address(address)}
            entry = AuditEntry(window.since, "stranger", "session.refused", account or "sign-in", detail)
            if await self._append(entry):
                return
        window.add(by, account)

    async def run(self, stop: asyncio.Event) -> None:
        """Write the entries of windows that have ended, and at ``stop`` of all."""
        while not await self._clock.wait(stop, _EVERY):
            await self._write_ended(self._clock.monotonic())
        await self._write_ended(float("inf"))

    async def _write_ended(self, now: float) -> None:
        for network, window in list(self._windows.items()):
            if window.until <= now and self._windows.pop(network, None) is not None and window.count:
                await self._write(network, window)

    async def _write(self, network: str, window: _Window) -> None:
        accounts = list(window.accounts)
        detail: dict[str, str | int] = {
            "by": ", ".join(window.ways),
            "address": window.address,
            "count": window.count,
            "since": window.since.isoformat(),
        }
        if len(accounts) > 1:
            detail["accounts"] = ", ".join(accounts)
        subject = accounts[0] if len(accounts) == 1 else "sign-in"
        entry = AuditEntry(self._clock.now(), "stranger", "session.refused", subject, detail)
        if not await self._append(entry):  # written at the end of another window
            window.until = self._clock.monotonic() + WINDOW
            self._windows.setdefault(network, window)

    async def _append(self, entry: AuditEntry) -> bool:
        try:
            await self._store.append(entry)
        except OutboxError as error:
            log.warning("failed sign-ins not recorded", error=str(error))
            return False
        return True
