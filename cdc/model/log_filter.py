"""Which events and deliveries of the log are meant: by listings, exports, replays."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cdc.model.delivery import DeliveryState

#: So many of the newest events are searched for a text.
TEXT_EVENTS: Final = 20_000
#: Characters of a code or a name by which a record is found.
_LONGEST: Final = 100
#: Behind every text that begins alike.
_LAST: Final = chr(0x10FFFF)


def searched(text: str) -> str:
    """The text as searches by code and name compare it."""
    return text.strip().casefold()[:_LONGEST]


def label_range(text: str) -> tuple[str, str]:
    """Codes and names that begin with ``text`` are not before the first and before the second."""
    first = searched(text.encode(errors="replace").decode())
    return (first, first + _LAST) if first else (_LAST, _LAST)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are meant; empty fields do not narrow.  ``since``, ``until``: the event's own time, the time of the
    change, is not before the one and before the other.  ``text``: the record's code or name begins with it, or it
    stands in the payload, letter by letter, of one of the `TEXT_EVENTS` newest events.  ``sources``: of one of these;
    None: of any."""

    event_id: str | None = None
    event_pattern: str | None = None
    record: str | None = None
    source: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    sources: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class DeliveryFilter(EventFilter):
    """Which deliveries are meant: of such events, to this endpoint, in this state.  ``endpoint_ids``: to one of these;
    None: to any."""

    endpoint_id: str | None = None
    state: DeliveryState | None = None
    endpoint_ids: tuple[str, ...] | None = None
