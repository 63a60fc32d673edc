"""Removal from the outbox: by age and number, in small steps, or expunged by hand; all in transactions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple

from cdc.model.audit import Note
from cdc.model.delivery import HOURS_KEPT, MINUTES_KEPT
from cdc.outbox.audit import record
from cdc.outbox.database import Database
from cdc.outbox.dispatch import settle
from cdc.outbox.shared import no_event
from cdc.outbox.upkeep import Retained, Retention

_NEVER: Final = datetime.min.replace(tzinfo=UTC)
_EVER: Final = datetime.max.replace(tzinfo=UTC)


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


async def retain(db: Database, what: Retention, limit: int, after: int = 0) -> Retained:
    """Remove finished deliveries, events and payloads by one step.  A finished delivery is not opened again while this
    runs."""
    newest = int(await db.value("last_event"))
    rows = await db.rows("retention_look", after=after, newest=newest, limit=limit)
    found = sort_out(what, [Looked(*row) for row in rows], newest, limit)
    gone = [
        number
        for events, before in ((found.old, what.finished_before or _NEVER), (found.surplus, _EVER))
        if events
        for (number,) in await db.rows("finished_of_events", events=events, before=before)
    ]
    if gone:
        await db.write("delete_attempts", ids=gone)
        await db.write("delete_deliveries", ids=gone)
    whole = found.old + found.surplus
    events = await db.write("delete_events", events=whole) if whole else 0
    payloads = await _empty(db, found.emptied) if found.emptied else 0
    return Retained(events, len(gone), payloads, found.after)


async def _empty(db: Database, events: Sequence[int]) -> int:
    """Payloads and answers; how many payloads there were."""
    await db.write("empty_answers", events=events)
    return await db.write("empty_payloads", events=events)


async def expunge(db: Database, event_ids: Sequence[str], now: datetime, note: Note = ()) -> int:
    found: dict[str, int] = dict(await db.rows("sequences", ids=event_ids))
    for event_id in event_ids:
        if event_id not in found:
            raise no_event(event_id)
    sequences = list(found.values())
    ended = await db.rows("cancel_events", events=sequences, now=now)
    await settle(db, {(endpoint, lane) for endpoint, lane in ended})
    with db.overwriting():
        await _empty(db, sequences)
    if ended:
        db.due()
    await record(db, note)
    return len(ended)


async def forget_answers(db: Database, deliveries: Sequence[int | None]) -> None:
    """Remove the answers to deliveries that were expunged while they were being sent."""
    with db.overwriting():
        await db.write("forget_answers", ids=deliveries)


async def gather_activity(db: Database, since: datetime, now: datetime) -> None:
    """Turn minutes of statistics into hours, and remove old hours."""
    before = (now - MINUTES_KEPT).replace(minute=0, second=0, microsecond=0)
    await db.alone()  # another process that gathers the same minutes would count them twice
    for name in ("gather_activity", "drop_minutes"):
        await db.write(name, since=since, before=before)
    await db.write("forget_activity", before=now - HOURS_KEPT)
