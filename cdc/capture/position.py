"""The content that the positions of all sources share: tables that are read again because changes of theirs could not
be captured, and how far a huge transaction is stored; and the parts of a stored position that an administrator can
compare with the database."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import orjson

from cdc.model.change import Position, Row
from cdc.model.errors import SourceError


@dataclass(frozen=True, slots=True)
class Reread:
    """A table that is being read again; part of a source's position.

    ``token``: the transaction of the gap.  ``after``: the last key read (None: not begun).  ``count``: rows read.
    """

    table: str
    token: str
    after: Row | None = None
    count: int = 0

    def to_json(self) -> list[Any]:
        return [self.table, self.token, self.after, self.count]


@dataclass(frozen=True, slots=True)
class HugePart:
    """A huge transaction of which the records up to number ``records`` are stored.  ``tables``: those that were
    captured when they were numbered, where the numbers depend on them."""

    token: str
    records: int
    tables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourcePosition(ABC):
    """A position of a source: everything before it is stored, except what ``rereads`` name.  ``huge``: the first
    transaction after it, if that is stored in parts."""

    rereads: tuple[Reread, ...] = field(default=(), kw_only=True)
    huge: HugePart | None = field(default=None, kw_only=True)

    def with_gaps(self, gaps: Mapping[str, str]) -> Self:
        """Return the position with re-reads of these tables (table → token of the gap).  A re-read that has not begun
        already covers its table; one that has begun starts over, since it may have passed the row."""
        kept = tuple(reread for reread in self.rereads if reread.table not in gaps or reread.after is None)
        covered = {reread.table for reread in kept}
        new = (Reread(table, token) for table, token in gaps.items() if table not in covered)
        return replace(self, rereads=(*kept, *new))

    @abstractmethod
    def dump(self) -> Position: ...


def rereads_of(fields: Sequence[Sequence[Any]]) -> tuple[Reread, ...]:
    """Return re-reads from `Reread.to_json`."""
    return tuple(Reread(*each) for each in fields)


@contextmanager
def written_by(source: str) -> Iterator[None]:
    """Raise `SourceError` when a position was not written by such a ``source``."""
    try:
        yield
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise SourceError(
            f"The position in the outbox was not written by {source}.",
            "If capture was changed on purpose, see docs/sources.md on moving between sources.",
        ) from error


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
