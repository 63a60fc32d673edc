"""What people may say of an endpoint, checked and turned into its fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from cdc.cli.endpoint_headers import header_options
from cdc.dispatch.retry import SCHEDULES, schedule
from cdc.model.endpoint import Order, PayloadFormat
from cdc.model.errors import UsageError
from cdc.model.pattern import check_pattern

_MOST_RETRIES = 50
_LONGEST_DELAY = 30 * 86_400.0  # seconds
_HOUR = 3600.0


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def endpoint_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that ``endpoint add`` and ``endpoint update`` share; None when not given.  An empty text takes away
    what was there."""
    schedules = "|".join(SCHEDULES)
    options: list[Decorator] = [
        click.option("--description", help="A note for people."),
        click.option("--source", "sources", multiple=True, metavar="NAME", help="Only events of this source."),
        click.option("--format", "payload", type=click.Choice([each.value for each in PayloadFormat]), help="Payload."),
        click.option("--timeout", type=float, metavar="SECONDS", help="How long one attempt may take [10]."),
        click.option(
            "--retries", metavar=f"{schedules}|none|SECONDS,…", help="When to try again [facturascripts: 5,25,125,…]."
        ),
        click.option("--concurrency", type=click.IntRange(1, 1000), help="Requests on their way at once [16]."),
        click.option(
            "--filter",
            "condition",
            metavar="EXPRESSION",
            help="Only events for which it holds (CEL): data.total > 100.0",
        ),
        click.option("--fields", metavar="COLUMN,…", help="Only these columns in data and previous."),
        click.option(
            "--order", type=click.Choice([each.value for each in Order]), help="What waits for what [record]."
        ),
        click.option("--rate", type=float, metavar="PER_SECOND", help="Requests a second; 0: any [0]."),
        click.option("--batch", type=int, metavar="EVENTS", help="Up to so many events in one request [1]."),
        click.option("--batch-wait", type=float, metavar="SECONDS", help="The longest wait for a full batch [1]."),
        header_options,
        click.option("--proxy", metavar="NAME", help="By this proxy of the configuration."),
        click.option("--client-certificate", metavar="NAME", help="With this certificate of the configuration."),
        click.option(
            "--disable-after",
            type=float,
            metavar="HOURS",
            help="Disable after so long without success; 0: never [120].",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def given_fields(
    *,
    url: str | None = None,
    events: str | None = None,
    description: str | None = None,
    sources: Sequence[str] = (),
    payload: str | None = None,
    retries: str | None = None,
    fields: str | None = None,
    order: str | None = None,
    batch: int | None = None,
    disable_after: float | None = None,
    **others: Any,
) -> dict[str, Any]:
    """Fields of `Endpoint` for what was given; ``others``: those that are taken as they come.  Raises `UsageError`.

    Headers are not among them."""
    given = {
        "url": url,
        "events": None if events is None else parse_events(events),
        "description": description,
        "sources": tuple(sources) or None,
        "format": None if payload is None else PayloadFormat(payload),
        "retry_schedule": None if retries is None else parse_retries(retries),
        "fields": None if fields is None else tuple(dict.fromkeys(_pieces(fields))),
        "order": None if order is None else Order(order),
        "batch_size": batch,
        "disable_after": None if disable_after is None else disable_after * _HOUR,
        **others,
    }
    return {name: value for name, value in given.items() if value is not None}


def parse_events(text: str) -> tuple[str, ...]:
    """``invoice.paid, receipt.*`` → both patterns, each once."""
    patterns = [check_pattern(part) for part in _pieces(text)]
    if not patterns:
        raise UsageError("No event is named.", "Write --events invoice.paid,receipt.* or --events '*' for all.")
    return tuple(dict.fromkeys(patterns))


def _pieces(text: str) -> Iterator[str]:
    return (part for part in (piece.strip() for piece in text.split(",")) if part)


def parse_retries(text: str) -> tuple[float, ...]:
    """A preset's name, ``none``, or seconds to wait before each retry."""
    if text == "none":
        return ()
    if not any(character.isdigit() for character in text):
        return schedule(text)
    try:
        delays = tuple(float(part) for part in text.split(","))
    except ValueError:
        delays = (-1.0,)
    if len(delays) > _MOST_RETRIES or not all(0 <= delay <= _LONGEST_DELAY for delay in delays):
        raise UsageError(
            f"{text!r} is not a retry schedule.",
            f"Write {', '.join(SCHEDULES)}, none, or up to {_MOST_RETRIES} delays of at most 30 days in seconds: 5,60.",
        )
    return delays


def retries_text(delays: Sequence[float]) -> str:
    """The preset's name, if it is one, else the seconds."""
    names = [name for name, preset in SCHEDULES.items() if preset == tuple(delays)]
    return names[0] if names else ",".join(f"{delay:g}" for delay in delays) or "none"
