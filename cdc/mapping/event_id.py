"""Names that stay the same whenever the same change is mapped again: event ids and record names."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Final

from cdc.model.change import Row, Value

#: Names a change whose token says all.
NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
#: Hexadecimal digits of a number in an id, and the numbers that they can show.
_NUMBER_DIGITS: Final = 16
_NUMBERS: Final = 16**_NUMBER_DIGITS


def event_ids(source: str, token: str, table: str, ordinal: int, time: datetime) -> blake2b:
    """Return the hash that all events of one merged change share; `event_id` makes the ids from it.

    ``ordinal`` and ``time`` are those of the record's first change in its transaction: they do not depend on how
    transactions were grouped into batches.
    """
    micros = (time - NO_TIME) // _MICROSECOND
    return blake2b(f"{source}\0{token}\0{table}\0{ordinal}\0{micros}\0".encode(), digest_size=16)


def event_id(shared: blake2b, name: str, record: str) -> str:
    """``evt_`` and 128 bits in hexadecimal."""
    digest = shared.copy()
    digest.update(f"{name}\0{record}".encode("utf-8", "surrogatepass"))
    return "evt_" + digest.hexdigest()


class ExistingIds:
    """Ids of the events ``name`` of rows that a backfill reads, each once.

    Those of one table ascend with keys that are numbers, as the rows are read: an index of ids grows at its end then,
    where others are put in all over it, which costs a page of the index for each.
    """

    def __init__(self, shared: blake2b, name: str) -> None:
        self._shared = shared
        self._name = name
        self._beginning = event_id(shared, name, "")[:-_NUMBER_DIGITS]

    def of(self, key: Row, record: str) -> str:
        """``evt_``, and 64 bits of what they share with the number; of any other key as `event_id` has it."""
        if len(key) == 1:
            (value,) = key.values()
            if type(value) is int and 0 <= value < _NUMBERS:
                return f"{self._beginning}{value:0{_NUMBER_DIGITS}x}"
        return event_id(self._shared, self._name, record)


def record_name(table: str, key: Row) -> str:
    """``table:key`` with the key exactly as stored; several key columns as a JSON array, so that no two keys of a
    table share a name."""
    if len(key) == 1:
        (value,) = key.values()
        return f"{table}:{_text(value)}"
    if not key:
        return f"{table}:"
    values = json.dumps(list(key.values()), ensure_ascii=False, separators=(",", ":"))
    return f"{table}:{values}"


def _text(value: Value) -> str:
    if value.__class__ is int:  # nearly all keys are numbers or codes
        return str(value)
    return value if isinstance(value, str) else json.dumps(value)
