"""The new outbox of a source that moves (`cdc.outbox.departures`): what its transactions do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from cdc.model.change import Departure, Position, Stage, departure
from cdc.model.endpoint import Order
from cdc.model.errors import UsageError
from cdc.outbox.database import Database, Row
from cdc.outbox.dispatch import join_lanes, settle
from cdc.outbox.log import ACTIVE, WAITING
from cdc.outbox.relay import position as position_of
from cdc.outbox.shared import lane_for, position_moved

_EVENT: Final = ("sequence", "id", "name", "source", "record", "time", "payload", "label_code", "label_name")
_ATTEMPT: Final = ("delivery", "number", "url", "status", "started_at", "duration", "error", "answer")
_BACKFILL: Final = (
    *("id", "created_at", "actor", "source", "table_name", "condition", "endpoint", "rate", "estimate", "state"),
    *("row_count", "place"),
)
_QUARANTINE: Final = (
    *("id", "found_at", "source", "table_name", "operation", "row_key", "token", "changed_at", "reason"),
    *("image_before", "image_after"),
)


class Load(NamedTuple):
    """Deliveries with their events and attempts, as rows of the old outbox."""

    deliveries: Sequence[Row]
    events: Sequence[Row]
    attempts: Sequence[Row]


class Rest(NamedTuple):
    states: Mapping[str, str]
    lanes: Sequence[Row]
    backfills: Sequence[Row]
    quarantine: Sequence[Row]


def mover_of(move: str) -> str:
    """Return the name by which deliveries are held."""
    return f"move {move}"


async def set_position(db: Database, source: str, wanted: Position, expected: Position | None) -> None:
    place = {"position": wanted, "expected": expected, "fenced": True, "epoch": None}
    if not await db.write("set_position", source=source, **place):
        raise position_moved(source)


async def reserve(db: Database, source: str, arriving: Departure, outbox: str) -> str:
    """Return the name of the move: that of an interrupted one, else the given one.  Raises `UsageError` when the outbox
    has the source already."""
    stored = await position_of(db, source)
    known = departure(stored)
    if known is not None and known.stage is Stage.ARRIVING and known.outbox == arriving.outbox:
        return known.move
    if stored is not None and (known is None or known.stage is not Stage.LEFT):
        raise UsageError(
            f"The outbox {outbox} has a source {source!r} already.", "Is it the same one, or another one of that name?"
        )
    await set_position(db, source, arriving.dump(), stored)
    return arriving.move


async def insert(db: Database, mover: str, load: Load) -> None:
    """Insert what is not there yet, and hold what is unfinished."""
    sequences = await _insert_events(db, load.events)
    ids = list({row[2] for row in load.deliveries})
    numbers = {each: number for each, number, _ in await db.rows("endpoint_numbers", ids=ids)}
    placed = [(sequences[row[1]], numbers[row[2]], row) for row in load.deliveries]
    there = await _there(db, placed)
    new = [(event, endpoint, row) for event, endpoint, row in placed if (event, endpoint) not in there]
    await _insert_deliveries(db, mover, new)
    again = [
        (there[event, endpoint][0], there[event, endpoint][1], endpoint, row)
        for event, endpoint, row in placed
        if (event, endpoint) in there and there[event, endpoint][1] > ACTIVE >= row[3]
    ]
    await _hold_again(db, mover, again)
    written = {row[0] for _, _, row in new} | {row[0] for *_, row in again}
    ids_now = await _there(db, placed)
    owners = {row[0]: ids_now[event, endpoint][0] for event, endpoint, row in placed}
    seal = db.box.contents.seal_text
    attempts = [(owners[row[0]], *row[1:-1], seal(row[-1])) for row in load.attempts if row[0] in written]
    if attempts:
        await db.write_each("insert_moved_attempt", _columns(_ATTEMPT, attempts))


def _columns(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Sequence[Any]]:
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


async def _insert_events(db: Database, events: Sequence[Row]) -> dict[int, int]:
    """Return the sequences here by those of the old outbox."""
    ids = [row[1] for row in events]
    known: dict[str, int] = dict(await db.rows("sequences", ids=ids))
    last = await db.value("last_event")
    contents = db.box.contents
    new = [
        (last + number, *row[1:6], contents.seal(row[6]), *_labels(row, sealing=contents.sealing))
        for number, row in enumerate((r for r in events if r[1] not in known), 1)
    ]
    if new:
        await db.write_each("insert_event", _columns(_EVENT, new))
    known |= {row[1]: row[0] for row in new}
    return {row[0]: known[row[1]] for row in events}


def _labels(row: Row, *, sealing: bool) -> Row:
    return (None, None) if sealing else row[7:]


async def _there(db: Database, placed: Sequence[tuple[int, int, Row]]) -> dict[tuple[int, int], tuple[int, int]]:
    """Return (event, endpoint) → delivery and its state."""
    events, endpoints = list({each[0] for each in placed}), list({each[1] for each in placed})
    rows = await db.rows("deliveries_there", events=events, endpoints=endpoints)
    return {(event, endpoint): (number, state) for event, endpoint, number, state in rows}


async def _insert_deliveries(db: Database, mover: str, new: Sequence[tuple[int, int, Row]]) -> None:
    if not new:
        return
    rows = []
    for event, endpoint, (_, _, _, state, lane, due, attempts, created_at, finished_at) in new:
        finished = state > ACTIVE
        worker = None if finished else mover
        rows.append(
            (event, endpoint, lane, state if finished else WAITING, due, attempts, worker, created_at, finished_at)
        )
    names = ("event", "endpoint", "lane", "state", "due", "attempts", "worker", "created_at", "finished_at")
    await db.write_each("insert_moved", _columns(names, rows), last=await db.value("last_delivery"))
    finished_rows = [(row[1], row[3]) for row in rows if row[3] > ACTIVE]
    if finished_rows:
        await db.write_each("count_moved_finished", _columns(("endpoint", "state"), finished_rows))


async def _hold_again(db: Database, mover: str, again: Sequence[tuple[int, int, int, Row]]) -> None:
    """Hold deliveries that are finished here since the source was here before."""
    if not again:
        return
    columns = {
        "id": [number for number, *_ in again],
        "state": [state for _, state, *_ in again],
        "endpoint": [endpoint for *_, endpoint, _ in again],
        "lane": [row[4] for *_, row in again],
    }
    await db.rows_each("reopen", columns, now=again[0][3][5])
    held = {"due": [row[5] for *_, row in again], "attempts": [row[6] for *_, row in again]}
    await db.write_each("hold_reopened", {"id": columns["id"], "lane": columns["lane"], **held}, worker=mover)


async def keep(db: Database, source: str, table: str, rows: Sequence[Row]) -> None:
    sealed = [(key, digest, db.box.contents.seal(content)) for key, digest, content in rows]
    await db.write_each("keep_row", _columns(("key", "digest", "content"), sealed), source=source, table=table)


async def arrive(db: Database, source: str, mark: Departure, arriving: Position, rest: Rest) -> None:
    """Give the source its position and let its deliveries go."""
    await set_position(db, source, Position(mark.position), arriving)
    await db.write("forget_states", source=source)
    if rest.states:
        columns = {"name": list(rest.states), "value": list(rest.states.values())}
        await db.write_each("set_state", columns, source=source)
    for row in rest.backfills:
        await db.write("insert_moved_backfill", **dict(zip(_BACKFILL, row, strict=True)))
    seal = db.box.contents.seal_text
    for row in rest.quarantine:
        sealed = (*row[:5], row[5] and seal(row[5]), *row[6:9], seal(row[9]), seal(row[10]))
        await db.write("insert_quarantined", **dict(zip(_QUARANTINE, sealed, strict=True)))
        await db.write("set_reread", id=row[0], backfill=row[-1])
    for lane, root in rest.lanes:
        await join_lanes(db, root, lane)
    await db.write("activate_held", mover=mover_of(mark.move))
    numbers = await db.rows("endpoint_numbers", ids=list(mark.endpoints))
    whole = lane_for(Order.ENDPOINT, source, "", "")  # the only lane that also has events of other sources
    await settle(db, {(number, whole) for _, number, _ in numbers})
    db.due()
