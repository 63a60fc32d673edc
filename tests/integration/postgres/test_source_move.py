"""`cdc source move-outbox`: one source goes to another outbox in the middle of its work, killed at each step: no event
is lost, sent twice or out of order, and all have their ids."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from cdc.model.backfill import Backfill
from cdc.model.change import Operation, Position, Quarantined, SnapshotChange, SnapshotRow, check_present
from cdc.model.clock import SystemClock
from cdc.model.delivery import DeliveryFilter, DeliveryState
from cdc.model.endpoint import EndpointChange, Order
from cdc.model.errors import PositionMoved, SourceError, UsageError
from cdc.outbox import departures
from cdc.outbox.base import Fence
from cdc.outbox.departures import Cell, SourceMove, Wish
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.secret_box import SecretBox, new_key
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import OutboxStore
from support.consumer import Consumer, database_url
from support.database import Database, fresh_database
from support.outboxes import EVERYTHING, check_order, endpoint, event, finish
from support.server import Spec
from support.servers import KeeperClient, shared_server

Outbox = SqliteOutbox | PostgresOutbox
KEYS = {"old": new_key(), "new": new_key()}
START = datetime(2026, 1, 1, tzinfo=UTC)
RECORDS = 7
HOOK = "https://hook.example.com"
FROM_SQLITE = pytest.mark.parametrize("places", ["sqlite"], indirect=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def places(
    request: pytest.FixtureRequest, keeper: KeeperClient, postgres_db: Database, tmp_path: Path
) -> Iterator[tuple[Outbox, Outbox]]:
    """The old outbox, of both kinds, and a new one in PostgreSQL; each has a key of its own."""
    new = PostgresOutbox(postgres_db.info, box=SecretBox([KEYS["new"]]))
    if request.param == "sqlite":
        yield SqliteOutbox(tmp_path / "old.db", box=SecretBox([KEYS["old"]])), new
        return
    with fresh_database(shared_server(keeper, Spec("postgresql")), erp=False) as database:
        yield PostgresOutbox(database.info, box=SecretBox([KEYS["old"]])), new


class Work:
    """Stores and sends in both outboxes, as relays and dispatchers do; ``sent``: what, by endpoint."""

    def __init__(self, old: Outbox, new: Outbox) -> None:
        self.outboxes = (old, new)
        self.sent: dict[str, list[str]] = defaultdict(list)
        self.stored: list[str] = []
        self._numbers = count(1)

    async def store(self, outbox: OutboxStore, source: str = "main", events: int = 12) -> bool:
        """Store as a relay does, behind the position that it finds; return whether it was the one to store."""
        position = await outbox.position(source)
        try:
            check_present(source, position)
        except SourceError:
            return False
        numbers = [next(self._numbers) for _ in range(events)]
        batch = [
            event(n, f"{source}:{n % RECORDS}", source=source, renamed_from=f"main:{n % RECORDS}" if n == 9 else None)
            for n in numbers
        ]
        await outbox.store(source, Position(str(numbers[-1])), batch, {}, START, fence=Fence(position))
        self.stored += [each.id for each in batch]
        return True

    async def send(self, outbox: OutboxStore, most: int) -> int:
        """Send what is due: some attempts fail, and are due again at once."""
        now = datetime.now(UTC)
        leased = await outbox.lease("w", now, now + timedelta(minutes=1), most)
        for number, each in enumerate(leased):
            if each.attempt == 1 and number % 3 == 2:
                await finish(outbox, each, state=DeliveryState.PENDING, due_at=now, now=now)
                continue
            await finish(outbox, each, now=now)
            self.sent[each.endpoint_id].append(each.event_id)
        return len(leased)

    def judge(self, endpoint_id: str, *, whole: bool = False) -> None:
        """Each event of the endpoint's source was sent once, and in order: of its record, or of the endpoint."""
        sent = self.sent[endpoint_id]
        assert len(sent) == len(set(sent))
        lines: dict[int, list[int]] = defaultdict(list)
        for each in sent:
            number = int(each.removeprefix("evt_"))
            lines[0 if whole else number % RECORDS].append(number)
        for line in lines.values():
            assert line == sorted(line)


async def fill(old: Outbox, new: Outbox) -> None:
    """Endpoints of the source, of several sources and of another one; a retry far ahead; all that a source has beside
    its events."""
    for outbox in (old, new):
        await outbox.open()
    await old.add_endpoint(endpoint("ep_own", sources=("main",), headers=(("X-Key", "k1"),)))
    await old.add_endpoint(endpoint("ep_line", sources=("main",), order=Order.ENDPOINT))
    await old.add_endpoint(endpoint("ep_all", order=Order.ENDPOINT))
    await old.add_endpoint(endpoint("ep_other", sources=("other",)))
    await new.add_endpoint(endpoint("ep_there", sources=("third",)))
    skipped = Quarantined("qr_1", "t", Operation.UPDATE, {"id": 1}, "tx", START, "unreadable")
    rows = tuple(SnapshotRow(bytes([n]), b"d", b"row") for n in range(1, 30))
    kept = SnapshotChange("facturas", rows, behind=None)
    await old.store("main", Position("0"), [], {"due:x": "2026"}, START, kept=kept, quarantined=[skipped])
    await old.add_backfill(Backfill("bf_1", "main", "facturas", "cli:a", START))


def move(old: Outbox, new: Outbox, at: object = None, **wish: object) -> SourceMove:
    step = at if callable(at) else lambda _step: None
    wanted = replace(Wish("main", named=("ep_all",), actor="cli:a"), **wish)  # type: ignore[arg-type]  # fields by name
    return SourceMove(wanted, Cell(old, "old"), Cell(new, "new"), SystemClock(), step)


def run_killed(old: Outbox, new: Outbox, step: str, times: int = 1) -> bool:
    """Run the move in a process that is killed after the transaction ``step``; return whether it was."""

    async def run() -> None:
        left = times

        def at(name: str) -> None:
            nonlocal left
            left -= name == step
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

        for outbox in (old, new):
            await outbox.open()
        await move(old, new, at).run()

    process = multiprocessing.get_context("fork").Process(target=lambda: asyncio.run(run()))
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


#: The transactions of a move, and how many of a name are done.
STEPS = (
    *(("reserved", 1), ("locked", 1), ("held", 1), ("endpoint", 2), ("deliveries", 1), ("deliveries", 2)),
    *(("kept rows", 1), ("arrived", 1), ("cancelled", 1), ("left", 1)),
)


def test_a_move_killed_at_each_step_loses_doubles_and_reorders_nothing(
    places: tuple[Outbox, Outbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(departures, "BATCH", 60)
    monkeypatch.setattr(departures, "_KEYS", 90)
    old, new = places
    work = Work(old, new)
    asyncio.run(_begin(work))
    for step, times in STEPS:
        assert run_killed(old, new, step, times), step
        asyncio.run(_between(work))
    assert not run_killed(old, new, "left")
    asyncio.run(_end(work))


async def _begin(work: Work) -> None:
    old, new = work.outboxes
    await fill(old, new)
    for _ in range(3):
        await work.store(old)
        await work.store(old, "other", 2)
        await work.send(old, 5)
    for outbox in work.outboxes:
        await outbox.close()


async def _between(work: Work) -> None:
    """The cells work: what may be stored and sent is, wherever."""
    for outbox in work.outboxes:
        await outbox.open()
    stored = [await work.store(outbox, events=6) for outbox in work.outboxes if await outbox.position("main")]
    assert sum(stored) <= 1
    await work.store(work.outboxes[0], "other", 1)
    for outbox in work.outboxes:
        await work.send(outbox, 4)
        await outbox.close()


async def _end(work: Work) -> None:
    old, new = work.outboxes
    for outbox in work.outboxes:
        await outbox.open()
        await check_order(outbox)
    assert not await work.store(old)
    assert await work.store(new)
    for outbox in work.outboxes:
        while await work.send(outbox, 50):
            pass
    of_main = {each for each in work.stored if (await _stored_event(work, each)) == "main"}
    for endpoint_id, ids in {
        "ep_own": of_main,
        "ep_line": of_main,
        "ep_all": set(work.stored),
        "ep_other": set(work.stored) - of_main,
    }.items():
        assert set(work.sent[endpoint_id]) == ids, endpoint_id
    work.judge("ep_own")
    work.judge("ep_line", whole=True)
    assert await new.states("main") == {"due:x": "2026"}
    assert not await old.states("main")
    assert len(await new.snapshot_rows("main", "facturas", [bytes([n]) for n in range(30)])) == 29
    assert not await old.snapshot_digests("main", "facturas", 9)
    backfill = await new.next_backfill("main")
    assert backfill is not None
    assert backfill.id == "bf_1"
    assert await old.next_backfill("main") is None
    assert [each.id for each in await new.quarantined(9)] == ["qr_1"]
    endpoints = {each.id: each for each in await new.endpoints()}
    assert endpoints["ep_own"] == replace(
        endpoint("ep_own", sources=("main",), headers=(("X-Key", "k1"),)),
        failing_since=endpoints["ep_own"].failing_since,
    )
    assert endpoints["ep_all"].sources == ("main",)
    assert sorted(each.id for each in await old.endpoints()) == ["ep_all", "ep_other"]
    counts = await old.counts()
    found = await old.deliveries(DeliveryFilter(endpoint_id="ep_all", state=DeliveryState.CANCELLED), 1000)
    assert counts["ep_all"].get(DeliveryState.CANCELLED, 0) == len(found)
    for outbox in work.outboxes:
        await outbox.close()


async def _stored_event(work: Work, event_id: str) -> str:
    found = [await outbox.event(event_id) for outbox in work.outboxes]
    return next(each.source for each in found if each is not None)


async def test_deliveries_that_are_being_sent_are_waited_for(places: tuple[Outbox, Outbox]) -> None:
    old, new = places
    await fill(old, new)
    work = Work(old, new)
    await work.store(old)
    now = datetime.now(UTC)
    first, second, *rest = await old.lease("w", now, now + timedelta(minutes=9), 100, {"ep_own": 9}, only=True)
    held = asyncio.Event()
    task = asyncio.create_task(move(old, new, lambda step: held.set() if step == "held" else None).run())
    await held.wait()
    with pytest.raises(PositionMoved):
        await old.store("main", Position("x"), [], {}, now, fence=Fence(Position("12")))
    later = now + timedelta(hours=1)
    await finish(old, first, now=now)
    await finish(old, second, state=DeliveryState.PENDING, due_at=later, now=now)
    await finish(old, *rest, now=now)
    await task
    moved = {each.event_id: each for each in await new.deliveries(DeliveryFilter(endpoint_id="ep_own"), 100)}
    assert first.event_id not in moved
    assert (moved[second.event_id].attempts, moved[second.event_id].due_at) == (1, later)
    assert [each.status for each in await new.attempts(moved[second.event_id].id)] == [500]
    assert second.event_id not in [each.event_id for each in await new.lease("w", now, later, 100)]
    for outbox in places:
        await check_order(outbox)
        await outbox.close()


@FROM_SQLITE
async def test_a_source_that_moves_back_continues(places: tuple[Outbox, Outbox]) -> None:
    """Events, endpoints and deliveries that are known from before take their places again."""
    old, new = places
    await fill(old, new)
    work = Work(old, new)
    await work.store(old)
    await move(old, new, log=True).run()
    await work.send(new, 9)
    await work.store(new)
    await SourceMove(
        Wish("main", actor="cli:a", log=True), Cell(new, "new"), Cell(old, "old"), SystemClock(), print
    ).run()
    assert await work.store(old)
    assert not await work.store(new)
    while await work.send(old, 50):
        pass
    assert not await work.send(new, 50)
    for endpoint_id in ("ep_own", "ep_line", "ep_all"):
        assert sorted(work.sent[endpoint_id]) == sorted(work.stored), endpoint_id
    work.judge("ep_own")
    work.judge("ep_line", whole=True)
    for outbox in places:
        counted = await outbox.counts()
        for each in await outbox.endpoints():
            views = await outbox.deliveries(DeliveryFilter(endpoint_id=each.id), 1000)
            for state in (DeliveryState.DELIVERED, DeliveryState.CANCELLED):
                assert counted[each.id].get(state, 0) == sum(view.state is state for view in views), (each.id, state)
        await outbox.close()


async def test_order_of_an_endpoint_cannot_change_while_its_deliveries_move(places: tuple[Outbox, Outbox]) -> None:
    old, new = places
    work = Work(old, new)
    await fill(old, new)
    await work.store(old)

    class Interrupted(Exception):
        pass

    def at(step: str) -> None:
        if step == "held":
            raise Interrupted

    with pytest.raises(Interrupted):
        await move(old, new, at).run()
    for name, order in (("ep_own", Order.ENDPOINT), ("ep_line", Order.RECORD)):
        with pytest.raises(UsageError, match="is moving to another outbox"):
            await old.change_endpoint(name, EndpointChange(order=order))
        await old.change_endpoint(name, EndpointChange(description="still changed"))
    assert not await work.send(old, 100)
    await move(old, new).run()
    changed = await new.change_endpoint("ep_own", EndpointChange(order=Order.ENDPOINT))
    assert changed.description == "still changed"
    while await work.send(new, 100):
        pass
    assert sorted(work.sent["ep_own"]) == sorted(work.sent["ep_line"]) == sorted(work.stored)
    work.judge("ep_line", whole=True)
    for outbox in places:
        await outbox.close()


@FROM_SQLITE
async def test_a_move_is_refused_where_something_would_be_lost_or_mixed(places: tuple[Outbox, Outbox]) -> None:
    old, new = places
    await fill(old, new)
    with pytest.raises(UsageError, match="also get events of other sources: ep_all"):
        await move(old, new, named=()).run()
    with pytest.raises(UsageError, match="No endpoint of source 'main': ep_other"):
        await move(old, new, named=("ep_other",)).run()
    with pytest.raises(UsageError, match="has never read source 'ghost'"):
        await move(old, new, source="ghost").run()
    await new.store("main", Position("9"), [], {}, START)
    with pytest.raises(UsageError, match="has a source 'main' already"):
        await move(old, new).run()
    assert await old.position("main") == "0"
    await new.add_endpoint(endpoint("ep_all", url=HOOK))
    with pytest.raises(UsageError, match="has another URL"):
        await move(old, new).preview()
    for outbox in places:
        await outbox.close()


async def test_the_command_shows_and_moves(postgres_db: Database, tmp_path: Path) -> None:
    source = f'[source.main]\nurl = "{database_url(postgres_db.info)}"\n'
    old = Consumer.with_sources(tmp_path / "old", source)
    new = Consumer.with_sources(tmp_path / "new", source)
    for cell in (old, new):
        await cell.call("outbox", "create")
    outbox = SqliteOutbox(tmp_path / "old" / "cdc.db")
    await outbox.open()
    await outbox.add_endpoint(endpoint("ep_own", sources=("main",)))
    await outbox.store("main", Position("1"), [event(1), event(2)], {"a": "b"}, START)
    target = str(tmp_path / "new" / "cdc.toml")
    (tmp_path / "new" / "cdc.toml").write_text(
        f'{source}[outbox]\nurl = "sqlite:///{tmp_path / "new" / "cdc.db"}"\n', encoding="utf-8"
    )
    shown = json.loads(await old.call("source", "move-outbox", "main", target, "--dry-run", "--json"))
    assert shown["deliveries"] == {"ep_own": 2}
    assert not shown["moved"]
    assert await outbox.position("main") == "1"
    assert "ep_own    2" in await old.call("source", "move-outbox", "main", target)
    assert not json.loads(await old.call("source", "move-outbox", "main", target, "--json"))["deliveries"]
    assert {view.state for view in await outbox.deliveries(EVERYTHING, 9)} == {DeliveryState.CANCELLED}
    await outbox.close()
