"""What one step of a replay is to do, of what a store found: pure, the same for every durable outbox."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from cdc.outbox.base import Replayed, StoredEvent
from cdc.outbox.shared import Subscriber, place_text, wanted_still

#: Events of one endpoint that a step looks at, at most.
LOOK: Final = 500


class ReplayScan(NamedTuple):
    """``reopened``: deliveries.  ``made``: sequences of events that get a delivery to ``endpoint`` (a number)."""

    reopened: Sequence[int] = ()
    made: Sequence[int] = ()
    endpoint: int | None = None
    expunged: int = 0
    after: str | None = None

    def planned(self) -> Replayed:
        return Replayed(len(self.reopened) + len(self.made), self.expunged, self.after)


class Candidate(NamedTuple):
    """An event at one endpoint.  ``delivery``: its number, None when the endpoint never got it; ``event`` is there
    then, and only then."""

    sequence: int
    delivery: int | None
    finished: bool
    expunged: bool
    event: StoredEvent | None


def of_deliveries(rows: Sequence[tuple[int, int, bool]], limit: int) -> ReplayScan:
    """``rows``: sequence, finished delivery, whether it is expunged; in order, up to ``limit``."""
    kept = [number for _, number, expunged in rows if not expunged]
    behind = place_text(*rows[-1][:2]) if len(rows) == limit else None
    return ReplayScan(kept, expunged=len(rows) - len(kept), after=behind)


def of_endpoint(candidates: Iterable[Candidate], subscriber: Subscriber, limit: int) -> ReplayScan:
    """``candidates``: the next `LOOK` events in order, fewer when there are no more."""
    reopened: list[int] = []
    made: list[int] = []
    looked = expunged = last = 0
    for each in candidates:
        if len(reopened) + len(made) == limit:
            return ReplayScan(reopened, made, subscriber.number, expunged, place_text(last, 0))
        looked, last = looked + 1, each.sequence
        if not _wanted(each, subscriber):
            continue
        if each.expunged:
            expunged += 1
        elif each.delivery is None:
            made.append(each.sequence)
        else:
            reopened.append(each.delivery)
    return ReplayScan(reopened, made, subscriber.number, expunged, place_text(last, 0) if looked == LOOK else None)


def _wanted(candidate: Candidate, subscriber: Subscriber) -> bool:
    if candidate.event is None:
        return candidate.finished
    return wanted_still(subscriber, candidate.event)
