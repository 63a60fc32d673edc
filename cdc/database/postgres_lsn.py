"""Places in PostgreSQL's write-ahead log.  Pure."""

from __future__ import annotations


def lsn_text(number: int) -> str:
    """As PostgreSQL writes and reads a pg_lsn."""
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"


def lsn_number(text: str) -> int:
    """Raises ValueError."""
    high, slash, low = text.partition("/")
    if not slash:
        raise ValueError(text)
    return (int(high, 16) << 32) + int(low, 16)
