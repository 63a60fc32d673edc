"""The captured tables of a PostgreSQL database as they are now: columns, keys, and how their images are decoded.

Most columns of FacturaScripts come out of the JSON text as they must be, read by their types (121 is 121.0).
Tables with types that JSON cannot hold exactly (numeric, json, arrays) are read piece by piece instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson

from cdc.database.postgres_types import PgType, ToText, Zone, local, members, plain, to_text, type_of
from cdc.database.sqlfile import load, render
from cdc.model import normal
from cdc.model.change import Row, Value
from cdc.model.column import Capture, Column, ColumnKind, Table
from cdc.model.errors import SourceError
from cdc.model.image import TYPES, ImageReader, object_key_reader, object_reader, tolerant_reader
from cdc.model.normal import DecimalText

Decode = Callable[[str], Row]
#: Name of a prepared statement, and its parameters.
Execution = tuple[str, list[str | None]]
_Convert = Callable[[Any], Value]

#: Kinds that the parsed JSON already has in the normal form.
_PLAIN = TYPES.keys() - {ColumnKind.DOUBLE}


@dataclass(frozen=True, slots=True)
class JournalLayout:
    """A table, and the way to read its rows.  ``version``: another one after the table was altered.  ``table``:
    without secret columns.  ``readable``: those of its columns that this account may select.  ``casts``: column →
    type to which the text of a value is cast, without length, which would cut it.  ``foreign``: columns of types
    that are not the server's own; they are read, ordered and compared as text by functions of the server, which call
    no cast and no operator.  ``exposed``: planning a read evaluates expressions of the table's.  ``images``: how
    those of its rows are read."""

    oid: int
    version: str
    schema: str
    table: Table
    readable: tuple[str, ...]
    casts: Mapping[str, str]
    foreign: frozenset[str]
    exposed: bool
    images: ImageReader

    @property
    def name(self) -> str:
        """The quoted name, for statements that go to the driver."""
        return f"{quote(self.schema)}.{quote(self.table.name)}"

    @property
    def rows(self) -> str:
        """The table as statements read it."""
        columns = []
        for column in dict.fromkeys((*self.readable, *self.table.key)):
            name = quote(column)
            foreign = column in self.foreign
            columns.append(f"CASE WHEN num_nulls({name}) = 0 THEN concat({name}) END AS {name}" if foreign else name)
        return f"(SELECT {', '.join(columns)} FROM {self.name})"  # noqa: S608 - `quote` quotes all names


@dataclass(frozen=True, slots=True)
class TableCatalogue:
    """The layouts of all tables.  ``fingerprint``: as rows.sql computes it of the tables named by ``oids``, which is
    as PostgreSQL reads an array. ``images``: table → how those of its rows are read."""

    layouts: Mapping[str, JournalLayout]
    fingerprint: int
    oids: str
    images: Mapping[str, ImageReader]

    def layout(self, table: str) -> JournalLayout:
        try:
            return self.layouts[table]
        except KeyError:
            raise SourceError(
                f"Table {table} is not in the database, or not among the tables that may be read.",
                "Name it in a rule and run cdc install-triggers.",
            ) from None


def build_catalogue(
    schema: str,
    captures: Mapping[str, Capture],
    records: Iterable[Sequence[Any]],
    zone: str,
    types: Mapping[int, PgType] | None = None,
) -> TableCatalogue:
    """Return the catalogue.  ``records``: of catalogue.sql.  ``types``: of the columns that are not plain."""
    layouts: dict[str, JournalLayout] = {}
    fingerprint = 0
    for name, group in groupby(records, key=lambda record: str(record[0])):
        columns = list(group)
        fingerprint += columns[0][2]
        layouts[name] = _layout(schema, captures[name], columns, lambda: zone_of(zone), types or {})
    oids = "{" + ",".join([str(layout.oid) for layout in layouts.values()]) + "}"
    return TableCatalogue(layouts, fingerprint, oids, {name: layout.images for name, layout in layouts.items()})


def _layout(
    schema: str, capture: Capture, records: list[Sequence[Any]], zone: Zone, types: Mapping[int, PgType]
) -> JournalLayout:
    _, oid, version, *_, exposed = records[0]
    key = sorted((record[9], record[3]) for record in records if record[9] is not None)
    hidden = capture.hidden.of([record[3] for record in records], [name for _, name in key])
    records = [record for record in records if record[3] not in hidden]
    columns = tuple(Column(record[3], type_of(record[6], record[7]).kind, record[4]) for record in records)
    table = Table(capture.table, columns, tuple(name for _, name in key))
    readable = tuple(record[3] for record in records if record[8])
    casts = {record[3]: record[5] for record in records}
    foreign = frozenset(record[3] for record in records if record[12])
    casts |= dict.fromkeys(foreign, "text")
    nested = {record[3]: to_text(record[10], types) for record in records if not record[11]}
    images = ImageReader(compile_decode(table, zone, nested), table.key, object_key_reader(columns, table.key))
    return JournalLayout(oid, str(version), schema, table, readable, casts, foreign, exposed, images)


def zone_of(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise SourceError(
            f"The database's time zone {name} is not known here.", "Install the package tzdata, or name a common zone."
        ) from error


def quote(identifier: str) -> str:
    """Quote a name for statements that go to the driver, whose placeholders begin with %."""
    return '"' + identifier.replace('"', '""').replace("%", "%%") + '"'


def begin(layout: JournalLayout, settings: str = "") -> str:
    """Return the statements that begin a transaction in which the table is read, without parameters; see
    `PostgresLookup`."""
    if not layout.readable:
        raise SourceError(
            f"This account may not read table {layout.table.name}.",
            "cdc grants prints what it needs.",
        )
    return render(
        "postgres/read/begin.sql",
        settings=settings,
        columns=", ".join(map(quote, layout.readable)).replace("%%", "%"),
        table=layout.name.replace("%%", "%"),
        exposed=load("postgres/read/exposed.sql"),
        foreign=load("postgres/read/foreign.sql") if layout.exposed else "NULL",
        oid=str(layout.oid),
    )


def at_once(layout: JournalLayout, prepared: str, parameters: Mapping[str, Any]) -> tuple[str, list[Execution]]:
    """Return what does the work of `begin` and a `select` for a table that is not ``exposed``: the statement that locks
    it, and those to execute.  If it is another table than in memory, cdc_check (check.sql) fails before the last one.
    ``prepared``: the name under which `prepare` prepared that."""
    name = layout.name.replace("%%", "%")
    values: Sequence[str] | None = parameters.get("values")
    quoted = ('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values or ())
    array = None if values is None else "{" + ",".join(quoted) + "}"
    return f"SELECT FROM {name}", [
        ("cdc_check", [str(layout.oid), name, layout.version]),
        (prepared, [array, parameters["limit"]]),
    ]


def prepare(sql: str, name: str, unused: str = "") -> str:
    """Return the statements that prepare a `select` for `at_once`, and forget an ``unused`` one."""
    text = sql % {"values": "$1", "limit": "$2"}
    return f"{f'DEALLOCATE {unused}; ' if unused else ''}PREPARE {name} (text[], bigint) AS {text}"


def select(layout: JournalLayout, condition: str) -> str:
    """A statement of rows of the table, in primary key order; its parameters are ``limit`` and the condition's."""
    return render(
        "postgres/read/table_rows.sql",
        columns=", ".join(map(quote, layout.readable)),
        rows=layout.rows,
        condition=condition,
        key=", ".join(map(quote, layout.table.key)) or "1",
    )


def select_page(layout: JournalLayout, where: str, condition: str, marks: str) -> str:
    """A statement of rows of the table, and of two texts ``marks`` in the same snapshot; its parameters are ``limit``
    and those of the condition and the marks."""
    return render(
        "postgres/read/page.sql",
        images=", ".join(f"t.{quote(column)}" for column in layout.readable),
        keys=", ".join(f"t.{quote(column)}" for column in layout.table.key) or "1",
        where=where.replace("%", "%%") or "true",
        rows=layout.rows,
        condition=condition,
        key=", ".join(map(quote, layout.table.key)) or "1",
        marks=marks,
    )


def matching(layout: JournalLayout, column: str) -> str:
    """Return the condition that the column is one of the parameter ``values`` (texts)."""
    cast = layout.casts.get(column)
    if cast is None:
        raise SourceError(f"Table {layout.table.name} has no column {column}.", "Correct the rule that names it.")
    if column not in (*layout.readable, *layout.table.key):
        raise SourceError(
            f"This account may not read column {column} of table {layout.table.name}.",
            "cdc grants prints what it needs.",
        )
    return f"{quote(column)} = ANY (CAST(%(values)s::text[] AS {cast.replace('%', '%%')}[]))"


def after_key(layout: JournalLayout, after: Row | None) -> tuple[str, dict[str, str | None]]:
    """Return the condition that the primary key is greater than ``after``, and its parameters."""
    if after is None:
        return "true", {}
    names = layout.table.key
    parameters = {f"key{number}": as_text(after[name]) for number, name in enumerate(names)}
    values = ", ".join(
        f"CAST(%(key{number})s::text AS {layout.casts[name].replace('%', '%%')})" for number, name in enumerate(names)
    )
    return f"({', '.join(map(quote, names))}) > ({values})", parameters


def as_text(value: Value) -> str | None:
    """Return the value as PostgreSQL reads it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)


def compile_decode(table: Table, zone: Zone, nested: Mapping[str, ToText] | None = None) -> Decode:
    """The fastest decoder that is exact for this table.  ``zone``: the database's local time, asked for when needed.
    ``nested``: column → how its arrays, composite values and the like are written."""
    kinds = {column.kind for column in table.columns}
    if not kinds & {ColumnKind.DECIMAL, ColumnKind.JSON, ColumnKind.OTHER}:
        return _quick_decode(table, zone)
    texts = nested or {}
    converts = {column.name: texts.get(column.name) or _raw_converter(column, zone) for column in table.columns}
    return lambda text: {name: converts.get(name, _plain_or_text)(raw) for name, raw in members(text)}


def decode_unknown(text: str) -> Row:
    """An image of a table that is not in the database any more."""
    return {name: _plain_or_text(raw) for name, raw in members(text)}


def _quick_decode(table: Table, zone: Zone) -> Decode:
    converts = {column.name: _converter(column, zone) for column in table.columns if column.kind not in _PLAIN}
    others = [(c.name, converts[c.name]) for c in table.columns if c.kind not in TYPES]

    def careful(text: str) -> Row:
        """Read NaN, or an image from before a column was dropped, renamed or given another type."""
        old: dict[str, Value] = orjson.loads(text)
        return {name: converts[name](value) if name in converts else value for name, value in old.items()}

    return tolerant_reader(object_reader(table.columns), others, careful)


def _converter(column: Column, zone: Zone) -> _Convert:
    """Return the conversion of a parsed JSON value; one that does not fit (an image from before ALTER TYPE) stays."""
    if column.kind is ColumnKind.TIMESTAMP:
        # the value has an offset when the column has a time zone: then it is shown in the database's local time
        return lambda value: None if value is None else local(str(value), zone)
    if column.kind is ColumnKind.BINARY:
        return _binary
    convert = normal.NORMALISERS[column.kind]

    def lenient(value: Value) -> Value:
        try:
            return convert(value)
        except ValueError:
            return value

    return lenient


def _raw_converter(column: Column, zone: Zone) -> Callable[[str], Value]:
    """Return the conversion of the value's JSON text."""
    if column.kind is ColumnKind.DECIMAL:
        return lambda raw: None if raw == "null" else DecimalText(raw.strip('"'))
    if column.kind is ColumnKind.JSON:
        return lambda raw: None if raw == "null" else raw
    if column.kind is ColumnKind.OTHER:
        return plain
    convert = _converter(column, zone)
    return lambda raw: convert(_plain_or_text(raw))


def _binary(value: Any) -> Value:
    if isinstance(value, str) and value.startswith("\\x"):
        try:
            return normal.binary(bytes.fromhex(value[2:]))
        except ValueError:
            return value
    return normal.text(value)


def _plain_or_text(raw: str) -> Value:
    """A scalar as JSON has it; anything nested as its text."""
    return raw if raw[0] in "[{" else orjson.loads(raw)
