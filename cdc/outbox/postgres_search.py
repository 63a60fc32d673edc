"""How the PostgreSQL outbox finds events and deliveries in a long log: the terms; the way is the server's to choose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cdc.delivery import DeliveryState
from cdc.outbox.base import DeliveryFilter, EventFilter
from cdc.outbox.postgres_rows import storable
from cdc.outbox.postgres_session import Db
from cdc.pattern import check_pattern, matches
from cdc.sqlfile import render

#: the term for each state; literals, so that partial indexes serve
STATE_TERMS: Final = {
    DeliveryState.WAITING: "delivery.state < 2 AND delivery.state = 0",
    DeliveryState.PENDING: "delivery.state = 1 AND delivery.worker IS NULL",
    DeliveryState.LEASED: "delivery.state = 1 AND delivery.worker IS NOT NULL",
    DeliveryState.DELIVERED: "delivery.state = 2",
    DeliveryState.DEAD: "delivery.state = 3",
    DeliveryState.CANCELLED: "delivery.state = 4",
}
ENDPOINT_TERM: Final = "delivery.endpoint + 0 = (SELECT number FROM cdc_outbox.endpoint WHERE id = %(endpoint)s)"


class Search:
    """Fixed terms with named parameters, for a statement's ``$where``."""

    def __init__(self) -> None:
        self._terms = ["true"]
        self.parameters: dict[str, object] = {}

    def add(self, term: str, **parameters: object) -> None:
        self._terms.append(term)
        self.parameters.update(parameters)

    def text(self, name: str) -> str:
        return render(f"postgres/outbox/{name}.sql", where=" AND ".join(self._terms))


async def of_events(db: Db, which: EventFilter) -> Search:
    """Raises `UsageError`."""
    search = Search()
    if which.event_id is not None:
        search.add("event.id = %(event)s", event=which.event_id)
    if which.event_pattern is not None and check_pattern(which.event_pattern) != "*":
        names = await _names(db, which.event_pattern)
        search.add("event.name = ANY (%(names)s::text[])", names=names)
    if which.record is not None:
        search.add("event.record = %(record)s", record=storable(which.record))
    if which.source is not None:
        search.add("event.source = %(source)s", source=which.source)
    if which.since is not None:
        search.add('event."time" >= %(since)s', since=which.since)
    if which.until is not None:
        search.add('event."time" < %(until)s', until=which.until)
    return search


async def of_deliveries(db: Db, which: DeliveryFilter) -> Search:
    """Raises `UsageError`."""
    search = await of_events(db, which)
    if which.endpoint_id is not None:
        search.add(ENDPOINT_TERM, endpoint=which.endpoint_id)
    if which.state is not None:
        search.add(STATE_TERMS[which.state])
    return search


async def _names(db: Db, pattern: str) -> Sequence[str]:
    """Those of stored events that fit."""
    return [name for (name,) in await db.rows("event_names") if matches(name, [pattern])]
