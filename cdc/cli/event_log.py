"""``event export`` and ``event expunge``: the events that have happened, out of the log and away from it."""

from __future__ import annotations

from typing import Final

import click

from cdc.cli.admin import with_admin
from cdc.cli.asynchronous import opened_outbox, run_async
from cdc.cli.log_filter import event_filter, event_options
from cdc.cli.log_json import event_as_json
from cdc.cli.output import confirm, json_option, print_json, print_json_line, say
from cdc.cli.session import CommandSession, pass_session
from cdc.cli.settings import quiet_configuration
from cdc.config import Config
from cdc.model.clock import SystemClock
from cdc.model.errors import UsageError
from cdc.model.log_filter import EventFilter

#: Events that are held at once.
_PAGE: Final = 500


@click.command()
@event_options
@pass_session
def export(session: CommandSession, /, **which: str | None) -> None:
    """Print events as JSON lines, in the order stored."""
    config = quiet_configuration(session)
    run_async(_export(config, event_filter(SystemClock().now(), **which)))


async def _export(config: Config, which: EventFilter) -> None:
    async with opened_outbox(config) as store:
        after = 0
        while page := await store.find_events(which, _PAGE, after):
            for stored in page:
                print_json_line(event_as_json(stored))
            after = page[-1].sequence


@click.command()
@click.argument("event_ids", metavar="[ID]...", nargs=-1)
@click.option("--record", metavar="TABLE:KEY", help="All events of this record (facturascli:12).")
@click.option("--source", metavar="NAME", help="With --record: only of this source.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@pass_session
def expunge(
    session: CommandSession,
    /,
    *,
    event_ids: tuple[str, ...],
    record: str | None,
    source: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Empty the payloads of events for good, and what endpoints answered to them.

    The log keeps what was sent where and when.  What was not sent yet is cancelled; nothing of it can be sent again.
    """
    if bool(event_ids) == (record is not None) or (source is not None and record is None):
        raise UsageError("Nothing says, or too much says, what to expunge.", "Name events by their ids, or a --record.")
    config = quiet_configuration(session)
    ids = (
        list(event_ids) if record is None else run_async(_of_record(config, EventFilter(record=record, source=source)))
    )
    if ids:
        confirm(f"Empty the payloads of {len(ids)} events for good?", yes=yes)
    cancelled = with_admin(config, lambda admin: admin.events.expunge(ids))
    if as_json:
        print_json({"events": len(ids), "cancelled": cancelled})
    say(f"{len(ids)} events are expunged, {cancelled} deliveries were cancelled.")


async def _of_record(config: Config, which: EventFilter) -> list[str]:
    """Those that have a payload."""
    found: list[str] = []
    async with opened_outbox(config) as store:
        after = 0
        while page := await store.find_events(which, _PAGE, after):
            found += [stored.id for stored in page if not stored.expunged]
            after = page[-1].sequence
    return found
