"""The consumer: what one `cdc run` does, and how it takes on another configuration while it runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog

from cdc.config import Config
from cdc.database.sqlfile import load_all
from cdc.extras import install_hint
from cdc.model.clock import Backoff, Clock, SystemClock
from cdc.model.errors import CdcError, ConfigError, OutboxError, OutboxLost, OutboxUnavailable, first_error
from cdc.model.observer import Observer, Several
from cdc.model.worker import ProcessRole
from cdc.outbox.base import OutboxFile
from cdc.runtime.components import Parts, end_in_time, settled
from cdc.runtime.consumer_parts import ConsumerParts, Say, sources_of
from cdc.runtime.outboxes import check_account, open_outbox, require, save_lost
from cdc.runtime.process import Supervisor
from cdc.runtime.reload import Reload, check_reloadable

if TYPE_CHECKING:
    from cdc.web.reported import Reported

log = structlog.get_logger()

#: Added to the pause that is reported to the service manager: no pause lasts exactly as long as planned.
_MARGIN = 20.0
#: Seconds between two looks whether the outbox is still in its place.
_WATCH = 2.0


async def run(
    config: Config,
    stop: asyncio.Event,
    role: ProcessRole = ProcessRole.ALL,
    say: Say = print,
    reload: Reload | None = None,
) -> None:
    """Do the work of a role until ``stop`` is set, then end within ten seconds.

    ``say``: prints for the person who started the process, not for the log.  ``reload``: returns another configuration
    when it is asked for; None: never."""
    from cdc.web.reported import Reported

    if not config.source and role.captures:
        raise ConfigError("The configuration names no source.", "Add a [source.main] table: cdc config init shows one.")
    if role is ProcessRole.WEB and not config.web.listen:
        raise ConfigError("This role serves the page, and [web] listen is empty.", 'Set listen = "127.0.0.1:8600".')
    load_all()
    supervisor = Supervisor.of(os.environ)
    store = open_outbox(config)
    reported = Reported(SystemClock(), tuple(sources_of(config, role)))
    try:
        pages = await _open_in_time(config, store, role, stop, supervisor)
        if pages is None:
            return
        async with observing(config, reported) as observer:
            parts = ConsumerParts(store, reported, observer, role, say, supervisor, pages)
            await _RunningConsumer(parts, supervisor, stop, reload).run(config)
    except OutboxLost as lost:
        raise await save_lost(store, lost) from lost
    finally:
        supervisor.stopping()
        await store.close()


@asynccontextmanager
async def observing(config: Config, reported: Reported) -> AsyncIterator[Observer]:
    """The observers of relays and dispatch: ``reported``, and traces where they are configured."""
    if not config.tracing.endpoint:
        yield reported
        return
    try:
        from cdc.web.traces import Traces
    except ImportError as error:
        raise ConfigError(
            "Traces are configured ([tracing] endpoint), and OpenTelemetry is not installed.",
            install_hint("tracing"),
        ) from error
    traces = Traces.to_collector(config.tracing.endpoint, config.tracing.sample, SystemClock())
    try:
        yield Several(reported, traces)
    finally:
        await asyncio.to_thread(traces.close)


async def _open_in_time(
    config: Config, store: OutboxFile, role: ProcessRole, stop: asyncio.Event, supervisor: Supervisor
) -> bool | None:
    """Open the outbox and return whether its account may serve the page; None: ``stop`` came first.  A server that is
    not there yet is waited for."""
    backoff = Backoff(first=0.5, most=10.0)
    while not stop.is_set():
        try:
            await require(config, store)
            await store.open()
            return await check_account(config, role)
        except OutboxUnavailable as error:
            delay = backoff.next()
            log.error("outbox failed", error=str(error), retry_in=round(delay, 1))
            supervisor.waiting("Waiting for the outbox.", delay + _MARGIN)
            await SystemClock().wait(stop, delay)
    return None


@dataclass
class _RunningConsumer:
    parts: ConsumerParts
    supervisor: Supervisor
    stop: asyncio.Event
    reload: Reload | None

    async def run(self, config: Config) -> None:
        """Run until ``stop``."""
        wanted = self.parts.of(config)
        try:
            async with asyncio.TaskGroup() as group:
                running = Parts(group, self.parts.components)
                group.create_task(self._end(running))
                watch = partial(watch_outbox, self.parts.store, SystemClock())
                group.create_task(end_in_time("outbox", watch, self.stop))
                await running.become(wanted)
                settled()
                self.supervisor.ready(self.parts.status(SystemClock().now()))
                while await self._reload_asked():
                    config = await self._reloaded(config, running)
        except ExceptionGroup as failed:
            raise first_error(failed) from None
        log.info("stopped")

    async def _end(self, running: Parts) -> None:
        """Stop all parts at once: a database that is slow to close must not take from the grace of dispatch."""
        await self.stop.wait()
        log.info("stopping")
        self.supervisor.stopping()
        running.stop()

    async def _reload_asked(self) -> bool:
        """Waits for it; False: ``stop`` came first."""
        if self.reload is None:
            await self.stop.wait()
            return False
        waiting = [asyncio.ensure_future(event.wait()) for event in (self.stop, self.reload.asked)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
        self.reload.asked.clear()
        return not self.stop.is_set()

    async def _reloaded(self, present: Config, running: Parts) -> Config:
        """The configuration that is in force from now on: the new one, or the present where that one is wrong."""
        assert self.reload is not None, "asked for"
        self.supervisor.reloading(SystemClock())
        config = present
        try:
            wanted_config = self.reload.read()
            check_reloadable(present, wanted_config, self.parts.role)
            wanted = self.parts.of(wanted_config)
        except CdcError as error:
            log.error("configuration not reloaded: the present one stays in force", error=str(error))
        else:
            config = wanted_config
            self.reload.accepted(config)
            changed = await running.become(wanted)
            log.info("configuration reloaded", changed=sorted(changed))
        self.supervisor.ready(self.parts.status(SystemClock().now()))
        return config


async def watch_outbox(store: OutboxFile, clock: Clock, stop: asyncio.Event) -> None:
    """Check the outbox until ``stop``.  Raises `OutboxLost`: nothing of this process works without it."""
    while not await clock.wait(stop, _WATCH):
        try:
            await store.check()
        except OutboxLost:
            raise
        except (OutboxError, OSError, RuntimeError):
            continue  # also without file descriptors or threads; reported by the parts that need them
