"""One bounded round of the consumer (``cdc run --once``): it ends with its work, or with its time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from cdc.config import SourceConfig
from cdc.mapping.permissions import QUIET
from cdc.model.change import Batch
from cdc.model.clock import Clock
from cdc.model.endpoint import is_pull
from cdc.model.errors import OutboxError, SourceError
from cdc.model.event import Event
from cdc.model.observer import Observer
from cdc.outbox.store import OutboxStore
from cdc.runtime.process import peak_memory_mb
from cdc.runtime.sources import probe_of

if TYPE_CHECKING:
    from cdc.capture.probe import Probe
    from cdc.web.monitor import Reported

log = structlog.get_logger()

#: Seconds between two looks whether the round is done.
LOOK: Final = 0.25
#: Seconds without a new event: mapping holds some back for that long, and backfills continue in between.
SETTLED: Final = QUIET.total_seconds() + 0.5


class AtRest(Protocol):
    """Something that sends."""

    @property
    def at_rest(self) -> bool:
        """Return whether it has nothing to send."""
        ...


class Round(Observer):
    """``seconds``: the longest that the round takes, without its end."""

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._seconds = seconds
        self._clock = clock
        self._ends_at = clock.now()
        self._stored_at = clock.monotonic()
        self.events = 0

    def stored(self, source: str, batch: Batch, events: Sequence[Event], new: int) -> None:  # noqa: ARG002 - the signature of the overridden method
        self._stored_at = self._clock.monotonic()
        self.events += new

    async def watch(
        self,
        sources: Mapping[str, SourceConfig],
        store: OutboxStore,
        reported: Reported,
        dispatch: AtRest,
        stop: asyncio.Event,
    ) -> None:
        """Set ``stop`` at the end of the round."""
        begun, self._ends_at = self._clock.monotonic(), self._clock.now() + timedelta(seconds=self._seconds)
        probes = {name: probe_of(source) for name, source in sources.items()}
        why = ""
        try:
            while not why and not await self._clock.wait(stop, LOOK):
                if reported.active is False:
                    why = "another cdc run works on this outbox"
                elif self._clock.monotonic() - begun >= self._seconds:
                    why = "the time is over"
                elif await self._read(probes, reported) and dispatch.at_rest and not await self._due(store, reported):
                    why = "nothing more is to do now"
        finally:
            for probe in probes.values():
                await probe.close()
        stop.set()
        seconds = round(self._clock.monotonic() - begun, 1)
        attempts, memory = sum(reported.attempts.values()), peak_memory_mb()
        log.info(
            "round ended",
            reason=why or "stopped",
            seconds=seconds,
            events=self.events,
            attempts=attempts,
            memory_mb=memory,
        )

    async def _read(self, probes: Mapping[str, Probe], reported: Reported) -> bool:
        """Return whether each source is read to its end, or failed.  One whose backlog is not known never is."""
        if self._clock.monotonic() - self._stored_at < SETTLED:
            return False
        for name, probe in probes.items():
            report = reported.sources[name]
            if report.open_since is None:
                if report.failures:
                    continue
                return False
            try:
                backlog = await probe.ask(report.position)
            except SourceError:  # the monitor reports it
                return False
            if backlog is None or backlog.seconds:
                return False
        return True

    async def _due(self, store: OutboxStore, reported: Reported) -> bool:
        """Return whether a delivery is due that can be sent in this round: dispatch holds some back for a failing or
        limited endpoint."""
        try:
            due = await store.oldest_due(self._clock.now())
            sent = {each.id for each in await store.endpoints() if not is_pull(each.url)}
        except OutboxError:  # dispatch reports it, and tries again
            return True
        later = {each for each, held in reported.held_back.items() if held.until >= self._ends_at}
        return bool((due.keys() & sent) - later)
