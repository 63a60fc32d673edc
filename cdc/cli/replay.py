"""``replay``: sends again what was sent, or gives an endpoint its history, at a rate that it can take."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace

import click
from rich.console import Console
from rich.progress import Progress

from cdc.cli.admin import admin_of
from cdc.cli.asynchronous import opened_outbox, run_async, set_on_signal
from cdc.cli.log_filter import delivery_filter, endpoint_option, event_options
from cdc.cli.loss import counted
from cdc.cli.output import confirm, json_option, print_json, say, yes_option
from cdc.cli.session import CommandSession, pass_session
from cdc.cli.settings import quiet_configuration
from cdc.config import Config
from cdc.dispatch.replay import RATE, ReplayPlan, count, meant, steps
from cdc.model.clock import Clock, SystemClock
from cdc.model.delivery import DeliveryFilter, DeliveryState, Replayed, ReplayStore

INTERRUPTED = 130


@click.command()
@endpoint_option
@event_options
@click.option("--dead", is_flag=True, help="Only dead letters.")
@click.option("--dry-run", is_flag=True, help="Count the deliveries and send nothing.")
@click.option(
    "--rate",
    type=click.FloatRange(0),
    default=RATE,
    show_default=True,
    help="Deliveries per second at most; 0: no limit.",
)
@click.option("--after", metavar="PLACE", help="Continue at this place, which a stopped replay printed.")
@yes_option
@json_option
@pass_session
def replay(
    session: CommandSession,
    /,
    *,
    dead: bool,
    dry_run: bool,
    rate: float,
    after: str | None,
    yes: bool,
    as_json: bool,
    **which: str | None,
) -> None:
    """Send finished deliveries again, with the same ids.

    Events of one record keep their order.  Unfinished deliveries and removed endpoints are skipped.

    With --endpoint it also sends matching events that the endpoint never got: history for a new endpoint, or for one
    with more events than before.  Only dead letters: --dead.

    This command queues the deliveries and `cdc run` sends them.  Ctrl-C stops the queueing.
    """
    config = quiet_configuration(session)
    plan = ReplayPlan(_meant(which, dead=dead), rate, after)
    found = run_async(_count(config, plan))
    if found.expunged:
        say(f"{found.expunged} are skipped: their payloads were expunged.")
    if dry_run or not found.deliveries:
        if as_json:
            print_json({"deliveries": found.deliveries, "expunged": found.expunged, "dry_run": dry_run, "after": None})
        else:
            say(f"{found.deliveries} deliveries would be sent again." if dry_run else "There is nothing to send again.")
        return
    confirm(f"Send {counted(found.deliveries, 'delivery', 'deliveries')} again?", yes=yes)
    done = run_async(_replay(config, plan, found.deliveries, quiet=as_json))
    if as_json:
        print_json({"deliveries": done.deliveries, "expunged": done.expunged, "dry_run": False, "after": done.after})
    say(f"{done.deliveries} deliveries are queued; `cdc run` sends them.")
    if done.after is not None:
        say(f"Stopped.  To continue, add to the same command: --after {done.after}")
        raise click.exceptions.Exit(INTERRUPTED)


def _meant(which: dict[str, str | None], *, dead: bool) -> DeliveryFilter:
    """Raises `UsageError`."""
    now = SystemClock().now()
    found = replace(delivery_filter(now, **which), state=DeliveryState.DEAD if dead else None)
    return meant(found, now, "Name an endpoint, a record, a time …; --event '*' is all.")


async def _count(config: Config, plan: ReplayPlan) -> Replayed:
    """Count the deliveries of a replay; warn when its endpoint is disabled."""
    async with opened_outbox(config) as store:
        found = await count(store, plan, SystemClock())
        endpoint = await store.endpoint(plan.which.endpoint_id) if plan.which.endpoint_id else None
        if endpoint is not None and not endpoint.enabled:
            say(f"The endpoint {endpoint.id} is disabled: its deliveries wait until it is enabled.")
        return found


async def _replay(config: Config, plan: ReplayPlan, total: int, *, quiet: bool) -> Replayed:
    stop = asyncio.Event()
    set_on_signal(stop)
    async with opened_outbox(config) as store:
        with Progress(console=Console(stderr=True), transient=True, disable=quiet or not sys.stderr.isatty()) as bar:
            task = bar.add_task("made due", total=total)
            noted = admin_of(config, store).deliveries.replay_plan(plan.which, plan.rate, plan.after)
            done = await run_plan(store, noted, SystemClock(), stop, lambda count: bar.advance(task, count))
    return done


async def run_plan(
    store: ReplayStore, plan: ReplayPlan, clock: Clock, stop: asyncio.Event, progress: Callable[[int], None]
) -> Replayed:
    """Run the replay until all is due or ``stop`` is set; return its progress.

    ``progress``: called with the number that each step made due."""
    done = Replayed(0, 0, plan.after)
    async for step in steps(store, plan, clock, stop):
        done = done.and_then(step)
        progress(step.deliveries)
    return done
