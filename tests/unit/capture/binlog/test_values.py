"""Single values: hand-made bytes and what they are.  The integration tests compare with real servers."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.database import mysql_types as values
from cdc.model.errors import MalformedEvent


def hexed(text: str) -> bytes:
    return bytes.fromhex(text)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("000000", None),
        ("22c80f", "2020-01-02"),
        ("00c80f", "2020-00-00"),
        ("010000", "0000-00-01"),
        ("9f4f0f", "1959-12-31"),
    ],
)
def test_dates(data: str, expected: str | None) -> None:
    assert values.date(hexed(data)) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("8000000000", None),
        ("99a5443105", "2020-01-02T03:04:05"),
        ("99a5443105" + "0c", "2020-01-02T03:04:05.12"),
        ("99a5443105" + "04ce", "2020-01-02T03:04:05.123"),
        ("99a5443105" + "01e240", "2020-01-02T03:04:05.123456"),
        ("99a5443105" + "000000", "2020-01-02T03:04:05"),
    ],
)
def test_datetimes(data: str, expected: str | None) -> None:
    assert values.datetime_(hexed(data)) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("800000", "00:00:00"),
        ("80c8b8", "12:34:56"),
        ("7f3748", "-12:34:56"),
        ("b46efb", "838:59:59"),
        ("7fffffff", "-00:00:00.01"),
        ("7fffffffffff", "-00:00:00.000001"),
        ("7f3747cd", "-12:34:56.51"),
    ],
)
def test_times(data: str, expected: str) -> None:
    assert values.time(hexed(data)) == expected


def test_timestamps_are_local() -> None:
    read = values.timestamp(lambda seconds: 3600 if seconds < 1_000_000 else 7200)
    assert read(bytes(4)) is None
    assert read(bytes(6)) is None
    assert read((60).to_bytes(4, "big")) == "1970-01-01T01:01:00"
    assert read((1_000_000).to_bytes(4, "big") + b"\x32") == "1970-01-12T15:46:40.5"
    assert read((2**32 - 1).to_bytes(4, "big")) == "2106-02-07T08:28:15"
    old = values.old_timestamp(lambda _: -3600)
    assert old(bytes(4)) is None
    assert old((7200).to_bytes(4, "little")) == "1970-01-01T01:00:00"


def test_moments_of_old_tables() -> None:
    assert values.old_datetime((20260102030405).to_bytes(8, "little")) == "2026-01-02T03:04:05"
    assert values.old_datetime(bytes(8)) is None
    assert values.old_time((-123456).to_bytes(3, "little", signed=True)) == "-12:34:56"
    assert values.old_time((8385959).to_bytes(3, "little", signed=True)) == "838:59:59"


def stored_decimal(text: str, digits: int, scale: int) -> bytes:
    """As the manual describes it, written from there."""
    whole, _, part = text.removeprefix("-").partition(".")
    whole = whole.zfill(digits - scale)[-(digits - scale) :] if digits > scale else ""
    head = len(whole) % 9
    groups = [whole[:head], *(whole[i : i + 9] for i in range(head, len(whole), 9))]
    groups += [part[i : i + 9] for i in range(0, len(part), 9)]
    sizes = {0: 0, 1: 1, 2: 1, 3: 2, 4: 2, 5: 3, 6: 3, 7: 4, 8: 4, 9: 4}
    data = bytearray(b"".join(int(group or 0).to_bytes(sizes[len(group)], "big") for group in groups))
    if text.startswith("-"):
        data = bytearray(byte ^ 0xFF for byte in data)
    data[0] ^= 0x80
    return bytes(data)


@given(st.data())
def test_decimals_of_every_width(data: st.DataObject) -> None:
    digits = data.draw(st.integers(1, 65))
    scale = data.draw(st.integers(0, digits))
    number = data.draw(st.integers(-(10**digits) + 1, 10**digits - 1))
    text = f"{abs(number):0{scale + 1}}"
    expected = ("-" if number < 0 else "") + (f"{text[:-scale]}.{text[-scale:]}" if scale else text)
    stored = stored_decimal(expected, digits, scale)
    assert len(stored) == values.decimal_bytes(digits, scale)
    assert values.decimal(digits, scale)(stored) == expected


def test_decimals_filled_with_zeros() -> None:
    stored = stored_decimal("1.10", 10, 2)
    assert values.decimal(10, 2, zerofill=True)(stored) == "00000001.10"


def test_a_decimal_with_impossible_digits() -> None:
    with pytest.raises(MalformedEvent):
        values.decimal(9, 0)(b"\xff\xff\xff\xff")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("", "::"),
        ("00000000000000000000000000000001", "::1"),
        ("20010db8000000000000000000000001", "2001:db8::1"),
        ("20010db8000000010001000100010001", "2001:db8::1:1:1:1:1"),
        ("00010000000000020000000000000003", "1:0:0:2::3"),
        ("00000000000000000000000001020304", "::1.2.3.4"),
        ("00000000000000000000ffff01020304", "::ffff:1.2.3.4"),
        ("fe80000000000000000000000000", "fe80::"),
        ("00010002000300040005000600070008", "1:2:3:4:5:6:7:8"),
    ],
)
def test_ipv6_addresses(data: str, expected: str) -> None:
    assert values.inet6(hexed(data)) == expected


def test_other_bytes() -> None:
    assert values.inet4(b"\x0a") == "10.0.0.0"
    assert values.uuid(hexed("123e4567e89b12d3a45642665544")) == "123e4567-e89b-12d3-a456-426655440000"
    assert values.fixed_binary(4)(b"\1") == "AQAAAA=="
    assert values.binary(b"\xc3\x28") == "wyg="
    assert values.geometry(b"\1\2\3\4\xff") == "/w=="
    assert values.bits(b"\2\1") == 513
    assert values.members(("a", "b", "c"))(0b101) == "a,c"
    assert values.members(("a",))(0) == ""


def test_a_member_that_a_set_does_not_have() -> None:
    with pytest.raises(MalformedEvent):
        values.members(("a", "b"))(4)


def _compressed(text: bytes, *, raw: bool, length: int | None = None) -> bytes:
    stream = zlib.compressobj(wbits=-15 if raw else 15)
    size = len(text) if length is None else length
    return bytes([0x80 | (8 if raw else 0) | 2]) + size.to_bytes(2, "big") + stream.compress(text) + stream.flush()


def test_compressed_values() -> None:
    text = b"compressed " * 50
    assert values.decompressed(b"", 10) == b""
    assert values.decompressed(b"\0short", 10) == b"short"
    assert values.decompressed(_compressed(text, raw=True), 1000) == text
    assert values.decompressed(_compressed(text, raw=False), 1000) == text


@pytest.mark.parametrize(
    "data",
    [
        _compressed(b"x" * 100, raw=True, length=99),
        _compressed(b"x" * 100, raw=True, length=101),
        _compressed(b"x" * 100, raw=True)[:-3],
        _compressed(b"x" * 2000, raw=True),
        b"\x12\x01\x00",
        b"\x8a\x00\x05garbage",
    ],
)
def test_compressed_values_that_are_none(data: bytes) -> None:
    with pytest.raises(MalformedEvent):
        values.decompressed(data, 1000)


def test_a_cache_stays_small() -> None:
    cache = values.Cache[int](str)
    for number in range(3 * cache.BOUND):
        assert cache[number] == str(number)
        assert cache[number] == str(number)
        assert len(cache) <= cache.BOUND
