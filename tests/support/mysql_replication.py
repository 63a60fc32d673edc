"""mysql-replication's reading of rows events, and where it is right: what ours is compared with."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from pymysql.protocol import MysqlPacket
from pymysqlreplication.packet import BinLogPacketWrapper
from pymysqlreplication.row_event import DeleteRowsEvent, TableMapEvent, UpdateRowsEvent, WriteRowsEvent

from cdc.capture.binlog.layout import members_of
from cdc.database.mysql_types import GEOMETRY, MySQLColumn
from cdc.model.normal import NORMALISERS
from support.binlog_events import TABLE_MAP, Event
from support.binlog_rows import Pair

_ALLOWED = frozenset({TableMapEvent, WriteRowsEvent, UpdateRowsEvent, DeleteRowsEvent})


def replication_rows(
    events: Iterable[Event], flavour: str, *, freeze_schema: bool = False
) -> Iterator[tuple[dict[str, Any] | None, dict[str, Any] | None]]:
    """Yield (before, after) of each row, as mysql-replication reads them."""
    tables: dict[int, Any] = {}
    for event in events:
        found = _event(event.packet, tables, flavour, freeze_schema=freeze_schema)
        if event.type == TABLE_MAP:
            if found is not None:  # otherwise the frozen schema has it already
                tables[found.table_id] = found.get_table()
            continue
        for row in found.rows:
            if isinstance(found, UpdateRowsEvent):
                yield row["before_values"], row["after_values"]
            elif isinstance(found, WriteRowsEvent):
                yield None, row["values"]
            else:
                yield row["values"], None


def _event(packet: bytes, tables: dict[int, Any], flavour: str, *, freeze_schema: bool) -> Any:
    return BinLogPacketWrapper(
        MysqlPacket(b"\0" + packet, "utf8mb4"),
        tables,
        SimpleNamespace(charset="utf8mb4", _get_dbms=lambda: flavour),
        (0, 0, 0),
        use_checksum=True,
        allowed_events=_ALLOWED,
        only_tables=None,
        ignored_tables=None,
        only_schemas=None,
        ignored_schemas=None,
        freeze_schema=freeze_schema,
        ignore_decode_errors=True,
        verify_checksum=False,
        optional_meta_data=True,
        enable_logging=False,
    ).event


def _filled(column: MySQLColumn, value: Any) -> Any:
    """A DECIMAL(12,4) with the zeros that it is filled with."""
    return f"{value:013.4f}" if value is not None and "zerofill" in column.column_type else value


#: data_type → mysql-replication's value in the form that ours has, where it is right but in another one.
FORMS: dict[str, Callable[[MySQLColumn, Any], Any]] = {
    "bit": lambda _, value: value and int(value, 2),
    "decimal": _filled,
    "set": lambda column, value: value and ",".join(name for name in members_of(column.column_type) if name in value),
    "year": lambda column, value: value % 100 if value is not None and "(2)" in column.column_type else value,
    **dict.fromkeys(GEOMETRY, lambda _, value: value and value[4:]),
}
#: data_type → our value in the form that mysql-replication's has.
THEIR_FORMS: dict[str, Callable[[str], Any]] = {
    "uuid": lambda text: UUID(text).bytes.rstrip(b"\0"),
    "inet4": lambda text: ip_address(text).packed.rstrip(b"\0"),
    "inet6": lambda text: ip_address(text).packed.rstrip(b"\0"),
    "json": json.loads,
}
_WIDE = frozenset({"ucs2", "utf16", "utf16le", "utf32"})


#: Where mysql-replication is wrong: why, and (column, its value, ours) → whether this is it.
FAULTS: dict[str, Callable[[MySQLColumn, Any, Any], bool]] = {
    "a zero TIMESTAMP becomes the beginning of 1970": lambda c, _, ours: c.data_type == "timestamp" and ours is None,
    "a date with a zero month or day becomes null": lambda c, theirs, _: (
        c.data_type in ("date", "datetime") and theirs is None
    ),
    "the fraction of a time below zero is added instead of taken off": lambda c, _, ours: (
        c.data_type == "time" and ours.startswith("-") and "." in ours
    ),
    "zero has a sign": lambda c, theirs, ours: c.data_type in ("float", "double") and theirs == ours == 0,
    "zero bytes at the end of a BINARY are missing": lambda c, _, ours: (
        c.data_type == "binary" and base64.b64decode(ours).endswith(b"\0")
    ),
    "the character sets of two and four bytes are read by other codecs": lambda c, _, __: c.charset in _WIDE,
    "YEAR 0 becomes 1900": lambda c, _, ours: c.data_type == "year" and ours == 0,
    "members outside of ASCII are read in another character set": lambda c, _, ours: (
        c.charset == "latin1" and c.data_type in ("enum", "set") and not ours.isascii()
    ),
    "an empty SET becomes null": lambda c, theirs, ours: c.data_type == "set" and theirs is None and not ours,
}


def agree(column: MySQLColumn, theirs: Any, ours: Any, zone_seconds: int) -> bool:
    if column.data_type in THEIR_FORMS and ours is not None:
        other = _without_bytes(theirs) if column.data_type == "json" else theirs or b""
        return bool(THEIR_FORMS[column.data_type](ours) == other)
    if column.data_type == "timestamp" and theirs is not None:
        theirs += timedelta(seconds=zone_seconds)
    form = FORMS.get(column.data_type)
    value = NORMALISERS[column.kind](theirs if form is None else form(column, theirs))
    return repr(value) == repr(ours) or any(fault(column, theirs, ours) for fault in FAULTS.values())


def _without_bytes(value: Any) -> Any:
    """A JSON document, whose texts mysql-replication leaves in UTF-8."""
    if isinstance(value, dict):
        return {_without_bytes(key): _without_bytes(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_bytes(inner) for inner in value]
    return value.decode() if isinstance(value, bytes) else value


def disagreements(
    ours: Sequence[Pair], theirs: Iterable[tuple[Any, Any]], columns: Sequence[MySQLColumn], zone_seconds: int
) -> dict[str, tuple[Any, Any]]:
    """Column's type → the first pair of values that differ without a reason in `FAULTS`."""
    found: dict[str, tuple[Any, Any]] = {}
    for pair, other in zip(ours, theirs, strict=True):
        for row, values in zip(pair, other, strict=True):
            assert (row is None) == (values is None)
            for column in columns:
                if row is None:
                    continue
                both = values[column.name], row[column.name]
                if not agree(column, *both, zone_seconds):
                    found.setdefault(f"{column.column_type} {column.charset}", both)
    return found
