"""Workers: processes that share the sources of one outbox, and their leases."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

#: Seconds for which the leases of a worker last after its last sign (`cdc_outbox.live_worker`).
LEASE_SECONDS = 8.0


class ProcessRole(StrEnum):
    """The work of a process.  ``WEB``: the page and the API.  ``ALL``: all of it."""

    ALL = "all"
    CAPTURE = "capture"
    DISPATCH = "dispatch"
    WEB = "web"

    @property
    def captures(self) -> bool:
        return self in (ProcessRole.ALL, ProcessRole.CAPTURE)

    @property
    def sends(self) -> bool:
        return self in (ProcessRole.ALL, ProcessRole.DISPATCH)


class SourceLease(NamedTuple):
    """``worker``: the one that reads the source; None: it is free.  ``epoch``: grows with each holder.  ``wanted_by``:
    a live worker to which the holder hands it over."""

    worker: str | None
    epoch: int
    wanted_by: str | None


@dataclass(frozen=True, slots=True)
class Census:
    """``draining``: by the names of the workers that live, whether each gives its sources away.  ``leases``: by source;
    a lease of a dead worker is free, unless this process has just come back to the outbox: the others may be about to
    come back too."""

    draining: Mapping[str, bool]
    leases: Mapping[str, SourceLease]


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker as `cdc worker list` shows it.  ``sources``: since when it reads each.  ``lags``: source → seconds that
    its oldest unread change waits, where one does."""

    name: str
    version: str
    started_at: datetime
    seen_at: datetime
    alive: bool
    draining: bool
    sources: Mapping[str, datetime]
    lags: Mapping[str, float]


class WorkerStore(Protocol):
    """Every method may raise `OutboxError`, within `LEASE_SECONDS`."""

    async def sign(self, name: str, sources: Collection[str], lags: Mapping[str, float]) -> Census:
        """Give a sign of life of this process, the worker ``name``, which can read ``sources``."""
        ...

    async def take(self, name: str, sources: Sequence[str]) -> dict[str, int]:
        """Take those of the sources that no live worker reads.  Return their epochs."""
        ...

    async def want(self, name: str, sources: Sequence[str]) -> None:
        """Ask the workers that read these sources to hand them over."""
        ...

    async def release(self, name: str, sources: Sequence[str]) -> None:
        """Hand sources over to the workers that asked for them, or to any."""
        ...

    async def workers(self) -> list[WorkerView]:
        """All workers of the last hour, by name."""
        ...

    async def drain(self, name: str, *, draining: bool) -> None:
        """Have a worker give its sources away, or take its share again.  Raises `NotFound`."""
        ...

    async def leave(self, name: str) -> None:
        """Release all sources of a worker that ends, and forget it."""
        ...
