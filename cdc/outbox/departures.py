"""Moves one source from one outbox to another, while both are used for other sources.

The mark of `cdc.model.change` takes the place of its position in both, so that nobody stores for it.  Then its
unfinished deliveries are held in the old outbox (`sql/outbox/move.sql`), what is being sent is waited for, and all is
copied.  One transaction in the new outbox gives the source its position and lets the deliveries go; until then the new
one sends nothing of it, from then on the old one has nothing to send.  Each step may be repeated: a move that was
interrupted continues when it is run again."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Final, NamedTuple

from cdc.model.audit import AuditEntry, Note
from cdc.model.change import Departure, Position, Stage, departure
from cdc.model.clock import Clock
from cdc.model.endpoint import Endpoint, EndpointChange, Order, public_url, redacted
from cdc.model.errors import OutboxError, UsageError
from cdc.outbox.audit import noting
from cdc.outbox.base import Fence
from cdc.outbox.database import Database, Row
from cdc.outbox.dispatch import join_keys, rebalance
from cdc.outbox.endpoints import OpenedEndpoints, opened
from cdc.outbox.endpoints import remove as remove_endpoint
from cdc.outbox.log import ACTIVE, WAITING
from cdc.outbox.relay import advance, set_states
from cdc.outbox.relay import position as position_of
from cdc.outbox.shared import ordering_key, position_moved
from cdc.outbox.store import OutboxStore, Via
from cdc.outbox.transfer import COLUMNS, TransferPart

#: Deliveries that are copied together, and ids that are looked up together.
BATCH: Final = 500
_KEYS: Final = 10_000
#: Seconds between two looks whether what is being sent has ended.
_LOOK: Final = 0.2


class Cell(NamedTuple):
    """An outbox and its name for people."""

    outbox: OutboxStore
    name: str


@dataclass(frozen=True, slots=True)
class Wish:
    """``named``: ids of endpoints of several sources that go along, as endpoints of this source only; ``left``: of
    those that stay, with what waits for them.  ``log``: take finished deliveries along."""

    source: str
    named: Sequence[str] = ()
    left: Sequence[str] = ()
    log: bool = False
    actor: str = ""


@dataclass(slots=True)
class Moved:
    """The contents of a move.  ``deliveries``: unfinished ones, by endpoint."""

    source: str
    outbox: str
    endpoints: Sequence[str] = ()
    deliveries: Mapping[str, int] = field(default_factory=dict)
    snapshot_rows: int = 0
    states: int = 0
    backfills: int = 0
    quarantined: int = 0


class SourceMove:
    """``at``: called after each transaction, with the name of the step."""

    def __init__(self, wish: Wish, old: Cell, new: Cell, clock: Clock, at: Callable[[str], None]) -> None:
        self._wish, self._source = wish, wish.source
        self._old, self._new = old, new
        self._read = old.outbox.runs[Via.LOG]
        self._clock, self._at = clock, at

    async def preview(self) -> Moved:
        """Return what `run` would move now.  Raises `UsageError`."""
        mark = departure(await self._old.outbox.position(self._source))
        if mark is None:
            endpoints = await self._old.outbox.endpoints()
            plan = _plan(self._wish, endpoints)
            mark = replace(plan, outbox=self._new.name)
        self._check(mark)
        await self._compare(mark.endpoints)
        return await self._contents(mark)

    async def run(self) -> Moved:
        """Move, or finish a move; a finished one moves nothing.  Raises `UsageError` when the source cannot be moved as
        asked, `OutboxError`."""
        mark = departure(await self._old.outbox.position(self._source))
        if mark is None:
            mark = await self._begin()
        self._check(mark)
        if mark.stage is Stage.LEFT:
            return Moved(self._source, self._new.name)
        contents = await self._contents(mark)
        numbers = await self._hold(mark)
        stored = await self._new.outbox.position(self._source)
        there = departure(stored)
        if stored is None or (there is not None and there.stage is Stage.ARRIVING and there.move != mark.move):
            raise OutboxError(
                f"The outbox {self._new.name} does not know of this move.", "Was it restored from an older copy?"
            )
        if there is not None and there.stage is Stage.ARRIVING:
            await self._copy(mark, numbers, stored)
        await self._leave(mark, numbers)
        return contents

    # -- what to move -----------------------------------------------------------------------------------------------

    def _check(self, mark: Departure) -> None:
        if mark.stage is Stage.ARRIVING:
            raise UsageError(
                f"Source {self._source!r} is being moved here from the outbox {mark.outbox}.",
                "Run that move again to finish it.",
            )
        if mark.outbox != self._new.name:
            raise UsageError(
                f"Source {self._source!r} was moved, or is being moved, to the outbox {mark.outbox}.",
                "To finish that move, name its configuration.",
            )

    async def _compare(self, moved: Sequence[str]) -> None:
        """Raise `UsageError` where an endpoint of the new outbox has the id of another one that moves."""
        there = {each.id: each.url for each in await self._new.outbox.endpoints()}
        for each in await self._old.outbox.endpoints():
            if each.id in moved and there.get(each.id, each.url) != each.url:
                raise UsageError(
                    f"The endpoint {each.id} of the outbox {self._new.name} has another URL.",
                    "Change or remove one of them.",
                )

    async def _contents(self, mark: Departure) -> Moved:
        waiting: dict[str, int] = dict(await self._read(_rows, "unfinished_of_source", source=self._source))
        ((kept, states, backfills, quarantined),) = await self._read(_rows, "count_moved", source=self._source)
        deliveries = {each: waiting.get(each, 0) for each in mark.endpoints}
        return Moved(self._source, self._new.name, mark.endpoints, deliveries, kept, states, backfills, quarantined)

    # -- the steps --------------------------------------------------------------------------------------------------

    async def _begin(self) -> Departure:
        """Mark the source in the new outbox, then in the old one."""
        plan = _plan(self._wish, await self._old.outbox.endpoints())
        await self._compare(plan.endpoints)
        if await self._old.outbox.position(self._source) is None:
            raise UsageError(
                f"The outbox {self._old.name} has never read source {self._source!r}.",
                "There is nothing to move: configure it in the other cell.",
            )
        arriving = Departure(plan.move, Stage.ARRIVING, self._old.name)
        move = await self._new.outbox.runs[Via.ALTER](reserve, self._source, arriving, self._new.name)
        self._at("reserved")
        note = self._audited("to", self._new.name)
        mark = await self._old.outbox.runs[Via.ALTER](noting(note, _lock), self._wish, move, self._new.name)
        self._at("locked")
        return mark

    def _audited(self, way: str, outbox: str) -> Note:
        return [AuditEntry(self._clock.now(), self._wish.actor, "source.move", self._source, {way: outbox[:200]})]

    async def _hold(self, mark: Departure) -> list[int]:
        """Hold every unfinished delivery, and wait for those that are being sent.  Return the endpoints' numbers."""
        rows = await self._read(_rows, "endpoint_numbers", ids=list(mark.endpoints))
        numbers = [number for _, number, _ in rows]
        while True:
            held, sent = await self._old.outbox.runs[Via.ALTER](
                _hold, self._source, mover_of(mark.move), numbers, self._clock
            )
            self._at("held")
            if not held and not sent:
                return numbers
            if not held:
                await self._clock.wait(asyncio.Event(), _LOOK)

    async def _copy(self, mark: Departure, numbers: Sequence[int], arriving: Position) -> None:
        old, new, mover = self._old.outbox, self._new.outbox, mover_of(mark.move)
        for each in await old.endpoints():
            if each.id in mark.endpoints:
                await self._bring(each)
        name, which = "held_deliveries", dict[str, Any](mover=mover, endpoints=numbers)
        if mark.log:
            name, which = "logged_deliveries", {**which, "source": self._source}
        place: Row = (0, 0)
        while keys := await old.runs[Via.LOG](_keys, name, place, which):
            for ids in _parts([number for _, number in keys]):
                await new.runs[Via.ALTER](insert, mover, await old.runs[Via.LOG](_load, ids))
                self._at("deliveries")
            place = keys[-1]
        for (table,) in await old.runs[Via.LOG](_rows, "kept_tables", source=self._source):
            after = b""
            page = {"source": self._source, "table": table, "limit": BATCH}
            while rows := await self._read(_snapshot_page, after=after, **page):
                await self._new.outbox.runs[Via.ALTER](keep, self._source, table, rows)
                self._at("kept rows")
                after = rows[-1][0]
        rest = await old.runs[Via.LOG](_rest, self._source, mover)
        note = self._audited("from", self._old.name)
        await new.runs[Via.ALTER](noting(note, arrive), self._source, mark, arriving, rest)
        self._at("arrived")

    async def _bring(self, endpoint: Endpoint) -> None:
        """Give the new outbox an endpoint, sealed with its own key; one that it has gets the source."""
        new = self._new.outbox
        there = await new.endpoint(endpoint.id)
        if there is None:
            removed = await new.runs[Via.LOG](_rows, "endpoint_numbers", ids=[endpoint.id])
            wanted = replace(endpoint, sources=(self._source,))
            await (new.restore_endpoint(wanted) if removed else new.add_endpoint(wanted))
        elif there.sources and self._source not in there.sources:
            await new.change_endpoint(endpoint.id, EndpointChange(sources=(*there.sources, self._source)))
        self._at("endpoint")

    async def _leave(self, mark: Departure, numbers: Sequence[int]) -> None:
        """Forget here what the other outbox has."""
        old, mover = self._old.outbox, mover_of(mark.move)
        which = {"mover": mover, "endpoints": numbers}
        while keys := await old.runs[Via.LOG](_keys, "held_deliveries", (0, 0), which):
            for ids in _parts([number for _, number in keys]):
                await old.runs[Via.ALTER](_cancel, mover, ids, self._clock)
                self._at("cancelled")
        await old.runs[Via.ALTER](_end, self._source, mark, self._clock)
        self._at("left")


async def _endpoints(db: Database) -> list[Endpoint]:
    return [endpoint for _, endpoint in (await opened(db, OpenedEndpoints())).all]


def _plan(wish: Wish, endpoints: Sequence[Endpoint]) -> Departure:
    """Return the mark of the old outbox, which says what goes along.  Raises `UsageError` for endpoints of several
    sources about which nothing is said, and for ids of none."""
    alone = tuple(each.id for each in endpoints if each.sources == (wish.source,) and each.id not in wish.left)
    shared = [each.id for each in endpoints if not each.sources or wish.source in each.sources]
    if unknown := [each for each in (*wish.named, *wish.left) if each not in shared]:
        raise UsageError(f"No endpoint of source {wish.source!r}: {', '.join(unknown)}.", "cdc endpoint list")
    if unsaid := [each for each in shared if each not in (*alone, *wish.named, *wish.left)]:
        raise UsageError(
            f"Endpoints that also get events of other sources: {', '.join(unsaid)}.",
            "--endpoint ID copies one for this source; --leave ID leaves it, with what waits for it, in this outbox.",
        )
    moved = tuple(dict.fromkeys((*alone, *wish.named)))
    return Departure(secrets.token_hex(8), Stage.LEAVING, "", endpoints=moved, removed=alone, log=wish.log)


def _parts(ids: Iterable[int]) -> Iterable[list[int]]:
    rest = iter(ids)
    return iter(lambda: list(islice(rest, BATCH)), [])


# -- in a transaction of the old outbox, or reading it --------------------------------------------------------------


async def _rows(db: Database, name: str, /, **parameters: Any) -> list[Row]:
    return await db.rows(name, **parameters)


async def _snapshot_page(db: Database, /, **page: Any) -> list[Row]:
    rows = await db.rows("kept_page", **page)
    return [(key, digest, db.box.contents.open(content)) for key, digest, content in rows]


async def _lock(db: Database, wish: Wish, move: str, outbox: str) -> Departure:
    """Put the mark in the place of the position: from now on every store for the source is refused."""
    stored = await position_of(db, wish.source)
    plan = _plan(wish, await _endpoints(db))
    if stored is None or departure(stored) is not None:
        raise position_moved(wish.source)
    mark = replace(plan, move=move, outbox=outbox, position=stored)
    await set_position(db, wish.source, mark.dump(), stored)
    return mark


async def _hold(db: Database, source: str, mover: str, endpoints: list[int], clock: Clock) -> tuple[int, int]:
    """Return how many deliveries are held now that were not, and how many are being sent."""
    now, which = clock.now(), {"source": source, "endpoints": endpoints}
    lanes = await db.rows("hold_deliveries", **which, mover=mover, now=now, limit=_KEYS)
    await rebalance(db, {(endpoint, lane) for endpoint, lane in lanes})
    return len(lanes), await db.value("sent_of_source", **which)


async def _keys(db: Database, name: str, place: Row, which: Mapping[str, Any]) -> list[Row]:
    return await db.rows(name, **which, event=place[0], id=place[1], limit=_KEYS)


async def _load(db: Database, ids: list[int]) -> Load:
    deliveries = await db.rows("moved_deliveries", ids=ids)
    contents = db.box.contents  # the other outbox seals with its own key
    events = [
        (*row[:6], contents.open(row[6]), *row[7:])
        for row in await db.rows("moved_events", sequences=list({row[1] for row in deliveries}))
    ]
    attempts = [
        (
            number,
            counted,
            public_url(url),
            status,
            started_at,
            duration,
            redacted(error, url),
            redacted(contents.open_text(answer), url),
        )
        for number, counted, url, status, started_at, duration, error, answer in await db.rows(
            "moved_attempts", ids=ids
        )
    ]
    return Load(deliveries, events, attempts)


async def _rest(db: Database, source: str, mover: str) -> Rest:
    opened = db.box.contents.open_text
    return Rest(
        dict(await db.rows("states", source=source)),
        await db.rows("moved_lanes", mover=mover),
        await db.rows("moved_backfills", source=source),
        [
            (*row[:5], row[5] and opened(row[5]), *row[6:9], opened(row[9]), opened(row[10]), *row[11:])
            for row in await db.rows("moved_quarantine", source=source)
        ],
    )


async def _cancel(db: Database, mover: str, ids: list[int], clock: Clock) -> None:
    await db.write("cancel_held", ids=ids, mover=mover, now=clock.now())


async def _end(db: Database, source: str, mark: Departure, clock: Clock) -> None:
    for name in ("forget_states", "forget_kept", "forget_backfills", "forget_quarantine"):
        await db.write(name, source=source)
    there = {each.id for each in await _endpoints(db)}
    for endpoint_id in mark.removed:
        if endpoint_id in there:
            await remove_endpoint(db, endpoint_id, clock.now())
    left = Departure(mark.move, Stage.LEFT, mark.outbox)
    await set_position(db, source, left.dump(), mark.dump())


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
    if not await advance(db, {source: (wanted, Fence(expected))}):
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
        await db.write_each("insert_moved_attempt", _columns(COLUMNS[TransferPart.ATTEMPTS][1:], attempts))


def _columns(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Sequence[Any]]:
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


async def _insert_events(db: Database, events: Sequence[Row]) -> dict[int, int]:
    """Return the sequences here by those of the old outbox."""
    ids = [row[1] for row in events]
    known: dict[str, int] = dict(await db.rows("sequences", ids=ids))
    last = await db.value("last_event")
    contents = db.box.contents
    new = [
        (last + number, *row[1:6], contents.seal(row[6]), *((None, None) if contents.sealing else row[7:]))
        for number, row in enumerate((r for r in events if r[1] not in known), 1)
    ]
    if new:
        await db.write_each("insert_event", _columns(COLUMNS[TransferPart.EVENTS], new))
    known |= {row[1]: row[0] for row in new}
    return {row[0]: known[row[1]] for row in events}


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
    columns = _columns(COLUMNS[TransferPart.DELIVERIES][1:], rows)
    await db.write_each("insert_moved", columns, last=await db.value("last_delivery"))
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
    await set_states(db, source, rest.states)
    for row in rest.backfills:
        await db.write("insert_moved_backfill", **dict(zip(COLUMNS[TransferPart.BACKFILLS], row, strict=False)))
    seal = db.box.contents.seal_text
    for row in rest.quarantine:
        sealed = (*row[:5], row[5] and seal(row[5]), *row[6:9], seal(row[9]), seal(row[10]))
        await db.write("insert_quarantined", **dict(zip(COLUMNS[TransferPart.QUARANTINE], sealed, strict=False)))
        await db.write("set_reread", id=row[0], backfill=row[-1])
    for lane, root in rest.lanes:
        await join_keys(db, root, lane)
    await db.write("activate_held", mover=mover_of(mark.move))
    numbers = await db.rows("endpoint_numbers", ids=list(mark.endpoints))
    whole = ordering_key(Order.ENDPOINT, source, "", "")  # the only lane that also has events of other sources
    await rebalance(db, {(number, whole) for _, number, _ in numbers})
    db.due()
