"""Named events, which mapping makes and the outbox stores, patterns of their names (``invoice.paid``, ``*``), and the
columns by which people know their records.

Event ids and names of records stay the same whenever the same change is mapped again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import orjson

from cdc.model.change import Row, Value
from cdc.model.errors import UsageError


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
    if event.related is not None:
        payload["related"] = event.related
    if event.link:
        payload["links"] = {"record": event.link}
    payload["transaction"] = event.transaction
    if event.days is not None:
        payload["days"] = event.days
    if event.inferred:
        payload["inferred"] = True
    if event.observed:
        payload["observed"] = True
    if event.source == TESTS:
        payload["test"] = True
    return orjson.dumps(payload)


#: The source of operational events, which are about this program itself; no database may be called so.
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
    ``days``: of an event by time: the days since the date of its rule, negative before it.
    ``related``: records that belong to this one, by what they are to it; None: none are shown.  ``link``: the record's
    page in FacturaScripts; empty: not known.
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
    days: int | None = None
    related: Mapping[str, Any] | None = None
    link: str = ""


#: Last parts of the names of events of rows that nobody changed: sent by a backfill, and read again after a gap.
UNCHANGED: Final = frozenset({"existing", "read"})
_PATTERN = re.compile(r"[a-z0-9_*]+(\.[a-z0-9_*]+)*\Z")


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", ".*"))


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Return whether an event name fits any of the patterns; ``*`` matches any characters, dots included."""
    return any(_compiled(pattern).fullmatch(name) is not None for pattern in patterns)


def names_last(patterns: Iterable[str], what: str) -> tuple[str, ...]:
    """Return the patterns that write out the last part of names, ``what``: ``*.existing``, ``invoice.existing``; not
    ``invoice.*``."""
    return tuple(pattern for pattern in patterns if pattern.rpartition(".")[2] == what)


def selects(name: str, patterns: Iterable[str]) -> bool:
    """Return whether the patterns select the event: as `matches`, but events of unchanged rows only where their last
    part is written out."""
    last = name.rpartition(".")[2]
    return matches(name, names_last(patterns, last) if last in UNCHANGED else patterns)


def check_pattern(pattern: str) -> str:
    """The pattern itself, or `UsageError`."""
    if not _PATTERN.match(pattern):
        raise UsageError(
            f"{pattern!r} is not an event pattern.",
            "Write an event name such as invoice.paid, with * for any part: invoice.*, *.paid or *.",
        )
    return pattern


#: Names a change whose token says all.
NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
#: Hexadecimal digits of a number in an id, and the numbers that they can show.
_NUMBER_DIGITS: Final = 16
_NUMBERS: Final = 16**_NUMBER_DIGITS


def event_ids(source: str, token: str, table: str, ordinal: int, time: datetime) -> blake2b:
    """Return the hash that all events of one merged change share; `event_id` makes the ids from it.

    ``ordinal`` and ``time`` are those of the record's first change in its transaction: they do not depend on how
    transactions were grouped into batches.
    """
    micros = (time - NO_TIME) // _MICROSECOND
    return blake2b(f"{source}\0{token}\0{table}\0{ordinal}\0{micros}\0".encode(), digest_size=16)


def event_id(shared: blake2b, name: str, record: str) -> str:
    """``evt_`` and 128 bits in hexadecimal."""
    digest = shared.copy()
    digest.update(f"{name}\0{record}".encode("utf-8", "surrogatepass"))
    return "evt_" + digest.hexdigest()


class ExistingIds:
    """Ids of the events ``name`` of rows that a backfill reads, each once.

    Those of one table ascend with keys that are numbers, as the rows are read: an index of ids grows at its end then,
    where others are put in all over it, which costs a page of the index for each.
    """

    def __init__(self, shared: blake2b, name: str) -> None:
        self.shared = shared
        self._name = name
        self._beginning = event_id(shared, name, "")[:-_NUMBER_DIGITS]

    def of(self, key: Row, record: str) -> str:
        """``evt_``, and 64 bits of what they share with the number; of any other key as `event_id` has it."""
        if len(key) == 1:
            (value,) = key.values()
            if type(value) is int and 0 <= value < _NUMBERS:
                return f"{self._beginning}{value:0{_NUMBER_DIGITS}x}"
        return event_id(self.shared, self._name, record)


def record_name(table: str, key: Row) -> str:
    """``table:key`` with the key exactly as stored; several key columns as a JSON array, so that no two keys of a
    table share a name."""
    if len(key) == 1:
        (value,) = key.values()
        return f"{table}:{_text(value)}"
    if not key:
        return f"{table}:"
    values = json.dumps(list(key.values()), ensure_ascii=False, separators=(",", ":"))
    return f"{table}:{values}"


def _text(value: Value) -> str:
    if value.__class__ is int:  # nearly all keys are numbers or codes
        return str(value)
    return value if isinstance(value, str) else json.dumps(value)


#: Characters of a code or a name by which a record is found.
_LONGEST_LABEL: Final = 100


@dataclass(frozen=True, slots=True)
class Label:
    """The columns by which people know a record: its code, whose it is, its amount of money; and those by which they
    reach whom it is about.  Empty: there is none."""

    code: str = ""
    name: str = ""
    total: str = ""
    email: str = ""
    phone: str = ""

    @property
    def named(self) -> Mapping[str, str]:
        """Return the name of each column that there is → the column."""
        return {each.name: getattr(self, each.name) for each in fields(self) if getattr(self, each.name)}

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.named.values())

    def searched(self, data: Mapping[str, Any]) -> tuple[str, str]:
        """Code and name as searches compare them."""
        return _searched(data.get(self.code)), _searched(data.get(self.name))


def searched(text: str) -> str:
    """The text as searches by code and name compare it."""
    return text.strip().casefold()[:_LONGEST_LABEL]


def _searched(value: object) -> str:
    return searched(value) if isinstance(value, str) else ""


#: Source and event → the columns of the event's record.
Labels = Callable[[str, str], Label]


def no_labels(_source: str, _event: str) -> Label:
    return Label()
