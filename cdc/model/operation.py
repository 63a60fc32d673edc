"""Operational events: the program's reports to its operators about itself, its endpoints and its sources.

Their source is `OPERATIONS`.  Endpoints get those that they name (``endpoint.*``, ``source.gap``); ``*`` names none.
An id is derived from the content: emitted again, by another process or after a restart, it is stored once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from cdc.model.change import Gap, Operation
from cdc.model.endpoint import Endpoint
from cdc.model.event import OPERATIONS, Event, format_time

_TEXT: Final[dict[str, Any]] = {"type": "string"}
_TIME: Final[dict[str, Any]] = {"type": "string", "format": "date-time"}
#: What ``data`` may hold: name → JSON Schema.
FIELDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "endpoint": _TEXT | {"description": "Its id."},
    "name": _TEXT | {"description": "Its name, for people; may be empty."},
    "description": _TEXT | {"description": "The same as `name`."},
    "url": _TEXT | {"description": "Scheme, host and port, with the end of the endpoint's id in place of the path."},
    "failing_since": _TIME
    | {"description": "Since then it has accepted nothing; when it was disabled, if its filter was the reason."},
    "percent": {"type": "integer", "description": "How much has passed of the time after which it is disabled."},
    "disabled_at": _TIME | {"description": "When it is disabled unless it accepts something."},
    "last_error": _TEXT | {"description": "What came of the last attempt."},
    "reason": _TEXT | {"description": "Why it is disabled."},
    "waiting": {"type": "integer", "description": "Deliveries that wait for it; up to 10,000 are counted."},
    "source": _TEXT | {"description": "Its name in the configuration."},
    "component": _TEXT | {"description": "A component of the program: dispatch, retention, web …"},
    "since": _TIME | {"description": "Since then it has been standing still."},
    "table": _TEXT,
    "operation": {"enum": [each.value for each in Operation], "description": "What could not be recorded, if known."},
    "message": _TEXT | {"description": "All of it in sentences, for people."},
}
#: Deliveries that are counted for one event.
MOST_WAITING: Final = 10_000
#: So many gaps of a table are one event: a trigger that is not repaired leaves one with each write.
GAP_HOURS: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class OperationType:
    """``subject``: what it is about, ``endpoint``, ``source`` or ``component``.  ``when``: it happens, for people.
    ``fields``: what its ``data`` holds, all of it always."""

    name: str
    subject: str
    when: str
    fields: tuple[str, ...]


_ENDPOINT: Final = ("endpoint", "name", "description", "url")
OPERATION_TYPES: Final = (
    OperationType(
        "endpoint.failing",
        "endpoint",
        "an endpoint has accepted nothing for 50, 70 or 90 % of the time after which it is disabled",
        (*_ENDPOINT, "failing_since", "percent", "disabled_at", "last_error", "waiting", "message"),
    ),
    OperationType(
        "endpoint.disabled",
        "endpoint",
        "an endpoint was disabled: it answered 410 Gone, accepted nothing for too long, or its filter or transform "
        "takes too long; its deliveries wait",
        (*_ENDPOINT, "failing_since", "reason", "last_error", "waiting", "message"),
    ),
    OperationType(
        "endpoint.recovered",
        "endpoint",
        "an endpoint accepts deliveries again, or was enabled by hand, after `endpoint.failing`",
        (*_ENDPOINT, "failing_since", "message"),
    ),
    OperationType(
        "source.stalled",
        "source",
        "a source cannot be read, or stores nothing although its database has changes",
        ("source", "since", "message"),
    ),
    OperationType(
        "source.resumed", "source", "a source is read again, after `source.stalled`", ("source", "since", "message")
    ),
    OperationType(
        "source.gap",
        "source",
        "a change could not be recorded, or was not in the log: the table is read again (once a table and hour)",
        ("source", "table", "operation", "message"),
    ),
    OperationType(
        "component.failed",
        "component",
        "a component of the program failed; it is restarted, and the others keep running",
        ("component", "since", "message"),
    ),
    OperationType(
        "component.clock_set",
        "component",
        "the machine's clock was set by a minute or more, or the machine was suspended",
        ("component", "since", "message"),
    ),
)


class Failing(NamedTuple):
    """An endpoint that has accepted nothing ``since`` an attempt began.  ``url``: of `shown_url`.  ``last_error``: one
    sentence.  ``waiting``: its unfinished deliveries, counted up to `MOST_WAITING`."""

    endpoint: Endpoint
    url: str
    since: datetime
    last_error: str
    waiting: int = 0


def endpoint_failing(failing: Failing, percent: int, now: datetime) -> Event:
    until = failing.since + timedelta(seconds=failing.endpoint.disable_after)
    facts = {
        "failing_since": format_time(failing.since),
        "percent": percent,
        "disabled_at": format_time(until),
        "last_error": failing.last_error,
        "waiting": failing.waiting,
        "message": f"{_named(failing.endpoint)} has accepted nothing since {_time(failing.since)}. "
        f"{_waiting(failing)} Unless it accepts something it is disabled on {_time(max(until, now))}. "
        f"The last error: {failing.last_error}",
    }
    return _of_endpoint("endpoint.failing", failing, facts, now, percent)


def endpoint_disabled(failing: Failing, reason: str, now: datetime) -> Event:
    which = failing.endpoint.id
    facts = {
        "failing_since": format_time(failing.since),
        "reason": reason,
        "last_error": failing.last_error,
        "waiting": failing.waiting,
        "message": f"{_named(failing.endpoint)} is disabled: {reason} {_waiting(failing)} cdc endpoint enable {which} "
        f"sends them." + ("" if failing.last_error == reason else f" The last error: {failing.last_error}"),
    }
    return _of_endpoint("endpoint.disabled", failing, facts, now)


def endpoint_recovered(failing: Failing, now: datetime) -> Event:
    """``failing``: as it was before."""
    message = (
        f"{_named(failing.endpoint)}, which had accepted nothing since {_time(failing.since)}, accepts deliveries "
        "again, or was enabled by hand."
    )
    facts = {"failing_since": format_time(failing.since), "message": message}
    return _of_endpoint("endpoint.recovered", failing, facts, now)


def source_stalled(source: str, since: datetime, why: str, now: datetime) -> Event:
    """``why``: a sentence."""
    facts = {"since": format_time(since), "message": why}
    return _of_source("source.stalled", source, facts, now, format_time(since))


def source_resumed(source: str, since: datetime, now: datetime) -> Event:
    """``since``: as in the ``source.stalled`` event."""
    facts = {
        "since": format_time(since),
        "message": f"Source {source} is read again. It had stood still since {_time(since)}.",
    }
    return _of_source("source.resumed", source, facts, now, format_time(since))


def source_gap(source: str, gap: Gap) -> Event:
    """One event for all gaps of a table, or of a row that cannot be read, within an hour (of the changes' times)."""
    if gap.operation is Operation.READ:
        lost = f"Changes of the table {gap.table} of source {source} were not captured"
    else:
        lost = f"A change ({gap.operation}) of the table {gap.table} of source {source} could not be recorded"
    message = gap.reason or f"{lost}. The table is read again, which gives its rows as they are now (events .read)."
    facts = {"table": gap.table, "operation": gap.operation.value, "message": message}
    hour = (gap.time - datetime(1970, 1, 1, tzinfo=UTC)) // GAP_HOURS
    rows = [] if gap.key is None else [f"{column}={value}" for column, value in gap.key.items()]
    return _of_source("source.gap", source, facts, gap.time, gap.table, hour, *rows)


def component_failed(component: str, since: datetime, why: str, now: datetime) -> Event:
    """``since``: when it first failed without recovery.  ``why``: one sentence."""
    data = {"component": component, "since": format_time(since), "message": why}
    return _event("component.failed", ("component", component), data, now, format_time(since))


def clock_set(seconds: float, now: datetime) -> Event:
    """``seconds``: forward; negative: back."""
    data = {"component": "clock", "since": format_time(now), "message": clock_sentence(seconds, now)}
    return _event("component.clock_set", ("component", "clock"), data, now, format_time(now))


def clock_sentence(seconds: float, now: datetime) -> str:
    moved = f"{'forward' if seconds > 0 else 'back'} by {timedelta(seconds=round(abs(seconds)))}"
    return (
        f"The machine's clock moved {moved}, to {now:%Y-%m-%d %H:%M:%S} UTC: it was set, or the machine was suspended. "
        "Check that it is right: retries and events by time follow it."
    )


def _of_endpoint(name: str, failing: Failing, facts: dict[str, Any], now: datetime, *parts: object) -> Event:
    endpoint, called = failing.endpoint, failing.endpoint.description
    about = {"endpoint": endpoint.id, "name": called, "description": called, "url": failing.url}
    return _event(name, ("endpoint", endpoint.id), about | facts, now, format_time(failing.since), *parts)


def _of_source(name: str, source: str, facts: dict[str, Any], now: datetime, *parts: object) -> Event:
    return _event(name, ("source", source), {"source": source} | facts, now, *parts)


def _event(name: str, about: tuple[str, str], data: Mapping[str, Any], now: datetime, *parts: object) -> Event:
    """``parts``: with the name and what it is about, what makes the id."""
    subject, which = about
    identity = "\0".join(map(str, (name, which, *parts)))
    return Event(
        id="evt_" + blake2b(f"{OPERATIONS}\0{identity}".encode(), digest_size=16).hexdigest(),
        name=name,
        source=OPERATIONS,
        table=subject,
        record=f"{subject}:{which}",
        key={subject: which},
        data=data,
        previous=None,
        time=now,
        transaction="",
    )


def _named(endpoint: Endpoint) -> str:
    return f"Endpoint {endpoint.id} ({endpoint.description})" if endpoint.description else f"Endpoint {endpoint.id}"


def _waiting(failing: Failing) -> str:
    return f"Deliveries waiting: {'at least ' if failing.waiting >= MOST_WAITING else ''}{failing.waiting:,}."


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"


def examples() -> dict[str, Event]:
    """One of each, by name, for the documentation."""
    since = datetime(2026, 11, 19, 21, 48, tzinfo=UTC)
    shop = Endpoint("ep_4f1d2c90ab37e856", "", (), "", since, description="Shop", failing_since=since)
    failing = Failing(shop, "https://shop.example.com/…e856", since, "shop.example.com refused the connection.", 37)
    half, now = since + timedelta(days=2.5), since + timedelta(days=5)
    still = "Source main has not been readable since 2026-11-24 21:47:00 UTC (60 s): The database does not answer."
    events = (
        endpoint_failing(failing, 50, half),
        endpoint_disabled(failing, "It has accepted nothing for 5 days.", now),
        endpoint_recovered(failing, half),
        source_stalled("main", now - timedelta(minutes=1), still, now),
        source_resumed("main", now - timedelta(minutes=1), now + timedelta(minutes=2)),
        source_gap("main", Gap("facturascli", Operation.UPDATE, now)),
        component_failed(
            "retention",
            now,
            "Component retention has failed since 2026-11-24 21:48:00 UTC (0 s): Unexpected KeyError in upkeep.py, "
            "line 61.",
            now,
        ),
        clock_set(-20 * 86_400, now),
    )
    return {event.name: event for event in events}
