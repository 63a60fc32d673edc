"""A connection to a PostgreSQL outbox, as the subjects use it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, ParamSpec, TypeVar

from psycopg import AsyncConnection

from cdc.model.delivery import DeliveryFilter, EventFilter
from cdc.model.endpoint import Endpoint, Order
from cdc.outbox.database import Database, Ledger, Row, postgres_statements
from cdc.outbox.postgres import search
from cdc.outbox.postgres.rows import endpoint_from, endpoint_row, storable
from cdc.outbox.postgres.search import PostgresSearch
from cdc.outbox.secret_box import PLAIN, SecretBox
from cdc.outbox.shared import Subscriber, SubscriberCache
from cdc.outbox.slices import LogSlice

P = ParamSpec("P")
T = TypeVar("T")

#: One change of access or of the audit log at a time: what was read is still true when it is written, and entries are
#: numbered as they commit.
_ALONE: Final = "SELECT pg_catalog.pg_advisory_xact_lock(1667523328, 5)"


class Notice(StrEnum):
    """The notice to the other processes with a commit.  ``DUE``: something may be due.  ``WRITTEN``: see the
    log."""

    DUE = "due"
    WRITTEN = "written"


class PostgresDatabase(Database):
    def __init__(
        self, connection: AsyncConnection[Any], subscribers: SubscriberCache | None = None, box: SecretBox = PLAIN
    ) -> None:
        self.connection = connection
        self.box = box
        self.subscribers = subscribers or SubscriberCache()
        self.notice = Notice.WRITTEN  # sent by `PostgresSession.write`

    async def rows(self, name: str, /, **parameters: Any) -> list[Row]:
        return await self.query(postgres_statements()[name], _storable(parameters))

    async def rows_each(self, name: str, columns: Mapping[str, Sequence[Any]], /, **parameters: Any) -> list[Row]:
        return await self.rows(name, **columns, **parameters)

    async def query(self, text: str, parameters: Mapping[str, Any]) -> list[Row]:
        cursor = await self.connection.execute(text.encode(), parameters, binary=True)
        return [] if cursor.rownumber is None else await cursor.fetchall()

    async def planned(self, text: str, parameters: Mapping[str, Any]) -> list[Row]:
        """`query`, planned for these parameters each time: what they narrow to differs too much for one plan."""
        cursor = await self.connection.execute(text.encode(), parameters, prepare=False, binary=True)
        return await cursor.fetchall()

    async def write(self, name: str, /, **parameters: Any) -> int:
        statement = postgres_statements()[name].encode()
        return (await self.connection.execute(statement, _storable(parameters))).rowcount

    async def write_each(self, name: str, columns: Mapping[str, Sequence[Any]], /, **parameters: Any) -> None:
        await self.write(name, **columns, **parameters)

    async def script(self, text: str) -> None:
        """Run several statements, sent as one; no parameters."""
        await self.connection.execute(text.encode())

    async def ledger(self, ids: Sequence[str]) -> Ledger:
        ((last_event, last_delivery, known, version),) = await self.rows("store_begin", ids=ids)
        subscribers = await self.subscribers.at(version, self.read_subscribers)
        return Ledger(last_event, last_delivery, frozenset(known), subscribers)

    async def find_events(self, which: EventFilter, *, walked: bool = False) -> PostgresSearch:  # noqa: ARG002 - for SQLite's planner; PostgreSQL's needs no hint
        self.check_text(which)
        return await search.of_events(self, which)

    async def find_deliveries(
        self,
        which: DeliveryFilter,
        *,
        newest_first: bool = False,  # noqa: ARG002 - for SQLite's planner; PostgreSQL's needs no hint
        walked: bool = False,  # noqa: ARG002 - for SQLite's planner; PostgreSQL's needs no hint
    ) -> PostgresSearch:
        self.check_text(which)
        return await search.of_deliveries(self, which)

    def one_delivery(self, number: int | None) -> PostgresSearch:
        one = PostgresSearch(self)
        one.add("delivery.id = %(id)s", id=number)
        return one

    async def span(self, which: EventFilter, whole: LogSlice) -> LogSlice:
        return await search.span(self, which, whole)

    async def give_way(self) -> None:
        await asyncio.sleep(0)

    async def aside(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(work, *args, **kwargs)

    def due(self) -> None:
        self.notice = Notice.DUE

    async def alone(self) -> None:
        await self.query(_ALONE, {})

    def text(self, text: str) -> str:
        return storable(text)

    def stored_row(self, endpoint: Endpoint) -> dict[str, Any]:
        return endpoint_row(endpoint)

    def stored_from(self, row: Row) -> Endpoint:
        return endpoint_from(row)

    def subscriber_from(self, row: Row) -> Subscriber:
        number, patterns, sources, order, condition, endpoint_id = row
        return Subscriber(number, tuple(patterns), tuple(sources), Order(order), condition, endpoint_id)


def _storable(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Texts, lists of texts too, as PostgreSQL can hold them."""
    return {
        name: storable(value)
        if isinstance(value, str)
        else [storable(each) if isinstance(each, str) else each for each in value]
        if isinstance(value, list) and value and isinstance(value[0], str)
        else value
        for name, value in parameters.items()
    }
