"""Arrays, composite values and hstore: from the JSON that PostgreSQL makes of them to the text that it prints.  Pure.

The text is what the log holds and what people see, so it is the normal form; triggers write JSON, because it has names.
JSON says less than the text: how its parts must be written is known from their types.  What it does not say at all is
lost: the lower bounds of an array that does not begin at 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from json import JSONDecoder
from typing import Any

#: From the JSON text of a value to PostgreSQL's text of it; None is NULL.
ToText = Callable[[str], str | None]

_SPACE = " \t\n\r"
_SPECIAL_IN_ARRAY = re.compile(r'[{}"\\ \t\n\r\v\f]')
_SPECIAL_IN_COMPOSITE = re.compile(r'[(),"\\ \t\n\r\v\f]')
_VECTORS = ("int2vector", "oidvector")
_DOCUMENTS = ("json", "jsonb")
_parser = JSONDecoder(parse_float=str, parse_int=str, strict=False)


@dataclass(frozen=True, slots=True)
class PgType:
    """One row of types.sql.  ``base``: below a domain (0: it is none); ``element``: of an array (0: it is none);
    ``delimiter``: between those elements; ``fields``: types of a composite value's fields."""

    oid: int
    name: str
    kind: str
    base: int
    element: int
    delimiter: str
    fields: tuple[int, ...]


def build_types(records: Iterable[Sequence[Any]]) -> dict[int, PgType]:
    return {
        oid: PgType(oid, name, kind, base, element, delimiter, tuple(fields))
        for oid, name, kind, base, element, delimiter, fields in records
    }


def to_text(oid: int, types: Mapping[int, PgType]) -> ToText:
    """For values of this type."""
    known = _below_domains(oid, types)
    if known is None:
        return plain
    if known.kind == "c":
        return _composite([to_text(field, types) for field in known.fields])
    if known.element:
        element = _below_domains(known.element, types)
        opaque = element is not None and (element.element > 0 or element.name in _DOCUMENTS)
        return _array(known, to_text(known.element, types), opaque=opaque)
    return _SCALARS.get(known.name, plain)


def _below_domains(oid: int, types: Mapping[int, PgType]) -> PgType | None:
    known = types.get(oid)
    while known is not None and known.kind == "d":
        known = types.get(known.base)
    return known


def plain(raw: str) -> str | None:
    """A value that JSON shows as its text, or as a number with the same digits."""
    if raw == "null":
        return None
    return str(_parser.raw_decode(raw)[0]) if raw[0] == '"' else raw


def _boolean(raw: str) -> str | None:
    return {"true": "t", "false": "f"}.get(raw) or plain(raw)


def _timestamp(raw: str) -> str | None:
    """Without the T."""
    text = plain(raw)
    return text if text is None else text.replace("T", " ", 1)


def _moment(raw: str) -> str | None:
    """Also: the offset without its minutes where they are zero."""
    text = _timestamp(raw)
    return text if text is None else re.sub(r"([+-]\d\d):00\b", r"\1", text)


def _json(raw: str) -> str | None:
    return None if raw == "null" else raw


def _hstore(raw: str) -> str | None:
    if raw[0] != "{":
        return plain(raw)
    pairs = ((_quoted(name), plain(value)) for name, value in members(raw))
    return ", ".join(f"{name}=>{'NULL' if value is None else _quoted(value)}" for name, value in pairs)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_SCALARS: Mapping[str, ToText] = {
    "bool": _boolean,
    "timestamp": _timestamp,
    "timestamptz": _moment,
    "json": _json,
    "jsonb": _json,
    "hstore": _hstore,
}


def _array(known: PgType, element: ToText, *, opaque: bool) -> ToText:
    """``opaque``: an element may be a JSON array itself, so that none is taken for a further dimension."""
    delimiter = known.delimiter

    def convert(raw: str) -> str | None:
        if raw[0] != "[":
            return plain(raw)
        if known.name in _VECTORS:
            return " ".join(items(raw))
        return "{" + delimiter.join(_element(each) for each in items(raw)) + "}"

    def _element(raw: str) -> str:
        if raw[0] == "[" and not opaque:
            return "{" + delimiter.join(_element(each) for each in items(raw)) + "}"
        text = element(raw)
        if text is None:
            return "NULL"
        special = _SPECIAL_IN_ARRAY.search(text) or delimiter in text
        return _quoted(text) if not text or special or text.upper() == "NULL" else text

    return convert


def _composite(fields: list[ToText]) -> ToText:
    def convert(raw: str) -> str | None:
        if raw[0] != "{":
            return plain(raw)
        values = [value for _, value in members(raw)]
        known = fields if len(fields) == len(values) else [plain] * len(values)  # the type was altered since
        return "(" + ",".join(_field(to(value)) for to, value in zip(known, values, strict=True)) + ")"

    return convert


def _field(text: str | None) -> str:
    if text is None:
        return ""
    if not text or _SPECIAL_IN_COMPOSITE.search(text):
        return '"' + text.replace("\\", "\\\\").replace('"', '""') + '"'
    return text


def members(text: str) -> Iterator[tuple[str, str]]:
    """Name and JSON text of each value of an object, in order."""
    position = _skip(text, 0, "{")
    while position < len(text) and text[position] != "}":
        name, position = _parser.raw_decode(text, position)
        start = _skip(text, position, ":")
        _, position = _parser.raw_decode(text, start)
        yield name, text[start:position]
        position = _skip(text, position, ",")


def items(text: str) -> Iterator[str]:
    """JSON text of each element of an array."""
    position = _skip(text, 0, "[")
    while position < len(text) and text[position] != "]":
        start = position
        _, position = _parser.raw_decode(text, start)
        yield text[start:position]
        position = _skip(text, position, ",")


def _skip(text: str, position: int, mark: str) -> int:
    """Behind white space, ``mark`` (if it is there) and white space."""
    while text[position] in _SPACE:
        position += 1
    if text[position] == mark:
        position += 1
    while text[position] in _SPACE:
        position += 1
    return position
