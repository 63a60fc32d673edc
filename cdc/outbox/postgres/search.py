"""Search for events and deliveries in the long log of a PostgreSQL outbox.

The way is the server's to choose, but for one thing: it takes for granted that what is asked for is spread evenly, and
walks from the newest event on to what happened long ago.  So the events of a record, of a name or of a time, and the
unfinished deliveries, are looked up first when they are few.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from string import Template
from typing import Any, Final, Protocol

from cdc.model.delivery import TEXT_EVENTS, DeliveryFilter, DeliveryState, EventFilter, label_range
from cdc.model.event import check_pattern, matches
from cdc.outbox.database import LogSearch, Row, postgres_statements
from cdc.outbox.shared import storable, text_in_payload
from cdc.outbox.slices import LogSlice

#: the term for each state; literals, so that partial indexes serve
STATE_TERMS: Final = {
    DeliveryState.WAITING: "delivery.state < 2 AND delivery.state = 0",
    DeliveryState.PENDING: "delivery.state = 1 AND delivery.worker IS NULL",
    DeliveryState.LEASED: "delivery.state = 1 AND delivery.worker IS NOT NULL",
    DeliveryState.DELIVERED: "delivery.state = 2",
    DeliveryState.DEAD: "delivery.state = 3",
    DeliveryState.CANCELLED: "delivery.state = 4",
}
#: Events that are looked up first, at most; with a text, besides the newest.
FEW: Final = 20_000
#: Of a time that has ended, so many events are looked through in its index, at most, to know where they lie.
MANY: Final = 100_000
_LOOKED_UP: Final = "{column} = ANY (ARRAY(SELECT chosen.sequence FROM cdc_outbox.event AS chosen WHERE {terms}))"
_COUNT: Final = "SELECT count(*) FROM (SELECT FROM cdc_outbox.event AS chosen WHERE {terms} LIMIT %(most)s) AS found"
_RECORD: Final = "chosen.record = %(record)s"
_NAMES: Final = "chosen.name = ANY (%(names)s::text[])"
_SINCE: Final = 'chosen."time" >= %(since)s'
_UNTIL: Final = 'chosen."time" < %(until)s'
_TEXT: Final = (
    "chosen.sequence > (SELECT max(sequence) FROM cdc_outbox.event) - %(text_events)s"
    " AND position(%(text)s::bytea IN chosen.payload) > 0"
    " UNION ALL SELECT sequence FROM cdc_outbox.event WHERE label_code >= %(label)s AND label_code < %(label_end)s"
    " UNION ALL SELECT sequence FROM cdc_outbox.event WHERE label_name >= %(label)s AND label_name < %(label_end)s"
)
#: The same of an event that was found otherwise.
_TEXT_OF: Final = (
    "((event.label_code >= %(label)s AND event.label_code < %(label_end)s)"
    " OR (event.label_name >= %(label)s AND event.label_name < %(label_end)s)"
    " OR (event.sequence > (SELECT max(newest.sequence) FROM cdc_outbox.event AS newest) - %(text_events)s"
    " AND position(%(text)s::bytea IN event.payload) > 0))"
)
_LABELLED: Final = (
    "SELECT count(*) FROM ("
    "SELECT FROM cdc_outbox.event WHERE label_code >= %(label)s AND label_code < %(label_end)s"
    " UNION ALL SELECT FROM cdc_outbox.event WHERE label_name >= %(label)s AND label_name < %(label_end)s"
    " LIMIT %(most)s) AS found"
)
_SPAN: Final = (
    "SELECT count(*), min(sequence), max(sequence) FROM"
    " (SELECT chosen.sequence FROM cdc_outbox.event AS chosen WHERE {terms} LIMIT %(most)s) AS found"
)
_UNFINISHED: Final = "SELECT count(*) FROM (SELECT FROM cdc_outbox.delivery WHERE state < 2 LIMIT %(most)s) AS found"
_UNFINISHED_FIRST: Final = (
    "delivery.id = ANY (ARRAY(SELECT chosen.id FROM cdc_outbox.delivery AS chosen WHERE chosen.state < 2))"
)
ENDPOINT_TERM: Final = "delivery.endpoint + 0 = %(endpoint)s"
_ENDPOINTS: Final = (
    "delivery.endpoint IN (SELECT number FROM cdc_outbox.endpoint WHERE id = ANY (%(endpoint_ids)s::text[]))"
)
_ENDPOINT: Final = "SELECT number FROM cdc_outbox.endpoint WHERE id = %(id)s"


class Queries(Protocol):
    """The connection that a search asks."""

    async def rows(self, name: str, /, **parameters: Any) -> list[Row]: ...

    async def query(self, text: str, parameters: Mapping[str, Any]) -> list[Row]: ...

    async def planned(self, text: str, parameters: Mapping[str, Any]) -> list[Row]: ...


@dataclass(slots=True)
class PostgresSearch(LogSearch):
    """``terms``: fixed ones with named parameters, for a statement's ``$where``.  ``few``: what is looked up first
    narrows it to so little that it is found at once.  ``columns``: the sequence of an event, in each table that the
    statement may begin with.  ``place``: what is found lies before it, newest first."""

    db: Queries
    columns: tuple[str, ...] = ("delivery.event", "event.sequence")
    terms: list[str] = field(default_factory=lambda: ["true"])
    parameters: dict[str, object] = field(default_factory=dict)
    few: bool = False
    place: tuple[int, int] | None = None
    part: LogSlice | None = None

    def add(self, term: str, **parameters: object) -> None:
        self.terms.append(term)
        self.parameters.update(parameters)

    def narrowed(self, *terms: str, **parameters: object) -> PostgresSearch:
        return replace(self, terms=[*self.terms, *terms], parameters={**self.parameters, **parameters})

    def before(self, sequence: int, delivery: int) -> PostgresSearch:
        return replace(self, place=(sequence, delivery))

    def after(self, sequence: int, delivery: int) -> PostgresSearch:
        behind = "(delivery.event, delivery.id) > (%(place)s, %(behind)s)"
        return self.narrowed(behind, place=sequence, behind=delivery)

    def after_event(self, sequence: int) -> PostgresSearch:
        return self.narrowed("event.sequence > %(after)s", after=sequence)

    def within(self, part: LogSlice) -> PostgresSearch:
        terms = [f"{name} > %(above)s AND {name} <= %(upto)s" for name in self.columns]
        return replace(self.narrowed(*terms, above=part.above, upto=part.upto), part=part)

    async def rows(self, name: str, limit: int, **parameters: Any) -> list[Row]:
        search = self
        # a bound at the place where it continues, if that is in this part of the log.  Only there: the planner would
        # use the place instead of another bound that narrows the others too
        if self.place is not None and (self.part is None or self.part.has(self.place[0])):
            # whichever of the two tables it begins with, and goes along, it begins at the place
            bounds = [f"{column} <= %(place)s" for column in self.columns] if self.part is None else []
            below = "(delivery.event, delivery.id) < (%(place)s, %(behind)s)"
            search = self.narrowed(*bounds, below, place=self.place[0], behind=self.place[1])
        text = Template(postgres_statements()[name]).substitute(where=" AND ".join(search.terms))
        given = {**search.parameters, **parameters, "limit": limit}
        return await (self.db.query(text, given) if self.part is None else self.db.planned(text, given))


async def of_events(db: Queries, which: EventFilter) -> PostgresSearch:
    """Raises `UsageError`."""
    search = PostgresSearch(db, ("event.sequence",))
    await _add_terms(db, which, search)
    await _look_up(db, which, search, "event.sequence")
    return search


async def _add_terms(db: Queries, which: EventFilter, search: PostgresSearch) -> None:
    if which.event_id is not None:
        search.add("event.id = %(event)s", event=which.event_id)
    if which.event_pattern is not None and check_pattern(which.event_pattern) != "*":
        names = [name for (name,) in await db.rows("event_names") if matches(name, [which.event_pattern])]
        search.add("event.name = ANY (%(names)s::text[])", names=names)
    if which.record is not None:
        search.add("event.record = %(record)s", record=storable(which.record))
    if which.source is not None:
        search.add("event.source = %(source)s", source=which.source)
    if which.sources is not None:
        search.add("event.source = ANY (%(sources)s::text[])", sources=list(which.sources))
    if which.since is not None:
        search.add('event."time" >= %(since)s', since=which.since)
    if which.until is not None:
        search.add('event."time" < %(until)s', until=which.until)


async def of_deliveries(db: Queries, which: DeliveryFilter) -> PostgresSearch:
    """Raises `UsageError`."""
    search = PostgresSearch(db)
    await _add_terms(db, which, search)
    await _look_up(db, which, search, "delivery.event")
    if which.endpoint_id is not None:
        numbers = await db.query(_ENDPOINT, {"id": which.endpoint_id})  # of a number it knows how many there are
        search.add(ENDPOINT_TERM if numbers else "false", endpoint=numbers[0][0] if numbers else None)
    if which.endpoint_ids is not None:
        search.add(_ENDPOINTS, endpoint_ids=list(which.endpoint_ids))
    if which.state is not None:
        search.add(STATE_TERMS[which.state])
        if not which.state.final and int((await db.query(_UNFINISHED, {"most": FEW + 1}))[0][0]) <= FEW:
            search.add(_UNFINISHED_FIRST)
            search.few = True
    return search


async def _look_up(db: Queries, which: EventFilter, search: PostgresSearch, column: str) -> None:
    """Have the events looked up first, by what narrows most.  ``column``: what they are known by."""
    if which.searches:
        asked, whole = which.label or which.text or "", which.label is not None
        text, (first, end) = text_in_payload(asked), label_range(storable(asked), whole=whole)
        given = {"text": text, "text_events": 0 if whole else TEXT_EVENTS, "label": first, "label_end": end}
        search.few = await _counted_few(db, _LABELLED, given)
        search.add(_LOOKED_UP.format(column=column, terms=_TEXT) if search.few else _TEXT_OF, **given)
    if which.event_id is not None:
        search.few = True
        return
    record = [] if which.record is None else [_RECORD]
    time = [term for term, given in ((_SINCE, which.since), (_UNTIL, which.until)) if given is not None]
    names = [_NAMES] if "names" in search.parameters else []
    for terms in (record, time, names):
        narrow = " AND ".join(terms)
        if terms and (await _counted_few(db, _COUNT.format(terms=narrow), search.parameters)):
            search.add(_LOOKED_UP.format(column=column, terms=narrow))
            search.few = True
            return


async def span(db: Queries, which: EventFilter, whole: LogSlice) -> LogSlice:
    """The part of the log where a time that has ended lies, so that nobody walks there from the newest event; all of it
    when the events of that time are too many."""
    if which.until is None:
        return whole
    terms = _UNTIL if which.since is None else f"{_SINCE} AND {_UNTIL}"
    given = {"since": which.since, "until": which.until, "most": MANY + 1}
    ((found, first, last),) = await db.planned(_SPAN.format(terms=terms), given)
    return whole if found > MANY else whole.shared(first, last)


async def _counted_few(db: Queries, count: str, parameters: Mapping[str, Any]) -> bool:
    ((found,),) = await db.query(count, {**parameters, "most": FEW + 1})
    return int(found) <= FEW
