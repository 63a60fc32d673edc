"""``worker …``: the processes that share the sources of a PostgreSQL outbox."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from cdc.cli.asynchronous import opened_outbox, run_async
from cdc.cli.output import json_option, print_json, print_table, say
from cdc.cli.session import CommandSession, pass_session
from cdc.cli.settings import quiet_configuration
from cdc.config import Config
from cdc.model.errors import UsageError
from cdc.model.worker import WorkerStore, WorkerView

T = TypeVar("T")


@click.group()
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
    who = (each.name, each.version, _state(each), each.seen_at)
    sources: list[tuple[object, ...]] = [
        (*who, source, since, f"{each.lags.get(source, 0):.0f} s") for source, since in sorted(each.sources.items())
    ]
    return sources or [(*who, "-", "-", "-")]
