"""Binary JSON made by hand: sizes that servers write seldom, and documents that none writes.  What MySQL prints for its
own documents is compared in the integration tests."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.capture.binlog.column_codec import double_text, json_text
from cdc.model.errors import MalformedEvent

LITERALS = {None: 0, True: 1, False: 2}


def _length(size: int) -> bytes:
    out = b""
    while size >= 0x80:
        out += bytes([size & 0x7F | 0x80])
        size >>= 7
    return out + bytes([size])


def binary(value: Any, *, large: bool) -> tuple[int, bytes]:
    """(type, bytes) of a value of a few types; containers large or small."""
    if value is None or isinstance(value, bool):
        return 4, bytes([LITERALS[value]])
    if isinstance(value, str):
        return 0x0C, _length(len(value.encode())) + value.encode()
    if isinstance(value, float):
        return 0x0B, struct.pack("<d", value)
    if isinstance(value, int):
        return 0x09, struct.pack("<q", value)
    return _container(value, large=large)


def _container(value: Sequence[Any] | Mapping[str, Any], *, large: bool) -> tuple[int, bytes]:
    code, width = ("I", 4) if large else ("H", 2)
    keys = [key.encode() for key in value] if isinstance(value, Mapping) else []
    inner = list(value.values()) if isinstance(value, Mapping) else list(value)
    at = 2 * width + len(keys) * (width + 2) + len(inner) * (width + 1)
    key_entries, value_entries, data = b"", b"", b""
    for key in keys:
        key_entries += struct.pack(f"<{code}H", at + len(data), len(key))
        data += key
    for element in inner:
        kind, stored = binary(element, large=large)
        if kind == 4:
            value_entries += struct.pack(f"<B{code}", kind, stored[0])
        elif (inline := _inline(element, large=large)) is not None:
            value_entries += inline
        else:
            value_entries += struct.pack(f"<B{code}", kind, at + len(data))
            data += stored
    head = struct.pack(f"<{code}{code}", len(inner), at + len(data))
    kind = (0 if isinstance(value, Mapping) else 2) + (1 if large else 0)
    return kind, head + key_entries + value_entries + data


#: Numbers that stand in the entry itself: type → code of `struct`, smallest, largest.
INLINE = {0x05: ("h", -(2**15), 2**15 - 1), 0x06: ("H", 0, 2**16 - 1)}
INLINE_LARGE = {**INLINE, 0x07: ("i", -(2**31), 2**31 - 1), 0x08: ("I", 0, 2**32 - 1)}


def _inline(value: Any, *, large: bool) -> bytes | None:
    for kind, (code, low, high) in (INLINE_LARGE if large else INLINE).items():
        if isinstance(value, int) and low <= value <= high:
            return bytes([kind]) + struct.pack(f"<{code}", value).ljust(4 if large else 2, b"\0")
    return None


def document(value: Any, *, large: bool = False) -> bytes:
    kind, stored = binary(value, large=large)
    return bytes([kind]) + stored


def printed(value: Any) -> str:
    """As MySQL prints it, said once more in another way."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{printed(key)}: {printed(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(printed, value)) + "]"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return (
        {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)
    )


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=200)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.integers(-70_000, 2**32) | TEXT,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(TEXT, inner, max_size=6),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_documents_are_printed_as_they_were(value: Any, large: bool) -> None:
    assert json_text(document(value, large=large)) == printed(value)


def test_no_bytes_are_null() -> None:
    assert json_text(b"") == "null"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (-1.5, "-1.5"),
        (1e14, "100000000000000.0"),
        (1e15, "1e15"),
        (1.5e15, "1.5e15"),
        (1234567890123456.5, "1234567890123456.5"),
        (1234567890123456.0, "1.234567890123456e15"),
        (1e-14, "0.00000000000001"),
        (1e-15, "0.000000000000001"),
        (1e-16, "1e-16"),
        (-1.25e-20, "-1.25e-20"),
        (1.7976931348623157e308, "1.7976931348623157e308"),
        (5e-324, "5e-324"),
    ],
)
def test_doubles(number: float, text: str) -> None:
    assert double_text(number) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_doubles_read_back_as_the_same(number: float) -> None:
    assert repr(float(double_text(number))) == repr(number)


def test_control_characters_are_escaped() -> None:
    assert json_text(document('\b\t\n\f\r"\\\x00\x1f\x7f/')) == r'"\b\t\n\f\r\"\\\u0000\u001f' + '\x7f/"'


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_depth_has_a_bound() -> None:
    assert json_text(document(nested(100))) == "[" * 100 + "]" * 100
    with pytest.raises(MalformedEvent, match="deep"):
        json_text(document(nested(101)))


def test_a_container_that_holds_itself() -> None:
    """Ten elements, each the container again: 10^100 values, were they read."""
    entries = b"".join(struct.pack("<BH", 2, 0) for _ in range(10))
    started = process_time()
    with pytest.raises(MalformedEvent):
        json_text(b"\2" + struct.pack("<HH", 10, 4 + len(entries)) + entries)
    assert process_time() - started < 1


def test_a_text_that_many_elements_share() -> None:
    """It would be a thousand times as long outside as inside."""
    count, text = 1000, b"x" * 20_000
    at = 4 + 3 * count
    entries = struct.pack("<BH", 0x0C, at) * count
    with pytest.raises(MalformedEvent, match="larger inside"):
        json_text(b"\2" + struct.pack("<HH", count, 30_000) + entries + _length(len(text)) + text)


@pytest.mark.parametrize(
    "data",
    [
        b"\2\xff\xff\xff\xff",
        b"\x0c\xff\xff\xff\xff\xff\xff",
        b"\x0c\x05abc",
        b"\x04\x03",
        b"\x10\x00",
        b"\x0b\x00\x00",
        b"\x0b" + struct.pack("<d", float("nan")),
        b"\x0f\xf6\x02\x41\x42",
        b"\x0f\xf6\x00",
        b"\x0f\xf6\x02\x00\x00",
        b"\x0f\xf6\x1f\x42\x00" + bytes(29),
        b"\x0f\x0c\x03abc",
    ],
)
def test_bytes_that_are_no_document(data: bytes) -> None:
    with pytest.raises(MalformedEvent):
        json_text(data)
