"""Makes a screenshot a third as large: a page has few colours, so a palette of them does.

For what Chromium writes: PNG, eight bits a channel, RGB or RGBA that is opaque, not interlaced.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {2: 3, 6: 4}  # colour type → bytes a pixel

Pixel = tuple[int, int, int]


def smaller(png: bytes, colours: int = 128) -> bytes:
    """The same picture in at most so many colours (256): the most frequent ones, and for each other the nearest."""
    chunks = dict(_joined(png))
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert depth == 8
    assert not interlaced
    channels = _CHANNELS[kind]
    rows = list(_rows(zlib.decompress(chunks[b"IDAT"]), width * channels, channels))
    counted = Counter(pixel for row in rows for pixel in _pixels(row, channels))
    palette = [pixel for pixel, _ in counted.most_common(colours)]
    places = {pixel: _nearest(pixel, palette) for pixel in counted}
    packed = b"".join(b"\0" + bytes(places[pixel] for pixel in _pixels(row, channels)) for row in rows)
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", bytes(value for pixel in palette for value in pixel)),
            _chunk(b"IDAT", zlib.compress(packed, 9)),
            _chunk(b"IEND", b""),
        )
    )


def _joined(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each kind of chunk with all that its chunks hold."""
    found: dict[bytes, bytes] = {}
    place = len(_SIGNATURE)
    while place < len(png):
        length, kind = struct.unpack(">I4s", png[place : place + 8])
        found[kind] = found.get(kind, b"") + png[place + 8 : place + 8 + length]
        place += length + 12
    yield from found.items()


def _rows(data: bytes, length: int, step: int) -> Iterator[bytes]:
    """Yield the rows without their filters.  ``length``: bytes of a row, ``step``: of a pixel."""
    above = bytes(length)
    for start in range(0, len(data), length + 1):
        row = bytearray(data[start + 1 : start + 1 + length])
        _unfilter(data[start], row, above, step)
        above = bytes(row)
        yield above


def _unfilter(kind: int, row: bytearray, above: bytes, step: int) -> None:
    for place in range(len(row)):
        left = row[place - step] if place >= step else 0
        corner = above[place - step] if place >= step else 0
        guess = (0, left, above[place], (left + above[place]) // 2, _paeth(left, above[place], corner))[kind]
        row[place] = (row[place] + guess) & 255


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda each: abs(guess - each))


def _pixels(row: bytes, channels: int) -> Iterator[Pixel]:
    return zip(row[0::channels], row[1::channels], row[2::channels], strict=True)


def _nearest(pixel: Pixel, palette: list[Pixel]) -> int:
    return min(range(len(palette)), key=lambda place: _distance(pixel, palette[place]))


def _distance(one: Pixel, other: Pixel) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
