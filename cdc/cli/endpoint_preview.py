"""``endpoint preview``, and the report on a filter or transform when it is saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from cdc.admin.endpoint_checks import Previewed, PreviewShape, check_patterns, tried, tried_bodies, with_bodies
from cdc.admin.endpoint_checks import preview as preview_events
from cdc.cli.app import CommandSession, pass_session, translate
from cdc.cli.endpoint_fields import parse_events, read_transform, transform_options
from cdc.cli.environment import opened_outbox, quiet_configuration, run_async
from cdc.cli.output import echo, json_option, print_json, print_table, say
from cdc.config import Config
from cdc.config.rules import label
from cdc.model.endpoint import Endpoint
from cdc.model.errors import UsageError
from cdc.model.event import format_time
from cdc.outbox.base import StoredEvent
from cdc.outbox.shared import Subscriber, no_endpoint, subscriber_of

#: So many of the last events are looked at unless it is said otherwise.
LAST = 100


@click.command()
@click.argument("endpoint_id", metavar="[ID]", required=False)
@click.option("--events", metavar="PATTERN,…", help="Events to try, instead of the endpoint's own.")
@click.option("--source", "sources", multiple=True, metavar="NAME", help="Source to try (repeatable).")
@click.option("--filter", "condition", metavar="EXPRESSION", help="Filter to try; '' for none.")
@transform_options
@click.option(
    "--last",
    type=click.IntRange(1, 10_000),
    default=LAST,
    show_default=True,
    help="How many of the last events to check.",
)
@json_option
@pass_session
def preview(
    session: CommandSession,
    /,
    *,
    endpoint_id: str | None,
    events: str | None,
    sources: Sequence[str],
    condition: str | None,
    transform_file: Path | None,
    preset: str | None,
    language: str | None,
    last: int,
    as_json: bool,
) -> None:
    """Show which of the last events an endpoint would get.

    For an existing endpoint, also with other --events, --source, --filter or --transform; or without ID for one that
    does not exist yet.  Nothing is sent or changed.

    With a transform it shows the bodies of the newest three, with --json of all.
    """
    if endpoint_id is None and events is None:
        raise UsageError("Neither an endpoint nor events are named.", "Name an ID, or write --events invoice.paid")
    config = quiet_configuration(session)
    patterns = None if events is None else check_patterns(config, parse_events(events))
    config.known_sources(sources)
    transform = read_transform(transform_file, preset)
    present, shape, stored = run_async(_look(config, endpoint_id, last))
    wanted: dict[str, Any] = {"patterns": patterns, "sources": tuple(sources) or None, "condition": condition}
    subscriber = replace(present, **{name: value for name, value in wanted.items() if value is not None})
    shape = PreviewShape(transform or shape.transform, language or shape.language, shape.fields)
    looked_at = preview_events(subscriber, stored)
    if shape.transform:
        looked_at = with_bodies(looked_at, shape, partial(label, config))
    _print(looked_at, as_json)
    if shape.transform and not as_json:
        delivered = [each for each in looked_at if each.delivered]
        for each in delivered[-_BODIES:]:
            echo(f"\n{each.event.name} {each.event.record}")
            echo(f"{each.body.content_type}: {each.body.content.decode()}" if each.body else each.failure)
        if delivered:
            say(_failures(delivered))


async def _look(
    config: Config, endpoint_id: str | None, last: int
) -> tuple[Subscriber, PreviewShape, list[StoredEvent]]:
    async with opened_outbox(config) as store:
        if endpoint_id is None:
            return Subscriber(0, ()), PreviewShape(""), await store.events(last)
        found = await store.endpoint(endpoint_id)
        if found is None:
            raise no_endpoint(endpoint_id)
        shape = PreviewShape(found.transform, found.language, found.fields)
        return subscriber_of(found), shape, await store.events(last)


def _print(looked_at: Sequence[Previewed], as_json: bool) -> None:
    named = [each for each in looked_at if each.named]
    delivered = sum(each.delivered for each in named)
    if as_json:
        print_json(
            {
                "events": len(looked_at),
                "named": len(named),
                "delivered": delivered,
                "failed": sum(bool(each.judgement.problem) for each in named),
                "named_events": [_as_json(each) for each in named],
            }
        )
        return
    rows = [
        (
            e.event.time,
            e.event.name,
            e.event.source,
            e.event.record,
            f"{translate('yes')}: {translate(e.judgement.problem)}" if e.judgement.problem else e.delivered,
        )
        for e in named
    ]
    print_table(("time", "event", "source", "record", "delivered"), rows, "No event matches the patterns.")
    say(_counted(looked_at))


def _as_json(each: Previewed) -> dict[str, Any]:
    return {
        "id": each.event.id,
        "event": each.event.name,
        "source": each.event.source,
        "record": each.event.record,
        "timestamp": format_time(each.event.time),
        "delivered": each.delivered,
        "problem": each.judgement.problem or each.failure or None,
        **({"body": each.body.content.decode(), "content_type": each.body.content_type} if each.body else {}),
    }


#: Bodies that are shown.
_BODIES = 3


def _failures(delivered: Sequence[Previewed]) -> str:
    failed = sum(bool(each.failure) for each in delivered)
    return f"The transform fails for {failed} of {len(delivered)} events."


def _counted(looked_at: Sequence[Previewed]) -> str:
    named, delivered = sum(each.named for each in looked_at), sum(each.delivered for each in looked_at)
    return (
        f"Of the last {len(looked_at)} events {named} match the patterns, and {delivered} would be delivered."
        if looked_at
        else "No event is stored yet."
    )


#: Fields of an endpoint that are tried on events before they are saved.
TRIED = ("condition", "transform", "language")


def check_expressions(config: Config, endpoint: Endpoint, last: Sequence[StoredEvent]) -> None:
    """Say what filter and transform would do, before they are saved.  Raises `UsageError` where an example shows that
    they cannot be used."""
    if endpoint.condition:
        _check_filter(config, endpoint, last)
    if endpoint.transform:
        _check_transform(config, endpoint)


def _check_transform(config: Config, endpoint: Endpoint) -> None:
    made = tried_bodies(config, endpoint)
    failed = [each for each in made if each.failure]
    if failed and len(failed) == len(made):
        raise UsageError(failed[0].failure, "Try it first: cdc endpoint preview --transform FILE")
    if failed:
        say(
            f"The transform fails for {len(failed)} of {len(made)} kinds of events, such as {failed[0].event.name}: "
            f"{failed[0].failure}"
        )


def _check_filter(config: Config, endpoint: Endpoint, last: Sequence[StoredEvent]) -> None:
    """Raises `UsageError` where an example shows that the filter gives neither true nor false."""
    judged = tried(config, endpoint)
    problems = [each.problem for each in judged if each.problem]
    for each in judged:
        if not each.boolean:
            raise UsageError(each.problem, "Compare it with something: data.total > 100.0")
    if problems:
        say(
            f"The filter fails for {len(problems)} of its {len(judged)} kinds of events, which are then delivered: "
            f"{problems[0]}"
        )
    elif judged and all(each.missing for each in judged):
        say("The filter uses a field that no example of these events has: check its spelling.")
    if last:
        say(_counted(preview_events(subscriber_of(endpoint), last)))
