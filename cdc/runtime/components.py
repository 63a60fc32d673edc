"""The components of a process: they start, run side by side, restart when they fail, and stop.

Some of them may be replaced while the others continue undisturbed: at a reload of the configuration, by their keys."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import structlog

from cdc.config import Config, SourceConfig
from cdc.model.clock import Backoff, Clock
from cdc.model.errors import CdcError, ConfigError, OutboxLost, UsageError, first_error, reportable_error
from cdc.model.observer import Observer
from cdc.model.worker import ProcessRole

log = structlog.get_logger()

#: The work of a component: it runs until the event is set.
Work = Callable[[asyncio.Event], Awaitable[None]]
#: A component that ran for so many seconds restarts after the shortest delay again.
_WORKED = 60.0
#: Seconds that a component may take to end: of a server that is slow it hears in them, of one that is deaf never.
ENDING: Final = 4.0


async def end_in_time(name: str, work: Work, stop: asyncio.Event, seconds: float | None = ENDING) -> None:
    """Run ``work``, and cancel it when it has not ended so many seconds after ``stop``; None: it ends by itself."""
    try:
        async with asyncio.timeout(None) as limit:

            async def limited() -> None:
                await stop.wait()
                if seconds is not None:
                    limit.reschedule(asyncio.get_running_loop().time() + seconds)

            limiting = asyncio.create_task(limited())  # a callback of a task could still come after the work has ended
            try:
                await work(stop)
            finally:
                limiting.cancel()
    except TimeoutError:
        if not limit.expired():
            raise
        log.error("component given up at stop: it does not end", component=name)


@dataclass
class Components:
    """``observer``: notified whenever a component starts or fails."""

    clock: Clock
    observer: Observer
    _started: set[str] = field(default_factory=set)

    async def keep(self, name: str, work: Work, stop: asyncio.Event, ending: float | None = ENDING) -> None:
        """Run ``work`` until ``stop``; restart it after a growing delay when it raises.  ``ending``: see `end_in_time`.

        Raises `OutboxLost`, because no component works without the outbox, and a `UsageError` of the first run, which
        the person who starts the process must read."""
        backoff = Backoff(first=0.5, most=30.0)
        while not stop.is_set():
            started = self.clock.monotonic()
            self.observer.component_started(name)
            try:
                await end_in_time(name, work, stop, ending)
            except Exception as raised:  # a bulkhead: report, count, restart
                error = first_error(raised)
                if isinstance(error, OutboxLost) or (isinstance(error, UsageError) and name not in self._started):
                    raise
                if self.clock.monotonic() - started > _WORKED:
                    backoff.reset()
                reported, delay = reportable_error(error), backoff.next()
                self.observer.component_failed(name, reported)
                trace = None if isinstance(error, CdcError) else error
                rest = {"error": str(reported), "retry_in": round(delay, 1)}
                log.error("component failed", component=name, **rest, exc_info=trace)
                await self.clock.wait(stop, delay)
            else:
                return
            finally:
                self._started.add(name)


#: An event leaves no cycles, so collections find little: with Python's thresholds dispatch spends 5.1 % of its
#: CPU time in them, with these 1.8 % (`gc.callbacks` around `bench_dispatch`).
_COLLECTION: Final = (20_000, 20, 100)


def settled() -> None:
    """Exclude the objects that exist now, which live as long as the process, from garbage collections, and collect less
    often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTION)


@dataclass(frozen=True, slots=True)
class ProcessPart:
    """A part of a process.  ``key``: after a reload, a part of the same name and key continues undisturbed.  ``adopt``:
    called before the part begins, and when its key changes: it takes the new configuration on while it runs, and loses
    no state.  Without it the part is replaced.  ``ending``: the seconds that it may take to end; None: it knows."""

    key: object = field(repr=False)  # may hold passwords
    work: Work
    adopt: Callable[[], None] | None = None
    ending: float | None = ENDING


@dataclass(frozen=True, slots=True)
class _Running:
    key: object = field(repr=False)
    task: asyncio.Task[None]
    stop: asyncio.Event


class Parts:
    """The running parts, as tasks of ``group``."""

    def __init__(self, group: asyncio.TaskGroup, components: Components) -> None:
        self._group = group
        self._components = components
        self._running: dict[str, _Running] = {}
        self._stopped = False

    async def become(self, parts: Mapping[str, ProcessPart]) -> list[str]:
        """End running parts that are not among ``parts`` with their key, all at once, then start the new ones.  Return
        the names of both, and of parts that adopt a change.  After `stop` nothing starts."""
        changed = {
            name: running
            for name, running in self._running.items()
            if name not in parts or parts[name].key != running.key
        }
        adopting = {name: part.adopt for name, part in parts.items() if name in changed and part.adopt is not None}
        for name, adopt in adopting.items():
            adopt()
            self._running[name] = replace(changed[name], key=parts[name].key)
        ending = {name: running for name, running in changed.items() if name not in adopting}
        for running in ending.values():
            running.stop.set()
        if ending:
            await asyncio.wait([running.task for running in ending.values()])
        for name in ending:
            del self._running[name]
        beginning = [name for name in parts if name not in self._running and not self._stopped]
        for name in beginning:
            stop, part = asyncio.Event(), parts[name]
            if part.adopt is not None:
                part.adopt()
            task = self._group.create_task(self._components.keep(name, part.work, stop, part.ending), name=name)
            self._running[name] = _Running(part.key, task, stop)
        return [*(name for name in ending if name not in parts), *adopting, *beginning]

    def stop(self) -> None:
        """Stop all parts at once; their tasks end by themselves."""
        self._stopped = True
        for running in self._running.values():
            running.stop.set()


@dataclass(frozen=True, slots=True)
class Reload:
    """``asked``: set when the configuration is to be read again.  ``read``: reads and checks it; raises `ConfigError`.
    ``accepted``: called with the one that takes its place, before it does."""

    asked: asyncio.Event
    read: Callable[[], Config]
    accepted: Callable[[Config], None]


def check_reloadable(present: Config, new: Config, role: ProcessRole) -> None:
    """Raises `ConfigError` for a change that takes a new process."""
    if not new.source and role.captures:
        raise ConfigError("The configuration names no source.", "Add a [source.main] table: cdc config init shows one.")
    fixed = {
        "[outbox]": (present.outbox, new.outbox),
        "[tracing]": (present.tracing, new.tracing),
        "[process]": (present.process, new.process),
        "worker under [dispatch]": (present.dispatch.worker, new.dispatch.worker),
    }
    changed = [name for name, (before, after) in fixed.items() if before != after]
    if changed:
        raise ConfigError(
            f"{' and '.join(changed)} cannot change while cdc run is running.",
            "Restart it to take the change on, or take the change back and reload.",
        )


def source_key(source: SourceConfig) -> object:
    """Equal for equal sources, what their files hold included.  Raises `ConfigError` for rules that cannot be read."""
    rules = source.rules_text() if isinstance(source.rules, Path) else None
    token: object = None
    if source.capture == "rest":
        token = _read(lambda: source.rest.read_token(source.name))
    elif source.capture == "nats":
        token = _read(source.nats.stream)
    return source.model_dump(), _read(source.connection), _read(source.admin_connection), token, rules


def _read(what: Callable[[], object]) -> object:
    """Return the value, or why it cannot be read: one faulty source must not affect the others."""
    try:
        return what()
    except ConfigError as error:
        return error.message


def sending_key(config: Config) -> object:
    """Return a key that changes with anything that sending needs, files included: a certificate is renewed under its
    old name."""
    files = [*config.dispatch.client_certificates.values(), config.mail.ca_file]
    # of the readable files: the part that needs another one reports it
    contents = tuple(path.read_bytes() for path in files if path is not None and path.is_file())
    return config.dispatch, config.mail, config.mail.password(), contents, config.log, config.web.address
