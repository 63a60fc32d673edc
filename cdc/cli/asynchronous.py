"""Runs coroutines for commands, on uvloop where it exists."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

from cdc.cli.output import say
from cdc.config import Config
from cdc.outbox.base import OutboxFile, OutboxStore
from cdc.runtime import outboxes

try:
    import uvloop
except ImportError:  # not made for every platform and interpreter
    LOOP_FACTORY: Callable[[], asyncio.AbstractEventLoop] | None = None
else:
    LOOP_FACTORY = uvloop.new_event_loop

T = TypeVar("T")


def run_async(coroutine: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=LOOP_FACTORY) as runner:
        return runner.run(coroutine)


def set_on_signal(stop: asyncio.Event) -> None:
    """SIGTERM and Ctrl-C set ``stop``, for as long as the running loop lives."""
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)


async def until_terminated(coroutine: Coroutine[Any, Any, T]) -> T | None:
    """SIGTERM, and the terminal's end, cancel it as Ctrl-C does, so that it cleans up; None then."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(coroutine)
    signals: list[signal.Signals] = []

    def on_signal(received: signal.Signals) -> None:
        if not signals:  # a second one does not break off the cleaning up
            task.cancel()
        signals.append(received)

    for each in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(each) is not signal.SIG_IGN:  # as under nohup
            loop.add_signal_handler(each, on_signal, each)
    try:
        return await task
    except asyncio.CancelledError:
        if not signals:
            raise
        return None


class Store(Protocol):
    async def open(self) -> None: ...

    async def close(self) -> None: ...


S = TypeVar("S", bound=Store)


@asynccontextmanager
async def opened(store: S) -> AsyncIterator[S]:
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def opened_outbox(config: Config, *, create: bool = False) -> AsyncIterator[OutboxStore]:
    """``create``: if it does not exist yet.  Raises `OutboxMissing`."""
    store = outboxes.open_outbox(config)
    if create:
        await create_outbox(config, store)
    else:
        await outboxes.require(config, store)
    async with opened(store):
        yield store


async def create_outbox(config: Config, store: OutboxFile, *, anyway: bool = False) -> bool:
    """`outboxes.create`, reported."""
    created = await outboxes.create(config, store, anyway=anyway)
    if created:
        say(f"Created the outbox {config.outbox.describe()}.")
    return created
