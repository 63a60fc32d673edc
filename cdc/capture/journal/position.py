"""The position of a journal source: what the outbox holds but the journal may still hold too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from cdc.capture.position import HugePart, SourcePosition, rereads_of, written_by
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
class JournalPosition(SourcePosition):
    """``done``: the transactions of the last batch, and those before it whose deletion was under way, all of them
    stored.  Everything before them has been deleted from the journal."""

    done: tuple[str, ...] = ()
    marker: Marker = NO_MARKER

    def next(self, done: tuple[str, ...] = (), huge: HugePart | None = None) -> JournalPosition:
        """Return the position that follows this one."""
        marker = self.marker
        if marker.outbox and marker != MOVED:
            marker = Marker(marker.outbox, marker.batch + 1)
        return JournalPosition(done, marker, huge=huge, rereads=self.rereads)

    def outdated(self, found: Marker) -> bool:
        """Return whether the journal, which holds ``found``, lacks changes that the outbox of this position lacks."""
        return bool(found.outbox) and (found.outbox != self.marker.outbox or found.batch > self.marker.batch)

    def adopting(self, found: Marker, tables: Iterable[str]) -> JournalPosition:
        """Return the position of an outbox that takes the place of the one that read the journal until ``found``:
        these tables are read again, because changes of all of them may be missing."""
        position = JournalPosition(marker=found, rereads=self.rereads)
        return position.with_gaps(dict.fromkeys(sorted(tables), f"outbox/{found.batch}"))

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
        with written_by("a trigger source"):
            fields: dict[str, Any] = orjson.loads(position)
            huge = fields["huge"]
            return JournalPosition(
                done=tuple(fields["done"]),
                marker=Marker(*fields.get("marker", ())),
                huge=None if huge is None else HugePart(*huge),
                rereads=rereads_of(fields["rereads"]),
            )
