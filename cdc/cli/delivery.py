"""``delivery …``: the log of what was sent."""

from __future__ import annotations

import click

from cdc.admin.admin import Admin
from cdc.api.resource import AttemptResource, DeliveryResource
from cdc.cli.admin import with_admin
from cdc.cli.asynchronous import opened_outbox, run_async
from cdc.cli.log_filter import delivery_filter, endpoint_option, event_options, state_option
from cdc.cli.output import echo, json_option, print_fields, print_json, print_json_line, print_table, say
from cdc.cli.session import CommandSession, pass_session
from cdc.cli.settings import quiet_configuration
from cdc.config import Config
from cdc.model.clock import SystemClock
from cdc.model.delivery import Attempt, DeliveryFilter, DeliveryView

#: Deliveries of an export that are held at once.
_PAGE = 500

id_argument = click.argument("delivery_id", metavar="ID")


@click.group()
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
    """List deliveries, newest events first."""
    config = quiet_configuration(session)
    views = run_async(_list(config, delivery_filter(SystemClock().now(), **which), limit, before))
    if as_json:
        print_json({"deliveries": [DeliveryResource.of(view).model_dump(mode="json") for view in views]})
        return
    titles = ["id", "event", "record", "endpoint", "state", "attempts", "status", "due", "created"]
    rows = [
        [v.id, v.event_name, v.record, v.endpoint_id, v.state, v.attempts, v.last_status, v.due_at, v.created_at]
        for v in views
    ]
    if len(config.source) > 1:
        titles.insert(3, "source")
        for cells, view in zip(rows, views, strict=True):
            cells.insert(3, view.source)
    print_table(titles, rows, "No delivery fits.")


async def _list(config: Config, which: DeliveryFilter, limit: int, before: str | None) -> list[DeliveryView]:
    async with opened_outbox(config) as store:
        return await store.deliveries(which, limit, before)


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
            DeliveryResource.of(view).model_dump(mode="json")
            | {"log": [AttemptResource.of(attempt).model_dump(mode="json") for attempt in attempts]}
        )
        return
    print_fields(
        [
            ("id", view.id),
            ("event", f"{view.event_name} {view.event_id}"),
            ("record", f"{view.record} of {view.source}"),
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
        (a.number, a.started_at, f"{a.duration * 1000:.0f} ms", a.status, a.error, _one_line(a.answer))
        for a in attempts
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
    config = quiet_configuration(session)
    run_async(_export(config, delivery_filter(SystemClock().now(), **which)))


async def _export(config: Config, which: DeliveryFilter) -> None:
    async with opened_outbox(config) as store:
        before = None
        while page := await store.deliveries(which, _PAGE, before):
            attempts = await store.attempts_of([view.id for view in page])
            for view in page:
                log = [AttemptResource.of(attempt).model_dump(mode="json") for attempt in attempts.get(view.id, [])]
                print_json_line(DeliveryResource.of(view).model_dump(mode="json") | {"log": log})
            before = page[-1].id


def _one_line(answer: str, most: int = 80) -> str:
    text = " ".join("".join(c if c.isprintable() else " " for c in answer).split())
    return text if len(text) <= most else text[: most - 1] + "…"
