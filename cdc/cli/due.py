"""``due``: rules by time."""

from __future__ import annotations

from datetime import datetime

import click

from cdc.cli.asynchronous import opened_outbox, run_async
from cdc.cli.output import json_option, print_json, print_table
from cdc.cli.session import CommandSession, pass_session
from cdc.cli.settings import of_each, quiet_configuration, select_sources, sources_option
from cdc.config import Config, SourceConfig
from cdc.config.rules import DueStatus, due_status
from cdc.model.clock import SystemClock
from cdc.model.event import Event
from cdc.runtime.due import preview


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
    config = quiet_configuration(session)
    chosen = select_sources(config, sources)
    if day is None:
        _list(run_async(_described(config, chosen)), as_json=as_json)
    else:
        now = SystemClock().now()
        found, failed = of_each(chosen, lambda source: run_async(preview(source, day.date(), now)))
        _show([event for events in found for event in events], as_json=as_json)
        if failed:
            raise failed


async def _described(config: Config, sources: list[SourceConfig]) -> list[DueStatus]:
    now = SystemClock().now()
    async with opened_outbox(config) as store:
        return [each for source in sources for each in due_status(source, await store.states(source.name), now)]


def _list(found: list[DueStatus], *, as_json: bool) -> None:
    if as_json:
        print_json({"rules": [each._asdict() for each in found]})
        return
    rows = [(*each[:3], ", ".join(map(str, each.days)), *each[4:]) for each in found]
    titles = ("source", "event", "date", "days", "complete", "next", "problem")
    print_table(titles, rows, "No rule by time is on: name its days in your rules, docs/events.md.")


def _show(events: list[Event], *, as_json: bool) -> None:
    if as_json:
        shown = [{"source": e.source, "event": e.name, "record": e.record, "days": e.days} for e in events]
        print_json({"events": shown})
        return
    rows = [(event.source, event.name, event.record, event.days, " ".join(event.labels).strip()) for event in events]
    print_table(("source", "event", "record", "days", "name"), rows, "Nothing is due on that day.")
