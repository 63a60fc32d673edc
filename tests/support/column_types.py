"""Every type that a column of MariaDB or MySQL can have, with values for it: for tests over all of them."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Context, Decimal
from typing import Any

from hypothesis import strategies as st

Values = st.SearchStrategy[Any]


@dataclass(frozen=True, slots=True)
class ColumnKind:
    """``sql``: the type.  ``values``: parameters.  ``place``: the expression around the parameter, in an INSERT."""

    sql: str
    values: Values
    place: str = "%s"
    nullable: bool = True


def _integers(bits: int, *, unsigned: bool = False) -> Values:
    low, high = (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return st.one_of(st.integers(low, high), st.sampled_from([low, high, 0, 1]))


def _decimals(digits: int, scale: int, *, unsigned: bool = False) -> Values:
    most = 10**digits - 1
    number = st.one_of(st.integers(0 if unsigned else -most, most), st.sampled_from([most, 0, 1]))
    return number.map(lambda n: str(Decimal(n).scaleb(-scale, context=_EXACT)))


_EXACT = Context(prec=80)


def _text(most: int, alphabet: Values | None = None) -> Values:
    characters = alphabet if alphabet is not None else st.characters(codec="utf-8")
    return st.one_of(st.text(characters, max_size=min(most, 20)), st.just("x" * most), st.just(" a "[:most]))


def _bytes(most: int) -> Values:
    return st.one_of(st.binary(max_size=min(most, 40)), st.just(b"\xff" * most), st.just(b"a\0\0"[:most]))


def _fraction(text: str, digits: int, micros: int) -> str:
    return f"{text}.{micros:06}"[: len(text) + 1 + digits] if digits else text


def _dates(first: date = date(1, 1, 1)) -> Values:
    odd = st.sampled_from(["0000-00-00", "2026-00-00", "2026-11-00", "9999-12-31"])
    return st.one_of(st.dates(first).map(str), odd)


def _datetimes(digits: int) -> Values:
    usual = st.datetimes(datetime(1000, 1, 1)).map(  # noqa: DTZ001 - local time
        lambda d: _fraction(d.strftime("%Y-%m-%d %H:%M:%S"), digits, d.microsecond)
    )
    return st.one_of(usual, st.sampled_from(["0000-00-00 00:00:00", "2026-00-00 01:02:03", "9999-12-31 23:59:59"]))


def _timestamps(digits: int) -> Values:
    first, last = datetime(1970, 1, 3), datetime(2038, 1, 17)  # noqa: DTZ001 - local time
    usual = st.datetimes(first, last).map(lambda d: _fraction(str(d.replace(microsecond=0)), digits, d.microsecond))
    return st.one_of(usual, st.just("0000-00-00 00:00:00"))


def _times(digits: int) -> Values:
    most = timedelta(hours=838, minutes=59, seconds=58)

    def text(moment: timedelta) -> str:
        micros = moment // timedelta(microseconds=1)
        sign, micros = ("-", -micros) if micros < 0 else ("", micros)
        seconds, micros = divmod(micros, 1_000_000)
        clock = f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        return _fraction(clock, digits, micros)

    return st.timedeltas(-most, most).map(text)


_DOUBLES = st.floats(-1e300, 1e300, allow_nan=False, allow_subnormal=True)
_FLOATS = st.floats(-(2.0**120), 2.0**120, allow_nan=False, width=32)

NUMBERS: Sequence[ColumnKind] = (
    ColumnKind("TINYINT(1)", st.integers(-128, 127)),
    ColumnKind("TINYINT(1)", st.integers(0, 1)),
    ColumnKind("TINYINT(1) UNSIGNED", st.integers(0, 255)),
    ColumnKind("TINYINT", _integers(8)),
    ColumnKind("TINYINT UNSIGNED", _integers(8, unsigned=True)),
    ColumnKind("SMALLINT", _integers(16)),
    ColumnKind("SMALLINT UNSIGNED", _integers(16, unsigned=True)),
    ColumnKind("MEDIUMINT", _integers(24)),
    ColumnKind("MEDIUMINT UNSIGNED", _integers(24, unsigned=True)),
    ColumnKind("INT", _integers(32)),
    ColumnKind("INT UNSIGNED", _integers(32, unsigned=True)),
    ColumnKind("INT(8) ZEROFILL", _integers(32, unsigned=True)),
    ColumnKind("BIGINT", _integers(64)),
    ColumnKind("BIGINT UNSIGNED", _integers(64, unsigned=True)),
    ColumnKind("FLOAT", _FLOATS),
    ColumnKind("FLOAT(7,2)", st.floats(-99999, 99999, width=32)),
    ColumnKind("DOUBLE", _DOUBLES),
    ColumnKind("DOUBLE(12,3) ZEROFILL", st.floats(0, 99999999)),
    *(
        ColumnKind(f"DECIMAL({digits},{scale})", _decimals(digits, scale))
        for digits, scale in ((1, 0), (1, 1), (5, 2), (9, 9), (10, 0), (11, 10), (18, 6), (30, 10), (38, 20), (65, 30))
    ),
    *(ColumnKind(f"DECIMAL({digits},3)", _decimals(digits, 3)) for digits in range(3, 22)),
    ColumnKind("DECIMAL(65,0)", _decimals(65, 0)),
    ColumnKind("DECIMAL(12,4) UNSIGNED", _decimals(12, 4, unsigned=True)),
    ColumnKind("DECIMAL(12,4) UNSIGNED ZEROFILL", _decimals(12, 4, unsigned=True)),
    *(ColumnKind(f"BIT({bits})", _integers(bits, unsigned=True)) for bits in (1, 7, 8, 9, 10, 33, 64)),
)
MOMENTS: Sequence[ColumnKind] = (
    ColumnKind("YEAR", st.one_of(st.integers(1901, 2155), st.just(0))),
    ColumnKind("DATE", _dates()),
    *(ColumnKind(f"TIME({digits})", _times(digits)) for digits in range(7)),
    *(ColumnKind(f"DATETIME({digits})", _datetimes(digits)) for digits in range(7)),
    *(ColumnKind(f"TIMESTAMP({digits}) NULL", _timestamps(digits)) for digits in range(7)),
)
_BMP = st.characters(codec="utf-8", max_codepoint=0xFFFF)
_LATIN = st.sampled_from("abcñÑáéíóúüç¿¡€«»ß \t\n'\"\\")
TEXTS: Sequence[ColumnKind] = (
    ColumnKind("CHAR(5)", _text(5)),
    ColumnKind("CHAR(63)", _text(63)),
    ColumnKind("CHAR(64)", _text(64)),
    ColumnKind("CHAR(255)", _text(255)),
    ColumnKind("CHAR(0)", st.just("")),
    ColumnKind("VARCHAR(0)", st.just("")),
    ColumnKind("VARCHAR(63)", _text(63)),
    ColumnKind("VARCHAR(64)", _text(64)),
    ColumnKind("VARCHAR(300)", _text(300)),
    ColumnKind("CHAR(255) CHARACTER SET latin1", _text(255, _LATIN)),
    ColumnKind("VARCHAR(255) CHARACTER SET latin1", _text(255, _LATIN)),
    ColumnKind("VARCHAR(256) CHARACTER SET latin1", _text(256, _LATIN)),
    ColumnKind("VARCHAR(50) CHARACTER SET utf8mb3", _text(50, _BMP)),
    ColumnKind("VARCHAR(50) CHARACTER SET utf16", _text(50)),
    ColumnKind("VARCHAR(50) CHARACTER SET utf16le", _text(50)),
    ColumnKind("VARCHAR(50) CHARACTER SET utf32", _text(50)),
    ColumnKind("CHAR(50) CHARACTER SET ucs2", _text(50, _BMP)),
    ColumnKind("VARCHAR(50) COLLATE utf8mb4_bin", _text(50)),
    ColumnKind("TINYTEXT", _text(63)),
    ColumnKind("TEXT", _text(2000)),
    ColumnKind("TEXT CHARACTER SET latin1", _text(300, _LATIN)),
    ColumnKind("MEDIUMTEXT", _text(70_000)),
    ColumnKind("LONGTEXT", _text(50)),
    ColumnKind("LONGTEXT CHARACTER SET utf16", _text(50)),
)
_MANY = [f"m{number}" for number in range(300)]
_ODD = ["a", "ñ", "it''s", "two words", "back\\\\slash", 'quo"te', "€"]
_ODD_VALUES = ["a", "ñ", "it's", "two words", "back\\slash", 'quo"te', "€"]


def _listed(names: Sequence[str]) -> str:
    return ",".join(f"'{name}'" for name in names)


def _set_of(names: Sequence[str]) -> Values:
    return st.sets(st.sampled_from(list(names))).map(",".join)


LISTS: Sequence[ColumnKind] = (
    ColumnKind(f"ENUM({_listed(_ODD)})", st.sampled_from([*_ODD_VALUES, "no member"])),
    ColumnKind(f"ENUM({_listed(_MANY)})", st.sampled_from(_MANY)),
    ColumnKind(f"ENUM({_listed(_ODD[:4])}) CHARACTER SET latin1", st.sampled_from(_ODD_VALUES[:4])),
    ColumnKind(f"ENUM({_listed(_ODD)}) CHARACTER SET utf16", st.sampled_from(_ODD_VALUES)),
    ColumnKind(f"SET({_listed(_ODD)})", _set_of(_ODD_VALUES)),
    ColumnKind(f"SET({_listed(_ODD[:4])}) CHARACTER SET latin1", _set_of(_ODD_VALUES[:4])),
    *(ColumnKind(f"SET({_listed(_MANY[:count])})", _set_of(_MANY[:count])) for count in (1, 8, 9, 17, 25, 33, 64)),
)
_RINGS = st.lists(st.tuples(st.floats(-179, 179), st.floats(-89, 89)), min_size=2, max_size=5)


def _line(points: Sequence[tuple[float, float]]) -> bytes:
    return struct.pack("<BII", 1, 2, len(points)) + b"".join(struct.pack("<dd", *point) for point in points)


def _point(point: tuple[float, float]) -> bytes:
    return struct.pack("<BIdd", 1, 1, *point)


_POINTS = st.tuples(st.floats(-89, 89), st.floats(-89, 89)).map(_point)
_GEOMETRIES = st.one_of(_POINTS, _RINGS.map(_line))
BYTES: Sequence[ColumnKind] = (
    ColumnKind("BINARY(1)", _bytes(1)),
    ColumnKind("BINARY(16)", _bytes(16)),
    ColumnKind("BINARY(255)", _bytes(255)),
    ColumnKind("VARBINARY(20)", _bytes(20)),
    ColumnKind("VARBINARY(255)", _bytes(255)),
    ColumnKind("VARBINARY(256)", _bytes(256)),
    ColumnKind("VARCHAR(20) CHARACTER SET binary", _bytes(20)),
    ColumnKind("TINYBLOB", _bytes(255)),
    ColumnKind("BLOB", _bytes(3000)),
    ColumnKind("MEDIUMBLOB", _bytes(70_000)),
    ColumnKind("LONGBLOB", _bytes(20)),
    ColumnKind("GEOMETRY", _GEOMETRIES, "ST_GeomFromWKB(%s)"),
    ColumnKind("POINT", _POINTS, "ST_GeomFromWKB(%s)"),
    ColumnKind("POINT", _POINTS, "ST_GeomFromWKB(%s, 4326)"),
    ColumnKind("LINESTRING", _RINGS.map(_line), "ST_GeomFromWKB(%s)"),
)
_JSON_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    _integers(16),
    _integers(33),
    _integers(64),
    _integers(64, unsigned=True),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8"), max_size=30),
    st.sampled_from(["x" * 127, "x" * 128, "ñ" * 9000]),
)
_JSON_KEYS = st.text(st.characters(codec="utf-8"), max_size=10)
_DOCUMENTS: Values = st.recursive(
    _JSON_LEAVES,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(_JSON_KEYS, inner, max_size=5),
    max_leaves=25,
).map(lambda value: json.dumps(value, ensure_ascii=False))
_VECTORS = st.lists(st.floats(-(2.0**20), 2.0**20, width=32, allow_subnormal=False), min_size=3, max_size=3).map(
    json.dumps
)
_ADDRESSES_6 = st.one_of(
    st.ip_addresses(v=6).map(str),
    st.lists(st.sampled_from(["0", "0", "1", "ffff", "a0b"]), min_size=8, max_size=8).map(":".join),
    st.ip_addresses(v=4).map(lambda address: f"::{address}"),
    st.ip_addresses(v=4).map(lambda address: f"::ffff:{address}"),
)
#: Types of one of the two only.
OWN: dict[str, Sequence[ColumnKind]] = {
    "mariadb": (
        ColumnKind("JSON", _DOCUMENTS),
        ColumnKind("UUID", st.one_of(st.uuids().map(str), st.just("019a1111-2222-7333-8444-555566000000"))),
        ColumnKind("INET6", _ADDRESSES_6),
        ColumnKind("INET4", st.ip_addresses(v=4).map(str)),
        ColumnKind("VECTOR(3) NOT NULL", _VECTORS, "VEC_FromText(%s)", nullable=False),
        ColumnKind("YEAR(2)", st.one_of(st.integers(1970, 2069), st.just(0))),
    ),
    "mysql": (
        ColumnKind("JSON", _DOCUMENTS),
        ColumnKind("JSON", _DOCUMENTS),
    ),
}
#: Those that mysql-replication cannot read.
UNREAD: dict[str, Sequence[ColumnKind]] = {
    "mariadb": (
        ColumnKind("VARCHAR(100) COMPRESSED", _text(100)),
        ColumnKind("VARCHAR(254) COMPRESSED CHARACTER SET latin1", _text(254, _LATIN)),
        ColumnKind("VARCHAR(255) COMPRESSED CHARACTER SET latin1", _text(255, _LATIN)),
        ColumnKind("VARBINARY(500) COMPRESSED", _bytes(500)),
        ColumnKind("TEXT COMPRESSED", _text(3000)),
        ColumnKind("BLOB COMPRESSED", _bytes(3000)),
        ColumnKind("LONGTEXT COMPRESSED", _text(70_000)),
    ),
    "mysql": (ColumnKind("VECTOR(3)", _VECTORS, "STRING_TO_VECTOR(%s)"),),
}
