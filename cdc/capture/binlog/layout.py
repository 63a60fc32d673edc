"""Layouts of tables in the log: their columns, compared with those that information_schema shows, and the decoding of
their row images.  Pure.

Readers of row images are generated for a table's columns: the hot path of the log.  A reader's source text consists of
numbers and of words from this module and `cdc.capture.binlog.column_codec`, never of anything that the log says.
Adjacent fixed-width columns, and the length of the text after them, are read by one `Struct`; columns that are NULL
cost nothing, since there is a reader for each frequent set of NULL columns.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from struct import Struct
from typing import Any

from cdc.capture.binlog.charset import charset_of, width
from cdc.capture.binlog.column_codec import ColumnCodec, DecodeOptions, form_of, stored
from cdc.capture.binlog.event import EventCursor, LogColumn, TableMap
from cdc.database.mysql_connection import Flavour
from cdc.database.mysql_types import ColumnType, MySQLColumn
from cdc.model.change import Value
from cdc.model.errors import LogIncomplete, MalformedEvent, SchemaMismatch

#: A row's values in normal form, in the order of the layout's names.
Image = tuple[Value, ...]
#: (event's body, where the values begin) → the image, and where it ends.
Read = Callable[[bytes, int], tuple[Image, int]]
#: The same for any set of NULL columns, given as a number with a bit for each.
ReadAny = Callable[[bytes, int, int], tuple[Image, int]]


@dataclass(frozen=True, slots=True)
class Field:
    """A column of an image. ``wanted``: its value is part of what a reader gives; otherwise it is skipped."""

    form: ColumnCodec
    nullable: bool
    wanted: bool


_struct = cache(Struct)


@dataclass(slots=True)
class _Text:
    """The source text of a reader as it grows, and what its names mean."""

    lines: list[str] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=dict)
    codes: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)

    def unpack(self, indent: str) -> int:
        """Write the statement that reads what was taken since the last one; its bytes."""
        codes, targets = self.codes, self.targets
        self.codes, self.targets = [], []
        if not codes:
            return 0
        if codes == ["B"]:
            self.lines.append(f"{indent}{targets[0]} = b[p]")
            return 1
        name = f"s{len(self.names)}"
        packed = _struct("<" + "".join(codes))
        self.names[name] = packed.unpack_from
        self.lines.append(f"{indent}{', '.join(targets)}, = {name}(b, p)")
        return packed.size

    def step(self, indent: str) -> None:
        size = self.unpack(indent)
        if size:
            self.lines.append(f"{indent}p += {size}")

    def value(self, number: int, form: ColumnCodec, indent: str) -> str:
        """Add the codes of the column, and its bytes if a length precedes them; return the expression of its value."""
        sources = targets = [f"a{number}_{part}" for part in range(len(form.codes))]
        self.codes += form.codes
        self.targets += targets
        if form.length:
            size = self.unpack(indent)
            self.lines += [f"{indent}q = p + {size}", f"{indent}p = q + {form.length.format(*targets)}"]
            sources = ["b[q:p]"]
        helper = f"h{number}"
        if form.helper is not None:
            self.names[helper] = form.helper
        expression = form.expression.format(*sources, h=helper)
        if not form.length:
            return expression
        self.lines.append(f"{indent}v{number} = {expression}")
        return f"v{number}"

    def compiled(self, parameters: str, values: Sequence[str]) -> Any:
        size = self.unpack("    ")
        end = f"p + {size}" if size else "p"
        body = "\n".join([*self.lines, f"    return ({''.join(value + ', ' for value in values)}), {end}"])
        space = dict(self.names)
        exec(compile(f"def read({parameters}):\n{body}\n", "<row reader>", "exec"), space)  # noqa: S102 - the text is constants of this package and numbers; nothing that a database says is part of it
        return space["read"]


def reader(fields: Sequence[Field], nulls: int) -> Read:
    """Return the reader of an image whose columns with their bit in ``nulls`` are NULL."""
    text = _Text()
    values = []
    for number, column in enumerate(fields):
        value = "None" if nulls >> number & 1 else text.value(number, column.form, "    ")
        if column.wanted:
            values.append(value)
    read: Read = text.compiled("b, p", values)
    return read


def any_reader(fields: Sequence[Field]) -> ReadAny:
    """Return a reader for any set of NULL columns."""
    text = _Text()
    values = []
    for number, column in enumerate(fields):
        if column.nullable:
            value = f"v{number}"
            text.step("    ")
            text.lines += [f"    if n & {1 << number}:", f"        {value} = None", "    else:"]
            expression = text.value(number, column.form, "        ")
            text.step("        ")
            if expression != value:
                text.lines.append(f"        {value} = {expression}")
        else:
            value = text.value(number, column.form, "    ")
        if column.wanted:
            values.append(value)
    read: ReadAny = text.compiled("b, p, n", values)
    return read


class Readers(dict[bytes, Read]):
    """A dictionary of NULL bitmap → reader.  A bitmap that comes often gets a reader of its own; the others share
    one, which is about half as fast, but making readers costs as much as reading hundreds of rows."""

    __slots__ = ("_any", "_fields", "_never", "_seen", "width")
    OFTEN = 16
    #: Bitmaps with readers of their own, and bitmaps that are counted.
    MOST = 256
    MOST_COUNTED = 4096

    def __init__(self, fields: Sequence[Field]) -> None:
        super().__init__()
        self._fields = fields
        self._any: ReadAny | None = None
        self._seen: dict[bytes, int] = {}
        self._never = sum(1 << number for number, column in enumerate(fields) if not column.nullable)
        self.width = (len(fields) + 7) // 8

    def __missing__(self, bitmap: bytes) -> Read:
        if len(bitmap) != self.width:
            raise MalformedEvent("A row in the log ends before its values do.")
        nulls = int.from_bytes(bitmap, "little")
        if nulls & self._never:
            raise MalformedEvent("A row in the log has no value in a column that is NOT NULL.")
        seen = self._seen[bitmap] = self._seen.get(bitmap, 0) + 1
        if seen < self.OFTEN or len(self) >= self.MOST:
            if len(self._seen) > self.MOST_COUNTED:
                self._seen.clear()
            if self._any is None:
                self._any = any_reader(self._fields)
            any_ = self._any
            return lambda body, position: any_(body, position, nulls)
        self[bitmap] = read = reader(self._fields, nulls)
        return read


_ARGUMENTS = re.compile(r"\((\d+)(?:,(\d+))?\)")
_MEMBER = re.compile(r"'((?:[^'\\]|''|\\.)*)'", re.DOTALL)
_ESCAPED = re.compile(r"''|\\(.)", re.DOTALL)
_ESCAPES = {"0": "\0", "n": "\n", "r": "\r"}
_OLD_FORMAT = "/* mariadb-5.3 */"
_MOST_SHORT_ENUM = 255
#: Bytes of a SET: as many as its members need up to this, else 8.
_MOST_SHORT_SET = 4

_COMPRESSED = {ColumnType.BLOB: ColumnType.BLOB_COMPRESSED, ColumnType.VARCHAR: ColumnType.VARCHAR_COMPRESSED}


def members_of(column_type: str) -> tuple[str, ...]:
    """Return the members of an ENUM or SET, from information_schema's COLUMN_TYPE."""

    def unescaped(found: re.Match[str]) -> str:
        return "'" if found[1] is None else _ESCAPES.get(found[1], found[1])

    return tuple(_ESCAPED.sub(unescaped, member) for member in _MEMBER.findall(column_type))


def expected(known: MySQLColumn, flavour: Flavour) -> tuple[int, int] | None:
    """Return (type, meta) as the log should have it; None for a type that this version does not know, or a fraction in
    an old format, of which the log does not say enough."""
    of, numbers = known.type, _ARGUMENTS.search(known.column_type)
    first, second = (int(numbers[1]), int(numbers[2] or 0)) if numbers else (0, 0)
    if of.old_log is not None and _OLD_FORMAT in known.column_type:
        return None if first else (of.old_log, 0)
    if of.log is None:
        return None
    if of.log in (ColumnType.ENUM, ColumnType.SET):
        count = len(members_of(known.column_type))
        if of.log is ColumnType.ENUM:
            return of.log, 1 if count <= _MOST_SHORT_ENUM else 2
        size = (count + 7) // 8
        return of.log, size if size <= _MOST_SHORT_SET else 8
    if of.log is ColumnType.VECTOR and flavour is Flavour.MARIADB:
        return ColumnType.VARCHAR, 4 * first
    meta = of.meta if isinstance(of.meta, int) else of.meta(first, second, width(known.charset))
    if "COMPRESSED" in known.column_type:  # such a string has a byte in front that says how
        return _COMPRESSED[of.log], meta + (of.log == ColumnType.VARCHAR)
    return of.log, meta


def fits(log: LogColumn, known: MySQLColumn, flavour: Flavour) -> bool:
    """Return whether nothing in the log contradicts that this is the known column."""
    if (log.type, log.meta) != expected(known, flavour):
        return False
    if log.unsigned is not None and log.unsigned != known.unsigned:
        return False
    if log.members is not None and log.members != members_of(known.column_type):
        return False
    charset = None if log.collation is None else charset_of(log.collation)
    return charset in (None, "utf8mb3" if known.charset == "utf8" else known.charset or "binary")


def described(log: LogColumn, flavour: Flavour) -> MySQLColumn | None:
    """A column that information_schema has no more, as it must have been; None when that would be a guess.

    A TINYINT may be a boolean, an unsigned DECIMAL may be filled with zeros, a YEAR may have two digits, and sixteen
    bytes (or four) may be a UUID or an address in MariaDB.
    """
    charset = "" if log.collation is None else charset_of(log.collation)
    if log.name is None or charset is None:
        return None
    binary = charset == "binary"
    found = _NAMES.get(log.type)
    certain = True
    if log.type in (ColumnType.SHORT, ColumnType.INT24, ColumnType.LONG, ColumnType.LONGLONG):
        certain = log.unsigned is not None
    elif log.type == ColumnType.DECIMAL:
        certain = log.unsigned is False
    elif log.type in (ColumnType.ENUM, ColumnType.SET):
        certain = log.members is not None
    elif log.type == ColumnType.STRING:
        found = "binary" if binary else "char"
        certain = bool(charset) and not (binary and flavour is Flavour.MARIADB and log.meta in (4, 16))
    elif log.type in (ColumnType.VARCHAR, ColumnType.BLOB):
        found = "longblob" if binary else "longtext"
        certain = bool(charset)
    if found is None or not certain:
        return None
    sign = " unsigned" if log.unsigned else ""
    return MySQLColumn(log.name, found, found + sign, "" if binary else charset)


_NAMES: Mapping[int, str] = {
    ColumnType.SHORT: "smallint",
    ColumnType.INT24: "mediumint",
    ColumnType.LONG: "int",
    ColumnType.LONGLONG: "bigint",
    ColumnType.FLOAT: "float",
    ColumnType.DOUBLE: "double",
    ColumnType.DECIMAL: "decimal",
    ColumnType.BIT: "bit",
    ColumnType.DATE: "date",
    ColumnType.DATETIME: "datetime",
    ColumnType.TIMESTAMP: "timestamp",
    ColumnType.TIME: "time",
    ColumnType.ENUM: "enum",
    ColumnType.SET: "set",
    ColumnType.JSON: "json",
    ColumnType.VECTOR: "vector",
    ColumnType.GEOMETRY: "geometry",
}
__all__ = ["Image", "KnownTable", "LogLayout", "bare_layout", "layout_of"]

WRITE_ROWS = frozenset({23, 30})
UPDATE_ROWS = frozenset({24, 31})
DELETE_ROWS = frozenset({25, 32})
#: Version 2 has more data in front, with its length; version 1 does not.
_VERSION_2 = frozenset({30, 31, 32})
#: Table id and flags.
_POST_HEADER = 8
_GENERATED = re.compile(r"\b(VIRTUAL|STORED|PERSISTENT) GENERATED\b", re.IGNORECASE)
_HIDDEN = "DB_ROW_HASH_"
#: The largest number of columns that takes one byte.
_MOST_IN_A_BYTE = 250


@dataclass(frozen=True, slots=True)
class KnownTable:
    """A table as information_schema described it: its columns in order, and the primary key's columns (may be none).

    ``hidden``: columns that information_schema does not show and that stand behind the others in MariaDB's log, one
    for each UNIQUE key with hashes (INDEX_TYPE is HASH) of an engine other than MEMORY.
    """

    name: str
    columns: tuple[MySQLColumn, ...]
    key: tuple[str, ...]
    flavour: Flavour
    hidden: int = 0


@dataclass(frozen=True, slots=True)
class _Described:
    """A column of the log with what it is; None: nobody wants it."""

    log: LogColumn
    known: MySQLColumn | None


class LogLayout:
    """A way to read the rows of a table.  ``names``: of all columns, secret ones included.  ``key``: the primary key's
    columns, empty without one.

    Generated columns of MariaDB are not among the names: its log has them in inserts only.
    """

    __slots__ = ("key", "names", "table")

    def __init__(self, table: str, names: tuple[str, ...], key: tuple[str, ...]) -> None:
        self.table, self.names, self.key = table, names, key

    def rows(self, _body: bytes, _event_type: int, /) -> list[tuple[Image | None, Image | None]]:
        """Return (before, after) of each row of a WRITE, UPDATE or DELETE_ROWS event, version 1 or 2 (compressed ones
        decompressed, with the event type of the plain one).

        ``_body``: the event without its header and checksum.  Raises `MalformedEvent`, or `LogIncomplete` when images
        lack columns.
        """
        raise SchemaMismatch(f"What columns the rows of table {self.table} in the log have is not known.")

    def present(self, _body: bytes, _event_type: int, /) -> LogLayout:
        """Return the layout of those columns that all images of the event have."""
        return self

    def count(self, body: bytes, event_type: int, /) -> int:
        """Return the number of rows, also of those that lack columns; 0 where images have none, so no bytes."""
        try:
            return len(self.present(body, event_type).rows(body, event_type))
        except LogIncomplete:
            return 0


class _RowLayout(LogLayout):
    """Reads rows by readers that are made for the columns that an event's images have."""

    __slots__ = ("_columns", "_head_bytes", "_options", "_pairs", "_present", "_readers", "_tolerant")
    #: Sets of present columns whose readers are kept; a log has one or two.
    MOST_HEADS = 16

    def __init__(self, table: str, columns: Sequence[_Described], key: tuple[str, ...], options: DecodeOptions) -> None:
        super().__init__(table, tuple(column.known.name for column in columns if column.known), key)
        self._columns, self._options = columns, options
        #: Bytes of an event that say how many columns there are and which of them are present.
        self._head_bytes = (1 if len(columns) <= _MOST_IN_A_BYTE else 3) + (len(columns) + 7) // 8
        self._readers: dict[bytes, Readers] = {}
        self._pairs: dict[bytes, tuple[Readers, Readers]] = {}
        self._tolerant: _RowLayout | None = None
        self._present: dict[int, _RowLayout] = {}
        self._fields()  # what cannot be read is said at once, not by the first row

    def rows(self, body: bytes, event_type: int, /) -> list[tuple[Image | None, Image | None]]:
        try:
            start = self._start(body, event_type)
            if event_type in UPDATE_ROWS:
                return self._updates(body, start)
            return self._singles(body, start, written=event_type in WRITE_ROWS)
        except UnicodeDecodeError as error:
            if self._options.tolerant:
                raise self._malformed() from error
            if self._tolerant is None:
                self._tolerant = _RowLayout(self.table, self._columns, self.key, replace(self._options, tolerant=True))
            return self._tolerant.rows(body, event_type)
        except (struct.error, IndexError, ValueError, OverflowError) as error:  # what bytes that are too short give
            raise self._malformed() from error

    def present(self, body: bytes, event_type: int, /) -> LogLayout:
        width = (len(self._columns) + 7) // 8
        try:
            end = self._start(body, event_type) + self._head_bytes
        except IndexError as error:
            raise self._malformed() from error
        present = int.from_bytes(body[end - width : end], "little")
        if event_type in UPDATE_ROWS:
            present &= int.from_bytes(body[end : end + width], "little")
        if all(present >> n & 1 for n in range(len(self._columns))):
            return self
        layout = self._present.get(present)
        if layout is None:
            if len(self._present) >= self.MOST_HEADS:
                self._present.clear()
            columns = [c if present >> n & 1 else _Described(c.log, None) for n, c in enumerate(self._columns)]
            layout = self._present[present] = _RowLayout(self.table, columns, self.key, self._options)
        return layout

    def _start(self, body: bytes, event_type: int) -> int:
        """Return where the number of columns is."""
        if event_type not in _VERSION_2:
            return _POST_HEADER
        return _POST_HEADER + max(2, body[_POST_HEADER] | body[_POST_HEADER + 1] << 8)  # the length counts itself

    def _singles(self, body: bytes, position: int, *, written: bool) -> list[tuple[Image | None, Image | None]]:
        start = position + self._head_bytes
        head = body[position:start]
        readers = self._readers.get(head)
        if readers is None:
            readers = self._new_readers(head)
        width, end = readers.width, len(body)
        rows: list[tuple[Image | None, Image | None]] = []
        while start < end:
            values = start + width
            image, start = readers[body[start:values]](body, values)
            rows.append((None, image) if written else (image, None))
        if start > end:
            raise self._malformed()
        return rows

    def _updates(self, body: bytes, position: int) -> list[tuple[Image | None, Image | None]]:
        start = position + self._head_bytes + (len(self._columns) + 7) // 8
        head = body[position:start]
        pair = self._pairs.get(head)
        if pair is None:  # the head of the image before, then the bits for the image after
            width = (len(self._columns) + 7) // 8
            heads = (head[: self._head_bytes], head[: self._head_bytes - width] + head[self._head_bytes :])
            first, second = (self._readers[h] if h in self._readers else self._new_readers(h) for h in heads)
            if len(self._pairs) >= self.MOST_HEADS:
                self._pairs.clear()
            pair = self._pairs[head] = first, second
        before_readers, after_readers = pair
        before_width, after_width, end = before_readers.width, after_readers.width, len(body)
        rows: list[tuple[Image | None, Image | None]] = []
        while start < end:
            values = start + before_width
            before, start = before_readers[body[start:values]](body, values)
            values = start + after_width
            after, start = after_readers[body[start:values]](body, values)
            rows.append((before, after))
        if start > end:
            raise self._malformed()
        return rows

    def _new_readers(self, head: bytes) -> Readers:
        """Return the readers of images with these columns.  ``head``: the number of columns, and a bit for each that
        is present."""
        reader = EventCursor(head)
        count = reader.packed()
        if count != len(self._columns):
            raise self._malformed()
        present = int.from_bytes(reader.take((count + 7) // 8), "little")
        columns = list(zip(self._columns, self._fields(), strict=True))
        absent = [c.known.name for n, (c, _) in enumerate(columns) if c.known and not present >> n & 1]
        fields = [field for n, (_, field) in enumerate(columns) if present >> n & 1]
        if absent or not fields:  # rows without bytes would have no end
            raise LogIncomplete(
                f"Rows of table {self.table} are in the log without {f'column {absent[0]}' if absent else 'columns'}.",
                "SET GLOBAL binlog_row_image = 'FULL', which applies to new connections.",
            )
        readers = Readers(fields)
        if len(self._readers) >= self.MOST_HEADS:
            self._readers.clear()
        self._readers[head] = readers
        return readers

    def _fields(self) -> list[Field]:
        return [
            Field(form_of(c.log, c.known, self._options), c.log.nullable, wanted=True)
            if c.known
            else Field(stored(c.log), c.log.nullable, wanted=False)
            for c in self._columns
        ]

    def _malformed(self) -> MalformedEvent:
        return MalformedEvent(
            f"A rows event of table {self.table} in the log does not hold what it says it holds.",
            "The log is damaged, or was written by a version that this one does not know.",
        )


def layout_of(table_map: TableMap, known: KnownTable, offset_of: Callable[[int], int]) -> LogLayout:
    """Return the layout of a table's rows.  ``offset_of``: seconds since 1970 → seconds that the server's zone is ahead
    of UTC then.

    Raises `SchemaMismatch` when the log's columns are not those that are known.
    """
    if table_map.problem:
        raise SchemaMismatch(f"Table {known.name} cannot be read from the log: {table_map.problem}.")
    named = all(log.name is not None for log in table_map.columns)
    columns = _by_name(table_map, known) if named else _by_position(table_map, known)
    key = known.key
    if named and table_map.key is not None:
        key = tuple(str(table_map.columns[index].name) for index in table_map.key)
    return _RowLayout(known.name, columns, key, DecodeOptions(known.flavour, offset_of))


def bare_layout(table_map: TableMap, flavour: Flavour) -> LogLayout:
    """Return a layout that yields empty rows, to count them when their columns are not known.

    Raises `SchemaMismatch` when not even that can be read.
    """
    if table_map.problem:
        raise SchemaMismatch(f"Table {table_map.table} cannot be read from the log: {table_map.problem}.")
    columns = [_Described(log, None) for log in table_map.columns]
    return _RowLayout(table_map.table, columns, (), DecodeOptions(flavour, lambda _: 0))


def _by_name(table_map: TableMap, known: KnownTable) -> list[_Described]:
    by_name = {column.name: column for column in known.columns}
    columns = []
    for log in table_map.columns:
        name = str(log.name)
        column = by_name.get(name)
        hidden = column is None and known.flavour is Flavour.MARIADB and name.startswith(_HIDDEN)
        if column is None or not fits(log, column, known.flavour):
            column = None if hidden else described(log, known.flavour)
            if column is None and not hidden:
                raise SchemaMismatch(f"Column {name} of table {known.name} is not in the log as it is in the database.")
        columns.append(_as_read(log, column, known.flavour))
    return columns


def _by_position(table_map: TableMap, known: KnownTable) -> list[_Described]:
    count = len(known.columns)
    if len(table_map.columns) != count + known.hidden:
        raise SchemaMismatch(
            f"Table {known.name} has {len(table_map.columns)} columns in the log,"
            f" {count + known.hidden} in the database."
        )
    for log, column in zip(table_map.columns, known.columns, strict=False):
        if not fits(log, column, known.flavour):
            raise SchemaMismatch(
                f"Column {column.name} of table {known.name} is not in the log as it is in the database."
            )
    columns = (*known.columns, *[None] * known.hidden)
    return [_as_read(log, column, known.flavour) for log, column in zip(table_map.columns, columns, strict=True)]


def _as_read(log: LogColumn, column: MySQLColumn | None, flavour: Flavour) -> _Described:
    if column is None or (flavour is Flavour.MARIADB and _GENERATED.search(column.extra)):
        return _Described(log, None)
    if log.members is None and column.data_type in ("enum", "set"):
        return _Described(replace(log, members=members_of(column.column_type)), column)
    return _Described(log, column)


@dataclass(frozen=True, slots=True)
class UnreadableTable:
    """A table whose rows cannot be read.  ``reason``: a sentence.  ``bare``: what counts the rows, if even that is
    possible."""

    table: str
    reason: str
    bare: LogLayout | None
