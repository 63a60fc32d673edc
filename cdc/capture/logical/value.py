"""PostgreSQL's text of a value → the normal form: what the trigger source makes of its JSON, byte for byte.  Pure.

The texts are those of a session that prints ISO dates, intervals in PostgreSQL's own style, bytes in hexadecimal,
floats without loss, and moments in UTC (session.sql)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cdc.capture.journal.postgres_decode import kind_of
from cdc.capture.postgres_time import Zone, local, without_zone
from cdc.model import normal
from cdc.model.change import Value
from cdc.model.column import ColumnKind

Convert = Callable[[str], Value]

_BOOLEANS: Mapping[str, bool] = {"t": True, "f": False}
#: Lower bounds of an array that does not begin at 1: JSON, and so the triggers, do not have them.
_BOUNDS = re.compile(r"(?:\[-?\d+:-?\d+\])+=")
_JSON_SPACE = " \t\n\r"


@dataclass(frozen=True, slots=True)
class TypeName:
    """``name`` and ``category`` as pg_type has them, below any domain."""

    name: str
    category: str

    @property
    def kind(self) -> ColumnKind:
        return kind_of(self.name, self.category)


def converter(type_: TypeName | None, zone: Zone) -> Convert | None:
    """None when the text is the value already; so is that of a type that is not there any more."""
    if type_ is None:
        return None
    if type_.name == "timestamptz":
        return lambda text: local(text, zone)
    if type_.kind is ColumnKind.OTHER:
        return _array if type_.category == "A" else None
    return _CONVERTERS.get(type_.kind)


def _boolean(text: str) -> Value:
    return _BOOLEANS.get(text, text)


def _json(text: str) -> Value:
    """Without white space around it, as within a larger document; JSON's null is null."""
    text = text.strip(_JSON_SPACE)
    return None if text == "null" else text


def _binary(text: str) -> Value:
    return normal.binary(bytes.fromhex(text[2:]))


def _array(text: str) -> Value:
    found = _BOUNDS.match(text)
    return text[found.end() :] if found else text


_CONVERTERS: Mapping[ColumnKind, Convert] = {
    ColumnKind.BOOLEAN: _boolean,
    ColumnKind.INTEGER: int,
    ColumnKind.DOUBLE: normal.double,
    ColumnKind.REAL: normal.real,
    ColumnKind.TIMESTAMP: without_zone,
    ColumnKind.JSON: _json,
    ColumnKind.BINARY: _binary,
}
