"""Reads rows of resources in normal form, page by page behind a key: rows that come and go shift nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from cdc.change import Row, Value
from cdc.column import Table
from cdc.errors import SourceError
from cdc.kept import KeptRow
from cdc.source.rest.client import ApiClient, Query
from cdc.source.rest.resource import Resource, key_bytes, key_value
from cdc.source.rest.rows import column_of, normal_row, pack


class Seen(NamedTuple):
    """A row as the API shows it now."""

    row: Row
    kept: KeptRow

    @property
    def key(self) -> bytes:
        return self.kept.key


@dataclass(frozen=True, slots=True)
class Page:
    """Rows behind a key.  ``until``: the last key that the page covers; None: there is nothing behind it."""

    rows: tuple[Seen, ...]
    until: bytes | None


class Reader:
    """``size``: rows of a page."""

    def __init__(self, client: ApiClient, size: int) -> None:
        self._client = client
        self._size = size
        self._tables: dict[str, Table] = {}
        self._not_columns: dict[str, set[str]] = {}

    async def table(self, resource: Resource) -> Table:
        """The columns that may be seen; asked for once."""
        if resource.table not in self._tables:
            self._tables[resource.table] = _table(resource, await self._client.get(resource.path, below="schema"))
        return self._tables[resource.table]

    async def page(self, resource: Resource, after: bytes | None = None) -> Page:
        """The next rows in the order of their keys: ours if they are numbers, else the database's."""
        rows = tuple(_seen(resource, row) for row in await self._rows(resource, _behind(resource, after), self._size))
        keys = [row.key for row in rows]
        if len(set(keys)) < len(keys) or (resource.numbered and not _ascending(after, keys)):
            raise SourceError(
                f"The API gives rows of {resource.path} that are not sorted by {resource.key}, or not behind a key.",
                f"Check `key` of the resource; something before FacturaScripts may take sort[{resource.key}] away.",
            )
        return Page(rows, keys[-1] if len(rows) >= self._size else None)

    async def all_where(self, resource: Resource, filters: Query) -> list[Row]:
        """All rows that the filters let through, in the order of their keys."""
        found: list[Row] = []
        after: bytes | None = None
        while True:
            rows = await self._rows(resource, [*filters, *_behind(resource, after)], self._size)
            found += rows
            if len(rows) < self._size:
                return found
            after = key_bytes(rows[-1][resource.key])

    async def _rows(self, resource: Resource, query: Query, limit: int) -> list[Row]:
        table = await self.table(resource)
        answer = await self._client.get(resource.path, [*query, ("limit", str(limit))])
        if not isinstance(answer, list) or not all(isinstance(each, dict) for each in answer):
            raise SourceError(f"The API does not answer with rows of {resource.path}.", "Check `path` of the resource.")
        table = await self._with_new_columns(resource, table, answer)
        rows = [normal_row(table, each) for each in answer]
        if any(row.get(resource.key) is None for row in rows):
            raise SourceError(f"The API gives rows of {resource.path} without {resource.key}.", "Check its `key`.")
        return rows

    async def _with_new_columns(self, resource: Resource, table: Table, rows: Iterable[Mapping[str, Any]]) -> Table:
        """The table, asked for again when rows have what it has not; that may be no column at all."""
        known = {column.name for column in table.columns} | resource.secrets
        strange = {name for row in rows for name in row} - known
        if strange <= self._not_columns.get(resource.table, set()):
            return table
        del self._tables[resource.table]
        table = await self.table(resource)
        self._not_columns[resource.table] = strange - {column.name for column in table.columns}
        return table


def _table(resource: Resource, schema: Any) -> Table:
    """From ``/<resource>/schema``: column → its type and more."""
    try:
        columns = tuple(
            column_of(name, described["type"]) for name, described in schema.items() if name not in resource.secrets
        )
    except (AttributeError, TypeError, KeyError):
        raise SourceError(
            f"The API does not say which columns {resource.path} has.", "Update FacturaScripts."
        ) from None
    if resource.key not in {column.name for column in columns}:
        raise SourceError(f"The resource {resource.path} has no column {resource.key}.", "Check its `key`.")
    return Table(resource.table, columns, (resource.key,))


def _behind(resource: Resource, after: bytes | None) -> list[tuple[str, str]]:
    query = [(f"sort[{resource.key}]", "ASC")]
    return query if after is None else [(f"filter[{resource.key}_gt]", str(key_value(after))), *query]


def _ascending(after: bytes | None, keys: Sequence[bytes]) -> bool:
    before = [] if after is None else [after]
    return all(one < other for one, other in pairwise([*before, *keys]))


def _seen(resource: Resource, row: Row) -> Seen:
    key: Value = row[resource.key]
    return Seen(row, KeptRow(key_bytes(key), *pack(row)))
