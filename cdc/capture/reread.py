"""Tables that are read again because changes of theirs could not be captured: what every source does about a gap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cdc.model.change import Row


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


def with_gaps(rereads: Sequence[Reread], gaps: Mapping[str, str]) -> tuple[Reread, ...]:
    """Also read these tables again (table → token of the gap).  A re-read that has not begun already covers its
    table; one that has begun starts over, since it may have passed the row."""
    kept = tuple(reread for reread in rereads if reread.table not in gaps or reread.after is None)
    covered = {reread.table for reread in kept}
    return kept + tuple(Reread(table, token) for table, token in gaps.items() if table not in covered)
