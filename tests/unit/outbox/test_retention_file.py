"""A SQLite outbox under retention stays of a size, and what is expunged is not in its files any more."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from cdc.model.delivery import DeliveryFilter
from cdc.model.errors import OutboxError
from cdc.outbox.base import Retention
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import OutboxStore
from support.outboxes import NOW, endpoint, event, finish, lease, outcome, store

PLANTED = "planted-personal-data"
DAY = timedelta(days=1)


async def a_day(outbox: OutboxStore, first: int, now: datetime, count: int = 300) -> None:
    """So many events of a kilobyte, stored and delivered."""
    data = {"text": "x" * 1000}
    await store(outbox, *[event(first + number, time=now, data=data) for number in range(count)], now=now)
    while leased := await lease(outbox, now, limit=100):
        await finish(outbox, *leased, now=now)


async def retain(outbox: OutboxStore, what: Retention) -> None:
    after: int | None = 0
    while after is not None:
        after = (await outbox.retain(what, 50, after)).after


async def test_the_file_stays_of_a_size(tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "cdc.db")
    await outbox.open()
    await outbox.add_endpoint(endpoint())
    sizes = []
    for day in range(20):
        now = NOW + day * DAY
        await a_day(outbox, 1000 * day, now)
        await retain(outbox, Retention(now, finished_before=now - 3 * DAY))
        sizes.append(await outbox._writer.rescue(lambda db: db.execute("PRAGMA page_count").fetchone()[0]))
    assert len(await outbox.events(10_000)) == 4 * 300
    assert max(sizes[6:]) <= sizes[5] * 1.1, sizes
    assert (tmp_path / "cdc.db").stat().st_size <= sizes[5] * 1.1 * 4096
    await outbox.close()


def stands_in(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir() if PLANTED.encode() in file.read_bytes()]


@pytest.mark.parametrize("size", [1, 1000])
async def test_what_is_expunged_is_not_on_the_disk(tmp_path: Path, size: int) -> None:
    """In pages of its own, or among others."""
    outbox = SqliteOutbox(tmp_path / "cdc.db")
    await outbox.open()
    await outbox.add_endpoint(endpoint())
    events = [event(number, data={"name": PLANTED * size if number == 5 else "x" * 400}) for number in range(1, 20)]
    await store(outbox, *events)
    leased = await lease(outbox)
    await outbox.finish("w", [outcome(one, answer=PLANTED if one.event_id == "evt_5" else "") for one in leased], NOW)
    assert stands_in(tmp_path)
    await outbox.expunge(["evt_5"], NOW)
    assert stands_in(tmp_path) == []
    assert [one.expunged for one in await outbox.events(19)] == [number == 5 for number in range(1, 20)]
    await outbox.close()


async def test_whoever_still_reads_is_named(tmp_path: Path) -> None:
    outbox, other = SqliteOutbox(tmp_path / "cdc.db", busy_timeout=0.05), SqliteOutbox(tmp_path / "cdc.db")
    await outbox.open()
    await other.open()
    await store(outbox, event(1, data={"name": PLANTED}))
    await other._reader.rescue(lambda db: db.execute("BEGIN").execute("SELECT COUNT(*) FROM event").fetchone())
    with pytest.raises(OutboxError, match="another process still reads") as caught:
        await outbox.expunge(["evt_1"], NOW)
    assert caught.value.hint
    await other._reader.rescue(lambda db: db.execute("COMMIT"))
    await outbox.expunge(["evt_1"], NOW)
    assert stands_in(tmp_path) == []
    assert await outbox.deliveries(DeliveryFilter(), 9) == []
    await outbox.close()
    await other.close()
