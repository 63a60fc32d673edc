"""What of the oldest events retention takes: pure, the same for every outbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from cdc.outbox.base import Retention


class Looked(NamedTuple):
    """An event as retention looks at it.  ``kept``: it has a payload.  ``finished_at``, ``dead_at``: when the newest of
    its finished deliveries, and of its dead letters, was finished."""

    sequence: int
    time: datetime
    kept: bool
    unfinished: bool
    finished_at: datetime | None
    dead_at: datetime | None


@dataclass
class Sorted:
    """Sequences of events.  ``old``: deliveries of theirs that were finished before `Retention.finished_before` go, and
    they themselves when none is left.  ``surplus``: they go with all they have.  ``emptied``: their payloads go.
    ``after``: the last one looked at, None when nothing is to be done behind it."""

    old: list[int] = field(default_factory=list)
    surplus: list[int] = field(default_factory=list)
    emptied: list[int] = field(default_factory=list)
    after: int | None = None


def sort_out(what: Retention, looked: Sequence[Looked], newest: int, limit: int) -> Sorted:
    """``looked``: up to ``limit`` events in order.  ``newest``: the greatest sequence that there is.

    Ends at the first event that is too young for everything: those behind it are younger, or will be looked at once it
    is old enough."""
    found = Sorted()
    beyond = newest - what.most_events if what.most_events else 0
    for event in looked:
        misdated = what.now is not None and event.time > what.now
        time = event.finished_at or event.time if misdated else event.time
        old = _before(time, what.finished_before)
        if not (old or event.sequence <= beyond or _before(time, what.payloads_before)):
            if misdated:  # the events that follow may be old
                continue
            return found
        if event.sequence <= beyond and _may_go_whole(event, time, what):
            found.surplus.append(event.sequence)
        elif old:
            found.old.append(event.sequence)
        if event.kept and not event.unfinished and _before(time, what.payloads_before):
            found.emptied.append(event.sequence)
    if len(looked) == limit:
        found.after = looked[-1].sequence
    return found


def _may_go_whole(event: Looked, time: datetime, what: Retention) -> bool:
    return (
        not event.unfinished
        and time < what.settled_before
        and (event.finished_at is None or event.finished_at < what.settled_before)
        and (event.dead_at is None or _before(event.dead_at, what.finished_before))
    )


def _before(time: datetime, limit: datetime | None) -> bool:
    return limit is not None and time < limit
