"""Named events: what mapping makes and the outbox keeps."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from cdc.model.change import Row


@lru_cache(maxsize=64)  # events of one moment come together
def format_time(time: datetime) -> str:
    """``2026-11-24T21:48:00.123456Z``: UTC, always six digits."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def event_payload(event: Event) -> bytes:
    """The event as UTF-8 JSON in the format ``facturascripts``: keys in this order, row keys in column order."""
    payload: dict[str, Any] = {
        "id": event.id,
        "event": event.name,
        "timestamp": format_time(event.time),
        "source": event.source,
        "key": event.key,
        "data": event.data,
    }
    if event.previous is not None:
        payload["previous"] = event.previous
    payload["transaction"] = event.transaction
    if event.inferred:
        payload["inferred"] = True
    if event.observed:
        payload["observed"] = True
    if event.source == TESTS:
        payload["test"] = True
    return orjson.dumps(payload)


#: The source of operational events, which tell of this program itself; no database may be called so.
OPERATIONS = "cdc"
#: The source, and the table, of events that try an endpoint.
TESTS = "test"


class Event(NamedTuple):
    """One named event about one record.

    ``id``: ``evt_…``, derived from source, transaction, row and rule: a replay gives the same id.
    ``record``: names the record whose events keep their order, e.g. ``facturascli:12`` (unique within ``source``).
    ``renamed_from``: the record's former name when this event changed its primary key; order carries over.
    ``time``: of the change, UTC.  ``data``: the after image (before image for deletes), possibly with the record's
    lines and receipts as lists of rows; ``previous``: old values of changed columns, and of
    lines (updates only).
    ``observed``: concluded from two looks at the row: what it was in between is not known.
    ``labels``: code and name by which people search the record, in small letters; empty where it has none.
    ``only_to``: id of the one endpoint that is to get it; empty: all that want it.
    """

    id: str
    name: str
    source: str
    table: str
    record: str
    key: Row
    data: Mapping[str, Any]
    previous: Mapping[str, Any] | None
    time: datetime
    transaction: str
    inferred: bool = False
    renamed_from: str | None = None
    observed: bool = False
    only_to: str = ""
    labels: tuple[str, str] = ("", "")
