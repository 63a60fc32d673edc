"""``event …``: the log, the kinds of events, JSON Schemas, the live stream, export and expunging."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC
from typing import Final

import click
import orjson

from cdc.admin.admin import Admin
from cdc.api.resource import EventResource
from cdc.cli.admin import with_admin
from cdc.cli.app import CommandGroup, CommandSession, pass_session
from cdc.cli.delivery import event_filter, event_options
from cdc.cli.environment import opened_outbox, quiet_configuration, run_async, set_on_signal
from cdc.cli.output import (
    Styled,
    confirm,
    counted,
    echo,
    json_option,
    local_time,
    print_json,
    print_json_line,
    print_script,
    print_table,
    say,
    short_time,
    yes_option,
)
from cdc.config import Config
from cdc.config.rules import event_types
from cdc.model.clock import SystemClock
from cdc.model.delivery import EventFilter
from cdc.model.errors import UsageError
from cdc.model.event import check_pattern, matches
from cdc.outbox.base import StoredEvent
from cdc.outbox.slices import SearchPage
from cdc.outbox.store import OutboxStore
from cdc.runtime.capture import event_document, event_types_of

#: Events that are held at once.
_PAGE: Final = 500
#: Formats of `cdc event schema` → names of documents.
_FILES: Final = {"openapi": "openapi.json", "asyncapi": "asyncapi.json", "typescript": "events.d.ts"}


@click.command()
@event_options
@pass_session
def export(session: CommandSession, /, **which: str | None) -> None:
    """Print stored events as JSON lines, oldest first."""
    config, narrowed = quiet_configuration(session), event_filter(SystemClock().now(), **which)

    async def print_all() -> None:
        async with opened_outbox(config) as store:
            after = 0
            while page := await store.find_events(narrowed, _PAGE, after):
                for stored in page:
                    print_json_line(EventResource.from_event(stored).model_dump(mode="json"))
                after = page[-1].sequence

    run_async(print_all())


@click.command()
@click.argument("event_ids", metavar="[ID]...", nargs=-1)
@click.option("--record", metavar="TABLE:KEY", help="All events of this record (facturascli:12).")
@click.option("--source", metavar="NAME", help="With --record: only of this source.")
@yes_option
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
    """Delete the payloads of events for good.

    And the receivers' answers.  The log keeps which event was sent where and when.  Waiting deliveries are cancelled;
    the events cannot be sent again.
    """
    if bool(event_ids) == (record is not None) or (source is not None and record is None):
        raise UsageError(
            "Give the ids of the events to expunge, or a record.", "Name events by their ids, or a --record."
        )
    config = quiet_configuration(session)
    ids = (
        list(event_ids) if record is None else run_async(_of_record(config, EventFilter(record=record, source=source)))
    )
    if ids:
        confirm(
            f"The payloads of {counted(len(ids), 'event')} will be emptied for good, and their waiting deliveries "
            "cancelled.  Empty them?",
            yes=yes,
        )
    cancelled = with_admin(config, lambda admin: admin.events.expunge(ids))
    if as_json:
        print_json({"events": len(ids), "cancelled": cancelled})
    say(f"{len(ids)} events are expunged, {cancelled} deliveries were cancelled.")


async def _of_record(config: Config, which: EventFilter) -> list[str]:
    """Return the record's events that have a payload."""
    found: list[str] = []
    async with opened_outbox(config) as store:
        after = 0
        while page := await store.find_events(which, _PAGE, after):
            found += [stored.id for stored in page if not stored.expunged]
            after = page[-1].sequence
    return found


#: How often another process's outbox is asked whether it changed (seconds): it cannot call us.
_LOOK_EVERY = 0.2


@click.group(cls=CommandGroup)
def event() -> None:
    """List, follow, export and expunge events."""


@event.command("list")
@click.argument("kind", metavar="", required=False)
@event_options
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many.")
@click.option(
    "--before", type=click.IntRange(1), metavar="SEQUENCE", help="Next page: the sequence that the former one names."
)
@json_option
@pass_session
def list_(
    session: CommandSession, /, *, kind: str | None, limit: int, before: int | None, as_json: bool, **which: str | None
) -> None:
    """List stored events, newest first.

    cdc event kinds lists the events that there may be.
    """
    if kind is not None:
        say("cdc event list lists stored events; the kinds of events are listed by cdc event kinds.")
        print_kinds(session, kind, as_json=as_json)
        return
    config, now = quiet_configuration(session), SystemClock().now()
    narrowed = event_filter(now, **which)

    async def search(admin: Admin) -> SearchPage[StoredEvent]:
        page = await admin.events.search(narrowed, limit, before, oldest_first=False)
        found = list(page.found)
        while page.further is not None and len(found) < limit:
            page = await admin.events.search(narrowed, limit - len(found), int(page.further), oldest_first=False)
            found += page.found
        return SearchPage(found, page.further)

    page = with_admin(config, search)
    if as_json:
        shown = [EventResource.from_event(stored).model_dump(mode="json") for stored in page.found]
        print_json({"events": shown, "next": page.further})
        return
    source = len(config.source) > 1
    titles = ("time", "event", "record", *(["source"] if source else []), "id")
    rows = [(short_time(e.time, now), e.name, e.record, *([e.source] if source else []), e.id) for e in page.found]
    print_table(titles, rows, "No event fits.", cut=titles[1:-1])
    if page.further is not None:
        say(f"There are more: --before {page.further} shows them.")


@event.command()
@click.argument("pattern", default="*")
@json_option
@pass_session
def kinds(session: CommandSession, pattern: str, as_json: bool) -> None:
    """List the kinds of events, and when each is sent.

    Includes those of your own rules.  PATTERN selects some: 'invoice.*'.
    """
    print_kinds(session, pattern, as_json=as_json)


def print_kinds(session: CommandSession, pattern: str, *, as_json: bool) -> None:
    known = event_types(quiet_configuration(session, required=False))
    chosen = [kind for kind in known if matches(kind.name, (check_pattern(pattern),))]
    if as_json:
        events = [{"event": k.name, "entity": k.entity, "table": k.table, "when": k.when} for k in chosen]
        print_json({"events": events})
        return
    from cdc.pages.language import language  # noqa: PLC0415 - of sentences alone: it costs lists a tenth of a second

    spoken = language(session.language, UTC).text
    rows = [(kind.name, kind.table, Styled(spoken(kind.when), "")) for kind in chosen]
    print_table(("event", "table", "when"), rows, f"No event fits {pattern}.")


event.add_command(export)
event.add_command(expunge)


@event.command()
@click.argument("name", required=False)
@click.option("--source", metavar="NAME", help="Read the columns from the tables of this source.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["json-schema", *_FILES]),
    default="json-schema",
    show_default=True,
    help="For other tools: the API with the events as webhooks (OpenAPI 3.1), AsyncAPI 3, or type declarations.",
)
@pass_session
def schema(session: CommandSession, name: str | None, source: str | None, form: str) -> None:
    """Print the JSON Schema of an event, or of all events.

    Includes those of your own rules.  The columns are those of FacturaScripts itself; --source adds those of plugins
    in that database.
    """
    config = quiet_configuration(session, required=source is not None)
    kinds = event_types(config) if source is None else run_async(event_types_of(config.select_source(source)))
    chosen = [kind for kind in kinds if name in (None, kind.name)]
    if not chosen:
        raise UsageError(f"There is no event {name!r}.", "cdc event kinds shows all.")
    if form != "json-schema":
        document = event_document(_FILES[form], chosen).decode()
        print_script(document) if form == "typescript" else print_json(orjson.loads(document))
    elif name is None:
        print_json({kind.name: kind.schema for kind in chosen})
    else:
        print_json(chosen[0].schema)


@event.command()
@click.option("--event", "pattern", default="*", metavar="PATTERN", help="Only these events (invoice.*).")
@click.option(
    "--last",
    type=click.IntRange(0, 10_000),
    default=10,
    show_default=True,
    help="How many earlier events to print first.",
)
@click.option("--count", type=click.IntRange(1), help="End after this number of events.")
@click.option("--no-follow", is_flag=True, help="Print the stored events and end.")
@click.option("--json", "as_json", is_flag=True, help="Print each payload on a line, for programs.")
@pass_session
def tail(
    session: CommandSession, /, *, pattern: str, last: int, count: int | None, no_follow: bool, as_json: bool
) -> None:
    """Print events as they are stored, until Ctrl-C."""
    config = quiet_configuration(session)
    run_async(
        _tail(
            config, check_pattern(pattern), last, None if no_follow else asyncio.Event(), _EventPrinter(as_json, count)
        )
    )


class _EventPrinter:
    """Prints events, ``count`` of them (None: all)."""

    def __init__(self, as_json: bool, count: int | None) -> None:
        self._as_json = as_json
        self._left = count

    def print(self, stored: StoredEvent) -> bool:
        """Print an event.  Return whether enough are printed."""
        if self._as_json:
            print_json_line(
                stored.payload if not stored.expunged else EventResource.from_event(stored).model_dump(mode="json")
            )
        else:
            echo(_line(stored))
        if self._left is not None:
            self._left -= 1
        return self._left == 0


async def _tail(config: Config, pattern: str, last: int, stop: asyncio.Event | None, printer: _EventPrinter) -> None:
    """``stop``: set by a signal; None does not follow."""
    if stop is not None:
        set_on_signal(stop)
    async with opened_outbox(config) as store:
        async for stored in _stream(store, pattern, last, stop):
            if printer.print(stored):
                return


async def _stream(
    store: OutboxStore, pattern: str, last: int, stop: asyncio.Event | None
) -> AsyncIterator[StoredEvent]:
    """The newest ``last`` that fit, then whatever is stored, in the order stored."""
    clock = SystemClock()
    await store.changed()  # before the first look: what comes after it is a change
    newest = await store.events(1)
    after = newest[-1].sequence if newest else 0
    for stored in await store.events(last, pattern=pattern) if last else []:
        after = max(after, stored.sequence)
        yield stored
    while stop is not None and not stop.is_set():
        while page := await store.events(_PAGE, after=after, pattern=pattern):
            for stored in page:
                after = stored.sequence
                yield stored
        while not await store.changed():
            if await clock.wait(stop, _LOOK_EVERY):
                return


def _line(stored: StoredEvent) -> str:
    head = f"{local_time(stored.time)} {stored.name} {stored.source} {stored.record} {stored.id}"
    if stored.expunged:
        return f"{head} (expunged)"
    payload = stored.payload
    what = {"previous": payload["previous"]} if payload.get("previous") else {"key": payload["key"]}
    return f"{head} {orjson.dumps(what).decode()}"
