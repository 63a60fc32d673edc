"""Reads rows of resources in normal form, page by page from a key on: rows that come and go shift nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from cdc.capture.rest.client import ApiClient, Query
from cdc.capture.rest.doubts import MissingRows
from cdc.capture.rest.resource import Resource, column_of, key_bytes, key_value, normal_row, pack
from cdc.model.change import Row, SnapshotRow, Value
from cdc.model.column import Table
from cdc.model.errors import SourceError


class SeenRow(NamedTuple):
    """A row as the API shows it now."""

    row: Row
    kept: SnapshotRow

    @property
    def key(self) -> bytes:
        return self.kept.key


@dataclass(frozen=True, slots=True)
class ResourcePage:
    """Rows behind a key.  ``until``: the last key that the page covers; None: there is nothing behind it.
    ``empty``: the answer had no row, not even that of the key, so that nothing shows that the table is there."""

    rows: tuple[SeenRow, ...]
    until: bytes | None
    empty: bool = False


class ResourceReader:
    """``size``: rows of a page."""

    def __init__(self, client: ApiClient, size: int) -> None:
        self._client = client
        self._size = size
        self._tables: dict[str, Table] = {}
        self._not_columns: dict[str, set[str]] = {}
        self._counted: set[str] = set()

    async def table(self, resource: Resource) -> Table:
        """The columns that may be seen; asked for once."""
        if resource.table not in self._tables:
            self._tables[resource.table] = _table(resource, await self._client.get(resource.path, below="schema"))
        return self._tables[resource.table]

    async def page(self, resource: Resource, after: bytes | None = None) -> ResourcePage:
        """The next rows in the order of their keys: ours if they are numbers, else the database's."""
        answer, complete = await self._rows(resource, _from(resource, after), self._size)
        rows = tuple(_seen(resource, row) for row in answer)
        keys = [row.key for row in rows]
        unsorted = resource.numbered and not _ascending(after, keys)
        if len(set(keys)) < len(keys) or unsorted or (not complete and keys[-1] == after):
            raise SourceError(
                f"The API gives rows of {resource.path} that are not sorted by {resource.key}, or not behind a key.",
                f"Check `key` of the resource; something before FacturaScripts may take sort[{resource.key}] away.",
            )
        behind = rows[1:] if keys and keys[0] == after else rows
        return ResourcePage(behind, None if complete else keys[-1], empty=not rows)

    async def all_where(self, resource: Resource, filters: Query) -> list[Row]:
        """All rows that the filters let through, in the order of their keys."""
        found: list[Row] = []
        behind: Query = []
        while True:
            rows, complete = await self._rows(resource, [*filters, *behind, _sort(resource)], self._size)
            found += rows
            if complete:
                return found
            behind = [(f"filter[{resource.key}_gt]", str(rows[-1][resource.key]))]

    async def has_rows(self, resource: Resource) -> bool:
        rows, _ = await self._rows(resource, (), 1)
        return bool(rows)

    async def _rows(self, resource: Resource, query: Query, limit: int) -> tuple[list[Row], bool]:
        """Return the rows, and whether these are all that the query selects."""
        table = await self.table(resource)
        answer, total = await self._client.ask(resource.path, [*query, ("limit", str(limit))])
        if not isinstance(answer, list) or not all(isinstance(each, dict) for each in answer):
            raise SourceError(f"The API does not answer with rows of {resource.path}.", "Check `path` of the resource.")
        self._check_total(resource, len(answer), total)
        table = await self._with_new_columns(resource, table, answer)
        rows = [normal_row(table, each) for each in answer]
        if any(row.get(resource.key) is None for row in rows):
            raise SourceError(f"The API gives rows of {resource.path} without {resource.key}.", "Check its `key`.")
        return rows, len(rows) < limit and (total is None or total <= len(rows))

    def _check_total(self, resource: Resource, rows: int, total: int | None) -> None:
        """FacturaScripts counts the rows by a query of its own, and says so in every answer, or in none if it is
        old."""
        if total is not None:
            self._counted.add(resource.path)
        elif resource.path in self._counted:
            raise SourceError(
                f"An answer with rows of {resource.path} lacks X-Total-Count: it is not from FacturaScripts.",
                "Check what answers in its place: a proxy, a cache, a page of the web server.",
            )
        if total and not rows:
            raise SourceError(
                f"The API gives no rows of {resource.path}, and counts {total}.", "FacturaScripts' own log says more."
            )

    async def _with_new_columns(self, resource: Resource, table: Table, rows: Iterable[Mapping[str, Any]]) -> Table:
        """The table, asked for again when rows have what it has not; that may be no column at all."""
        strange = {name for row in rows for name in row} - {column.name for column in table.columns}
        strange -= resource.secrets.of(strange, (resource.key,))
        if strange <= self._not_columns.get(resource.table, set()):
            return table
        del self._tables[resource.table]
        table = await self.table(resource)
        self._not_columns[resource.table] = strange - {column.name for column in table.columns}
        return table


def _table(resource: Resource, schema: Any) -> Table:
    """Return a table from ``/<resource>/schema``: column → its type and more."""
    try:
        hidden = resource.secrets.of(schema, (resource.key,))
        columns = tuple(column_of(name, described["type"]) for name, described in schema.items() if name not in hidden)
    except (AttributeError, TypeError, KeyError):
        raise SourceError(
            f"The API does not say which columns {resource.path} has.", "Update FacturaScripts."
        ) from None
    if resource.key not in {column.name for column in columns}:
        raise SourceError(f"The resource {resource.path} has no column {resource.key}.", "Check its `key`.")
    return Table(resource.table, columns, (resource.key,))


def _from(resource: Resource, after: bytes | None) -> Query:
    """Return the query from the row ``after`` on, which is known: an answer without any row is that of a failed
    query."""
    sort = [_sort(resource)]
    return sort if after is None else [(f"filter[{resource.key}_gte]", str(key_value(after))), *sort]


def _sort(resource: Resource) -> tuple[str, str]:
    return f"sort[{resource.key}]", "ASC"


def _ascending(after: bytes | None, keys: Sequence[bytes]) -> bool:
    return all(one < other for one, other in pairwise(keys)) and (after is None or not keys or after <= keys[0])


def _seen(resource: Resource, row: Row) -> SeenRow:
    key: Value = row[resource.key]
    return SeenRow(row, SnapshotRow(key_bytes(key), *pack(row)))


#: Numbers with gaps no greater than this are asked for together: some rows too many cost less than a request each.
_GAP = 4


class ApiLookup:
    """A `cdc.capture.base.Lookup`.  ``resources``: by table.  Raises `SourceError` when a table that had rows has none:
    FacturaScripts gives none when a query fails, and the event would be another one."""

    def __init__(self, reader: ResourceReader, resources: Mapping[str, Resource], doubts: MissingRows) -> None:
        self._reader = reader
        self._resources = resources
        self._doubts = doubts

    async def rows(self, table: str, column: str, values: Sequence[Value]) -> list[Row]:
        resource = self._resource(table)
        wanted = set(values)
        found: dict[bytes, Row] = {}
        for filters in _filters(column, wanted):
            for row in await self._reader.all_where(resource, filters):
                if row.get(column) in wanted:
                    found[key_bytes(row[resource.key])] = row
        if wanted:
            self._check(resource, rows=bool(found) or await self._reader.has_rows(resource))
        return [found[key] for key in sorted(found)]

    async def all_rows(self, table: str) -> list[Row]:
        resource = self._resource(table)
        rows = await self._reader.all_where(resource, ())
        self._check(resource, rows=bool(rows))
        return sorted(rows, key=lambda row: key_bytes(row[resource.key]))

    def _check(self, resource: Resource, *, rows: bool) -> None:
        if not self._doubts.looked_up(resource.table, rows=rows):
            raise SourceError(
                f"The API gives no rows of {resource.path}, which had some; events wait for them for fifteen minutes.",
                "FacturaScripts' own log says more.",
            )

    def _resource(self, table: str) -> Resource:
        if table not in self._resources:
            raise SourceError(
                f"Events need rows of {table}, and its resource in the API is not known.",
                f"Name it: [source.….rest.resources.{table}] path and key.",
            )
        return self._resources[table]


def _filters(column: str, values: set[Value]) -> Iterator[list[tuple[str, str]]]:
    """Yield filters that give all rows with these values, and perhaps some with others."""
    numbers = sorted(value for value in values if isinstance(value, int) and not isinstance(value, bool))
    starts = [
        *([0] if numbers else []),
        *(at for at, (one, other) in enumerate(pairwise(numbers), 1) if other - one > _GAP),
    ]
    for start, end in pairwise([*starts, len(numbers)]):
        first, last = numbers[start], numbers[end - 1]
        if first == last:
            yield [(f"filter[{column}]", str(first))]
        else:
            yield [(f"filter[{column}_gte]", str(first)), (f"filter[{column}_lte]", str(last))]
    for value in values:
        if isinstance(value, str):
            yield [(f"filter[{column}]", value)]
