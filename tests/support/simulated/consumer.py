"""One `cdc run`: the product's relay, dispatch, standby locks and supervision, in a simulated process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from types import SimpleNamespace
from typing import Any
from unittest import mock

import structlog

from cdc.capture.base import JournalLimits
from cdc.capture.journal.source import JournalSource
from cdc.config import Config
from cdc.mapping.catalogue import load_catalogue
from cdc.mapping.mapper import Mapper
from cdc.model.clock import SystemClock
from cdc.model.errors import CdcError, Defect
from cdc.model.finding import Repaired
from cdc.model.observer import Observer
from cdc.model.worker import ProcessRole
from cdc.relay import Relay
from cdc.runtime.components import Components
from cdc.runtime.consumer import ConsumerParts
from cdc.runtime.process import Supervisor
from cdc.web.monitor import Reported
from support.simulated.database import JournalSession
from support.simulated.history import History
from support.simulated.loop import PROCESS, Process
from support.simulated.outbox import START, SimulatedOutbox
from support.simulated.receivers import SimulatedSender

SOURCE = "main"
_MAPPER = Mapper(load_catalogue())


@dataclass
class Host:
    """``ahead``: seconds by which its clock is wrong."""

    ahead: float = 0.0


@dataclass(eq=False)
class ConsumerProcess(Process):
    """``stop``: as SIGTERM sets it."""

    host: Host = field(default_factory=Host)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False

    def __init__(self, name: str, host: Host) -> None:
        super().__init__(name)
        self.host = host
        self.stop = asyncio.Event()
        self.ended = False


class ProcessClock(SystemClock):
    """The clock of the host of the process that asks."""

    def now(self) -> datetime:
        process = PROCESS.get()
        ahead = process.host.ahead if isinstance(process, ConsumerProcess) else 0.0
        return START + timedelta(seconds=asyncio.get_running_loop().time() + ahead)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


@dataclass
class Watching(Observer):
    """Reports what no component may raise."""

    history: History

    def source_failed(self, source: str, error: CdcError) -> None:
        self._failed(source, error)

    def component_failed(self, name: str, error: CdcError) -> None:
        self._failed(name, error)

    def _failed(self, name: str, error: CdcError) -> None:
        self.history.note(f"{name} failed: {error}")
        if isinstance(error, Defect):
            self.history.complain(f"{name} failed unexpectedly: {error}")


@dataclass
class Consumer:
    """``config``: says where the outbox is, by which a dispatcher names itself."""

    process: ConsumerProcess
    config: Config
    session: JournalSession
    outbox: SimulatedOutbox
    sender: SimulatedSender
    limits: JournalLimits
    history: History

    async def run(self) -> None:
        """Run until the process is stopped."""
        clock, observer = ProcessClock(), Watching(self.history)
        parts = ConsumerParts(self.outbox, Reported(clock), observer, ProcessRole.ALL, print, Supervisor())
        source = JournalSource(SOURCE, self.session, _repair, self.limits, clock)
        wake = parts.wake
        relay = Relay(source, _MAPPER, self.outbox, clock, wake.wake_and_yield, observer, hand_over=wake.hand_over)
        components = Components(clock, observer)

        async def dispatch(stop: asyncio.Event) -> None:
            await parts._dispatched(self.config, self.sender, stop, _never_reloaded)

        async with asyncio.TaskGroup() as group:
            group.create_task(components.keep(f"source {SOURCE}", relay.run, self.process.stop))
            group.create_task(components.keep("dispatch", dispatch, self.process.stop))
        await self.outbox.close()
        self.process.ended = True


async def _never_reloaded(config: Config) -> None:
    raise AssertionError(f"nothing is reloaded: {config}")


async def _repair(tables: Any) -> Repaired:
    raise AssertionError(f"no trigger failed: {tables}")


@contextmanager
def as_in_containers() -> Iterator[None]:
    """Give every process the same host name and number, as containers have them; its clock; shorter pauses, so that a
    run of minutes shows as much; and the same random names in every run."""
    names = count(1)

    def token_hex(length: int) -> str:
        return f"{next(names):0{2 * length}x}"

    secrets = SimpleNamespace(token_hex=token_hex)
    with ExitStack() as patches:
        for name, value in {
            "cdc.runtime.consumer.SystemClock": ProcessClock,
            "cdc.runtime.consumer.socket": SimpleNamespace(gethostname=lambda: "cdc"),
            "cdc.runtime.consumer.os": SimpleNamespace(getpid=lambda: 1),
            "cdc.runtime.consumer.secrets": secrets,
            "cdc.capture.journal.source.secrets": secrets,
            "cdc.dispatch.dispatcher.POLL": 1.0,
            "cdc.dispatch.dispatcher.FORWARD": 10.0,
            "cdc.dispatch.dispatcher.LEASE_MARGIN": 1.0,
        }.items():
            patches.enter_context(mock.patch(name, value))
        yield


@contextmanager
def without_log() -> Iterator[None]:
    """Have the product log nothing: the trace says more."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)
