"""The environment of a command: configuration, event loop, outbox, and use cases for the account at the keyboard."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click

from cdc.cli.app import CommandSession
from cdc.cli.output import say
from cdc.cli.signals import ENDING, HANGUP, handle
from cdc.config import DEFAULT_FILE, Config, SourceConfig, load_config
from cdc.logs import configure_logs
from cdc.model.errors import CdcError, ConfigError
from cdc.outbox.store import OutboxStore
from cdc.runtime import outboxes

T = TypeVar("T")

sources_option = click.option(
    "--source", "sources", multiple=True, metavar="NAME", help="Only this source (repeatable) [all]."
)


def configuration(session: CommandSession, *, required: bool = True) -> Config:
    """Read the configuration, with what the command line says on top.

    ``required``: raise `ConfigError` when there is no file and no variable.  The defaults alone name an outbox in the
    current folder: a command in the wrong folder would create one there, and find its own events nowhere.
    """
    config = load_config(session.config_path)
    if required and config.file is None and not config.origins:
        raise ConfigError(
            f"There is no configuration: no {DEFAULT_FILE} in {Path.cwd()}, no --config, and no variable CDC_….",
            f"Run the command in the folder of your {DEFAULT_FILE}, or name the file: cdc --config PATH …, or the "
            f"variable CDC_CONFIG.  Without one yet: cdc setup, or cdc config init > {DEFAULT_FILE}",
        )
    changes = {"format": session.log_format, "level": "debug" if session.verbose else None}
    log = config.log.model_copy(update={name: value for name, value in changes.items() if value})
    return config.model_copy(update={"log": log})


def quiet_configuration(session: CommandSession, *, required: bool = True) -> Config:
    """`configuration` for commands that print results: what modules log is shown only when it matters."""
    config = configuration(session, required=required)
    configure_logs(config.log.format, "debug" if session.verbose else "warning")
    return config


def select_sources(config: Config, names: Sequence[str]) -> list[SourceConfig]:
    """The sources of these names, or all.  Raises `ConfigError` when there is none."""
    if not config.source:
        place = f"{config.file} has no [source.…] table" if config.file else f"there is no {DEFAULT_FILE} here"
        raise ConfigError(
            f"No source is configured: {place}, and no CDC_SOURCE_… variable is set.",
            f"Begin with `cdc config init > {DEFAULT_FILE}`, or say where it is: cdc --config PATH, or CDC_CONFIG.",
        )
    return [config.select_source(name) for name in names] or list(config.source.values())


def of_each(sources: Sequence[SourceConfig], work: Callable[[SourceConfig], T]) -> tuple[list[T], CdcError | None]:
    """Return the results of ``work``, and the error to raise when they are printed, which names the sources that
    failed: the error of one does not keep ``work`` from the others.  Raises the error of a source that is alone."""
    results, failed = list[T](), list[str]()
    for source in sources:
        try:
            results.append(work(source))
        except CdcError as error:
            if len(sources) == 1:
                raise
            say(f"{source.name}: Error: {error.message}", *([f"\n  {error.hint}"] if error.hint else []))
            failed.append(source.name)
    names = ", ".join(failed)
    return results, CdcError(f"{len(failed)} of {len(sources)} sources failed: {names}.") if failed else None


try:
    import uvloop
except ImportError:  # not made for every platform and interpreter
    # psycopg does not work on the loop that Windows has by default
    LOOP_FACTORY: Callable[[], asyncio.AbstractEventLoop] | None = asyncio.SelectorEventLoop
else:
    LOOP_FACTORY = uvloop.new_event_loop


def run_async(coroutine: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=LOOP_FACTORY) as runner:
        return runner.run(coroutine)


def set_on_signal(stop: asyncio.Event) -> None:
    """SIGTERM and Ctrl-C set ``stop``, for as long as the running loop lives."""
    for each in ENDING:
        handle(each, stop.set)


async def until_terminated(coroutine: Coroutine[Any, Any, T]) -> T | None:
    """SIGTERM, and the terminal's end, cancel it as Ctrl-C does, so that it cleans up; None then."""
    task = asyncio.ensure_future(coroutine)
    signals: list[signal.Signals] = []

    def on_signal(received: signal.Signals) -> None:
        if not signals:  # a second one does not break off the cleaning up
            task.cancel()
        signals.append(received)

    for each in (signal.SIGTERM, HANGUP):
        if each is not None and signal.getsignal(each) is not signal.SIG_IGN:  # as under nohup
            handle(each, partial(on_signal, each))
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


async def create_outbox(config: Config, store: OutboxStore, *, anyway: bool = False) -> bool:
    """`outboxes.create`, reported."""
    created = await outboxes.create(config, store, anyway=anyway)
    if created:
        say(f"Created the outbox {config.outbox.describe()}.")
    return created
