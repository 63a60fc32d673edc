"""The consumer: `cdc run` with its parts, which are a relay for each source, dispatch, retention, watches and the
server of the page, and its reload of another configuration."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from cdc.config import Config, SourceConfig
from cdc.config.rules import label, mapper_of, schedule_of
from cdc.config.sending import http_sender, mail_sender, sending
from cdc.database.sqlfile import load_all
from cdc.extras import install_hint
from cdc.model.backfill import NOT_BY_API
from cdc.model.change import Position
from cdc.model.clock import Backoff, Clock, SystemClock
from cdc.model.delivery import QueueStore
from cdc.model.errors import CdcError, ConfigError, OutboxError, OutboxLost, OutboxUnavailable, first_error
from cdc.model.event import Label
from cdc.model.observer import Observer, Several
from cdc.model.worker import ProcessRole
from cdc.outbox.base import HandOver
from cdc.outbox.store import OutboxStore
from cdc.outbox.tidy import RetentionPolicy, keep_tidy
from cdc.runtime.components import (
    Components,
    Parts,
    ProcessPart,
    Reload,
    Work,
    check_reloadable,
    end_in_time,
    sending_key,
    settled,
    source_key,
)
from cdc.runtime.outboxes import check_account, free_space, open_outbox, require, save_lost
from cdc.runtime.placement import Placement
from cdc.runtime.process import Supervisor, keep_alive
from cdc.runtime.sharing import PROBES_APART, Share, Sharing, SourcePace, alone, server_of
from cdc.runtime.sources import check_connections, probe_of, source_of

if TYPE_CHECKING:
    from cdc.backfilling import BackfilledSources
    from cdc.capture.base import SourceBackfills
    from cdc.dispatch.auto_disable import AutoDisable, Failures
    from cdc.dispatch.dispatcher import Dispatcher, DispatchSettings
    from cdc.dispatch.sender import Sender
    from cdc.relay import Relay
    from cdc.runtime.one_round import Round
    from cdc.web.monitor import Monitor, Reported, WatchedSource
    from cdc.web.server import Listener


log = structlog.get_logger()

#: Between two tries to become the process that dispatches from an outbox.
STANDBY_SECONDS = 1.0
DISPATCH, RETENTION, WATCH, FILTERS, PLACEMENT = "dispatch", "retention", "watch", "filters", "placement"

#: Prints for the person who started the process: the set-up link.
Say = Callable[[str], None]


def sources_of(config: Config, role: ProcessRole) -> Mapping[str, SourceConfig]:
    """Return the sources that a process of this role reads."""
    return config.source if role.captures else {}


@dataclass
class Wake:
    """Wakes the dispatcher, if it runs here; called when something is due."""

    dispatcher: Dispatcher | None = None

    def __call__(self) -> None:
        if self.dispatcher is not None:
            self.dispatcher.notify()

    @property
    def at_rest(self) -> bool:
        """Return whether the dispatcher runs here and has nothing to send."""
        return self.dispatcher is not None and self.dispatcher.at_rest

    def endpoint_disabled(self) -> None:
        """Read the endpoints again, so that an enabling is noticed, however soon it follows."""
        if self.dispatcher is not None:
            self.dispatcher.reload_endpoints()
            self.dispatcher.notify()

    def hand_over(self, source: str) -> HandOver | None:
        return None if self.dispatcher is None else self.dispatcher.hand_over(source)

    async def wake_and_yield(self) -> None:
        """Wake the dispatcher and let it start sending first, if that is soon done."""
        if self.dispatcher is not None:
            await self.dispatcher.wake_and_yield()


def relay_of(
    source: SourceConfig,
    store: OutboxStore,
    stored: Callable[[], Awaitable[None]],
    observer: Observer,
    share: Share,
    *,
    backfilled: BackfilledSources | None = None,
) -> Relay:
    from cdc.backfilling import LOOK_EVERY, Backfilling
    from cdc.relay import Relay

    clock, look = SystemClock(), share.pace.idle
    backfills = Backfilling(store, source.name, clock, look=look, backfilled=backfilled if look > LOOK_EVERY else None)
    return Relay(
        source_of(source, store, share),
        mapper_of(source),
        store,
        clock,
        stored,
        observer,
        opening=share.opening,
        retry=share.pace.retry,
        backfills=_due_records(source, store, backfills, clock),
        site=(source.site_url or "").rstrip("/"),
    )


def _due_records(source: SourceConfig, store: OutboxStore, backfills: SourceBackfills, clock: Clock) -> SourceBackfills:
    """Return the backfills with what is due before them, where a rule by time is on."""
    schedule = schedule_of(source)
    if schedule is None:
        return backfills
    if source.capture == "rest":
        log.warning("rules by time are off", source=source.name, reason=NOT_BY_API)
        return backfills
    from cdc.backfilling import DueRecords

    return DueRecords(backfills, store, source.name, schedule, clock)


@dataclass
class ConsumerParts:
    """Makes the parts that a configuration means.  A relay that did not change is the one that there is.  ``pages``:
    whether the account of the outbox may serve the page and the API; health and metrics any may."""

    store: OutboxStore
    reported: Reported
    observer: Observer
    role: ProcessRole
    say: Say
    supervisor: Supervisor
    pages: bool = True
    sharing: Sharing = field(init=False)
    components: Components = field(init=False)
    _relays: dict[str, tuple[object, Relay]] = field(default_factory=dict)
    wake: Wake = field(default_factory=Wake)
    _watch: tuple[Monitor, Config] | None = None
    _placement: Placement | None = None
    _backfilled: BackfilledSources | None = None
    #: Set when the process ends; without it a part that stops gives way to its successor.
    ending: bool = False
    _listener: Listener | None = None
    _config: Config = field(default_factory=Config)
    _sending: Config = field(default_factory=Config)
    _sending_changed: asyncio.Event = field(default_factory=asyncio.Event)
    _auto_disable: tuple[Failures, AutoDisable] | None = None

    def __post_init__(self) -> None:
        self.components = Components(SystemClock(), self.observer)
        self.sharing = Sharing(leased=self.store.workers is not None)

    def parts(self, config: Config) -> dict[str, ProcessPart]:
        """Return the parts of a process by name.  Raises `CdcError` for anything wrong in the configuration, before a
        part starts or stops."""
        self._config = config
        sources = sources_of(config, self.role)
        check_connections(sources.values())
        shares = self.sharing.shares(sources.values())
        relays = {name: self._relay(name, source, shares[name]) for name, source in sources.items()}
        parts = {}
        if relays and self.store.workers is not None:
            placement = self._placement or Placement(self.store.workers, _worker(config), SystemClock(), self._lags)
            self._placement = placement
            parts[PLACEMENT] = ProcessPart((), placement.run)
        parts |= {f"source {name}": ProcessPart(key, self._reading(relay)) for name, (key, relay) in relays.items()}
        if self.role.sends:
            parts[DISPATCH] = self._dispatch(config)
            retention = RetentionPolicy(**config.retention.model_dump())
            parts[RETENTION] = ProcessPart(
                retention, lambda stop: keep_tidy(self.store, retention, SystemClock(), stop)
            )
        parts[FILTERS] = ProcessPart((), self._filters)
        watched = {name: relay for name, (_, relay) in relays.items()}
        if config.web.listen:
            config.web.metrics_token()  # only to find a file that cannot be read now
        if watched or config.web.listen or self.supervisor.silence_limit is not None:
            keys = [key for key, _ in relays.values()]
            paces = {name: share.pace for name, share in shares.items()}
            parts[WATCH] = ProcessPart((config, keys), lambda stop: self._watched(config, watched, paces, stop))
        self._relays = relays
        return parts

    def status(self, now: datetime) -> str:
        """One line for people: what is wrong first, else that nothing is."""
        if self._watch is None:
            return "Running."
        from cdc.web.health import reasons

        monitor, config = self._watch
        return next(iter(reasons(monitor, _bounds(config), now)), "All is well.")

    # -- capture ----------------------------------------------------------------------------------------------------

    def _relay(self, name: str, source: SourceConfig, share: Share) -> tuple[object, Relay]:
        key = source_key(source)
        known = self._relays.get(name)
        if known is not None and known[0] == key:
            return known
        if self._backfilled is None:
            from cdc.backfilling import BackfilledSources

            self._backfilled = BackfilledSources(self.store, SystemClock())
        stored = self.wake.wake_and_yield
        relay = relay_of(source, self.store, stored, self.observer, share, backfilled=self._backfilled)
        relay.hand_over = self.wake.hand_over
        return key, relay

    def _lags(self) -> dict[str, float]:
        """Seconds that the oldest unread change of a source waits, as the monitor's last question found."""
        if self._watch is None:
            return {}
        ahead = self._watch[0].ahead.items()
        return {source: answers.last.seconds for source, answers in ahead if answers.last and answers.last.seconds}

    def _reading(self, relay: Relay) -> Work:
        """Run a relay; where processes share the sources, while this one has the lease."""
        placement = self._placement
        if placement is None:
            return relay.run

        async def read(stop: asyncio.Event, epoch: int) -> None:
            relay.epoch = epoch
            await relay.run(stop)

        return lambda stop: placement.hold(relay.source.name, read, stop)

    # -- dispatch ---------------------------------------------------------------------------------------------------

    def _dispatch(self, config: Config) -> ProcessPart:
        mail_sender(config)  # only to find configuration errors now; each start needs new ones
        http_sender(config)

        def adopt() -> None:
            self._sending = config
            self._sending_changed.set()

        async def work(stop: asyncio.Event) -> None:
            from cdc.dispatch.sender import ReloadableSender

            self._sending_changed.clear()
            async with ReloadableSender() as sender:

                async def use(config: Config) -> None:
                    await sender.use(sending(config, self.store.attempts))

                await use(self._sending)
                await self._dispatched(self._sending, sender, stop, use)

        return ProcessPart(sending_key(config), work, adopt, ending=None)  # the requests in flight have stop_seconds

    async def _dispatched(
        self, config: Config, sender: Sender, stop: asyncio.Event, use: Callable[[Config], Awaitable[None]]
    ) -> None:
        """Dispatch.  A reload changes the means of sending (``use``) and the settings only: breakers, pauses, rates,
        warnings and requests in flight stay.  All but the requests stay also when this failed and is called again."""
        from cdc.dispatch.auto_disable import AutoDisable, Failures
        from cdc.dispatch.dispatcher import Dispatcher

        if self._auto_disable is None:
            failures, clock = Failures(), SystemClock()
            watch = AutoDisable(self.store, failures, clock, self.wake, self.wake.endpoint_disabled)
            self._auto_disable = failures, watch
        failures, watch = self._auto_disable
        dispatcher = Dispatcher(
            self.store,
            sender,
            SystemClock(),
            _settings(config),
            observer=Several(self.observer, failures),
            labels=self._label,
            former=self.wake.dispatcher,
        )
        self.observer.held({})  # by the former dispatcher
        self.wake.dispatcher = dispatcher
        self.store.on_write(self.wake)

        async def stopping() -> None:
            await stop.wait()
            dispatcher.stop()
            self._sending_changed.set()

        async def reconfiguring() -> None:
            while await self._sending_changed.wait() and not stop.is_set():
                self._sending_changed.clear()
                try:
                    await use(self._sending)
                except ConfigError as error:  # it was checked, so a file has changed since: the former means stay
                    log.error("dispatch not reconfigured", error=str(error))
                else:
                    dispatcher.reconfigure(_settings(self._sending))

        async with asyncio.TaskGroup() as group:
            group.create_task(stopping())
            group.create_task(reconfiguring())
            group.create_task(self.components.keep("endurance", watch.run, stop))
            await _become_dispatcher(dispatcher, self.store, stop, self.observer)

    def _label(self, source: str, event: str) -> Label:
        """Return the columns by which people know an event's record, by the present rules: the dispatcher stays when
        only they change."""
        return label(self._config, source, event)

    async def _filters(self, stop: asyncio.Event) -> None:
        """Disable endpoints whose filters take too long, and note those that fail.  Runs in every role: each stores
        events, and evaluates filters then."""
        from cdc.dispatch.auto_disable import FilterGuard
        from cdc.model.selection import EXCEEDED, FAILED

        await FilterGuard(self.store, EXCEEDED, FAILED, SystemClock(), self.wake.endpoint_disabled).run(stop)

    # -- what watches -----------------------------------------------------------------------------------------------

    async def _watched(
        self, config: Config, relays: Mapping[str, Relay], paces: Mapping[str, SourcePace], stop: asyncio.Event
    ) -> None:
        """Return whether the sources stand still, for operators; health and metrics, where they are to be served."""
        from cdc.web.health import Alarm, hangs
        from cdc.web.monitor import Monitor

        clock, bounds = SystemClock(), _bounds(config)
        page_only = self.role is ProcessRole.WEB
        self.reported.set_sources(config.source if page_only else relays)
        if not self.role.sends:
            self.reported.dispatching(active=False)
        reads = (lambda _source: True) if self._placement is None else self._placement.reads
        watched = _watched(config, relays, paces)
        free = partial(free_space, config)
        monitor = Monitor(self.store, watched, self.reported, clock, reads, elsewhere=page_only, free=free)
        self._watch = monitor, config
        alarm = Alarm(monitor, bounds, self.store, clock, self.wake)
        duties: dict[str, Work] = {
            "monitor": monitor.run,
            "alarm": alarm.run,
            "watchdog": lambda stop: keep_alive(
                self.supervisor, lambda now: hangs(monitor, bounds, now), self.status, clock, stop
            ),
        }
        if config.web.listen:
            duties["web"] = lambda stop: self._served(config, monitor, stop)
        async with asyncio.TaskGroup() as group:
            for name, duty in duties.items():
                group.create_task(self.components.keep(name, duty, stop))

    async def _served(self, config: Config, monitor: Monitor, stop: asyncio.Event) -> None:
        from cdc.runtime.web import serve_web
        from cdc.web.server import Listener

        self._listener = self._listener or Listener()
        try:
            await serve_web(
                config,
                self.store,
                monitor,
                _bounds(config),
                clock=SystemClock(),
                stop=stop,
                say=self.say,
                due=self.wake,
                pages=self.pages,
                listener=self._listener,
            )
        finally:
            if self.ending or not stop.is_set() or self._config.web.listen != config.web.listen:
                self._listener.close()  # else another configuration is served by the same sockets at once


def _watched(config: Config, relays: Mapping[str, Relay], paces: Mapping[str, SourcePace]) -> dict[str, WatchedSource]:
    """Watched sources, asked one after the other: the connections of all of them at once would hold the event loop for
    a tenth of a second, at each start of the watch."""
    from cdc.web.monitor import WatchedSource

    found: dict[str, WatchedSource] = {}
    trying = defaultdict[tuple[str, ...], asyncio.Lock](asyncio.Lock)  # one more connection of each server at a time
    for name, relay in relays.items():
        pace, source = paces[name], config.select_source(name)
        probe = probe_of(source, pace, trying[server_of(source)])
        found[name] = WatchedSource(relay.source, probe, pace.probe, PROBES_APART * len(found))
    return found


def _bounds(config: Config) -> Any:
    from cdc.web.health import HealthLimits

    return HealthLimits(
        stalled=timedelta(seconds=config.web.stalled_seconds),
        overdue=timedelta(seconds=config.web.overdue_seconds),
        attempt=timedelta(seconds=config.dispatch.max_timeout_seconds),
        synchronous=config.outbox.synchronous,
    )


def _worker(config: Config) -> str:
    """Return this process's name in leases: the same after a restart, unless another process may have that name too.
    Processes in containers may share a number and a host's name."""
    host = socket.gethostname()
    alone = config.outbox.path is not None
    return config.dispatch.worker or (host if alone else f"{host}-{os.getpid()}-{secrets.token_hex(4)}")


def _settings(config: Config) -> DispatchSettings:
    from cdc.dispatch.dispatcher import DispatchSettings

    return DispatchSettings(
        worker=_worker(config),
        concurrency=config.dispatch.concurrency,
        lease=config.dispatch.lease_seconds,
        grace=config.dispatch.stop_seconds,
    )


async def _become_dispatcher(
    dispatcher: Dispatcher, store: QueueStore, stop: asyncio.Event, observer: Observer
) -> None:
    """Dispatch, as soon as no other process does from this outbox.  Its end is polled for: nothing announces it."""
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


class _ReadingStart(Observer):
    """Calls ``begun`` when the source is read: no other process reads it then."""

    def __init__(self, begun: Callable[[], None]) -> None:
        self._begun = begun

    def reading(self, source: str, position: Position | None) -> None:  # noqa: ARG002 - the signature of the overridden method; only the call matters here
        self._begun()


@asynccontextmanager
async def capturing(source: SourceConfig, store: OutboxStore, begun: Callable[[], None]) -> AsyncIterator[None]:
    """Capture from a source, without sending, inside the block; while another process does, wait as its standby.
    ``begun``: called when it is this one."""
    from cdc.relay import nobody

    stop = asyncio.Event()
    relay = relay_of(source, store, nobody, _ReadingStart(begun), alone())
    settled()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(relay.run(stop))
            try:
                yield
            finally:
                stop.set()
    except ExceptionGroup as failed:
        raise first_error(failed) from None


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
    once: Round | None = None,
) -> None:
    """Do the work of a role until ``stop`` is set, then end within ten seconds.

    ``say``: prints for the person who started the process, not for the log.  ``reload``: returns another configuration
    when it is asked for; None: never.  ``once``: sets ``stop`` when all is read and sent."""
    from cdc.web.monitor import Reported

    if not config.source and role.captures:
        raise ConfigError("The configuration names no source.", "Add a [source.main] table: cdc config init shows one.")
    if role is ProcessRole.WEB and not config.web.listen:
        raise ConfigError("This role serves the page, and [web] listen is empty.", 'Set listen = "127.0.0.1:8600".')
    load_all()
    supervisor = Supervisor.from_environment(os.environ)
    store = open_outbox(config)
    reported = Reported(SystemClock(), tuple(sources_of(config, role)))
    try:
        pages = await _open_in_time(config, store, role, stop, supervisor)
        if pages is None:
            return
        async with observing(config, reported) as observer:
            seen = observer if once is None else Several(observer, once)
            parts = ConsumerParts(store, reported, seen, role, say, supervisor, pages)
            watch = None if once is None else partial(once.watch, config.source, store, reported, parts.wake)
            await _RunningConsumer(parts, supervisor, stop, reload, watch).run(config)
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
    config: Config, store: OutboxStore, role: ProcessRole, stop: asyncio.Event, supervisor: Supervisor
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
    once: Work | None = None

    async def run(self, config: Config) -> None:
        """Run until ``stop``, which ``once`` sets."""
        parts = self.parts.parts(config)
        try:
            async with asyncio.TaskGroup() as group:
                running = Parts(group, self.parts.components)
                group.create_task(self._end(running))
                watch = partial(watch_outbox, self.parts.store, SystemClock())
                group.create_task(end_in_time("outbox", watch, self.stop))
                if self.once is not None:
                    group.create_task(end_in_time("round", self.once, self.stop))
                await running.become(parts)
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
        self.parts.ending = True
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
            new = self.reload.read()
            check_reloadable(present, new, self.parts.role)
            parts = self.parts.parts(new)
        except CdcError as error:
            log.error("configuration not reloaded: the present one stays in force", error=str(error))
        else:
            config = new
            self.reload.accepted(config)
            changed = await running.become(parts)
            log.info("configuration reloaded", changed=sorted(changed))
        self.supervisor.ready(self.parts.status(SystemClock().now()))
        return config


async def watch_outbox(store: OutboxStore, clock: Clock, stop: asyncio.Event) -> None:
    """Check the outbox until ``stop``.  Raises `OutboxLost`: nothing of this process works without it."""
    while not await clock.wait(stop, _WATCH):
        try:
            await store.check()
        except OutboxLost:
            raise
        except (OutboxError, OSError, RuntimeError):
            continue  # also without file descriptors or threads; reported by the parts that need them
