"""Failures inside the process under test: components are wrapped by name and raise at times that the seed chooses.

A component that was restarted works for a few seconds before it fails again; otherwise a sick source would never
deliver.  Nothing fails unless the file of `Chaos` exists.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import os
import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cdc.capture.base import NO_BACKFILLS, Source, SourceBackfills
from cdc.capture.probe import Backlog, Probe
from cdc.dispatch.outcome_writer import Finished
from cdc.dispatch.request import WebhookRequest
from cdc.dispatch.retry import Answer
from cdc.model.backfill import Backfill
from cdc.model.change import Batch, Position
from support.chaos.plan import Plan

#: The component that the present task belongs to.
current: contextvars.ContextVar[str] = contextvars.ContextVar("component", default="")

#: Seconds of work between two failures.
SOURCE_WORKS = (3.0, 40.0)
DUTY_WORKS = (5.0, 60.0)
#: Failing dispatch stops every delivery until its restart: it must fail in less than one per cent of the time.
DISPATCH_WORKS = (100.0, 260.0)
#: Seconds between two looks whether there is chaos.
QUIET = 1.0
#: Share of a sick endpoint's requests and outcomes, and of the questions about a sick source, that fail.
SHARE = 0.3
#: Share of the writes into a sick source's temporary files that fail: half of the files.
DISK_SHARE = 0.005


def unforeseen(dice: random.Random) -> Exception:
    """An exception that no component raises on purpose."""
    return dice.choice(
        (
            RuntimeError("chaos"),
            ValueError("chaos"),
            KeyError("chaos"),
            TypeError("chaos"),
            RecursionError("chaos"),
            AssertionError("chaos"),
            MemoryError(),
            OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
            sqlite3.OperationalError("chaos: disk I/O error"),
            ExceptionGroup("chaos", [LookupError("chaos")]),
        )
    )


def full_disk(dice: random.Random) -> Exception:
    """The errors of a temporary file on a disk without room."""
    return dice.choice(
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), sqlite3.OperationalError("database or disk is full"))
    )


@dataclass
class Chaos:
    """``flag``: its existence begins the failures.  ``log``: a line for each of them, component and kind."""

    plan: Plan
    flag: Path
    log: Path
    _dice: dict[str, random.Random] = field(default_factory=dict)

    def dice(self, name: str) -> random.Random:
        return self._dice.setdefault(name, self.plan.dice(name))

    @property
    def on(self) -> bool:
        return self.flag.exists()

    def fail(self, component: str, kind: str, error: Exception) -> Exception:
        """Note a failure, and return it to be raised."""
        note(self.log, component, kind)
        return error

    def sometimes(self, component: str, share: float) -> bool:
        return self.on and self.dice(component).random() < share

    def disk(self) -> None:
        """Raise for a sick source; called at each write into a temporary file."""
        source = current.get()
        if source and self.sometimes(f"{source} disk", DISK_SHARE):
            raise self.fail(source, "full disk", full_disk(self.dice(f"{source} disk")))


def note(log: Path, component: str, kind: str) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{component}\t{kind}\n")


def works(
    chaos: Chaos, name: str, work: Callable[[asyncio.Event], Awaitable[None]], seconds: tuple[float, float]
) -> Any:
    """The component, ended by an exception after some time."""

    async def failing(stop: asyncio.Event) -> None:
        task = asyncio.ensure_future(work(stop))
        dice = chaos.dice(name)
        try:
            while not task.done():
                if not chaos.on:
                    await asyncio.wait({task}, timeout=QUIET)
                    continue
                await asyncio.wait({task}, timeout=dice.uniform(*seconds))
                if chaos.on and not task.done() and not stop.is_set():
                    raise chaos.fail(name, "exception in a component", unforeseen(dice))
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    return failing


class SickSource:
    """A source that fails in each of its methods at times; look-ups and the rest are the real one's."""

    def __init__(self, source: Source, chaos: Chaos) -> None:
        self._source = source
        self._chaos = chaos
        self._name = f"source {source.name}"
        self._dice = chaos.dice(self._name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    async def open(self, position: Position | None) -> None:
        await self._source.open(position)
        self._perhaps(0.1, "exception in a source")

    async def acknowledge(self, position: Position) -> None:
        self._perhaps(0.01, "exception in a source")
        await self._source.acknowledge(position)
        self._perhaps(0.01, "exception in a source")

    async def close(self) -> None:
        await self._source.close()
        self._perhaps(0.05, "exception in a source")

    async def batches(self, backfills: SourceBackfills = NO_BACKFILLS) -> AsyncIterator[Batch]:
        """Ends with an exception after some time, while it waits or while it holds a batch."""
        loop = asyncio.get_running_loop()
        real = aiter(self._source.batches(backfills))
        fails_at = loop.time() + self._dice.uniform(*SOURCE_WORKS)
        coming: asyncio.Future[Batch] | None = None
        try:
            while True:
                coming = coming or asyncio.ensure_future(anext(real))
                await asyncio.wait({coming}, timeout=max(fails_at - loop.time(), 0.0))
                if loop.time() >= fails_at:
                    self._perhaps(1.0, "exception in a source")
                    fails_at = loop.time() + self._dice.uniform(*SOURCE_WORKS)
                if coming.done():
                    batch, coming = coming.result(), None
                    yield batch
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)

    def _perhaps(self, share: float, kind: str) -> None:
        if self._chaos.on and self._dice.random() < share:
            raise self._chaos.fail(self._name, kind, unforeseen(self._dice))


class SickProbe:
    """A probe whose questions fail."""

    def __init__(self, probe: Probe, name: str, chaos: Chaos) -> None:
        self._probe = probe
        self._name = f"probe {name}"
        self._chaos = chaos

    def __getattr__(self, name: str) -> Any:
        return getattr(self._probe, name)

    async def ask(self, position: Position | None) -> Backlog | None:
        if self._chaos.sometimes(self._name, SHARE):
            raise self._chaos.fail(self._name, "exception in a probe", unforeseen(self._chaos.dice(self._name)))
        return await self._probe.ask(position)


class SickBackfills:
    """Backfills of a sick source, whose questions fail."""

    def __init__(self, backfills: SourceBackfills, name: str, chaos: Chaos) -> None:
        self._backfills = backfills
        self._name = f"backfills {name}"
        self._chaos = chaos

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backfills, name)

    async def next(self) -> tuple[Backfill, int] | None:
        if self._chaos.sometimes(self._name, 0.002):
            raise self._chaos.fail(self._name, "exception in a source", unforeseen(self._chaos.dice(self._name)))
        return await self._backfills.next()


def sick_send(chaos: Chaos, send: Callable[..., Any]) -> Callable[..., Any]:
    """The sender's method, which raises before or after a request to an endpoint with the ailment ``defect``."""
    sick = {each.path for each in chaos.plan.receivers() if each.ailment == "defect"}

    async def sent(self: Any, request: WebhookRequest) -> Answer:
        path = urlsplit(request.url).path
        if path not in sick or not chaos.sometimes(path, SHARE):
            answer: Answer = await send(self, request)
            return answer
        dice = chaos.dice(path)
        if dice.random() < 0.5:
            await send(self, request)
        raise chaos.fail(path, "exception in a sender", unforeseen(dice))

    return sent


def sick_outcomes(chaos: Chaos, ids: Callable[[], Sequence[str]], real: Callable[..., Any]) -> Callable[..., Any]:
    """Return a hook for the writing of outcomes that raises for the endpoints with these ids."""

    async def checked(store: Any, finished: Sequence[Finished], now: Any) -> Any:
        for each in finished:
            if each.endpoint_id in ids() and chaos.sometimes(each.endpoint_id, SHARE):
                dice = chaos.dice(each.endpoint_id)
                raise chaos.fail("recorder", "exception in the recorder", unforeseen(dice))
        return await real(store, finished, now)

    return checked
