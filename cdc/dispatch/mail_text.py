"""What a mail about events says, for a person: subject and plain text, from payloads in the default format.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from cdc.model.event import OPERATIONS

#: Before each subject, so that mail can be sorted by it.
MARK: Final = "[facturascripts-cdc]"
#: A longer subject, value or list of values is cut; so is a text with more lines.
_LONGEST_SUBJECT: Final = 150
_LONGEST_VALUE: Final = 200
_MOST_VALUES: Final = 100
_MOST_LINES: Final = 5_000

Payload = Mapping[str, Any]


class MailText(NamedTuple):
    """``subject``: one line."""

    subject: str
    text: str


def mail_text(body: bytes) -> MailText:
    """``body``: one payload as JSON, or an array of them."""
    parsed = orjson.loads(body)
    events: list[Payload] = parsed if isinstance(parsed, list) else [parsed]
    lines = [line for event in events for line in (*_event(event), "")]
    if len(lines) > _MOST_LINES:
        lines = [*lines[:_MOST_LINES], f"… and {len(lines) - _MOST_LINES} lines more"]
    return MailText(_cut(f"{MARK} {_subject(events)}", _LONGEST_SUBJECT), "\n".join(lines))


def _subject(events: Sequence[Payload]) -> str:
    if len(events) == 1:
        (event,) = events
        note = event["data"].get("description") if event["source"] == OPERATIONS else None
        return f"{event['event']}: {_key(event)}" + (f" ({note})" if note else "")
    names = ", ".join(dict.fromkeys(event["event"] for event in events))
    return f"{len(events)} events: {names}"


def _event(event: Payload) -> Iterator[str]:
    if event["source"] == OPERATIONS:
        yield from _operational(event)
    else:
        yield from _of_record(event)
    yield ""
    yield f"time: {event['timestamp']}"
    yield f"event: {event['id']}"


def _operational(event: Payload) -> Iterator[str]:
    """The message says it all; the other fields follow for whoever looks for one."""
    data = dict(event["data"])
    yield _line(data.pop("message", event["event"]))
    yield ""
    yield event["event"]
    yield from _values(data)


def _of_record(event: Payload) -> Iterator[str]:
    yield f"{event['event']}: {_key(event)} (source {event['source']})"
    yield ""
    if event.get("inferred"):
        yield "A conclusion: the row alone cannot tell for certain."
    if event.get("observed"):
        yield "Found by comparing: what the row was in between is not known."
    if (previous := event.get("previous")) is not None:
        data = event["data"]
        yield from _values({name: _Changed(former, data.get(name)) for name, former in previous.items()})
    else:
        yield from _values(event["data"])


class _Changed(NamedTuple):
    former: Any
    present: Any


def _values(values: Mapping[str, Any]) -> Iterator[str]:
    """A line each; what is empty is left out."""
    told = [(name, value) for name, value in values.items() if value is not None and value not in ("", [])]
    for name, value in told[:_MOST_VALUES]:
        yield f"{name}: {_value(value)}"
    if len(told) > _MOST_VALUES:
        yield f"… and {len(told) - _MOST_VALUES} more"


def _value(value: Any) -> str:
    if isinstance(value, _Changed):
        return f"{_value(value.former)} → {_value(value.present)}"
    if isinstance(value, list):
        return f"{len(value)} rows" if len(value) != 1 else "1 row"
    return _cut(_line(value if isinstance(value, str) else orjson.dumps(value).decode()), _LONGEST_VALUE) or '""'


def _key(event: Payload) -> str:
    return _line(" ".join(f"{name} {value}" for name, value in event["key"].items())) or "all"


def _line(text: str) -> str:
    """On one line, with nothing in it that moves a cursor or begins a header."""
    return "".join(char if char.isprintable() else " " for char in text)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
