"""The position of a journal source: what the outbox holds but the journal may still hold too."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import orjson

from cdc.change import Row
from cdc.errors import SourceError
from cdc.position import Position


@dataclass(frozen=True, slots=True)
class Reread:
    """A table that is being read again because a trigger could not record a change.

    ``token``: the transaction of the gap.  ``after``: the last key read (None: not begun).  ``count``: rows read.
    """

    table: str
    token: str
    after: Row | None = None
    count: int = 0


@dataclass(frozen=True, slots=True)
class Huge:
    """A huge transaction of which the records up to number ``records`` are stored."""

    token: str
    records: int


@dataclass(frozen=True, slots=True)
class JournalPosition:
    """``done``: the transactions of the last batch, all of them stored.  Everything before them has been deleted from
    the journal, because a batch is read only after the one before it was acknowledged."""

    done: tuple[str, ...] = ()
    huge: Huge | None = None
    rereads: tuple[Reread, ...] = ()

    def with_gaps(self, gaps: dict[str, str]) -> JournalPosition:
        """Also read these tables again (table → token of the gap).  A re-read that has not begun already covers its
        table; one that has begun starts over, since it may have passed the row."""
        kept = tuple(reread for reread in self.rereads if reread.table not in gaps or reread.after is None)
        covered = {reread.table for reread in kept}
        new = tuple(Reread(table, token) for table, token in gaps.items() if table not in covered)
        return replace(self, rereads=kept + new)

    def dump(self) -> Position:
        return Position(
            orjson.dumps(
                {
                    "done": self.done,
                    "huge": None if self.huge is None else [self.huge.token, self.huge.records],
                    "rereads": [[each.table, each.token, each.after, each.count] for each in self.rereads],
                }
            ).decode()
        )

    @staticmethod
    def load(position: Position | None) -> JournalPosition:
        if position is None:
            return JournalPosition()
        try:
            fields: dict[str, Any] = orjson.loads(position)
            huge = fields["huge"]
            return JournalPosition(
                done=tuple(fields["done"]),
                huge=None if huge is None else Huge(*huge),
                rereads=tuple(Reread(*each) for each in fields["rereads"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise SourceError(
                "The position in the outbox was not written by a trigger source.",
                "If capture was changed on purpose, see docs/operations.md on moving between sources.",
            ) from error
