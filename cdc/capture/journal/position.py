"""The position of a journal source: what the outbox holds but the journal may still hold too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import orjson

from cdc.capture.reread import Reread, with_gaps
from cdc.model.errors import SourceError
from cdc.model.position import Position


class Marker(NamedTuple):
    """Which outbox reads a journal, and how far: the position in the outbox and a table beside the journal both hold
    one.  ``outbox``: a random name; empty: no outbox has acknowledged anything.  ``batch``: grows with each position
    that the outbox stores; beside the journal, the one whose transactions were deleted last."""

    outbox: str = ""
    batch: int = 0


NO_MARKER: Final = Marker()
#: Of a position that names no outbox because the source was read in another way until now: takes over what is found.
MOVED: Final = Marker("*")


@dataclass(frozen=True, slots=True)
class JournalTransactionPart:
    """A huge transaction of which the records up to number ``records`` are stored."""

    token: str
    records: int


@dataclass(frozen=True, slots=True)
class JournalPosition:
    """``done``: the transactions of the last batch, and those before it whose deletion was under way, all of them
    stored.  Everything before them has been deleted from the journal."""

    done: tuple[str, ...] = ()
    huge: JournalTransactionPart | None = None
    rereads: tuple[Reread, ...] = ()
    marker: Marker = NO_MARKER

    def next(
        self,
        done: tuple[str, ...] = (),
        huge: JournalTransactionPart | None = None,
        rereads: tuple[Reread, ...] | None = None,
    ) -> JournalPosition:
        """Return the position that follows this one; ``rereads``: None: the same."""
        marker = self.marker
        if marker.outbox and marker != MOVED:
            marker = Marker(marker.outbox, marker.batch + 1)
        return JournalPosition(done, huge, self.rereads if rereads is None else rereads, marker)

    def outdated(self, found: Marker) -> bool:
        """Return whether the journal, which holds ``found``, lacks changes that the outbox of this position lacks."""
        return bool(found.outbox) and (found.outbox != self.marker.outbox or found.batch > self.marker.batch)

    def adopting(self, found: Marker, tables: Iterable[str]) -> JournalPosition:
        """Return the position of an outbox that takes the place of the one that read the journal until ``found``:
        these tables are read again, because changes of all of them may be missing."""
        token = f"outbox/{found.batch}"
        rereads = with_gaps(self.rereads, dict.fromkeys(sorted(tables), token))
        return JournalPosition(rereads=rereads, marker=found)

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
                    "marker": list(self.marker),
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
                huge=None if huge is None else JournalTransactionPart(*huge),
                rereads=tuple(Reread(*each) for each in fields["rereads"]),
                marker=Marker(*fields.get("marker", ())),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise SourceError(
                "The position in the outbox was not written by a trigger source.",
                "If capture was changed on purpose, see docs/sources.md on moving between sources.",
            ) from error
