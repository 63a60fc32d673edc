"""Resources of the API: their paths, the order of their keys, and their rows in normal form, read page by page from a
key on: rows that come and go shift nothing.

FacturaScripts answers 200 and no rows when a query fails: while a table is renamed or restored, answers look as if all
or many of its rows were deleted.  A few missing rows of a table that still has others are believed at once.  More are
suspects: they are believed after every answer has lacked them for minutes, while no suspect of any table came back and
another table still had its rows.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import blake2b
from itertools import pairwise
from typing import Any, Final, NamedTuple

import orjson
import structlog

from cdc.capture.rest.client import ApiClient, Query
from cdc.extras import ZSTANDARD_MAGIC, zstandard
from cdc.model.change import Row, SnapshotRow, Value
from cdc.model.column import Column, ColumnKind, SecretColumns, Table
from cdc.model.errors import SourceError
from cdc.model.normal import NORMALISERS, decimal

_NUMBER, _TEXT = b"\x01", b"\x02"
_SIGNED = 1 << 63


@dataclass(frozen=True, slots=True)
class Resource:
    """A table as the API gives it.

    ``path``: its name in addresses.  ``key``: the primary key's column.  ``numbered``: the key is a number that grows
    with every new row; other keys are in an order that only the database knows.
    ``interval``: seconds between two looks for new rows (numbered ones); ``compare``: between two comparisons.
    """

    table: str
    path: str
    key: str
    numbered: bool
    secrets: SecretColumns = field(default_factory=SecretColumns)
    interval: float = 60.0
    compare: float = 300.0


def key_bytes(value: Value) -> bytes:
    """Return bytes that sort as numbers do, and as texts by code point.  Raises `SourceError` for an invalid key."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _NUMBER + struct.pack(">Q", value + _SIGNED)
    if isinstance(value, str):
        return _TEXT + value.encode("utf-8", "surrogatepass")
    raise SourceError("The API gives a row whose key is neither a number nor a text.", "Check `key` of its resource.")


def key_value(key: bytes) -> int | str:
    """Return the value from `key_bytes`."""
    if key.startswith(_NUMBER):
        (number,) = struct.unpack(">Q", key[1:])
        return int(number) - _SIGNED
    return key[1:].decode("utf-8", "surrogatepass")


_PARENTHESES = re.compile(r"\(.*\)")
_SCALE = re.compile(r"\(\d+,\s*(\d+)\)")
_DATE = re.compile(r"(\d\d)-(\d\d)-(-?\d{4,})(?=\D|$)")
_TYPES = {
    **dict.fromkeys(("int", "integer", "bigint", "smallint", "mediumint", "serial", "year"), ColumnKind.INTEGER),
    **dict.fromkeys(("tinyint", "boolean"), ColumnKind.BOOLEAN),
    **dict.fromkeys(("double", "double precision"), ColumnKind.DOUBLE),
    **dict.fromkeys(("float", "real"), ColumnKind.REAL),
    **dict.fromkeys(("decimal", "numeric"), ColumnKind.DECIMAL),
    **dict.fromkeys(("time", "time without time zone"), ColumnKind.TIME),
    **dict.fromkeys(("datetime", "timestamp", "timestamp without time zone"), ColumnKind.TIMESTAMP),
    **dict.fromkeys(("json", "jsonb"), ColumnKind.JSON),
    "date": ColumnKind.DATE,
}


def column_of(name: str, database_type: str) -> Column:
    """Return a column with the kind of its type.  ``database_type``: as ``/<resource>/schema`` says it, for instance
    ``int(11)``, ``character varying(10)``."""
    plain = " ".join(_PARENTHESES.sub("", database_type).lower().replace("unsigned", "").split())
    return Column(name, _TYPES.get(plain, ColumnKind.TEXT), database_type)


def normal_row(table: Table, raw: Mapping[str, Any]) -> Row:
    """The columns of ``table`` that ``raw`` has, in column order.  What it has beside them are a model's own values,
    not columns.  Raises `SourceError` when a value is not of its column's type; it is not in the message."""
    return {column.name: _value(table, column, raw[column.name]) for column in table.columns if column.name in raw}


def _value(table: Table, column: Column, value: Any) -> Value:
    if value is None:
        return None
    try:
        if column.kind in (ColumnKind.DATE, ColumnKind.TIMESTAMP):
            # 24-11-2026 … as 2026-11-24 …; what FacturaScripts makes of a zero date is null
            value = str(value)
            if match := _DATE.match(value):
                day, month, year = match.groups()
                value = f"{year}-{month}-{day}{value[match.end() :]}" if int(year) > 0 else None
        elif column.kind is ColumnKind.DECIMAL:
            # the API gives a number, and other sources the digits of the database: as many as the type says
            number = Decimal(str(value))
            scale = _SCALE.search(column.database_type)
            return decimal(number.quantize(Decimal(1).scaleb(-int(scale[1]))) if scale else number)
        elif isinstance(value, dict | list):
            value = orjson.dumps(value).decode()
        return NORMALISERS[column.kind](value)
    except (ValueError, TypeError, ArithmeticError):
        raise SourceError(
            f"The API gives a value for {table.name}.{column.name} that is no {column.kind}.",
            "The resource's /schema and its rows disagree: update FacturaScripts, or report this.",
        ) from None


def pack(row: Row) -> tuple[bytes, bytes]:
    """The row's digest, and the row compressed."""
    text = orjson.dumps(row)
    return blake2b(text, digest_size=16).digest(), zlib.compress(text, 3)


def unpack(packed: bytes) -> Row:
    """Return the row, also of an outbox whose rows were packed by zstandard."""
    text = zstandard().decompress(packed) if packed.startswith(ZSTANDARD_MAGIC) else zlib.decompress(packed)
    row: Row = orjson.loads(text)
    return row


def differ(before: Row, after: Row) -> bool:
    """Return whether a column that both have differs: one that is new, or gone, is a change of the table, not of the
    row."""
    return any(value != after[name] for name, value in before.items() if name in after)


#: Missing rows that are believed at once: so many, or one of so many that are known; always less than a third.
FEW: Final = 20
FEW_OF: Final = 100
#: Seconds without a suspect that comes back: of one table; of several at once, or of the only one that is read; of all
#: tables, where nothing shows that the API gives any rows.
ALONE: Final = 300.0
SEVERAL: Final = 900.0
ALL: Final = 3600.0
#: Seconds after which a gap is reported, and between two comparisons of a table with suspects.
GAP_AFTER: Final = 900.0
RECHECK: Final = 60.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class MissingVerdict:
    """The judgement of missing rows.  ``gone``: keys of deleted rows.  ``gap``: why it is to be reported that
    deletions may be missing; or empty."""

    gone: tuple[bytes, ...] = ()
    gap: str = ""


def few(missing: int, known: int) -> bool:
    return missing <= max(FEW, known // FEW_OF) and missing < known and (missing == 1 or 3 * missing < known)


class MissingRows:
    """The missing rows of one source.  ``tables``: how many are read.  ``now``: seconds of a monotonic clock."""

    def __init__(self, source: str, tables: int, now: Callable[[], float]) -> None:
        self._source = source
        self._tables = tables
        self._now = now
        self._since: dict[str, dict[bytes, float]] = {}
        self._sound: dict[str, float] = {}  # when a comparison of the table found its rows
        self._lookups: dict[str, float | None] = {}  # that had rows; since when they have none
        self._moved = now()
        self._reported: set[str] = set()

    def recheck(self, table: str) -> float | None:
        """Seconds until the next comparison of a table with suspects; None: it has none."""
        return RECHECK if table in self._since else None

    def disturb(self, table: str | None = None) -> None:
        """The API, or one table of it, failed: rows that it lacks are not believed for some time."""
        if table is None or table in self._since:
            self._moved = self._now()

    def believes(self, table: str, *, rows: bool) -> bool:
        """Return whether to believe a table of which events look rows up: that it has ``rows``, or none although it
        had."""
        if rows or table not in self._lookups:
            self._lookups.update({table: None} if rows else {})
            return True
        since = self._lookups[table]
        since = self._lookups[table] = self._now() if since is None else since
        return self._now() - since >= SEVERAL

    def settle(self, table: str, missing: Collection[bytes], known: int, *, plain: bool) -> MissingVerdict:
        """Judge a comparison of all rows.  ``known``: how many were known before it.  ``plain``: those that are missing
        are `few`, and the answers that lacked them had other rows."""
        now, before = self._now(), self._since.pop(table, {})
        if before.keys() - set(missing):
            self._moved = now
        if not missing or (plain and not before):
            return self._settled(table, missing, known, before)
        if not before:
            self._moved = now
            log.warning("rows are missing", source=self._source, table=table, missing=len(missing), of=known)
        since = self._since[table] = {key: before.get(key, now) for key in missing}
        gone = tuple(key for key, at in since.items() if now - max(at, self._moved) >= self._bound(table, at))
        for key in gone:
            del since[key]
        if not since:
            return self._settled(table, gone, known, before)
        if table in self._reported or now - min(since.values()) < GAP_AFTER:
            return MissingVerdict(gone)
        self._reported.add(table)  # once until the table is settled
        gap = (
            f"For {GAP_AFTER / 60:.0f} minutes the API has not given {len(since)} of {known} rows of the table {table} "
            f"of source {self._source}. They are not reported as deleted before that is certain; changes of these rows "
            "are not seen."
        )
        return MissingVerdict(gone, gap)

    def _settled(self, table: str, gone: Collection[bytes], known: int, before: Collection[bytes]) -> MissingVerdict:
        self._since.pop(table, None)
        self._reported.discard(table)
        if known > len(gone):
            self._sound[table] = self._now()
        if before:
            log.info("missing rows settled", source=self._source, table=table, deleted=len(gone))
        return MissingVerdict(tuple(gone))

    def _bound(self, table: str, since: float) -> float:
        sound = any(at > since for other, at in self._sound.items() if other != table and other not in self._since)
        if not sound:
            return SEVERAL if self._tables == 1 else ALL
        return ALONE if len(self._since) == 1 else SEVERAL


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
    """Reads rows of resources in normal form.  ``size``: rows of a page."""

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
        query = [_sort(resource)]
        if after is not None:  # from that row on, which is known: an answer without any row is that of a failed query
            query.insert(0, (f"filter[{resource.key}_gte]", str(key_value(after))))
        answer, complete = await self._rows(resource, query, self._size)
        rows = tuple(SeenRow(row, SnapshotRow(key_bytes(row[resource.key]), *pack(row))) for row in answer)
        keys = [row.key for row in rows]
        unsorted = resource.numbered and not (
            all(one < other for one, other in pairwise(keys)) and (after is None or not keys or after <= keys[0])
        )
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


def _sort(resource: Resource) -> tuple[str, str]:
    return f"sort[{resource.key}]", "ASC"


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
        if not self._doubts.believes(resource.table, rows=rows):
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
