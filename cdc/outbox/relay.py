"""The relay's half of an outbox: events, deliveries, position, states and snapshot rows in one transaction, with the
progress of backfills and changes in quarantine, which are read and ended here too."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any, Final

import orjson

from cdc.model.audit import Note
from cdc.model.backfill import Backfill, BackfillState
from cdc.model.change import BackfillStep, Operation, Position, Quarantined, SnapshotChange, SnapshotRow
from cdc.model.delivery import LeasedDelivery
from cdc.model.errors import PositionMoved
from cdc.model.event import Event, event_payload
from cdc.outbox.audit import record
from cdc.outbox.base import Fence, HandOver, Stored
from cdc.outbox.database import Database, Ledger, Row
from cdc.outbox.dispatch import merge_keys
from cdc.outbox.shared import SubscriberIndex, delivery_id, no_backfill, ordering_key, position_moved

#: The owner of the states that note the readers' sessions; the name of no source.
READERS: Final = "reading sessions"
#: An event and its payload.
Written = tuple[Event, bytes]
#: A new delivery: its event's sequence, endpoint's number and ordering key.
_Made = tuple[int, int, int]
#: Seconds for which filters hold the event loop, and one evaluation more.
_TURN: Final = 0.005


def written(events: Sequence[Event]) -> list[Written]:
    """Serialise the events before the transaction, which must neither wait for this nor begin when one of them cannot
    be written."""
    return [(event, event_payload(event)) for event in events]


async def position(db: Database, source: str) -> Position | None:
    row = await db.row("position", source=source)
    return None if row is None else Position(row[0])


async def states(db: Database, source: str) -> dict[str, str]:
    """The small states that mapping keeps for this source (for instance a user's session state)."""
    return dict(await db.rows("states", source=source))


async def reading_session(db: Database, source: str) -> str:
    return (await states(db, READERS)).get(source, "")


async def note_reading_session(db: Database, source: str, session: str) -> None:
    await set_states(db, READERS, {source: session})


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """A `cdc.outbox.store.OutboxStore.store`."""

    source: str
    position: Position
    events: Sequence[Written]
    states: Mapping[str, str | None]
    now: datetime
    kept: SnapshotChange | None = None
    step: BackfillStep | None = None
    quarantined: Sequence[Quarantined] = ()
    fence: Fence | None = None
    note: Note = ()
    hand_over: HandOver | None = None


async def store(db: Database, *requests: StoreRequest) -> list[Stored | PositionMoved]:
    """Store what each source, named once, has to; nothing of those whose fence does not hold."""
    stored: dict[str, Stored | PositionMoved] = {}
    for each in requests:
        if each.kept is not None and each.kept.behind != await position(db, each.source):
            stored[each.source] = position_moved(each.source)
    storing = [each for each in requests if each.source not in stored]
    moved = await advance(db, {each.source: (each.position, each.fence) for each in storing})
    stored |= {each.source: position_moved(each.source) for each in storing if each.source not in moved}
    storing = [each for each in storing if each.source in moved]
    counts = await _add_events(db, storing) if any(each.events for each in storing) else [Stored(0, 0)] * len(storing)
    for each, count in zip(storing, counts, strict=True):
        stored[each.source] = count
        await set_states(db, each.source, each.states)
        if each.kept is not None:
            await keep_rows(db, each.source, each.kept)
        if each.step is not None:
            after = None if each.step.after is None else orjson.dumps(each.step.after).decode()
            progress = {"row_count": each.step.rows, "place": after, "finished": each.step.finished}
            await db.write("advance_backfill", id=each.step.job, **progress, now=each.now)
        if each.quarantined:
            await add_quarantined(db, each.source, each.quarantined, each.now)
        if each.note:
            await record(db, each.note)
    return [stored[each.source] for each in requests]


async def advance(db: Database, positions: Mapping[str, tuple[Position, Fence | None]]) -> set[str]:
    """Set positions of sources, as far as their fences hold.  Return the sources whose position it is now."""
    if not positions:
        return set()
    return {source for (source,) in await db.rows_each("set_position", position_columns(positions))}


def position_columns(positions: Mapping[str, tuple[Position, Fence | None]]) -> dict[str, Sequence[object]]:
    fences = [fence or Fence(None) for _, fence in positions.values()]
    return {
        "source": list(positions),
        "position": [reached for reached, _ in positions.values()],
        "fenced": [fence is not None for _, fence in positions.values()],
        "expected": [fence.position for fence in fences],
        "epoch": [fence.epoch for fence in fences],
    }


async def announce(db: Database, events: Sequence[Written], now: datetime) -> Stored:
    """Store events that come from no source, with their deliveries."""
    (stored,) = await _add_events(db, [StoreRequest("", Position(""), events, {}, now)])
    return stored


class StoreBatch:
    """The events of several requests, to be stored together."""

    def __init__(self, requests: Sequence[StoreRequest]) -> None:
        self.events = [event for each in requests for event in each.events]
        self.now = max(each.now for each in requests)
        self._requests = requests
        self._owners: dict[str, int] = {}  # of an event's id: the request
        for number, each in enumerate(requests):
            for event, _ in each.events:
                self._owners.setdefault(event.id, number)

    @property
    def distinct(self) -> bool:
        """Return whether no event is there twice."""
        return len(self._owners) == len(self.events)

    def leases(self, new: Mapping[int, Event], made: Iterable[_Made]) -> tuple[dict[str, list[int]], dict[str, Any]]:
        """Return the columns and parameters of ``lease_new``: of each endpoint the first delivery that was made.
        Several requests share the number that one may have leased."""
        offers = {number: each.hand_over for number, each in enumerate(self._requests) if each.hand_over is not None}
        if not offers:
            return {"event": [], "endpoint": []}, {"worker": None, "until": None, "full": [], "now": self.now}
        room = {number: max(offer.most // len(offers), 1) for number, offer in offers.items()}
        first = dict[int, int]()  # endpoint → sequence of its first event
        for sequence, endpoint, _ in made:
            number = self._owners[new[sequence].id]
            if endpoint not in first and room.get(number):
                first[endpoint] = sequence
                room[number] -= 1
        full = {name for each in offers.values() for name in each.full}
        return {"event": list(first.values()), "endpoint": list(first)}, {
            "worker": next(iter(offers.values())).worker,
            "until": min(each.until for each in offers.values()),
            "full": list(full),
            "now": self.now,
        }

    def stored(
        self, new: Mapping[int, Event], made: Sequence[_Made], leased: Sequence[Row], until: datetime
    ) -> list[Stored]:
        """Return the result of each request.  ``leased``: number, sequence and endpoint of deliveries."""
        # of an id that is there twice the first
        payloads = {event.id: payload for event, payload in reversed(self.events)} if leased else {}
        handed = defaultdict[int, list[LeasedDelivery]](list)
        for number, sequence, endpoint_id in leased:
            event = new[sequence]
            shown = event.id, event.name, event.record
            handed[self._owners[event.id]].append(
                LeasedDelivery(delivery_id(number), endpoint_id, *shown, 1, until, payloads[event.id], event.source)
            )
        if len(self._requests) == 1:  # nearly always: counting apart takes time
            return [Stored(len(new), len(made), tuple(handed.get(0, ())))]
        stored = Counter(self._owners[event.id] for event in new.values())
        deliveries = Counter(self._owners[new[sequence].id] for sequence, *_ in made)
        return [
            Stored(stored[number], deliveries[number], tuple(handed.get(number, ())))
            for number in range(len(self._requests))
        ]


async def _add_events(db: Database, requests: Sequence[StoreRequest]) -> list[Stored]:
    """Store the events of requests in order, with their deliveries."""
    batch = StoreBatch(requests)
    ledger = await db.ledger([event.id for event, _ in batch.events])
    new = await insert_events(db, batch.events, ledger)
    made = await insert_deliveries(db, new, ledger, batch.now)
    columns, parameters = batch.leases(new, made)
    leased = await db.rows_each("lease_new", columns, **parameters) if columns["event"] else []
    if len(made) > len(leased) and db.notifies:
        db.due()
    return batch.stored(new, made, leased, parameters["until"])


async def insert_events(db: Database, events: Sequence[Written], ledger: Ledger) -> Mapping[int, Event]:
    """Store the events that are new.  Return them by their sequences, in order."""
    new: dict[str, Written] = {}
    for event, payload in events:
        if event.id not in ledger.known:
            new.setdefault(event.id, (event, payload))
    if not new:
        return {}
    numbered = dict(enumerate((event for event, _ in new.values()), ledger.last_event + 1))
    await db.write_each("insert_event", {"sequence": list(numbered), **event_columns(db, list(new.values()))})
    return numbered


def event_columns(db: Database, events: Sequence[Written]) -> dict[str, Sequence[object]]:
    contents = db.box.contents
    return {
        "id": [event.id for event, _ in events],
        "name": [event.name for event, _ in events],
        "source": [event.source for event, _ in events],
        "record": [event.record for event, _ in events],
        "time": [event.time for event, _ in events],
        "payload": [contents.seal(payload) if contents.sealing else payload for _, payload in events],
        "label_code": [None if contents.sealing else event.labels[0] or None for event, _ in events],
        "label_name": [None if contents.sealing else event.labels[1] or None for event, _ in events],
    }


async def insert_deliveries(
    db: Database, events: Mapping[int, Event], ledger: Ledger, now: datetime
) -> Sequence[_Made]:
    """Store a delivery for each of the subscribers that want an event, lanes merged before.  Return them."""
    for event in events.values():
        if event.renamed_from is not None:
            await merge_keys(db, event.source, event.renamed_from, event.record)
    made = await deliveries_of(db, events, ledger.subscribers)
    if made:
        columns = dict(zip(("event", "endpoint", "lane"), map(list, zip(*made, strict=True)), strict=True))
        await db.write_each("insert_delivery", columns, last=ledger.last_delivery, now=now)
    return made


async def deliveries_of(db: Database, events: Mapping[int, Event], subscribers: SubscriberIndex) -> list[_Made]:
    """Return the deliveries of events to the subscribers that want them."""
    made: list[_Made] = []
    turn = monotonic()
    for sequence, event in events.items():
        made += [
            (sequence, subscriber.number, ordering_key(subscriber.order, event.source, event.record, event.id))
            for subscriber in subscribers.of(event)
            if subscriber.holds(event)
        ]
        if monotonic() - turn > _TURN:
            await db.give_way()
            turn = monotonic()
    return made


async def set_states(db: Database, source: str, changed: Mapping[str, str | None]) -> None:
    kept = {name: value for name, value in changed.items() if value is not None}
    gone = [name for name, value in changed.items() if value is None]
    if kept:
        await db.write_each("set_state", {"name": list(kept), "value": list(kept.values())}, source=source)
    if gone:
        await db.write_each("forget_state", {"name": gone}, source=source)


async def keep_rows(db: Database, source: str, change: SnapshotChange) -> None:
    table = change.table
    if change.reset:
        await db.write("forget_kept_rows", source=source, table=table)
    if change.gone:
        await db.write_each("forget_kept_row", {"key": list(change.gone)}, source=source, table=table)
    if change.written:
        keys, digests, contents = zip(*change.written, strict=True)
        sealed = list(map(db.box.contents.seal, contents))
        columns = {"key": list(keys), "digest": list(digests), "content": sealed}
        await db.write_each("keep_row", columns, source=source, table=table)


async def snapshot_digests(
    db: Database, source: str, table: str, limit: int, after: bytes | None = None, until: bytes | None = None
) -> list[tuple[bytes, bytes]]:
    found = await db.rows("kept_digests", source=source, table=table, after=after or b"", until=until, limit=limit)
    return [(key, digest) for key, digest in found]


async def snapshot_rows(db: Database, source: str, table: str, keys: Sequence[bytes]) -> dict[bytes, SnapshotRow]:
    found = await db.rows_each("kept_row", {"key": list(keys)}, source=source, table=table)
    return {key: SnapshotRow(key, digest, db.box.contents.open(content)) for key, digest, content in found}


async def add_backfill(db: Database, backfill: Backfill, note: Note = (), *, rereads: str = "") -> None:
    await db.write(
        "insert_backfill",
        id=backfill.id,
        created_at=backfill.created_at,
        actor=backfill.actor,
        source=backfill.source,
        table_name=backfill.table,
        condition=backfill.where,
        endpoint=backfill.endpoint,
        rate=backfill.rate,
        estimate=backfill.estimate,
        state=backfill.state.value,
    )
    if rereads:
        await db.write("set_reread", id=rereads, backfill=backfill.id)
    await record(db, note)


async def backfills(db: Database, limit: int, before: str | None = None) -> list[Backfill]:
    return [_backfill_from(row) for row in await db.rows("backfills", limit=limit, before=before)]


async def find_backfill(db: Database, backfill_id: str) -> Backfill | None:
    row = await db.row("find_backfill", id=backfill_id)
    return None if row is None else _backfill_from(row)


async def next_backfill(db: Database, source: str) -> Backfill | None:
    row = await db.row("next_backfill", source=source)
    return None if row is None else _backfill_from(row)


async def backfilled_sources(db: Database) -> frozenset[str]:
    return frozenset(source for (source,) in await db.rows("backfilled_sources"))


async def set_backfill(
    db: Database, backfill_id: str, state: BackfillState, error: str, now: datetime, note: Note = ()
) -> Backfill:
    ended = now if state.ended else None
    await db.write("set_backfill", id=backfill_id, state=state.value, error=error, finished_at=ended)
    found = await find_backfill(db, backfill_id)
    if found is None:
        raise no_backfill(backfill_id)
    await record(db, note)
    return found


def _backfill_from(row: Row) -> Backfill:
    """Return the backfill of the table's columns, in their order."""
    return Backfill(
        id=row[0],
        created_at=row[1],
        actor=row[2],
        source=row[3],
        table=row[4],
        where=row[5],
        endpoint=row[6],
        rate=row[7],
        estimate=row[8],
        state=BackfillState(row[9]),
        rows=row[10],
        after=None if row[11] is None else orjson.loads(row[11]),
        finished_at=row[12],
        error=row[13],
    )


async def add_quarantined(db: Database, source: str, changes: Sequence[Quarantined], now: datetime) -> None:
    seal = db.box.contents.seal_text
    for change in changes:
        await db.write(
            "insert_quarantined",
            id=change.id,
            found_at=now,
            source=source,
            table_name=change.table,
            operation=change.operation.value,
            row_key=None if change.key is None else seal(orjson.dumps(dict(change.key)).decode()),
            token=change.token,
            changed_at=change.changed_at,
            reason=change.reason,
            image_before=seal(change.before),
            image_after=seal(change.after),
        )


async def quarantined(
    db: Database, limit: int, before: str | None = None, source: str | None = None
) -> list[Quarantined]:
    """Changes that were skipped (of a source), newest first.  ``before``: the last id of the page before."""
    return [
        _quarantined_from(row, db.box.contents.open_text)
        for row in await db.rows("quarantined", limit=limit, before=before, source=source)
    ]


async def find_quarantined(db: Database, quarantined_id: str) -> Quarantined | None:
    row = await db.row("find_quarantined", id=quarantined_id)
    return None if row is None else _quarantined_from(row, db.box.contents.open_text)


async def count_quarantined(db: Database) -> dict[str, int]:
    """Source → how many of its changes are in quarantine; absent when none is."""
    return dict(await db.rows("count_quarantined"))


async def remove_quarantined(db: Database, quarantined_id: str, note: Note = ()) -> bool:
    """Return whether there was such a change."""
    removed = await db.write("remove_quarantined", id=quarantined_id)
    await record(db, note)
    return removed > 0


async def forget_quarantined(db: Database, before: datetime) -> int:
    """Remove changes that were skipped before this time; how many."""
    return await db.write("forget_quarantined", before=before)


def _quarantined_from(row: Row, opened: Callable[[str], str]) -> Quarantined:
    """Return the change of the table's columns, in their order."""
    return Quarantined(
        id=row[0],
        found_at=row[1],
        source=row[2],
        table=row[3],
        operation=Operation(row[4]),
        key=None if row[5] is None else orjson.loads(opened(row[5])),
        token=row[6],
        changed_at=row[7],
        reason=row[8],
        before=opened(row[9]),
        after=opened(row[10]),
        backfill=row[11],
    )
