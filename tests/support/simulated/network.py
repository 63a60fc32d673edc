"""The simulated network: requests take time, get lost before or after they were done, and services fail."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field
from typing import TypeVar

from support.simulated.history import History
from support.simulated.loop import Process, VirtualLoop

T = TypeVar("T")

#: Where services run: in no process.
NOWHERE = Context()


@dataclass
class Service:
    """The health of a service.  ``refuses``: everything, until then (seconds).  ``loses``: the part of its answers that
    does not arrive, until ``loses_until``.  ``slow``: how many times longer everything takes."""

    name: str
    delay: float
    refuses_until: float = 0.0
    loses: float = 0.0
    loses_until: float = 0.0
    slow: float = 1.0
    slow_until: float = 0.0

    def heal(self) -> None:
        self.refuses_until = self.loses_until = self.slow_until = 0.0


@dataclass
class Machine:
    """The resources that all simulated parts share.  ``die``: kills a process."""

    loop: VirtualLoop
    random: random.Random
    history: History
    die: Callable[[Process], None]


@dataclass
class Link:
    """The connection of a process to a service, which answers one request after the other.  ``remote``: requests of a
    process that died may still be done, and answers may get lost.  ``lost``: the error of a request that failed.
    ``crash_in``: requests until the process dies, before or after that one was done."""

    machine: Machine
    process: Process
    service: Service
    lost: Callable[[], Exception]
    remote: bool
    cut_until: float = 0.0
    crash_in: int | None = None
    _free_at: float = field(default=0.0)

    async def ask(self, what: str, work: Callable[[], T]) -> T:
        """Have the service do ``work``; raises what it raises, and ``lost`` when no answer arrives."""
        if self.process.dead:
            raise asyncio.CancelledError
        loop = self.machine.loop
        future: asyncio.Future[T] = loop.create_future()
        now = loop.time()
        self._free_at = max(self._free_at, now) + self._delay(now)
        loop.call_at(self._free_at, self._reach, what, work, future, context=NOWHERE)
        return await future

    def _delay(self, now: float) -> float:
        slow = self.service.slow if now < self.service.slow_until else 1.0
        return self.service.delay * slow * (0.1 + self.machine.random.random())

    def _reach(self, what: str, work: Callable[[], T], future: asyncio.Future[T]) -> None:
        """The request arrives."""
        now, about = self.machine.loop.time(), f"{self.process.name} {what}"
        if self.process.dead and not (self.remote and self.machine.random.random() < 0.5):
            return
        if now < self.service.refuses_until or now < self.cut_until:
            self.machine.history.note(f"{about}: refused")
            _fail(future, self.lost())
            return
        crash = self._counts_down()
        if crash == "before":
            self.machine.die(self.process)
            return
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - the service's answer, whatever it is
            self.machine.history.note(f"{about}: {type(error).__name__}")
            _fail(future, error)
            return
        self.machine.history.note(about)
        if crash == "after":
            self.machine.die(self.process)
        elif self._loses(now):
            self.machine.history.note(f"{about}: answer lost")
            _fail(future, self.lost())
        elif not future.done():
            future.set_result(result)

    def _loses(self, now: float) -> bool:
        """Return whether the answer is lost on its way."""
        return self.remote and now < self.service.loses_until and self.machine.random.random() < self.service.loses

    def _counts_down(self) -> str:
        if self.crash_in is None or self.process.dead:
            return ""
        self.crash_in -= 1
        if self.crash_in > 0:
            return ""
        self.crash_in = None
        return "before" if self.machine.random.random() < 0.5 else "after"


def _fail(future: asyncio.Future[T], error: Exception) -> None:
    if not future.done():  # nobody waits for a future that was cancelled
        future.set_exception(error)
