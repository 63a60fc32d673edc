"""The parts of a stored position that an administrator can compare with the database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from cdc.model.change import Position


class PositionPart(NamedTuple):
    """``kind``: ``file`` (with the offset), ``gtids``, ``lsn``, ``message`` (the last of a stream), ``transactions``
    (the last of a journal), ``known`` and ``unknown`` (tables that were compared, or are read the first time),
    ``large`` (records of a transaction that is stored in parts), ``rereads`` (tables that are read again)."""

    kind: str
    values: Sequence[str]


def position_parts(position: Position) -> list[PositionPart]:
    """Return the parts that have values; none where no source of this program wrote the position."""
    try:
        return [PositionPart(kind, values) for kind, values in _parts(orjson.loads(position)) if values]
    except (ValueError, KeyError, TypeError):
        return []


def _parts(fields: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    if "overlap" in fields:
        yield from _parts(orjson.loads(fields["overlap"][0]))
        return
    if "log" in fields:
        file, offset, gtids, *_ = fields["log"]
        yield "file", [f"{file}:{offset}"] if file else []
        yield "gtids", [each.strip() for each in gtids.split(",") if each.strip()]
    if "lsn" in fields:
        yield "lsn", [fields["lsn"]]
    if "nats" in fields:
        yield "message", [str(fields["nats"][1])]
    yield "transactions", fields.get("done", [])[:-6:-1]
    progress = fields.get("rest", {})
    yield "known", [table for table, (_, known, *_) in progress.items() if known]
    yield "unknown", [table for table, (_, known, *_) in progress.items() if not known]
    huge = fields.get("huge")
    yield "large", [str(huge[1])] if huge else []
    yield "rereads", [each[0] for each in fields.get("rereads", [])]
