"""A connection to the file of a SQLite outbox, as the subjects use it.

Times are stored as microseconds, lists travel as JSON.  Nothing here waits: a coroutine that awaits nothing else is
finished as soon as it is started (`finished`), within the thread of the connection.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import islice, repeat
from typing import Any, ParamSpec, TypeVar

from cdc.model.endpoint import Endpoint, Order
from cdc.model.log_filter import DeliveryFilter, EventFilter
from cdc.outbox.database import Database, Ledger, Row
from cdc.outbox.shared import Subscriber
from cdc.outbox.slices import LogSlice
from cdc.outbox.sqlite import search
from cdc.outbox.sqlite.rows import endpoint_from, endpoint_row
from cdc.outbox.sqlite.search import SqliteLogSearch, SqliteSearch
from cdc.outbox.sqlite.values import TIMES, stored, with_times
from cdc.outbox.statements import sqlite_statements

P = ParamSpec("P")
T = TypeVar("T")


class SqliteDatabase(Database):
    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    async def rows(self, name: str, /, **parameters: Any) -> list[Row]:
        return with_times(self.connection.execute(sqlite_statements()[name], _stored_all(parameters)))

    async def rows_each(self, name: str, columns: Mapping[str, Sequence[Any]], /, **parameters: Any) -> list[Row]:
        text, names = _numbered(name)
        given = _each(names, columns, parameters)
        return [row for values in given for row in with_times(self.connection.execute(text, values))]

    async def write(self, name: str, /, **parameters: Any) -> int:
        return self.connection.execute(sqlite_statements()[name], _stored_all(parameters)).rowcount

    async def write_each(self, name: str, columns: Mapping[str, Sequence[Any]], /, **parameters: Any) -> None:
        text, names = _numbered(name)
        self.connection.executemany(text, _each(names, columns, parameters))

    async def ledger(self, ids: Sequence[str]) -> Ledger:
        """Endpoints are read in every transaction: another process may have added one."""
        db, statements = self.connection, sqlite_statements()
        known = frozenset(row[0] for row in db.execute(statements["known_events"], {"ids": stored(ids)}))
        subscribers = tuple(map(self.subscriber_from, db.execute(statements["subscribers"])))
        (last,) = db.execute(statements["last_event"]).fetchone()
        return Ledger(last, 0, known, subscribers)  # SQLite numbers deliveries itself

    async def find_events(self, which: EventFilter, *, walked: bool = False) -> SqliteLogSearch:
        return SqliteLogSearch(self.connection, search.of_events(self.connection, which, walked=walked))

    async def find_deliveries(
        self, which: DeliveryFilter, *, newest_first: bool = False, walked: bool = False
    ) -> SqliteLogSearch:
        ways = search.of_deliveries(self.connection, which, newest_first=newest_first, walked=walked)
        return SqliteLogSearch(self.connection, ways)

    def one_delivery(self, number: int | None) -> SqliteLogSearch:
        one = SqliteSearch("delivery", ("delivery.id = :id",), {"id": number})
        return SqliteLogSearch(self.connection, [one])

    async def span(self, which: EventFilter, whole: LogSlice) -> LogSlice:
        return search.span(self.connection, which, whole)

    async def give_way(self) -> None:
        """The thread is not the event loop's."""

    async def aside(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return work(*args, **kwargs)

    @contextmanager
    def overwriting(self) -> Iterator[None]:
        (before,) = self.connection.execute("PRAGMA secure_delete").fetchone()
        self.connection.execute("PRAGMA secure_delete = ON")
        try:
            yield
        finally:
            self.connection.execute(f"PRAGMA secure_delete = {before}")

    def endpoint_row(self, endpoint: Endpoint) -> dict[str, Any]:
        return endpoint_row(endpoint)

    def endpoint_from(self, row: Row) -> Endpoint:
        return endpoint_from(row)

    def subscriber_from(self, row: Row) -> Subscriber:
        number, patterns, sources, order, condition, endpoint_id = row
        wanted, named = tuple(json.loads(patterns)), tuple(json.loads(sources))
        return Subscriber(number, wanted, named, Order(order), condition, endpoint_id)


def finished(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise AssertionError("work on SQLite waits for nothing but SQLite")


def _stored_all(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: stored(value) for name, value in parameters.items()}


@cache
def _numbered(name: str) -> tuple[str, tuple[str, ...]]:
    """A statement with its parameters by number, which cost less than names for each row; and their names."""
    text = sqlite_statements()[name]
    names = tuple(dict.fromkeys(re.findall(r":(\w+)", text)))
    return re.sub(r":(\w+)", lambda match: f"?{names.index(match[1]) + 1}", text), names


def _each(names: Sequence[str], columns: Mapping[str, Sequence[Any]], parameters: Mapping[str, Any]) -> Iterator[Row]:
    lists = [
        repeat(stored(parameters[name]))
        if name in parameters
        else map(stored, columns[name])
        if name in TIMES
        else columns[name]
        for name in names
    ]
    return islice(zip(*lists, strict=False), len(next(iter(columns.values()))))
