"""``backfill``, ``quarantine`` and ``due``: events from rows that are read, not from changes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from datetime import datetime

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from cdc.admin.admin import Admin
from cdc.cli.admin import with_admin
from cdc.cli.app import CommandGroup, CommandSession, pass_session
from cdc.cli.environment import (
    of_each,
    opened_outbox,
    quiet_configuration,
    run_async,
    select_sources,
    set_on_signal,
    sources_option,
)
from cdc.cli.output import (
    confirm,
    confirm_loss,
    counted,
    echo,
    json_option,
    local_time,
    print_json,
    print_table,
    question,
    say,
    state_word,
    yes_option,
)
from cdc.config import Config, SourceConfig
from cdc.config.rules import DueStatus, due_status
from cdc.model.backfill import Asked, Backfill, BackfillState, BackfillStore, Planned
from cdc.model.change import Quarantined
from cdc.model.clock import Clock, SystemClock
from cdc.model.errors import UsageError, printable_line
from cdc.outbox.shared import no_backfill
from cdc.runtime import consumer
from cdc.runtime.due import preview

INTERRUPTED = 130
_LISTED = 50


@click.command()
@click.argument("tables", metavar="[TABLE]...", nargs=-1)
@click.option("--all", "all_tables", is_flag=True, help="All tables that have events.")
@click.option("--where", metavar="SQL", default="", help="Only rows that match this condition, in the database's SQL.")
@click.option(
    "--endpoint", metavar="ID", default="", help="Send only to this endpoint, even if its events do not match."
)
@click.option("--rate", type=click.FloatRange(0), default=0, help="Rows per second at most; 0: no limit [0].")
@click.option("--source", metavar="NAME", help="Source to read, if there are several.")
@click.option("--dry-run", is_flag=True, help="Print tables, estimated rows and receivers; start nothing.")
@click.option("--detach", is_flag=True, help="Do not wait; `cdc run` does the work.")
@click.option("--list", "listed", is_flag=True, help="List the newest backfills and their progress.")
@click.option("--watch", "watched", metavar="ID", multiple=True, help="Show the progress of this one (repeatable).")
@click.option("--pause", metavar="ID", multiple=True, help="Pause this one (repeatable).")
@click.option("--resume", metavar="ID", multiple=True, help="Resume this one (repeatable).")
@click.option("--cancel", metavar="ID", multiple=True, help="Cancel this one for good (repeatable).")
@yes_option
@json_option
@pass_session
def backfill(
    session: CommandSession,
    /,
    *,
    tables: tuple[str, ...],
    all_tables: bool,
    where: str,
    endpoint: str,
    rate: float,
    source: str | None,
    dry_run: bool,
    detach: bool,
    listed: bool,
    watched: tuple[str, ...],
    yes: bool,
    as_json: bool,
    **changes: tuple[str, ...],
) -> None:
    """Send existing rows as events (*.existing).

    The events go to endpoints that name them (invoice.existing or *.existing; invoice.* does not), or only to the one
    of --endpoint.  An event never holds an older state of its row than an event sent before.

    `cdc run` reads and sends the rows beside its other work.  If none is running for the source, this command reads the
    rows, and the next `cdc run` sends them.  Ctrl-C ends only the display, and after a crash the backfill continues.
    """
    config = quiet_configuration(session)
    _one_thing(tables or all_tables, listed, watched, *changes.values())
    if listed:
        _print(with_admin(config, lambda admin: admin.backfills.newest(_LISTED)), as_json=as_json)
    elif watched:
        _look_on(config, with_admin(config, lambda admin: _found(admin, watched)), as_json=as_json)
    elif any(changes.values()):
        if cancelled := changes["cancel"]:
            confirm_loss(
                lambda: backfill_cancellation(with_admin(config, lambda admin: _found(admin, cancelled))), yes=yes
            )
        _print(with_admin(config, lambda admin: _change(admin, changes)), as_json=as_json)
    else:
        name, asked = _source(config, source).name, Asked(tables, where, endpoint, rate)
        if dry_run:
            _print_plan(with_admin(config, lambda admin: admin.backfills.plan(name, asked)), as_json=as_json)
            return
        planned = with_admin(config, lambda admin: admin.backfills.start(name, asked))
        begun = [each.backfill for each in planned]
        _warn_of_nobody(planned)
        if detach:
            _print(begun, as_json=as_json)
        else:
            _look_on(config, begun, as_json=as_json)


def _one_thing(*given: object) -> None:
    if sum(map(bool, given)) != 1:
        raise UsageError(
            "Say which tables, or --all; or one of --list, --watch, --pause, --resume, --cancel.",
            "For instance: cdc backfill facturascli --endpoint ep_4f1d2c90ab37e856",
        )


def _source(config: Config, name: str | None) -> SourceConfig:
    sources = select_sources(config, () if name is None else (name,))
    if len(sources) > 1:
        names = ", ".join(each.name for each in sources)
        raise UsageError("Several databases are configured.", f"Name one with --source: {names}.")
    return sources[0]


# -- what there is ----------------------------------------------------------------------------------------------------


async def _found(admin: Admin, ids: Sequence[str]) -> list[Backfill]:
    return [await admin.backfills.get(each) for each in ids]


async def _change(admin: Admin, changes: dict[str, tuple[str, ...]]) -> list[Backfill]:
    return [await admin.backfills.change(each, name) for name, ids in changes.items() for each in ids]


def _print(backfills: Sequence[Backfill], *, as_json: bool) -> None:
    if as_json:
        print_json({"backfills": [as_fields(each) for each in backfills]})
        return
    titles = ("id", "source", "table", "where", "endpoint", "state", "rows", "of about", "begun", "ended", "error")
    rows = [
        (
            one.id,
            one.source,
            one.table,
            one.where,
            one.endpoint,
            one.state,
            one.rows,
            one.estimate,
            one.created_at,
            one.finished_at,
            one.error,
        )
        for one in backfills
    ]
    print_table(titles, rows, "There is no backfill yet.")


def as_fields(backfill: Backfill) -> dict[str, object]:
    return {
        "id": backfill.id,
        "source": backfill.source,
        "table": backfill.table,
        "where": backfill.where,
        "endpoint": backfill.endpoint or None,
        "rate": backfill.rate,
        "state": backfill.state,
        "rows": backfill.rows,
        "estimate": backfill.estimate,
        "created_at": backfill.created_at,
        "finished_at": backfill.finished_at,
        "actor": backfill.actor,
        "error": backfill.error,
    }


# -- a new one --------------------------------------------------------------------------------------------------------


def _print_plan(planned: Sequence[Planned], *, as_json: bool) -> None:
    """Show what a backfill would do; nothing is stored."""
    if as_json:
        plans = [as_fields(each) | {"id": None, "state": None, "receivers": list(to)} for each, to in planned]
        print_json({"dry_run": True, "backfills": plans})
        return
    rows = [(each.source, each.table, each.where, each.estimate, to or "no endpoint") for each, to in planned]
    print_table(("source", "table", "where", "about rows", "sent to"), rows, "There is no table to read.")
    _warn_of_nobody(planned)
    total = sum(each.estimate or 0 for each, _ in planned)
    say(f"Dry run: about {counted(total, 'row')} of {counted(len(planned), 'table')}. Nothing was started.")


def _warn_of_nobody(planned: Sequence[Planned]) -> None:
    if unwanted := [each.table for each, receivers in planned if not receivers]:
        say(
            f"No endpoint asks for existing rows of {', '.join(unwanted)}: their events are stored and sent nowhere.\n"
            "  --endpoint ID sends them to one endpoint; cdc endpoint update ID --events … names them (*.existing)."
        )


def _look_on(config: Config, backfills: Sequence[Backfill], *, as_json: bool) -> None:
    ended = run_async(_until_ended(config, backfills, quiet=as_json))
    _print(ended, as_json=as_json)
    if any(not each.state.ended for each in ended):
        for each in ended:
            if not each.state.ended:
                say(f"{each.id} continues while `cdc run` captures from {each.source}.")
        say("cdc backfill --watch ID shows the progress again; --pause ID and --cancel ID stop it; --list shows all.")
        raise click.exceptions.Exit(INTERRUPTED)
    if any(each.state is not BackfillState.DONE for each in ended):
        raise click.exceptions.Exit(1)


async def _until_ended(config: Config, backfills: Sequence[Backfill], *, quiet: bool) -> list[Backfill]:
    stop = asyncio.Event()
    set_on_signal(stop)
    async with opened_outbox(config) as store:
        if not backfills:
            return []
        source = config.select_source(backfills[0].source)
        captures_itself = f"No cdc run captures from {source.name}: this does."
        async with consumer.capturing(source, store, lambda: say(captures_itself)):
            return await watch(store, [each.id for each in backfills], SystemClock(), stop, quiet=quiet)


#: Seconds between two polls: an outbox announces no progress.
LOOK_EVERY = 0.25


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.0f} rows/s")


async def watch(
    store: BackfillStore, ids: Sequence[str], clock: Clock, stop: asyncio.Event, *, quiet: bool
) -> list[Backfill]:
    """Wait until all have ended, or rest, or ``stop`` is set; return them as they are then."""
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate()),
        *(TimeRemainingColumn(), TextColumn("{task.fields[state]}")),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=quiet or not sys.stderr.isatty()) as bars:
        bar_of = {each: bars.add_task("", total=None, state="") for each in ids}
        while True:
            found = [await _find(store, each) for each in ids]
            for each in found:
                _show(bars, bar_of[each.id], each)
            if stop.is_set() or all(each.state is not BackfillState.RUNNING for each in found):
                return found
            await clock.wait(stop, LOOK_EVERY)


async def _find(store: BackfillStore, backfill_id: str) -> Backfill:
    found = await store.find_backfill(backfill_id)
    if found is None:
        raise no_backfill(backfill_id)
    return found


def _show(bars: Progress, bar: TaskID, backfill: Backfill) -> None:
    rows, estimate = backfill.rows, backfill.estimate
    running = backfill.state is BackfillState.RUNNING
    total = None if estimate is None else max(rows, estimate)
    bars.update(
        bar,
        description=printable_line(backfill.table),
        completed=rows,
        total=rows if backfill.state is BackfillState.DONE else total,
        state="" if running else state_word(backfill.state),
    )


@click.group(cls=CommandGroup)
def quarantine() -> None:
    """Show, reread and remove changes that were skipped."""


@quarantine.command("list")
@click.option("--source", metavar="NAME", help="Only changes of this source.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at most.")
@json_option
@pass_session
def list_changes(session: CommandSession, source: str | None, limit: int, as_json: bool) -> None:
    """List skipped changes, newest first.

    Each was announced by an event source.gap.  They are stored as long as events ([retention] days).
    """
    config = quiet_configuration(session)

    async def newest(admin: Admin) -> tuple[list[Quarantined], dict[str, int]]:
        return await admin.quarantine.newest(limit, source), await admin.quarantine.counts()

    found, counts = with_admin(config, newest)
    if as_json:
        print_json({"quarantined": [_as_fields(each) for each in found], "counts": counts})
        return
    titles = ("id", "skipped", "source", "table", "operation", "record", "read again by")
    rows = [
        (one.id, one.found_at, one.source, one.table, one.operation, _record(one), one.backfill or "-") for one in found
    ]
    print_table(titles, rows, "No change is in quarantine.")
    total = sum(number for name, number in counts.items() if source in (None, name))
    if total > len(found):
        say(f"{total} in all: --limit shows more.")


@quarantine.command()
@click.argument("change_id", metavar="ID")
@json_option
@pass_session
def show(session: CommandSession, change_id: str, as_json: bool) -> None:
    """Show why a change was skipped, and its row."""
    found = with_admin(quiet_configuration(session), lambda admin: admin.quarantine.get(change_id))
    if as_json:
        print_json(_as_fields(found) | {"before": found.before, "after": found.after})
        return
    for name, value in _as_fields(found).items():
        shown = local_time(value) if isinstance(value, datetime) else value
        echo(f"{name}: {_record(found) if name == 'key' else shown}")
    for name, image in (("before", found.before), ("after", found.after)):
        echo(f"{name}: {image or '-'}")


@quarantine.command()
@click.argument("change_ids", metavar="ID...", nargs=-1, required=True)
@click.option(
    "--endpoint", metavar="ID", default="", help="Send only to this endpoint, even if its events do not match."
)
@pass_session
def reread(session: CommandSession, change_ids: Sequence[str], endpoint: str) -> None:
    """Send the records of skipped changes as they are now.

    As events *.existing.  `cdc run` reads the rows; cdc backfill --list shows the progress.
    """
    config = quiet_configuration(session)

    async def reread_each(admin: Admin) -> None:
        for change_id in change_ids:
            begun = await admin.quarantine.reread(change_id, endpoint)
            say(f"{change_id}: the backfill {begun.id} sends its record.")

    with_admin(config, reread_each)


@quarantine.command()
@click.argument("change_ids", metavar="ID...", nargs=-1)
@click.option("--all", "all_changes", is_flag=True, help="Remove all skipped changes.")
@yes_option
@pass_session
def remove(session: CommandSession, change_ids: Sequence[str], all_changes: bool, yes: bool) -> None:
    """Delete skipped changes that you no longer need."""
    if bool(change_ids) == all_changes:
        raise UsageError("Say which changes, or --all.", "cdc quarantine list shows them.")
    config = quiet_configuration(session)
    if all_changes:
        number = sum(with_admin(config, lambda admin: admin.quarantine.counts()).values())
        confirm(quarantine_removal(number), yes=yes)
        removed = with_admin(config, lambda admin: admin.quarantine.remove_all())
    else:
        confirm_loss(lambda: quarantine_removal(len(set(change_ids))), yes=yes)
        removed = with_admin(config, lambda admin: admin.quarantine.remove(change_ids))
    say(f"{removed} removed.")


def _record(change: Quarantined) -> str:
    return ", ".join(f"{column} {value}" for column, value in (change.key or {}).items()) or "-"


def _as_fields(change: Quarantined) -> dict[str, object]:
    return {
        "id": change.id,
        "skipped_at": change.found_at,
        "source": change.source,
        "table": change.table,
        "operation": change.operation.value,
        "key": change.key,
        "transaction": change.token,
        "changed_at": change.changed_at,
        "reason": change.reason,
        "backfill": change.backfill,
    }


@click.command()
@sources_option
@click.option(
    "--day", type=click.DateTime(["%Y-%m-%d"]), metavar="DATE", help="Show what this day brings, and send nothing."
)
@json_option
@pass_session
def due(session: CommandSession, sources: tuple[str, ...], day: datetime | None, as_json: bool) -> None:
    """List the rules by time, and what a day brings.

    Rules with `days` (receipt.due, estimate.expiring, your own) read the database once a day: docs/events.md.
    "complete" is the last day that was worked through.  With --day, the records that have an event on that day, as the
    database is now: a dry run of new rules.
    """
    config, now = quiet_configuration(session), SystemClock().now()
    chosen = select_sources(config, sources)
    if day is not None:
        found, failed = of_each(chosen, lambda source: run_async(preview(source, day.date(), now)))
        events = [event for events in found for event in events]
        if as_json:
            shown = [{"source": e.source, "event": e.name, "record": e.record, "days": e.days} for e in events]
            print_json({"events": shown})
        else:
            rows = [(e.source, e.name, e.record, e.days, " ".join(e.labels).strip()) for e in events]
            print_table(("source", "event", "record", "days", "name"), rows, "Nothing is due on that day.")
        if failed:
            raise failed
        return

    async def described() -> list[DueStatus]:
        async with opened_outbox(config) as store:
            return [each for source in chosen for each in due_status(source, await store.states(source.name), now)]

    rules = run_async(described())
    if as_json:
        print_json({"rules": [each._asdict() for each in rules]})
        return
    titles = ("source", "event", "date", "days", "complete", "next", "problem")
    cells = [(*each[:3], ", ".join(map(str, each.days)), *each[4:]) for each in rules]
    print_table(titles, cells, "No rule by time is on: name its days in your rules, docs/events.md.")


def quarantine_removal(number: int) -> str:
    return question(
        f"{counted(number, 'skipped change')} will be deleted, with the rows before and after.",
        "cdc quarantine reread can then no longer send their records.",
        "Remove?",
    )


def backfill_cancellation(backfills: Sequence[Backfill]) -> str:
    lines = [f"Backfill {each.id} of {each.table} has sent {_rows(each)}." for each in backfills]
    return question(*lines, "A cancelled backfill cannot be resumed.", "Cancel?")


def _rows(backfill: Backfill) -> str:
    rows = counted(backfill.rows, "row")
    return rows if backfill.estimate is None else f"{rows} of about {backfill.estimate:,}"
