"""Search for events and deliveries in the long log of a SQLite outbox: by the index that narrows most, in their order.

SQLite keeps no statistics here, so the way is chosen by what is asked for: an event, a record, a text, a short stretch
of time, a rare state, a name, an endpoint, in this order; with a text or a time only if few events have it.  Everything
else that is asked for is looked at on the way.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from heapq import merge
from itertools import islice
from string import Template
from typing import Any, Final

from cdc.model.delivery import TEXT_EVENTS, DeliveryFilter, DeliveryState, EventFilter, label_range
from cdc.model.event import check_pattern, matches
from cdc.outbox.database import LogSearch, Row, sqlite_statements
from cdc.outbox.shared import text_in_payload
from cdc.outbox.slices import LogSlice
from cdc.outbox.sqlite.rows import converted, micros

#: A stretch of time, a code or a name, or the unfinished deliveries, are begun with when they are at most so many.
FEW: Final = 20_000
#: Of a time that has ended, so many events are looked through in its index, at most, to know where they lie.
MANY: Final = 100_000
_ALWAYS: Final = 2**62
_WINDOW: Final = (
    "event.sequence IN (SELECT sequence FROM event INDEXED BY event_time WHERE time >= :since AND time < :until)"
)
_TEXT: Final = (
    "event.sequence IN (SELECT sequence FROM event WHERE sequence > (SELECT MAX(sequence) FROM event) - :text_events"
    " AND instr(payload, :text) > 0"
    " UNION ALL SELECT sequence FROM event WHERE label_code >= :label AND label_code < :label_end"
    " UNION ALL SELECT sequence FROM event WHERE label_name >= :label AND label_name < :label_end)"
)
#: The same of an event that was found otherwise.
_TEXT_OF: Final = (
    "((event.label_code >= :label AND event.label_code < :label_end)"
    " OR (event.label_name >= :label AND event.label_name < :label_end)"
    " OR (event.sequence > (SELECT MAX(sequence) FROM event) - :text_events AND instr(event.payload, :text) > 0))"
)
_LABELLED: Final = (
    "SELECT COUNT(*) FROM (SELECT 1 FROM event WHERE label_code >= :label AND label_code < :label_end"
    " UNION ALL SELECT 1 FROM event WHERE label_name >= :label AND label_name < :label_end LIMIT :most)"
)
_IN_WINDOW: Final = "SELECT COUNT(*) FROM (SELECT 1 FROM event WHERE time >= :since AND time < :until LIMIT :most)"
_SPAN: Final = (
    "SELECT COUNT(*), MIN(sequence), MAX(sequence) FROM"
    " (SELECT sequence FROM event INDEXED BY event_time WHERE time >= :since AND time < :until LIMIT :most)"
)
_UNFINISHED: Final = "SELECT COUNT(*) FROM (SELECT 1 FROM delivery WHERE state < 2 LIMIT :most)"
_ENDPOINTS: Final = (
    "delivery.endpoint IN (SELECT number FROM endpoint WHERE id IN (SELECT value FROM json_each(:endpoint_ids)))"
)
_ENDPOINT: Final = "delivery.endpoint + 0 = (SELECT number + 0 FROM endpoint WHERE id = :endpoint_id)"

#: the term for each state; "+": no index serves it
_STATES: Final = {
    DeliveryState.WAITING: "+delivery.state = 0",
    DeliveryState.PENDING: "+delivery.state = 1 AND delivery.worker IS NULL",
    DeliveryState.LEASED: "+delivery.state = 1 AND delivery.worker IS NOT NULL",
    DeliveryState.DELIVERED: "+delivery.state = 2",
    DeliveryState.DEAD: "+delivery.state = 3",
    DeliveryState.CANCELLED: "+delivery.state = 4",
}
#: states that partial indexes hold: how to begin with them
_RARE: Final = {
    DeliveryState.LEASED: "delivery.id IN (SELECT id FROM delivery WHERE worker IS NOT NULL)",
    DeliveryState.DEAD: "delivery.state = 3",
    DeliveryState.CANCELLED: "delivery.state = 4",
}
_UNFINISHED_IDS: Final = "delivery.id IN (SELECT id FROM delivery WHERE state < 2)"


@dataclass(frozen=True, slots=True)
class SqliteSearch:
    """One way through the log.  ``first``: the table to begin with, ``event`` or ``delivery``.  ``terms``: fixed texts
    with named parameters.  ``few``: what it begins with is little, and found apart from the order."""

    first: str
    terms: tuple[str, ...]
    parameters: Mapping[str, object]
    few: bool = False

    @property
    def sequence(self) -> str:
        """The column that the order goes by."""
        return "event.sequence" if self.first == "event" else "delivery.event"

    def narrowed(self, *terms: str, **parameters: object) -> SqliteSearch:
        """``$sequence`` in a term is the column that the order goes by."""
        added = tuple(term.replace("$sequence", self.sequence) for term in terms)
        return replace(self, terms=self.terms + added, parameters={**self.parameters, **parameters})

    def before(self, sequence: int, delivery: int) -> SqliteSearch:
        return self.narrowed(
            "$sequence <= :place", "($sequence < :place OR delivery.id < :behind)", place=sequence, behind=delivery
        )

    def after(self, sequence: int, delivery: int) -> SqliteSearch:
        return self.narrowed(
            "$sequence >= :place", "($sequence > :place OR delivery.id > :behind)", place=sequence, behind=delivery
        )

    def within(self, stretch: LogSlice) -> SqliteSearch:
        return self.narrowed("$sequence > :above AND $sequence <= :upto", above=stretch.above, upto=stretch.upto)

    def of_few(self) -> SqliteSearch:
        return replace(self, few=True)

    def text(self, name: str) -> str:
        second = "delivery" if self.first == "event" else "event"
        where = " AND ".join(self.terms)
        return Template(sqlite_statements()[name]).substitute(
            first=self.first, second=second, sequence=self.sequence, where=where
        )


def of_events(db: sqlite3.Connection, which: EventFilter, *, walked: bool = False) -> list[SqliteSearch]:
    """The ways whose findings, together and in order, are the events meant.  ``walked``: they are looked for stretch by
    stretch, so that a long time is no way.  Raises `UsageError`."""
    terms, parameters = _event_terms(which)
    every = SqliteSearch("event", tuple(terms) or ("1",), parameters)
    by_time = [] if walked else _by_time(every)
    return _by_event(db, which, every) or _by_name(db, which, every) or by_time or [every]


def of_deliveries(
    db: sqlite3.Connection, which: DeliveryFilter, *, newest_first: bool = False, walked: bool = False
) -> list[SqliteSearch]:
    """The ways whose findings, together and in order, are the deliveries meant.  ``walked``: as in `of_events`.  Raises
    `UsageError`."""
    # of a long time that ends now the newest are at the log's end
    in_order = walked or (newest_first and which.until is None)
    terms, parameters = _event_terms(which)
    if which.endpoint_id is not None:
        terms.append(f"+({_ENDPOINT})")
        parameters["endpoint_id"] = which.endpoint_id
    if which.endpoint_ids is not None:
        terms.append(f"+({_ENDPOINTS})")
        parameters["endpoint_ids"] = json.dumps(which.endpoint_ids)
    if which.state is not None:
        terms.append(_STATES[which.state])
    by_event = SqliteSearch("event", tuple(terms) or ("1",), parameters)
    by_delivery = replace(by_event, first="delivery")
    return (
        _by_event(db, which, by_event)
        or _by_state(db, which, by_delivery)
        or _by_name(db, which, by_event)
        or ([by_delivery.narrowed(_ENDPOINT)] if which.endpoint_id is not None else [])
        or ([] if in_order else _by_time(by_event))
        or [by_delivery]
    )


def _event_terms(which: EventFilter) -> tuple[list[str], dict[str, object]]:
    """Return conditions on events and their parameters; no index serves them (``+``): the one to use is chosen
    elsewhere."""
    terms: list[str] = []
    parameters: dict[str, object] = {}
    for name, column in (("event_id", "id"), ("record", "record"), ("source", "source")):
        value = getattr(which, name)
        if value is not None:
            terms.append(f"+event.{column} = :{name}")
            parameters[name] = value
    if which.sources is not None:
        terms.append("+event.source IN (SELECT value FROM json_each(:sources))")
        parameters["sources"] = json.dumps(which.sources)
    if which.event_pattern is not None:  # GLOB's * is ours; its other signs cannot occur in a pattern
        terms.append("+event.name GLOB :pattern")
        parameters["pattern"] = check_pattern(which.event_pattern)
    if which.since is not None or which.until is not None:
        terms.append("+event.time >= :since AND +event.time < :until")
        parameters |= _time(which)
    if which.searches:
        text, whole = which.label or which.text or "", which.label is not None
        first, end = label_range(text, whole=whole)
        terms.append(f"+{_TEXT_OF}")
        parameters |= {
            "text": text_in_payload(text), "text_events": 0 if whole else TEXT_EVENTS,
            "label": first, "label_end": end,
        }  # fmt: skip
    return terms, parameters


def _by_event(db: sqlite3.Connection, which: EventFilter, every: SqliteSearch) -> list[SqliteSearch]:
    if which.event_id is not None:
        return [every.narrowed("event.id = :event_id").of_few()]
    if which.record is not None:
        return [every.narrowed("event.record = :record")]
    if which.searches and _few(db, _LABELLED, every.parameters):
        return [every.narrowed(_TEXT).of_few()]
    if "since" in every.parameters and _few(db, _IN_WINDOW, every.parameters):
        return [every.narrowed(_WINDOW).of_few()]
    return []


def _by_state(db: sqlite3.Connection, which: DeliveryFilter, every: SqliteSearch) -> list[SqliteSearch]:
    if which.state is None or which.state is DeliveryState.DELIVERED:
        return []
    rare = _RARE.get(which.state)
    if rare is not None:
        by_rare = every.narrowed(rare)
        return [by_rare.of_few() if which.state is DeliveryState.LEASED else by_rare]
    return [every.narrowed(_UNFINISHED_IDS).of_few()] if _few(db, _UNFINISHED, {}) else []


def _by_name(db: sqlite3.Connection, which: EventFilter, every: SqliteSearch) -> list[SqliteSearch]:
    """One way for each name that fits, to be merged: each is in order."""
    if which.event_pattern is None or which.event_pattern == "*":
        return []
    names = [name for (name,) in db.execute(sqlite_statements()["event_names"]) if matches(name, [which.event_pattern])]
    nothing = [every.narrowed("0")]
    return [every.narrowed("event.name = :name", name=name) for name in names] or nothing


def _by_time(every: SqliteSearch) -> list[SqliteSearch]:
    return [every.narrowed(_WINDOW)] if "since" in every.parameters else []


def span(db: sqlite3.Connection, which: EventFilter, whole: LogSlice) -> LogSlice:
    """The part of the log where a time that has ended lies, so that nobody walks there from the newest event; all of it
    when the events of that time are too many."""
    if which.until is None:
        return whole
    found, first, last = db.execute(_SPAN, {**_time(which), "most": MANY + 1}).fetchone()
    return whole if found > MANY else whole.shared(first, last)


def _time(which: EventFilter) -> dict[str, int]:
    return {
        "since": -_ALWAYS if which.since is None else micros(which.since),
        "until": _ALWAYS if which.until is None else micros(which.until),
    }


def _few(db: sqlite3.Connection, count: str, parameters: Mapping[str, object]) -> bool:
    return int(db.execute(count, {**parameters, "most": FEW + 1}).fetchone()[0]) <= FEW


#: statement → what it orders by, and whether backwards
_ORDERS: Final[Mapping[str, tuple[Callable[[Row], Any], bool]]] = {
    "deliveries": (lambda row: (row[15], row[0]), True),
    "replayable": (lambda row: row[:2], False),
    "replayable_events": (lambda row: row[0], False),
    "find_events": (lambda row: row[0], False),
    "find_newest": (lambda row: row[0], True),
}


@dataclass(frozen=True, slots=True)
class SqliteLogSearch(LogSearch):
    """A search of the log by several ways that together find everything."""

    db: sqlite3.Connection
    ways: Sequence[SqliteSearch]

    @property
    def few(self) -> bool:
        return all(way.few for way in self.ways)

    def before(self, sequence: int, delivery: int) -> SqliteLogSearch:
        return replace(self, ways=[way.before(sequence, delivery) for way in self.ways])

    def after(self, sequence: int, delivery: int) -> SqliteLogSearch:
        return replace(self, ways=[way.after(sequence, delivery) for way in self.ways])

    def after_event(self, sequence: int) -> SqliteLogSearch:
        return replace(self, ways=[way.narrowed("$sequence > :after", after=sequence) for way in self.ways])

    def within(self, part: LogSlice) -> SqliteLogSearch:
        return replace(self, ways=[way.within(part) for way in self.ways])

    async def rows(self, name: str, limit: int, **parameters: Any) -> list[Row]:
        """The first rows over all ways, merged; each way is read only as far as needed."""
        key, reverse = _ORDERS[name]
        with ExitStack() as stack:
            found: list[sqlite3.Cursor] = []
            for way in self.ways:
                cursor = stack.enter_context(closing(self.db.cursor()))
                found.append(cursor.execute(way.text(name), {**way.parameters, **parameters, "limit": limit}))
            rows = list(islice(merge(*found, key=key, reverse=reverse), limit))
            return converted(rows, found[0].description)
