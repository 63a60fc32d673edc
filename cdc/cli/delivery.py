"""``delivery`` and ``replay``: the log of deliveries, and sending many of them again; the options that select them."""

from __future__ import annotations

import asyncio
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click
from rich.console import Console
from rich.progress import Progress

from cdc.admin.admin import Admin
from cdc.admin.explain import Question, Reason
from cdc.api.resource import AttemptResource, DeliveryResource, ExplanationResource
from cdc.cli.admin import admin_of, with_admin
from cdc.cli.app import CommandGroup, CommandSession, pass_session
from cdc.cli.environment import opened_outbox, quiet_configuration, run_async, set_on_signal
from cdc.cli.output import (
    Styled,
    coloured,
    confirm,
    counted,
    echo,
    fitting,
    json_option,
    one_line,
    print_fields,
    print_json,
    print_json_line,
    print_table,
    say,
    short_time,
    yes_option,
)
from cdc.config import Config
from cdc.dispatch.replay import RATE, ReplayPlan, count, meant, steps
from cdc.model.clock import Clock, SystemClock
from cdc.model.delivery import Attempt, DeliveryFilter, DeliveryState, DeliveryView, EventFilter, Replayed, ReplayStore
from cdc.model.errors import UsageError
from cdc.model.event import check_pattern

_EVENT_ID: Final = "evt_"
_AGO: Final = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_TIME: Final = "2h|3d|2026-11-24T21:48Z"
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

endpoint_option = click.option("--endpoint", "endpoint_id", metavar="ID", help="Only deliveries to this endpoint.")
state_option = click.option(
    "--state", type=click.Choice([state.value for state in DeliveryState]), help="Only deliveries in this state."
)


def event_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options from which `event_filter` and `delivery_filter` select events."""
    options: list[Decorator] = [
        click.option("--event", metavar="PATTERN|ID", help="Only these events (invoice.*), or one (evt_…)."),
        click.option("--record", metavar="TABLE:KEY", help="Only events of this record (facturascli:12)."),
        click.option("--source", metavar="NAME", help="Only events of this source."),
        click.option("--since", metavar=_TIME, help="Only changes since then: a time (UTC) or an age."),
        click.option("--until", metavar=_TIME, help="Only changes before then."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def event_filter(now: datetime, **given: str | None) -> EventFilter:
    """Raises `UsageError`."""
    return EventFilter(**_fields(now, **given))


def delivery_filter(
    now: datetime, *, endpoint_id: str | None = None, state: str | None = None, **given: str | None
) -> DeliveryFilter:
    """Raises `UsageError`."""
    chosen = DeliveryState(state) if state else None
    return DeliveryFilter(endpoint_id=endpoint_id, state=chosen, **_fields(now, **given))


def _fields(
    now: datetime,
    *,
    event: str | None = None,
    record: str | None = None,
    source: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> dict[str, Any]:
    is_id = event is not None and event.startswith(_EVENT_ID)
    return {
        "event_id": event if is_id else None,
        "event_pattern": None if event is None or is_id else check_pattern(event),
        "record": record,
        "source": source,
        "since": None if since is None else moment(since, now),
        "until": None if until is None else moment(until, now),
    }


def moment(text: str, now: datetime) -> datetime:
    """A time in ISO 8601, UTC unless it says otherwise, or so long ago.  Raises `UsageError`."""
    ago = _AGO.fullmatch(text)
    try:
        if ago is not None:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        time = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text!r} is not a time.", "Write 2026-11-24, 2026-11-24T21:48 (UTC) or …+01:00; or 90m, 2h, 3d, 1w ago."
        ) from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)


#: Deliveries of an export that are held at once.
_PAGE = 500

id_argument = click.argument("delivery_id", metavar="ID")


@click.group(cls=CommandGroup)
def delivery() -> None:
    """Search the delivery log and retry single deliveries."""


@delivery.command("list")
@endpoint_option
@event_options
@state_option
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many.")
@click.option("--before", metavar="ID", help="Next page: deliveries after this one, the last of the former page.")
@json_option
@pass_session
def list_(session: CommandSession, /, *, limit: int, before: str | None, as_json: bool, **which: str | None) -> None:
    """List deliveries, newest events first.

    One line each; cdc delivery show has all that is known of one.
    """
    config, now = quiet_configuration(session), SystemClock().now()
    narrowed = delivery_filter(now, **which)

    async def page() -> tuple[list[DeliveryView], dict[str, str]]:
        async with opened_outbox(config) as store:
            views = await store.deliveries(narrowed, limit, before)
            endpoints = [] if as_json else await store.endpoints_of(sorted({view.endpoint_id for view in views}))
            return views, {each.id: each.description for each in endpoints if each.description}

    views, names = run_async(page())
    if as_json:
        print_json({"deliveries": [DeliveryResource.from_delivery(view).model_dump(mode="json") for view in views]})
        return
    source = len(config.source) > 1
    titles = ["id", "event", "record", *(["source"] if source else []), "endpoint", "state", "created"]
    rows = [
        (
            *(view.id, view.event_name, view.record, *([view.source] if source else [])),
            names.get(view.endpoint_id, view.endpoint_id),
            coloured(view.state, None if view.last_status is None else f" {view.last_status}"),
            short_time(view.created_at, now),
        )
        for view in views
    ]
    print_table(titles, rows, "No delivery fits.", cut=titles[1:-2])


#: Reason → the command that helps, with places for values and ids of the explanation.  ``of``: the option that names
#: the source, where it is known.  ``again``: the question once more, to ask the database too, unless that was done.
_NEXT: Final[dict[Reason, str]] = {
    Reason.NO_RULE: "cdc event kinds",
    Reason.TABLE_EXCLUDED: "cdc table list%(of)s",
    Reason.TABLE_NOT_CAPTURED: "cdc install-triggers%(of)s",
    Reason.ROW_SKIPPED: "cdc quarantine list",
    Reason.NOT_READ_YET: "cdc doctor%(of)s",
    Reason.REMOVED: "cdc backfill %(table)s%(of)s",
    Reason.BEFORE_INSTALLATION: "cdc backfill %(table)s%(of)s",
    Reason.NOT_SEEN: "cdc doctor%(of)s%(again)s",
    Reason.EXPUNGED: "cdc backfill %(table)s%(of)s",
    Reason.DELIVERED: "cdc delivery show %(delivery_id)s",
    Reason.FAILED: "cdc delivery retry %(delivery_id)s",
    Reason.ENDPOINT_OFF: "cdc endpoint enable %(endpoint_id)s",
    Reason.WAITING: "cdc delivery show %(ahead_id)s",
    Reason.RETRYING: "cdc delivery retry %(delivery_id)s",
    Reason.QUEUED: "cdc delivery show %(delivery_id)s",
    Reason.OTHER_SOURCE: "cdc endpoint show %(endpoint_id)s",
    Reason.NOT_CHOSEN: "cdc endpoint update %(endpoint_id)s --events …",
    Reason.FILTERED: "cdc endpoint preview %(endpoint_id)s --filter …",
    Reason.CHOSEN_LATER: "cdc replay --endpoint %(endpoint_id)s --event %(event_id)s",
    Reason.NO_ENDPOINT: "cdc endpoint list",
}


@click.command()
@click.argument("record", metavar="RECORD|EVENT_ID|CODE")
@click.argument("event", metavar="[EVENT]", default="")
@click.option("--endpoint", metavar="ID|NAME", default="", help="The endpoint that did not get it.")
@click.option("--at", metavar=_TIME, help="About when the change was made.")
@click.option("--source", metavar="NAME", default="", help="The source, where several may have the record.")
@click.option("--inspect", is_flag=True, help="Ask the source's database too, for less than a second.")
@json_option
@pass_session
def explain(
    session: CommandSession,
    /,
    *,
    record: str,
    event: str,
    endpoint: str,
    at: str | None,
    source: str,
    inspect: bool,
    as_json: bool,
) -> None:
    """Say why an event did not arrive, or when it did.

    RECORD is facturascli:12 or invoice:12, an event's id, or a code such as FAC2026A12; EVENT a name such as
    invoice.paid.  The reasons: docs/troubleshooting.md.
    """
    if record.startswith(_EVENT_ID):
        record, event = "", record
    when = None if at is None else moment(at, SystemClock().now())
    question = Question(record, event, endpoint, when, source)
    found = with_admin(
        quiet_configuration(session), lambda admin: admin.explanations.explain(question, inspect=inspect)
    )
    if as_json:
        print_json(ExplanationResource.from_explanation(found).model_dump(mode="json"))
        return
    from cdc.pages.language import language  # noqa: PLC0415 - of sentences alone: it costs lists a tenth of a second

    here = language(session.language, datetime.now().astimezone().tzinfo or UTC)
    sentence, step = found.texts(here.text, here.message, here.moment)
    asked = [each for each in (record, event) if each]
    for option, value in (("--endpoint", endpoint), ("--at", at), ("--source", source)):
        asked += [option, value] if value else []
    again = "" if inspect else f"; cdc explain {shlex.join(asked)} --inspect"
    of = f" --source {shlex.quote(found.source)}" if found.source else ""
    command = _NEXT.get(found.reason, "") % (asdict(found) | dict(found.values) | {"of": of, "again": again})
    echo(Styled(fitting(sentence, "")))
    echo(fitting(step, ""))
    echo(*([f"\n  {command}"] if command else []))
    say(f"[{found.reason}]")


@delivery.command()
@id_argument
@json_option
@pass_session
def show(session: CommandSession, delivery_id: str, as_json: bool) -> None:
    """Show one delivery and its attempts."""

    async def one(admin: Admin) -> tuple[DeliveryView, list[Attempt]]:
        view = await admin.deliveries.get(delivery_id)
        return view, await admin.deliveries.attempts(view)

    view, attempts = with_admin(quiet_configuration(session), one)
    if as_json:
        print_json(
            DeliveryResource.from_delivery(view).model_dump(mode="json")
            | {"log": [AttemptResource.from_attempt(attempt).model_dump(mode="json") for attempt in attempts]}
        )
        return
    print_fields(
        [
            ("id", view.id),
            ("event", f"{view.event_name} {view.event_id}"),
            ("record", f"{view.record} ({view.source})"),
            ("endpoint", view.endpoint_id),
            ("state", view.state),
            ("attempts", view.attempts),
            ("due", view.due_at),
            ("created", view.created_at),
            ("finished", view.finished_at),
            *([("expunged", "its payload is gone: it cannot be sent again")] if view.expunged else []),
        ]
    )
    echo()
    titles = ("attempt", "started", "took", "status", "error", "answer")
    rows = [
        (a.number, a.started_at, f"{a.duration * 1000:.0f} ms", a.status, a.error, one_line(a.answer)) for a in attempts
    ]
    print_table(titles, rows, "No attempt yet.")


@delivery.command()
@click.argument("delivery_ids", metavar="ID…", nargs=-1, required=True)
@pass_session
def retry(session: CommandSession, delivery_ids: tuple[str, ...]) -> None:
    """Send deliveries again, with a new count of attempts.

    For dead letters.  A delivered one is sent again with the same webhook-id; a waiting one is sent now.  For many
    deliveries: cdc replay.
    """

    async def retry_each(admin: Admin) -> None:
        for delivery_id in delivery_ids:
            await admin.deliveries.retry(delivery_id)
            say(f"{delivery_id}: Queued; `cdc run` sends it.")

    with_admin(quiet_configuration(session), retry_each)


@delivery.command()
@endpoint_option
@event_options
@state_option
@pass_session
def export(session: CommandSession, /, **which: str | None) -> None:
    """Print deliveries with their attempts as JSON lines."""
    config, narrowed = quiet_configuration(session), delivery_filter(SystemClock().now(), **which)

    async def print_all() -> None:
        async with opened_outbox(config) as store:
            before = None
            while page := await store.deliveries(narrowed, _PAGE, before):
                attempts = await store.attempts_of([view.id for view in page])
                for view in page:
                    made = map(AttemptResource.from_attempt, attempts.get(view.id, []))
                    log = [attempt.model_dump(mode="json") for attempt in made]
                    print_json_line(DeliveryResource.from_delivery(view).model_dump(mode="json") | {"log": log})
                before = page[-1].id

    run_async(print_all())


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
