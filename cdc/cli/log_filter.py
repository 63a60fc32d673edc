"""The options that say which events and deliveries of the log are meant."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

from cdc.model.delivery import DeliveryFilter, DeliveryState, EventFilter
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
