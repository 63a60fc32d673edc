"""The processes: ``run``, the consumer; ``worker``, those that share sources."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
import structlog

from cdc.cli.app import CommandGroup, CommandSession, pass_session
from cdc.cli.environment import configuration, opened_outbox, quiet_configuration, run_async, select_sources
from cdc.cli.output import coloured, json_option, print_json, print_table, say
from cdc.cli.signals import ENDING, HANGUP, end_by, handle, hold_hangup, release_hangup, unhandle
from cdc.config import Config
from cdc.logs import configure_logs, say_after, written_aside
from cdc.model.clock import SystemClock
from cdc.model.errors import UsageError
from cdc.model.worker import ProcessRole, WorkerStore, WorkerView
from cdc.runtime import consumer
from cdc.runtime.components import Reload
from cdc.runtime.one_round import Round
from cdc.runtime.process import RELOADS_SINCE, raise_limit, stand_back

log = structlog.get_logger(__name__)


class TimeLimit(click.ParamType[float]):
    """A number of seconds or minutes: ``50s``, ``2m``."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"([1-9]\d{0,4})(s|m)?", value)
        if found is None:
            self.fail(f"{value!r} is no time such as 50s or 2m.", param, ctx)
        return int(found[1]) * (60.0 if found[2] == "m" else 1.0)


@click.command()
@click.option(
    "--role",
    type=click.Choice(list(ProcessRole), case_sensitive=False),
    default=ProcessRole.ALL,
    show_default=False,
    help="What this process does: capture changes, dispatch webhooks, serve the page and the API (web), or all [all].",
)
@click.option("--once", is_flag=True, help="Read and send what waits, then end: for cron, where no process may stay.")
@click.option(
    "--for",
    "limit",
    type=TimeLimit(),
    metavar="TIME",
    default=50.0,
    show_default=False,
    help="The longest that --once works [50s].",
)
@pass_session
def run(session: CommandSession, role: ProcessRole, once: bool, limit: float) -> None:
    """Run the consumer: capture changes and send webhooks.

    With an outbox in PostgreSQL any number of processes share the sources and the deliveries.  Of several processes on
    one SQLite outbox one works and the others are on standby.  So it is with several outboxes of one database, but the
    others are not ready.  Processes of one role each may have accounts that can do nothing else (cdc outbox grants).

    SIGTERM or Ctrl-C finishes the requests in flight and stops; a second signal stops at once.  SIGHUP reloads the
    configuration: unchanged parts keep running, and an invalid file is refused.  Logs go to standard error.

    --once serves no page, and ends at once where another process works on the same SQLite outbox.
    """
    config = configuration(session)
    ends = Round(limit, SystemClock()) if once else None
    if ends is not None:
        if role is not ProcessRole.ALL:
            raise UsageError("--once captures and sends: it has no --role.", "cdc run --once")
        config = config.model_copy(update={"web": config.web.model_copy(update={"listen": ""})})
    with written_aside(sys.stderr) as stream:

        def log_as(config: Config) -> None:
            configure_logs(config.log.format, config.log.level, stream, several=len(config.source) != 1)

        log_as(config)
        stand_back(config.process.nice)
        raise_limit()
        if role.captures:
            select_sources(config, ())
        reload = Reload(asyncio.Event(), lambda: configuration(session), log_as)
        run_async(_until_signal(config, role, reload, partial(say_after, stream), ends))


async def _until_signal(
    config: Config, role: ProcessRole, reload: Reload, say: Callable[[str], None], once: Round | None
) -> None:
    stop = asyncio.Event()

    def on_signal(received: signal.Signals) -> None:
        if stop.is_set():
            end_by(received)
        stop.set()  # before logging, which may fail
        log.info("signal received", signal=received.name)

    for each in ENDING:
        handle(each, partial(on_signal, each))
    if HANGUP is not None:
        handle(HANGUP, reload.asked.set)
    release_hangup()
    try:
        await consumer.run(config, stop, role, say=say, reload=reload, once=once)
    finally:
        hold_hangup()
        for each in (*ENDING, *([HANGUP] if HANGUP is not None else ())):
            unhandle(each)


def program_words() -> tuple[str, ...]:
    """The command that runs this very installation."""
    beside = Path(sys.executable).with_name("cdc")
    return (str(beside),) if beside.is_file() else (sys.executable, "-m", "cdc")


def systemd_here() -> int:
    """Return the version of systemd on this machine, or the first that reloads by itself where there is none."""
    program = shutil.which("systemctl")
    if program is None:
        return RELOADS_SINCE
    output = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603 - found on PATH, with a fixed argument
    found = re.match(r"systemd (\d+)", output)
    return int(found[1]) if found else RELOADS_SINCE


T = TypeVar("T")


@click.group(cls=CommandGroup)
def worker() -> None:
    """Show which process reads which source, and empty one."""


@worker.command("list")
@json_option
@pass_session
def list_workers(session: CommandSession, as_json: bool) -> None:
    """List the workers, and what each reads.

    With the time since when, and how far behind it is.  Workers that ended without a word stay in the list for an hour.
    """
    found = _with_workers(quiet_configuration(session), lambda store: store.workers())
    if as_json:
        print_json({"workers": [dataclasses.asdict(each) | {"state": _state(each)} for each in found]})
        return
    titles = ("worker", "version", "state", "seen", "source", "since", "behind")
    print_table(titles, [row for each in found for row in _rows(each)], "No cdc run is a worker of this outbox.")


@worker.command()
@click.argument("name")
@click.option("--undo", is_flag=True, help="Let it take its share of the sources again.")
@pass_session
def drain(session: CommandSession, name: str, undo: bool) -> None:
    """Have a worker hand its sources over to the others.

    It goes on sending until it is stopped; started again, it takes its share.  The last worker keeps its sources.
    """
    _with_workers(quiet_configuration(session), lambda store: store.drain(name, draining=not undo))
    say(f"{name} takes its share again." if undo else f"{name} hands its sources over; cdc worker list shows how far.")


def _with_workers(config: Config, work: Callable[[WorkerStore], Awaitable[T]]) -> T:
    async def run() -> T:
        async with opened_outbox(config) as store:
            if store.workers is None:
                raise UsageError("One process reads all sources of a SQLite outbox.", "docs/scale.md")
            return await work(store.workers)

    return run_async(run())


def _state(each: WorkerView) -> str:
    if not each.alive:
        return "gone"
    return "draining" if each.draining else "working"


def _rows(each: WorkerView) -> list[tuple[object, ...]]:
    who = (each.name, each.version, coloured(_state(each)), each.seen_at)
    sources: list[tuple[object, ...]] = [
        (*who, source, since, f"{each.lags.get(source, 0):.0f} s") for source, since in sorted(each.sources.items())
    ]
    return sources or [(*who, "-", "-", "-")]
