"""Rows that mapping asks for, through the API: document states, lines, receipts, members of roles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from cdc.capture.rest.doubts import MissingRows
from cdc.capture.rest.reader import ResourceReader
from cdc.capture.rest.resource import Resource, key_bytes
from cdc.model.change import Row, Value
from cdc.model.errors import SourceError

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
    """What to ask for to get all rows with these values, and perhaps some with others."""
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
