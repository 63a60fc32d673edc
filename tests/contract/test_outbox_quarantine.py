"""What every outbox keeps of changes that were skipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from cdc.model.backfill import Backfill
from cdc.model.change import Operation, Position, Quarantined
from cdc.model.errors import PositionMoved
from cdc.outbox.base import Fence
from cdc.outbox.store import OutboxStore
from cdc.outbox.tidy import RetentionPolicy
from support.outboxes import at


def skipped(number: int, **fields: Any) -> Quarantined:
    given: dict[str, Any] = {
        "table": "clientes",
        "operation": Operation.UPDATE,
        "key": {"codcliente": f"{number}", "n": number},
        "token": "77",
        "changed_at": at(1),
        "reason": "Unexpected KeyError in mapper.py, line 1.",
    }
    return Quarantined(id=f"qr_{number}", **(given | fields))


async def store(
    outbox: OutboxStore,
    changes: Sequence[Quarantined],
    second: int = 9,
    source: str = "main",
    fence: Fence | None = None,
) -> None:
    await outbox.store(source, Position("p"), [], {}, at(second), quarantined=changes, fence=fence)


async def ids(outbox: OutboxStore, *arguments: Any) -> list[str]:
    return [each.id for each in await outbox.quarantined(*arguments)]


async def test_it_is_kept_as_it_is_and_once(outbox: OutboxStore) -> None:
    whole = skipped(1, key=None, before='{"a": 1}', after="no json \N{PILE OF POO}", operation=Operation.CREATE)
    await store(outbox, [whole, skipped(2)])
    await store(outbox, [replace(whole, reason="Another.")], 20)
    assert await outbox.find_quarantined("qr_1") == replace(whole, source="main", found_at=at(9))
    assert await outbox.find_quarantined("qr_2") == replace(skipped(2), source="main", found_at=at(9))
    assert await outbox.find_quarantined("qr_9") is None
    assert await outbox.find_quarantined("a\0b") is None


async def test_nothing_is_kept_by_a_consumer_that_lost_its_place(outbox: OutboxStore) -> None:
    with pytest.raises(PositionMoved):
        await store(outbox, [skipped(1)], fence=Fence(Position("elsewhere")))
    assert await outbox.quarantined(10) == []


async def test_the_newest_come_first_in_pages_and_by_source(outbox: OutboxStore) -> None:
    for number in (2, 4, 1, 3):
        await store(outbox, [skipped(number)], number, "main" if number < 4 else "other")
    pages = [await ids(outbox, 2, before) for before in (None, "qr_3", "qr_1", "qr_9", "a\0b")]
    assert pages == [["qr_4", "qr_3"], ["qr_2", "qr_1"], [], [], []]
    assert await ids(outbox, 10, None, "main") == ["qr_3", "qr_2", "qr_1"]
    assert await ids(outbox, 10, "qr_3", "main") == ["qr_2", "qr_1"]
    assert await outbox.count_quarantined() == {"main": 3, "other": 1}


async def test_it_can_be_read_again_and_removed(outbox: OutboxStore) -> None:
    await store(outbox, [skipped(1), skipped(2)])
    await outbox.add_backfill(Backfill("bf_7", "main", "users", "cli:root", at(1)), rereads="qr_1")
    found = await outbox.find_quarantined("qr_1")
    assert found is not None
    assert found.backfill == "bf_7"
    assert await outbox.remove_quarantined("qr_1")
    assert not await outbox.remove_quarantined("qr_1")
    assert await ids(outbox, 10) == ["qr_2"]


async def test_it_goes_as_old_events_do(outbox: OutboxStore) -> None:
    await store(outbox, [skipped(1)], 0)
    await store(outbox, [skipped(2)], 10)
    before = RetentionPolicy(days=1, events=0, payload_days=0).at(at(86_400 + 5)).finished_before
    assert before is not None
    assert await outbox.forget_quarantined(before) == 1
    assert await ids(outbox, 10) == ["qr_2"]
