"""``replay``: sends again what was sent, or gives an endpoint its history, at a rate that it can take."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import click
from rich.console import Console
from rich.progress import Progress

from cdc.cli.accounts import note
from cdc.cli.asynchronous import opened_outbox, run_async, set_on_signal
from cdc.cli.log_filter import delivery_filter, endpoint_option, event_options
from cdc.cli.output import json_option, print_json, say
from cdc.cli.session import Session, pass_session
from cdc.cli.settings import quiet_configuration
from cdc.clock import Clock, SystemClock
from cdc.config import Config
from cdc.delivery import DeliveryState
from cdc.errors import UsageError
from cdc.log_filter import DeliveryFilter
from cdc.outbox.base import OutboxStore, Replayed

INTERRUPTED = 130
#: Deliveries a second, unless it is said: one endpoint's share of what a small receiver can take beside its daily work.
RATE = 50.0
#: Deliveries of a step, at most; of a step that only counts.
_MOST = 500
_COUNTED = 1000

_NOTHING = DeliveryFilter()


@dataclass(frozen=True, slots=True)
class Plan:
    """``rate``: deliveries a second, 0 for any.  ``after``: where a former one stood."""

    which: DeliveryFilter
    rate: float
    after: str | None


@click.command()
@endpoint_option
@event_options
@click.option("--dead", is_flag=True, help="Only dead letters.")
@click.option("--dry-run", is_flag=True, help="Only say how many there are.")
@click.option(
    "--rate", type=click.FloatRange(0), default=RATE, show_default=True, help="Deliveries made due a second; 0: any."
)
@click.option("--after", metavar="PLACE", help="Go on where a replay said that it was stopped.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@pass_session
def replay(
    session: Session,
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

    Events of one record keep their order.  What is not finished, and removed endpoints, are left alone.

    With --endpoint, events that it wants and never got are sent as well: history for an endpoint that is new, or wants
    more than before.  Dead letters alone: --dead.

    `cdc run` sends what this makes due.  Ctrl-C stops it; what is due by then is sent.
    """
    config = quiet_configuration(session)
    plan = Plan(_meant(which, dead=dead), rate, after)
    found = run_async(_count(config, plan))
    if found.expunged:
        say(f"{found.expunged} are left out: their events were expunged, there is nothing to send any more.")
    if dry_run or not found.deliveries:
        if as_json:
            print_json({"deliveries": found.deliveries, "expunged": found.expunged, "dry_run": dry_run, "after": None})
        else:
            say(f"{found.deliveries} deliveries would be sent again." if dry_run else "There is nothing to send again.")
        return
    confirm(f"Send {found.deliveries} deliveries?", yes=yes)
    done = run_async(_replay(config, plan, found.deliveries, quiet=as_json))
    if as_json:
        print_json({"deliveries": done.deliveries, "expunged": done.expunged, "dry_run": False, "after": done.after})
    say(f"{done.deliveries} deliveries are due; `cdc run` sends them.")
    if done.after is not None:
        say(f"Stopped; the same command goes on with --after {done.after}.")
        raise click.exceptions.Exit(INTERRUPTED)


def confirm(question: str, *, yes: bool) -> None:
    """Raises `UsageError` when there is nobody to ask."""
    if yes:
        return
    if not _somebody_there():
        raise UsageError(f"{question} Nobody is there to ask.", "Say --yes.")
    click.confirm(question, abort=True, err=True)


def _somebody_there() -> bool:
    return sys.stdin.isatty()


def _meant(which: dict[str, str | None], *, dead: bool) -> DeliveryFilter:
    """What happens from now on is not part of it.  Raises `UsageError`."""
    now = SystemClock().now()
    found = delivery_filter(now, **which)
    found = replace(found, state=DeliveryState.DEAD if dead else None)
    if found == _NOTHING:
        raise UsageError(
            "Nothing says what to send again.", "Name an endpoint, a record, a time …; --event '*' is all."
        )
    return found if found.until is not None else replace(found, until=now)


async def _count(config: Config, plan: Plan) -> Replayed:
    """All there is."""
    async with opened_outbox(config) as store:
        deliveries, expunged, after = 0, 0, plan.after
        while True:
            step = await store.replay(plan.which, _COUNTED, SystemClock().now(), after, dry_run=True)
            deliveries, expunged, after = deliveries + step.deliveries, expunged + step.expunged, step.after
            if after is None:
                break
        endpoint = await store.endpoint(plan.which.endpoint_id) if plan.which.endpoint_id else None
        if endpoint is not None and not endpoint.enabled:
            say(f"The endpoint {endpoint.id} is disabled: what is replayed waits until it is enabled.")
        return Replayed(deliveries, expunged, None)


async def _replay(config: Config, plan: Plan, total: int, *, quiet: bool) -> Replayed:
    stop = asyncio.Event()
    set_on_signal(stop)
    async with opened_outbox(config) as store:
        with Progress(console=Console(stderr=True), transient=True, disable=quiet or not sys.stderr.isatty()) as bar:
            task = bar.add_task("made due", total=total)
            done = await run_plan(store, plan, SystemClock(), stop, lambda count: bar.advance(task, count))
    await note(config, "delivery.replay", plan.which.endpoint_id or plan.which.event_pattern or "deliveries")
    return done


async def run_plan(
    store: OutboxStore, plan: Plan, clock: Clock, stop: asyncio.Event, progress: Callable[[int], None]
) -> Replayed:
    """Step by step until all is due or ``stop`` is set; what was done, and where it stands if it was stopped.

    ``progress``: is told how many each step made due."""
    limit = _MOST if plan.rate == 0 else max(1, min(_MOST, math.ceil(plan.rate)))
    deliveries, expunged, after = 0, 0, plan.after
    while True:
        step = await store.replay(plan.which, limit, clock.now(), after)
        deliveries, expunged, after = deliveries + step.deliveries, expunged + step.expunged, step.after
        progress(step.deliveries)
        pause = step.deliveries / plan.rate if plan.rate else 0.0
        if after is None or await clock.wait(stop, pause):
            return Replayed(deliveries, expunged, after)
