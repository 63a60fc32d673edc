"""What of the API is read, and how its keys are put in order.  Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from cdc.model.change import Value
from cdc.model.column import SecretColumns
from cdc.model.errors import SourceError

_NUMBER, _TEXT = b"\x01", b"\x02"
_SIGNED = 1 << 63


@dataclass(frozen=True, slots=True)
class Resource:
    """A table as the API gives it.

    ``path``: its name in addresses.  ``key``: the primary key's column.  ``numbered``: the key is a number that grows
    with every new row; other keys are in an order that only the database knows.
    ``interval``: seconds between two looks for new rows (numbered ones); ``compare``: between two comparisons.
    """

    table: str
    path: str
    key: str
    numbered: bool
    secrets: SecretColumns = field(default_factory=SecretColumns)
    interval: float = 60.0
    compare: float = 300.0


def key_bytes(value: Value) -> bytes:
    """In the order of numbers, and of texts by code point.  Raises `SourceError` for what is no key."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _NUMBER + struct.pack(">Q", value + _SIGNED)
    if isinstance(value, str):
        return _TEXT + value.encode("utf-8", "surrogatepass")
    raise SourceError("The API gives a row whose key is neither a number nor a text.", "Check `key` of its resource.")


def key_value(key: bytes) -> int | str:
    """From `key_bytes`."""
    if key.startswith(_NUMBER):
        (number,) = struct.unpack(">Q", key[1:])
        return int(number) - _SIGNED
    return key[1:].decode("utf-8", "surrogatepass")
