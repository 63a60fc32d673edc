"""The consumer: relays, dispatch and health of one `cdc run`."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

import structlog

from cdc.backoff import Backoff
from cdc.clock import SystemClock
from cdc.config import Config, SourceConfig
from cdc.errors import ConfigError, OutboxUnavailable
from cdc.observer import Observer, Several
from cdc.outbox.base import OutboxStore
from cdc.outbox.upkeep import Kept, keep_tidy
from cdc.service.outboxes import open_outbox
from cdc.service.rules import catalogue
from cdc.service.sending import sending
from cdc.service.sources import probe_of, source_of

if TYPE_CHECKING:
    from cdc.dispatch.dispatcher import Dispatcher
    from cdc.relay import Relay
    from cdc.web.reported import Reported

log = structlog.get_logger()

#: Between two tries to become the process that dispatches from an outbox.
STANDBY_SECONDS = 1.0


def _relay(source: SourceConfig, store: OutboxStore, stored: Callable[[], None], observer: Observer) -> Relay:
    from cdc.mapping.mapper import Mapper
    from cdc.relay import Relay

    return Relay(source_of(source), Mapper(catalogue(source)), store, SystemClock(), stored, observer)


#: Told to whoever started the process: a link that lets in.
Say = Callable[[str], None]


class Role(StrEnum):
    """What of the consumer's work a process does."""

    ALL = "all"
    CAPTURE = "capture"
    DISPATCH = "dispatch"


async def run(config: Config, stop: asyncio.Event, role: Role = Role.ALL, say: Say = print) -> None:
    """Relay every source and dispatch, or one of both, until ``stop`` is set, then end within ten seconds.

    ``say``: what is for whoever started the process, and not for the log."""
    from cdc.dispatch.dispatcher import Dispatcher, DispatchSettings
    from cdc.dispatch.endurance import Endurance, Failures
    from cdc.web.reported import Reported

    if not config.source and role is not Role.DISPATCH:
        raise ConfigError("The configuration names no source.", "Add a [source.main] table: cdc config init shows one.")
    sources = {} if role is Role.DISPATCH else config.source
    store = open_outbox(config)
    reported = Reported(SystemClock(), tuple(sources))
    try:
        if not await _open_in_time(store, stop):
            return
        async with sending(config) as sender, observing(config, reported) as observer:
            settings = DispatchSettings(
                worker=_worker(config),
                concurrency=config.dispatch.concurrency,
                lease=config.dispatch.lease_seconds,
                grace=config.dispatch.stop_seconds,
            )
            failures = Failures()
            dispatcher = Dispatcher(store, sender, SystemClock(), settings, observer=Several(observer, failures))
            relays = [_relay(source, store, dispatcher.notify, observer) for source in sources.values()]
            works = []
            if role is Role.CAPTURE:
                reported.dispatching(active=False)
            else:
                store.on_write(dispatcher.notify)
                works.append(_dispatch(dispatcher, store, stop, observer))
                works.append(Endurance(store, failures, SystemClock(), dispatcher.notify).run(stop))
                works.append(keep_tidy(store, Kept(**config.retention.model_dump()), SystemClock(), stop))
            if relays or config.web.listen:
                works.append(_watch(config, store, relays, reported, stop, announced=dispatcher.notify, say=say))
            await _run_all(relays, dispatcher, works, stop)
    finally:
        await store.close()


@asynccontextmanager
async def observing(config: Config, reported: Reported) -> AsyncIterator[Observer]:
    """What relays and dispatch report to: ``reported``, and traces where they are configured."""
    if not config.tracing.endpoint:
        yield reported
        return
    try:
        from cdc.web.traces import Traces
    except ImportError as error:
        raise ConfigError(
            "Traces are configured ([tracing] endpoint), and OpenTelemetry is not installed.",
            'Install it with: pip install "facturascripts-cdc[tracing]"',
        ) from error
    traces = Traces.to_collector(config.tracing.endpoint, config.tracing.sample, SystemClock())
    try:
        yield Several(reported, traces)
    finally:
        await asyncio.to_thread(traces.close)


async def _open_in_time(store: OutboxStore, stop: asyncio.Event) -> bool:
    """Whether it is open before ``stop``: a server that is not there yet is waited for."""
    backoff = Backoff(first=0.5, most=10.0)
    while not stop.is_set():
        try:
            await store.open()
        except OutboxUnavailable as error:
            delay = backoff.next()
            log.error("outbox failed", error=str(error), retry_in=round(delay, 1))
            await SystemClock().wait(stop, delay)
        else:
            return True
    return False


def _worker(config: Config) -> str:
    """This process's name in leases: the same after a restart, where that cannot be the name of another one."""
    host = socket.gethostname()
    return config.dispatch.worker or (f"{host}-{os.getpid()}" if config.outbox.path is None else host)


async def _dispatch(dispatcher: Dispatcher, store: OutboxStore, stop: asyncio.Event, observer: Observer) -> None:
    """Dispatch, as soon as no other process does from this outbox: nothing tells when that one ends."""
    clock = SystemClock()
    if not await store.become_dispatcher():
        observer.dispatching(active=False)
        log.info("standby for dispatch", reason="another process dispatches from this outbox")
        while not await store.become_dispatcher():
            if await clock.wait(stop, STANDBY_SECONDS):
                return
        log.info("took over dispatch")
    observer.dispatching(active=True)
    log.info("dispatching")
    await dispatcher.run()


async def _watch(
    config: Config,
    store: OutboxStore,
    relays: Iterable[Relay],
    reported: Reported,
    stop: asyncio.Event,
    *,
    announced: Callable[[], None],
    say: Say,
) -> None:
    """Whether the sources stand still, for operators; health and metrics, where they are to be served."""
    from cdc.web.alarm import Alarm
    from cdc.web.health import Bounds
    from cdc.web.monitor import Monitor, Watched

    clock = SystemClock()
    watched = {
        relay.source.name: Watched(relay.source, probe_of(config.select_source(relay.source.name))) for relay in relays
    }
    monitor = Monitor(store, watched, reported, clock)
    bounds = Bounds(timedelta(seconds=config.web.stalled_seconds), timedelta(seconds=config.web.overdue_seconds))
    async with asyncio.TaskGroup() as group:
        group.create_task(monitor.run(stop))
        group.create_task(Alarm(monitor, bounds, store, clock, announced).run(stop))
        if config.web.listen:
            from cdc.service.web import serve_web

            group.create_task(serve_web(config, store, monitor, bounds, clock=clock, stop=stop, say=say, due=announced))


async def _run_all(
    relays: Iterable[Relay],
    dispatcher: Dispatcher,
    works: Iterable[Coroutine[None, None, None]],
    stop: asyncio.Event,
) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
            for relay in relays:
                group.create_task(relay.run(stop))
            await stop.wait()
            log.info("stopping")
            # beside the relays, not after them: a database that is slow to leave must not eat the grace
            dispatcher.stop()
    except ExceptionGroup as failed:
        raise _first(failed) from None
    log.info("stopped")


def _first(error: Exception) -> Exception:
    """The first error of a group, which is what there is to say."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
