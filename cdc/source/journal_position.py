"""The position of a journal source: what the outbox holds but the journal may still hold too."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import orjson

from cdc.errors import SourceError
from cdc.position import Position
from cdc.source.reread import Reread, with_gaps


@dataclass(frozen=True, slots=True)
class Huge:
    """A huge transaction of which the records up to number ``records`` are stored."""

    token: str
    records: int


@dataclass(frozen=True, slots=True)
class JournalPosition:
    """``done``: the transactions of the last batch, and those before it whose deletion was under way, all of them
    stored.  Everything before them has been deleted from the journal."""

    done: tuple[str, ...] = ()
    huge: Huge | None = None
    rereads: tuple[Reread, ...] = ()

    def with_gaps(self, gaps: dict[str, str]) -> JournalPosition:
        """Also read these tables again (table → token of the gap)."""
        return replace(self, rereads=with_gaps(self.rereads, gaps))

    def dump(self) -> Position:
        return Position(
            orjson.dumps(
                {
                    "done": self.done,
                    "huge": None if self.huge is None else [self.huge.token, self.huge.records],
                    "rereads": [each.to_json() for each in self.rereads],
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
