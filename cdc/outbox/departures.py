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
from cdc.model.endpoint import Endpoint, EndpointChange, public_url, redacted
from cdc.model.errors import OutboxError, UsageError
from cdc.outbox import arrivals
from cdc.outbox.arrivals import Load, Rest, mover_of, set_position
from cdc.outbox.audit import noting
from cdc.outbox.database import Database, Row
from cdc.outbox.database_outbox import DatabaseOutbox
from cdc.outbox.dispatch import settle
from cdc.outbox.endpoints import OpenedEndpoints, opened
from cdc.outbox.endpoints import remove as remove_endpoint
from cdc.outbox.relay import position as position_of
from cdc.outbox.shared import position_moved

#: Deliveries that are copied together, and ids that are looked up together.
BATCH: Final = 500
_KEYS: Final = 10_000
#: Seconds between two looks whether what is being sent has ended.
_LOOK: Final = 0.2


class Cell(NamedTuple):
    """An outbox and its name for people."""

    outbox: DatabaseOutbox
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
    kept_rows: int = 0
    states: int = 0
    backfills: int = 0
    quarantined: int = 0


class SourceMove:
    """``at``: called after each transaction, with the name of the step."""

    def __init__(self, wish: Wish, old: Cell, new: Cell, clock: Clock, at: Callable[[str], None]) -> None:
        self._wish, self._source = wish, wish.source
        self._old, self._new = old, new
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
        waiting: dict[str, int] = dict(await self._old.outbox.look(_rows, "unfinished_of_source", source=self._source))
        ((kept, states, backfills, quarantined),) = await self._old.outbox.look(
            _rows, "count_moved", source=self._source
        )
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
        move = await self._new.outbox.alter(arrivals.reserve, self._source, arriving, self._new.name)
        self._at("reserved")
        note = self._audited("to", self._new.name)
        mark = await self._old.outbox.alter(noting(note, _lock), self._wish, move, self._new.name)
        self._at("locked")
        return mark

    def _audited(self, way: str, outbox: str) -> Note:
        return [AuditEntry(self._clock.now(), self._wish.actor, "source.move", self._source, {way: outbox[:200]})]

    async def _hold(self, mark: Departure) -> list[int]:
        """Hold every unfinished delivery, and wait for those that are being sent.  Return the endpoints' numbers."""
        rows = await self._old.outbox.look(_rows, "endpoint_numbers", ids=list(mark.endpoints))
        numbers = [number for _, number, _ in rows]
        while True:
            held, sent = await self._old.outbox.alter(_hold, self._source, mover_of(mark.move), numbers, self._clock)
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
        while keys := await old.look(_keys, name, place, which):
            for ids in _parts([number for _, number in keys]):
                await new.alter(arrivals.insert, mover, await old.look(_load, ids))
                self._at("deliveries")
            place = keys[-1]
        for (table,) in await old.look(_rows, "kept_tables", source=self._source):
            await self._copy_kept(table)
        rest = await old.look(_rest, self._source, mover)
        note = self._audited("from", self._old.name)
        await new.alter(noting(note, arrivals.arrive), self._source, mark, arriving, rest)
        self._at("arrived")

    async def _bring(self, endpoint: Endpoint) -> None:
        """Give the new outbox an endpoint, sealed with its own key; one that it has gets the source."""
        new = self._new.outbox
        there = await new.endpoint(endpoint.id)
        if there is None:
            removed = await new.look(_rows, "endpoint_numbers", ids=[endpoint.id])
            wanted = replace(endpoint, sources=(self._source,))
            await (new.restore_endpoint(wanted) if removed else new.add_endpoint(wanted))
        elif there.sources and self._source not in there.sources:
            await new.change_endpoint(endpoint.id, EndpointChange(sources=(*there.sources, self._source)))
        self._at("endpoint")

    async def _copy_kept(self, table: str) -> None:
        after = b""
        page = {"source": self._source, "table": table, "limit": BATCH}
        while rows := await self._old.outbox.look(_kept, after=after, **page):
            await self._new.outbox.alter(arrivals.keep, self._source, table, rows)
            self._at("kept rows")
            after = rows[-1][0]

    async def _leave(self, mark: Departure, numbers: Sequence[int]) -> None:
        """Forget here what the other outbox has."""
        old, mover = self._old.outbox, mover_of(mark.move)
        which = {"mover": mover, "endpoints": numbers}
        while keys := await old.look(_keys, "held_deliveries", (0, 0), which):
            for ids in _parts([number for _, number in keys]):
                await old.alter(_cancel, mover, ids, self._clock)
                self._at("cancelled")
        await old.alter(_end, self._source, mark, self._clock)
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


async def _kept(db: Database, /, **page: Any) -> list[Row]:
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
    await settle(db, {(endpoint, lane) for endpoint, lane in lanes})
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
