"""Placement: the sources that this process reads, while others read the rest from the same outbox.

Every worker gives a sign of life, reads which worker holds which source, and decides for itself: it takes free sources
up to its fair share, and asks the worker that has the most for one that is too many there.  A source moves only when
its holder has stopped reading it, or is dead.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import structlog

from cdc.model.clock import Clock
from cdc.model.errors import OutboxError
from cdc.model.worker import LEASE_SECONDS, Census, WorkerStore

log = structlog.get_logger()

#: Seconds between two signs of life; after one that failed.
SIGN_SECONDS: Final = 2.0
_RETRY_SECONDS: Final = 1.0
#: Seconds after its last sign in which a process reads on: less than its leases last.
_VALID_SECONDS: Final = LEASE_SECONDS - 1.0
#: Seconds to release everything at the end.
_LEAVE_SECONDS: Final = 3.0
#: One of so many sources that are missing is asked for at once.
_AT_ONCE: Final = 8
#: Seconds in which a worker that starts leaves sources to others that start with it, and what it may take at each look.
_JOINING: Final = 10.0
_FIRST: Final = 100

#: Reads a source until the event is set, with a lease of this epoch.
Read = Callable[[asyncio.Event, int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Moves:
    """``take``: free sources.  ``want``: sources of another worker.  ``give``: own ones that another one wants."""

    take: tuple[str, ...] = ()
    want: tuple[str, ...] = ()
    give: tuple[str, ...] = ()


def moves(me: str, sources: Collection[str], census: Census, neglected: Collection[str] = ()) -> Moves:
    """Return what the worker ``me``, which can read ``sources``, does next.  ``neglected``: sources that have been free
    for so long that no other worker can read them."""
    if me not in census.draining:
        return Moves()
    leases = census.leases.items()
    give = tuple(source for source, lease in leases if lease.worker == me and lease.wanted_by not in (None, me))
    if census.draining[me]:
        return Moves(give=give)
    ready = [worker for worker, draining in census.draining.items() if not draining]
    relevant = [lease for source, lease in leases if lease.worker or source in sources]
    fair = len(relevant) / len(ready)
    has = Counter(lease.worker for lease in relevant if lease.worker)
    mine = has[me] - len(give) + sum(lease.wanted_by == me for lease in relevant)
    free = [source for source in sources if census.leases[source].worker is None]
    taken = [source for number, source in enumerate(free, mine) if number < fair or source in neglected]
    want = () if free or mine > has[me] - len(give) else _surplus(me, mine, has, sources, census)
    return Moves(tuple(taken), want, give)


def _surplus(me: str, mine: int, has: Mapping[str, int], sources: Collection[str], census: Census) -> tuple[str, ...]:
    """Return sources of the worker that has the most, or of one that is to have none."""
    others = [(draining, has[worker], worker) for worker, draining in census.draining.items() if worker != me]
    others = [each for each in others if each[1]]
    if not others:
        return ()
    draining, number, richest = max(others)
    lack = number if draining else (number - mine) // 2
    candidates = sorted(
        source
        for source in sources
        if census.leases[source].worker == richest and census.leases[source].wanted_by is None
    )
    return tuple(candidates[: max(lack // _AT_ONCE, 1)]) if lack > 0 else ()


@dataclass
class _Holding:
    """A source that this process can read.  ``epoch``: of the lease with which it reads; None while it does not.
    ``handed_over``: it is handed over once it is read no longer."""

    epoch: int | None = None
    leased: asyncio.Event = field(default_factory=asyncio.Event)
    end: asyncio.Event = field(default_factory=asyncio.Event)
    handed_over: bool = False

    def stop(self) -> None:
        self.leased.set()
        self.end.set()


class Placement:
    """``worker``: this process's name.  ``lags``: returns the lag of each source in seconds."""

    def __init__(self, store: WorkerStore, worker: str, clock: Clock, lags: Callable[[], Mapping[str, float]]) -> None:
        self._store = store
        self._worker = worker
        self._clock = clock
        self._lags = lags
        self._holdings: dict[str, _Holding] = {}
        self._leaving: set[str] = set()  # read no longer, and not yet released
        self._free_since: dict[str, float] = {}
        self._soon = asyncio.Event()
        self._none_left = asyncio.Event()
        self._expiry: asyncio.TimerHandle | None = None
        self._joined: float | None = None

    def reads(self, source: str) -> bool:
        """Return whether this process has the source."""
        return source in self._holdings and self._holdings[source].epoch is not None

    async def hold(self, source: str, read: Read, stop: asyncio.Event) -> None:
        """Run ``read`` whenever this process has the lease of the source, until ``stop``."""
        holding = self._holdings[source] = _Holding()
        self._leaving.discard(source)
        self._none_left.clear()
        self._soon.set()
        stopping = asyncio.ensure_future(stop.wait())
        stopping.add_done_callback(lambda _: holding.stop())
        try:
            while await holding.leased.wait() and not stop.is_set():
                assert holding.epoch is not None, "set with the event"
                log.info("source taken", source=source, worker=self._worker)
                await read(holding.end, holding.epoch)
                if not stop.is_set():
                    self._ended(source, holding)
        finally:
            stopping.cancel()
            del self._holdings[source]
            self._leaving.add(source)  # unless another configuration of it begins at once
            if not self._holdings:
                self._none_left.set()

    def _ended(self, source: str, holding: _Holding) -> None:
        log.info("source left", source=source, worker=self._worker)
        if holding.handed_over:
            self._leaving.add(source)
        holding.epoch, holding.handed_over = None, False
        holding.leased.clear()
        holding.end.clear()
        self._soon.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Place sources until ``stop``, then wait until no source is read here any more."""
        polling, stopping = asyncio.ensure_future(self._poll_regularly()), asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({polling, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not stopping.done():
                polling.result()  # raises
        finally:
            for each in (polling, stopping):
                each.cancel()
            await asyncio.gather(polling, stopping, return_exceptions=True)
        if self._holdings:
            await self._none_left.wait()
        if self._expiry is not None:
            self._expiry.cancel()
        with suppress(OutboxError, TimeoutError):  # the others notice that this process is gone
            async with asyncio.timeout(_LEAVE_SECONDS):
                await self._store.leave(self._worker)

    async def _poll_regularly(self) -> None:
        while True:
            self._soon.clear()
            pause = SIGN_SECONDS
            try:
                await self._poll()
            except OutboxError as error:
                pause = _RETRY_SECONDS
                log.error("sign of life failed", worker=self._worker, error=str(error), retry_in=pause)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._soon.wait()

    async def _poll(self) -> None:
        begun = asyncio.get_running_loop().time()
        if leaving := sorted(self._leaving):
            await self._store.release(self._worker, leaving)
            self._leaving.difference_update(leaving)
        sources = sorted(self._holdings)
        census = await self._store.sign(self._worker, sources, self._lags())
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = asyncio.get_running_loop().call_at(begun + _VALID_SECONDS, self._expire)
        self._read_leased(census)

        now = self._clock.monotonic()
        free = [source for source in sources if census.leases[source].worker is None]
        self._free_since = {source: self._free_since.get(source, now) for source in free}
        # free for longer than other workers need to take them
        neglected = {source for source, since in self._free_since.items() if now - since > 2 * SIGN_SECONDS}
        plan = moves(self._worker, sources, census, neglected)
        for source in plan.give:
            holding = self._holdings.get(source)
            if holding is not None and holding.epoch is not None:
                holding.handed_over = True
                holding.end.set()

        if self._joined is None:
            self._joined = now
        most = len(sources) if now - self._joined > _JOINING else max(_FIRST, len(sources) // _AT_ONCE)
        if take := plan.take[:most]:
            taken = await self._store.take(self._worker, take)
            for source, epoch in taken.items():
                self._receive(source, epoch)
            if len(taken) < len(take):  # another worker was faster: there may be others to take
                self._soon.set()
        if plan.want:
            await self._store.want(self._worker, plan.want)

    def _expire(self) -> None:
        log.error("leases expired", worker=self._worker, reason="the outbox was not reached for too long")
        for holding in self._holdings.values():
            if holding.epoch is not None:
                holding.end.set()

    def _read_leased(self, census: Census) -> None:
        """Read what is leased to this process, and nothing else."""
        for source, lease in census.leases.items():
            holding = self._holdings.get(source)
            mine = lease.worker == self._worker
            if holding is None:
                if mine:
                    self._leaving.add(source)
            elif holding.epoch is None:
                if mine and source not in self._leaving:
                    self._receive(source, lease.epoch)
            elif not (mine and lease.epoch == holding.epoch) and not holding.end.is_set():
                log.warning("source lost", source=source, worker=self._worker, reason="another worker may read it")
                holding.end.set()

    def _receive(self, source: str, epoch: int) -> None:
        holding = self._holdings.get(source)
        if holding is None:
            self._leaving.add(source)
            return
        holding.epoch = epoch
        holding.leased.set()
