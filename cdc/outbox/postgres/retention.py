"""What leaves the PostgreSQL outbox: by age and number, in small steps, or expunged by hand; in transactions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from cdc.outbox.base import Retained, Retention
from cdc.outbox.postgres.lanes import settle
from cdc.outbox.postgres.session import Db, Tell
from cdc.outbox.retention import Looked, sort_out
from cdc.outbox.shared import no_event

_NEWEST: Final = "SELECT COALESCE(max(sequence), 0) FROM cdc_outbox.event"
_NEVER: Final = datetime.min.replace(tzinfo=UTC)
_EVER: Final = datetime.max.replace(tzinfo=UTC)


async def retain(db: Db, what: Retention, limit: int, after: int) -> Retained:
    """Under `Lock.IN_TURN`: what is finished is opened again under `Lock.FREELY` only."""
    ((newest,),) = await db.query(_NEWEST, {})
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


async def _empty(db: Db, events: Sequence[int]) -> int:
    """Payloads and answers; how many payloads there were."""
    await db.write("empty_answers", events=events)
    return await db.write("empty_payloads", events=events)


async def expunge(db: Db, event_ids: Sequence[str], now: datetime) -> int:
    """Under `Lock.FREELY`."""
    found = dict(await db.rows("sequences", ids=event_ids))
    for event_id in event_ids:
        if event_id not in found:
            raise no_event(event_id)
    sequences = list(found.values())
    ended = await db.rows("cancel_events", events=sequences, now=now)
    await settle(db, {(endpoint, lane) for endpoint, lane in ended})
    await _empty(db, sequences)
    if ended:
        db.tell = Tell.DUE
    return len(ended)
