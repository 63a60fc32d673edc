"""Sending again: one delivery by hand, or all that fit, step by step; and replays that continue by themselves.

What to replay is looked for outside of transactions; what was found is looked at again in the transaction that makes it
due, because dispatch and others continue.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson

from cdc.model.audit import Note
from cdc.model.delivery import DeliveryFilter, DeliveryState, Replay, Replayed, ReplayState
from cdc.model.endpoint import Order
from cdc.outbox.audit import record
from cdc.outbox.base import StoredEvent
from cdc.outbox.database import Database, Row
from cdc.outbox.dispatch import rebalance
from cdc.outbox.endpoints import subscriber as subscriber_of_id
from cdc.outbox.log import ACTIVE, event_from
from cdc.outbox.secret_box import Contents
from cdc.outbox.shared import (
    Subscriber,
    delivery_number,
    endpoint_removed,
    event_expunged,
    no_delivery,
    no_replay,
    not_finished,
    ordering_key,
    place_of,
    place_text,
    still_subscribed,
)


async def add(db: Database, replay: Replay, note: Note = ()) -> None:
    await db.write(
        "insert_replay",
        id=replay.id,
        created_at=replay.created_at,
        actor=replay.actor,
        selection=selection_text(replay.which),
        rate=replay.rate,
        total=replay.total,
        state=replay.state.value,
    )
    await record(db, note)


async def newest(db: Database, limit: int, before: str | None = None) -> list[Replay]:
    return [_from(row) for row in await db.rows("replays", limit=limit, before=before)]


async def find(db: Database, replay_id: str) -> Replay | None:
    row = await db.row("find_replay", id=replay_id)
    return None if row is None else _from(row)


async def lease(db: Database, worker: str, now: datetime, until: datetime) -> Replay | None:
    row = await db.row("lease_replay", worker=worker, now=now, until=until)
    return None if row is None else _from(row)


async def advance(db: Database, replay_id: str, worker: str, step: Replayed, now: datetime, until: datetime) -> bool:
    ended = step.after is None
    changed = await db.write(
        "advance_replay",
        id=replay_id,
        worker=worker,
        deliveries=step.deliveries,
        expunged=step.expunged,
        place=step.after,
        until=until,
        state=(ReplayState.DONE if ended else ReplayState.RUNNING).value,
        finished_at=now if ended else None,
    )
    return changed > 0


async def end(db: Database, replay_id: str, state: ReplayState, error: str, now: datetime, note: Note = ()) -> Replay:
    await db.write("end_replay", id=replay_id, state=state.value, error=error, now=now)
    ended = await find(db, replay_id)
    if ended is None:
        raise no_replay(replay_id)
    await record(db, note)
    return ended


def _from(row: Row) -> Replay:
    """Return the replay of the table's columns, in their order."""
    return Replay(
        id=row[0],
        created_at=row[1],
        actor=row[2],
        which=selection_from(row[3]),
        rate=row[4],
        total=row[5],
        state=ReplayState(row[6]),
        deliveries=row[7],
        expunged=row[8],
        after=row[9],
        worker=row[10],
        leased_until=row[11],
        finished_at=row[12],
        error=row[13],
    )


def selection_text(which: DeliveryFilter) -> str:
    """JSON of the fields that narrow."""
    return orjson.dumps({name: value for name, value in asdict(which).items() if value is not None}).decode()


def selection_from(text: str) -> DeliveryFilter:
    found: dict[str, Any] = orjson.loads(text)
    for name in ("since", "until"):
        if name in found:
            found[name] = datetime.fromisoformat(found[name])
    for name in ("sources", "endpoint_ids"):
        if name in found:
            found[name] = tuple(found[name])
    if "state" in found:
        found["state"] = DeliveryState(found["state"])
    return DeliveryFilter(**found)


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
        if not (each.finished if each.event is None else still_subscribed(subscriber, each.event)):
            continue
        if each.expunged:
            expunged += 1
        elif each.delivery is None:
            made.append(each.sequence)
        else:
            reopened.append(each.delivery)
    return ReplayScan(reopened, made, subscriber.number, expunged, place_text(last, 0) if looked == LOOK else None)


async def retry(db: Database, delivery_id: str, now: datetime, note: Note = ()) -> None:
    number = delivery_number(delivery_id)
    row = await db.row("retriable", ids=[number])
    if row is None:
        raise no_delivery(delivery_id)
    state, removed, expunged, event_id = row[1], row[5], row[7], row[8]
    if state <= ACTIVE:
        if not await db.write("hurry", id=number, now=now):
            raise not_finished(delivery_id)
        db.due()
    elif removed:
        raise endpoint_removed(delivery_id)
    elif expunged:
        raise event_expunged(event_id)
    else:
        await _reopen(db, [row], now)
    await record(db, note)


async def later(db: Database, endpoint_id: str, now: datetime, limit: int) -> int:
    return int(await db.value("later", endpoint=endpoint_id, now=now, limit=limit))


async def hurry(db: Database, endpoint_id: str, now: datetime, limit: int, note: Note = ()) -> int:
    hurried = await db.write("hurry_endpoint", endpoint=endpoint_id, now=now, limit=limit)
    if hurried:
        db.due()
    await record(db, note)
    return hurried


async def scan(db: Database, which: DeliveryFilter, limit: int, after: str | None) -> ReplayScan:
    """Reads only."""
    place = place_of(after)
    subscriber = None if which.endpoint_id is None else await subscriber_of_id(db, which.endpoint_id)
    if subscriber is None or which.state is not None:
        search = await db.find_deliveries(which)
        rows = await search.after(*place).rows("replayable", limit)
        return of_deliveries([(sequence, number, bool(expunged)) for sequence, number, expunged in rows], limit)
    events = await db.find_events(which)
    rows = await events.after_event(place[0]).rows("replayable_events", LOOK, subscriber=subscriber.number)
    candidates = (_candidate(row, db.box.contents) for row in rows)
    return await db.aside(of_endpoint, candidates, subscriber, limit)  # filters may take their time


def _candidate(row: Row, contents: Contents) -> Candidate:
    """Return the candidate of a row of ``replayable_events``: also an event that an endpoint wants and never got."""
    sequence, delivery, expunged, state, *columns = row
    event = event_from((sequence, *columns), contents) if delivery is None else None
    return Candidate(sequence, delivery, delivery is not None and state > ACTIVE, bool(expunged), event)


async def apply(db: Database, found: ReplayScan, now: datetime, note: Note = ()) -> Replayed:
    rows = await db.rows("retriable", ids=found.reopened)
    done = await _reopen(db, [row for row in rows if row[1] > ACTIVE and not row[5] and not row[7]], now)
    if found.endpoint is not None and found.made:
        done += await _make(db, found.endpoint, found.made, now)
    await record(db, note)
    return Replayed(done, found.expunged, found.after)


async def _reopen(db: Database, rows: Sequence[Row], now: datetime) -> int:
    """Finished deliveries as ``retriable`` gives them; how many."""
    if not rows:
        return 0
    columns = {
        "id": [row[0] for row in rows],
        "state": [row[1] for row in rows],
        "endpoint": [row[2] for row in rows],
        "lane": [ordering_key(Order(row[6]), row[3], row[4], row[8]) for row in rows],
    }
    lanes = await db.rows_each("reopen", columns, now=now)
    await rebalance(db, {(endpoint, lane) for endpoint, lane in lanes})
    db.due()
    return len(rows)


async def _make(db: Database, endpoint: int, sequences: Sequence[int], now: datetime) -> int:
    """Deliveries to an endpoint that never got these events; how many."""
    rows = await db.rows("undelivered", endpoint=endpoint, events=sequences)
    if not rows:
        return 0
    last = await db.value("last_delivery")
    columns = {
        "event": [row[0] for row in rows],
        "endpoint": [endpoint for _ in rows],
        "lane": [ordering_key(Order(order), source, record, event_id) for _, source, record, event_id, order in rows],
    }
    await db.write_each("insert_delivery", columns, last=last, now=now)
    await rebalance(db, {(number, lane) for number, lane in await db.rows("lanes_behind", last=last)})
    db.due()
    return len(rows)
