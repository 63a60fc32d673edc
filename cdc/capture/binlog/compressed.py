"""Compressed parts of servers' logs: MariaDB single events (zlib), MySQL whole transactions (zstandard).  Pure.

Every length that the log claims is a limit here, so that damaged bytes cannot take more memory than the event says.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from io import BytesIO

from cdc.capture.binlog.event import EventCursor, LogEventType
from cdc.extras import zstandard
from cdc.model.errors import MalformedEvent

#: Compressed kinds of events → the plain ones that they become.
PLAIN: dict[int, int] = {
    int(compressed): int(plain)
    for compressed, plain in (
        (LogEventType.WRITE_ROWS_COMPRESSED_1, LogEventType.WRITE_ROWS_1),
        (LogEventType.UPDATE_ROWS_COMPRESSED_1, LogEventType.UPDATE_ROWS_1),
        (LogEventType.DELETE_ROWS_COMPRESSED_1, LogEventType.DELETE_ROWS_1),
        (LogEventType.WRITE_ROWS_COMPRESSED, LogEventType.WRITE_ROWS),
        (LogEventType.UPDATE_ROWS_COMPRESSED, LogEventType.UPDATE_ROWS),
        (LogEventType.DELETE_ROWS_COMPRESSED, LogEventType.DELETE_ROWS),
    )
}
#: No server writes an event that is longer.
_LONGEST = 1 << 30
_POST_HEADER = 8
_MOST_COLUMNS = 4096


def plain_rows(kind: int, body: bytes) -> bytes:
    """Return the body of the plain event: only the images are compressed, not the bytes before them."""
    reader = EventCursor(body, _POST_HEADER)
    plain = PLAIN[kind]
    if plain in (LogEventType.WRITE_ROWS, LogEventType.UPDATE_ROWS, LogEventType.DELETE_ROWS):
        reader.take(max(2, reader.integer(2)) - 2)
    columns = reader.packed()
    if columns > _MOST_COLUMNS:
        raise MalformedEvent("A compressed rows event of the log has more columns than any table.")
    bitmaps = 2 if plain in (LogEventType.UPDATE_ROWS, LogEventType.UPDATE_ROWS_1) else 1
    reader.take(bitmaps * ((columns + 7) // 8))
    return body[: reader.position] + _inflated(body, reader.position)


def plain_statement(data: bytes) -> bytes:
    return _inflated(data, 0)


def _inflated(data: bytes, start: int) -> bytes:
    """A byte with the kind of compression and the length's length, the length before compression, zlib's stream."""
    reader = EventCursor(data, start)
    head = reader.integer(1)
    width, kind = head & 7, head >> 4 & 7
    length = int.from_bytes(reader.take(width), "big")
    if kind != 0 or length > _LONGEST:
        raise MalformedEvent("A compressed event of the log is compressed in an unknown way.")
    inflate = zlib.decompressobj()
    try:
        plain = inflate.decompress(memoryview(data)[reader.position :], length + 1)
    except zlib.error as error:
        raise MalformedEvent("A compressed event of the log is damaged.") from error
    if len(plain) != length:
        raise MalformedEvent("A compressed event of the log does not have the length that it states.")
    return plain


_END, _SIZE, _ALGORITHM, _PLAIN_SIZE = range(4)
_ZSTANDARD, _NONE = 0, 255
#: Decompressed bytes at a time.
_STEP = 1 << 20


def payload(body: bytes) -> Iterator[bytes]:
    """Yield the events inside a TRANSACTION_PAYLOAD, as bytes cut anywhere, a chunk at a time."""
    reader = EventCursor(body)
    fields = {_ALGORITHM: _NONE, _PLAIN_SIZE: _LONGEST}
    while (kind := reader.packed()) != _END:
        value = EventCursor(reader.take(reader.packed()))
        if kind in (_ALGORITHM, _PLAIN_SIZE):
            fields[kind] = value.packed()
    if fields[_ALGORITHM] == _NONE:
        yield body[reader.position :]
    elif fields[_ALGORITHM] == _ZSTANDARD:
        yield from _decompressed(body[reader.position :], fields[_PLAIN_SIZE])
    else:
        raise MalformedEvent("A transaction of the log is compressed in an unknown way.")


def _decompressed(data: bytes, length: int) -> Iterator[bytes]:
    library = zstandard()
    stream = library.ZstdDecompressor().stream_reader(BytesIO(data), read_across_frames=True)
    total = 0
    while True:
        try:
            plain = stream.read(_STEP)
        except library.ZstdError as error:
            raise MalformedEvent("A compressed transaction of the log is damaged.") from error
        if not plain:
            break
        total += len(plain)
        if total > length:
            break
        yield plain
    if total != length:
        raise MalformedEvent("A compressed transaction of the log does not have the length that it states.")
