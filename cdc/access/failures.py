"""Failed sign-ins in the audit log: of each network the first one at once, further ones of the hour as one entry with
their number.  Networks beyond the first `MOST_NETWORKS` share one entry, so that no attack floods the log."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import structlog

from cdc.access.base import AccessStore
from cdc.access.proxy import network_of, plain_address
from cdc.model.audit import AuditEntry
from cdc.model.clock import Clock
from cdc.model.errors import OutboxError

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
