"""Stored bytes of single values → normal form (see `cdc.model.normal`).  Pure.

Each function takes the bytes of one value, all of them, and gives the value; bytes that no server writes give a
`MalformedEvent`, or a value of the right type, never anything else.
"""

from __future__ import annotations

import zlib
from binascii import b2a_base64
from collections.abc import Callable, Hashable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from cdc.model.change import Value
from cdc.model.errors import MalformedEvent
from cdc.model.normal import DecimalText

K = TypeVar("K", bound=Hashable)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the server's local time has no zone
#: Decimal digits in a group of a decimal's integer or fraction part, and bytes of a shorter group.
_GROUP = 9
_GROUP_BYTES = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
_GEOMETRY_SRID_BYTES = 4
_ZLIB = 8
_ZLIB_RAW = 0x08


class Cache(dict[K, Value]):
    """Values of frequent bytes, converted once: dates, times, amounts.  It is emptied when it is full."""

    __slots__ = ("_make",)
    BOUND = 4096

    def __init__(self, make: Callable[[K], Value]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: K) -> Value:
        value = self._make(key)
        if len(self) >= self.BOUND:
            self.clear()
        self[key] = value
        return value


def _date(year: int, month: int, day: int) -> str | None:
    return f"{year:04}-{month:02}-{day:02}" if year or month or day else None


def _clock(hours: int, minutes: int, seconds: int, fraction: str) -> str:
    return f"{hours:02}:{minutes:02}:{seconds:02}{fraction}"


def _fraction(number: int, width: int) -> str:
    """``number``: stored in ``width`` bytes, two digits a byte."""
    return "." + f"{number:0{2 * width}}".rstrip("0") if number else ""


def date(data: bytes) -> Value:
    number = int.from_bytes(data, "little")
    return _date(number >> 9, number >> 5 & 15, number & 31)


def datetime_(data: bytes) -> Value:
    """Big-endian: 5 bytes of date and time, the rest is the fraction."""
    number = int.from_bytes(data[:5], "big") - 0x8000000000
    months, days = divmod(number >> 17, 32)
    day = _date(*divmod(months, 13), days)
    fraction = _fraction(int.from_bytes(data[5:], "big"), len(data) - 5)
    return day and f"{day}T{_clock(number >> 12 & 31, number >> 6 & 63, number & 63, fraction)}"


def time(data: bytes) -> Value:
    """Big-endian: 3 bytes of time, the rest is the fraction; one two's complement number with an offset."""
    bits = 8 * (len(data) - 3)
    number = int.from_bytes(data, "big") - (0x800000 << bits)
    sign = "-" if number < 0 else ""
    whole, part = divmod(abs(number), 1 << bits)
    return sign + _clock(whole >> 12, whole >> 6 & 63, whole & 63, _fraction(part, len(data) - 3))


def timestamp(offset_of: Callable[[int], int]) -> Callable[[bytes], Value]:
    """Big-endian: 4 bytes of seconds since 1970, the rest is the fraction."""

    def convert(data: bytes) -> Value:
        seconds = int.from_bytes(data[:4], "big")
        fraction = _fraction(int.from_bytes(data[4:], "big"), len(data) - 4)
        return _moment(seconds, offset_of) + fraction if seconds or fraction else None

    return convert


def _moment(seconds: int, offset_of: Callable[[int], int]) -> str:
    return (_EPOCH + timedelta(seconds=seconds + offset_of(seconds))).isoformat()


def old_timestamp(offset_of: Callable[[int], int]) -> Callable[[bytes], Value]:
    """Return the timestamp of tables that were created before MariaDB 10.1."""

    def convert(data: bytes) -> Value:
        seconds = int.from_bytes(data, "little")
        return _moment(seconds, offset_of) if seconds else None

    return convert


def old_datetime(data: bytes) -> Value:
    """The decimal digits of YYYYMMDDhhmmss."""
    days, clock = divmod(int.from_bytes(data, "little"), 1_000_000)
    day = _date(days // 10_000, days // 100 % 100, days % 100)
    return day and f"{day}T{_clock(clock // 10_000, clock // 100 % 100, clock % 100, '')}"


def old_time(data: bytes) -> Value:
    """The decimal digits of hhmmss, with a sign."""
    number = int.from_bytes(data, "little", signed=True)
    sign, number = ("-", -number) if number < 0 else ("", number)
    return sign + _clock(number // 10_000, number // 100 % 100, number % 100, "")


def decimal_bytes(digits: int, scale: int) -> int:
    """Bytes of a DECIMAL(digits, scale)."""
    return sum(4 * (n // _GROUP) + _GROUP_BYTES[n % _GROUP] for n in (digits - scale, scale))


def decimal(digits: int, scale: int, *, zerofill: bool = False) -> Callable[[bytes], DecimalText]:
    """The bytes: groups of digits, big-endian, the shorter group outermost; the first bit is set for numbers from 0
    on, and all bits are inverted for those below."""
    whole = digits - scale
    widths = [whole % _GROUP, *[_GROUP] * (whole // _GROUP), *[_GROUP] * (scale // _GROUP), scale % _GROUP]
    groups = [(_GROUP_BYTES[width], width, 10**width) for width in widths if width]
    size = decimal_bytes(digits, scale)
    top, ones = 1 << 8 * size - 1, (1 << 8 * size) - 1

    def convert(data: bytes) -> DecimalText:
        number = int.from_bytes(data, "big") ^ top
        negative = bool(number & top)
        raw = (number ^ ones if negative else number).to_bytes(size, "big")
        position, text = 0, ""
        for count, width, limit in groups:
            group = int.from_bytes(raw[position : position + count], "big")
            if group >= limit:
                raise MalformedEvent("A decimal in the log has a digit beyond 9.")
            text += f"{group:0{width}}"
            position += count
        integer = text[:whole] if zerofill else text[:whole].lstrip("0") or "0"
        return DecimalText(("-" if negative else "") + (f"{integer}.{text[whole:]}" if scale else integer))

    return convert


def members(names: Sequence[str]) -> Callable[[int], Value]:
    """A SET's bits → the names of those that are set."""

    def convert(bits: int) -> Value:
        if bits >> len(names):
            raise MalformedEvent("A set in the log has a member that its column does not have.")
        return ",".join(name for number, name in enumerate(names) if bits >> number & 1)

    return convert


def bits(data: bytes) -> Value:
    return int.from_bytes(data, "big")


def binary(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode("ascii")


def fixed_binary(width: int) -> Callable[[bytes], str]:
    """The log leaves out zero bytes at the end."""
    return lambda data: binary(data.ljust(width, b"\0"))


def geometry(data: bytes) -> str:
    """Return the WKB of a geometry, without the number of the reference system before it."""
    return binary(data[_GEOMETRY_SRID_BYTES:])


def uuid(data: bytes) -> str:
    text = data.ljust(16, b"\0").hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def inet4(data: bytes) -> str:
    return ".".join(map(str, data.ljust(4, b"\0")))


def inet6(data: bytes) -> str:
    """The longest run of zero groups, even of one, is left out, the first of several as long; IPv4 inside IPv6 is
    written as IPv4."""
    data = data.ljust(16, b"\0")
    groups = [int.from_bytes(data[start : start + 2], "big") for start in range(0, 16, 2)]
    length, start = _longest_zeros(groups)
    if start == 0 and (length == 6 or (length == 5 and groups[5] == 0xFFFF)):  # noqa: PLR2004 - of the 8 groups
        return ("::ffff:" if length == 5 else "::") + inet4(data[12:])  # noqa: PLR2004 - of the 8 groups
    texts = [f"{group:x}" for group in groups]
    return f"{':'.join(texts[:start])}::{':'.join(texts[start + length :])}" if length else ":".join(texts)


def _longest_zeros(groups: Sequence[int]) -> tuple[int, int]:
    """(length, start)."""
    best, start = (0, 0), None
    for index, group in enumerate([*groups, 1]):
        if group == 0:
            start = index if start is None else start
        elif start is not None:
            best = max(best, (index - start, -start))
            start = None
    return best[0], -best[1]


def decompressed(data: bytes, most: int) -> bytes:
    """A value of a COMPRESSED column, of ``most`` bytes at most: how it is compressed, how long it is without, and the
    compressed bytes."""
    if not data:
        return data
    method, width = data[0] >> 4, data[0] & 7
    if method == 0:
        return data[1:]
    length = int.from_bytes(data[1 : 1 + width], "big")
    if method != _ZLIB:
        raise MalformedEvent(f"A compressed value in the log has the unknown method {method}.")
    if length > most:
        raise MalformedEvent("A compressed value in the log is longer than its column.")
    stream = zlib.decompressobj(-zlib.MAX_WBITS if data[0] & _ZLIB_RAW else zlib.MAX_WBITS)
    try:
        content = stream.decompress(data[1 + width :], length + 1)
    except zlib.error as error:
        raise MalformedEvent("A compressed value in the log cannot be decompressed.") from error
    if len(content) != length:
        raise MalformedEvent("A compressed value in the log is not as long as it says.")
    return content
