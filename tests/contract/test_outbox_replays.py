"""What every outbox keeps of replays that go on by themselves."""

from __future__ import annotations

from typing import Any

import pytest

from cdc.model.delivery import DeliveryFilter, DeliveryState, Replay, Replayed, ReplayState
from cdc.model.errors import NotFound
from cdc.outbox.store import OutboxStore
from support.outboxes import EVERYTHING, at

RUNNING, DONE, CANCELLED, FAILED = ReplayState
MUCH = DeliveryFilter(
    event_id="evt_1",
    event_pattern="invoice.*",
    record='a:"1"',
    source="main",
    since=at(0.000001),
    until=at(2),
    endpoint_id="ep_a",
    state=DeliveryState.DEAD,
)


def replay(number: int, which: DeliveryFilter = EVERYTHING, **fields: Any) -> Replay:
    given = {"actor": "token:shop", "rate": 2.5, "total": 10, "created_at": at(number)} | fields
    return Replay(id=f"rpl_{number}", which=which, **given)


async def ids(outbox: OutboxStore, limit: int = 100, before: str | None = None) -> list[str]:
    return [each.id for each in await outbox.replays(limit, before)]


@pytest.mark.parametrize("which", [EVERYTHING, MUCH])
async def test_it_is_kept_as_it_is(outbox: OutboxStore, which: DeliveryFilter) -> None:
    for kept in (replay(1, which), replay(2, which, total=None, actor="user:ann")):
        await outbox.add_replay(kept)
        assert await outbox.find_replay(kept.id) == kept
    assert await outbox.find_replay("rpl_9") is None
    assert await outbox.find_replay("a\0b") is None


async def test_the_newest_come_first_and_in_pages(outbox: OutboxStore) -> None:
    for number in (2, 1, 3):
        await outbox.add_replay(replay(number))
    await outbox.add_replay(replay(4, created_at=at(3)))
    assert await ids(outbox) == ["rpl_4", "rpl_3", "rpl_2", "rpl_1"]
    assert await ids(outbox, 2) == ["rpl_4", "rpl_3"]
    assert await ids(outbox, 2, "rpl_3") == ["rpl_2", "rpl_1"]
    assert await ids(outbox, 2, "rpl_1") == await ids(outbox, 2, "rpl_9") == []


async def test_one_process_at_a_time_is_at_it(outbox: OutboxStore) -> None:
    assert await outbox.lease_replay("a", at(9), at(20)) is None
    await outbox.add_replay(replay(2))
    await outbox.add_replay(replay(1))
    first = await outbox.lease_replay("a", at(9), at(20))
    assert first is not None
    assert (first.id, first.worker, first.leased_until) == ("rpl_1", "a", at(20))
    second = await outbox.lease_replay("b", at(9), at(20))
    assert second is not None
    assert second.id == "rpl_2"
    assert await outbox.lease_replay("c", at(19), at(30)) is None
    again = await outbox.lease_replay("a", at(19), at(30))  # its own, after a restart
    assert again is not None
    assert (again.id, again.leased_until) == ("rpl_1", at(30))
    taken = await outbox.lease_replay("c", at(20), at(40))  # b has not been heard of
    assert taken is not None
    assert taken.id == "rpl_2"
    assert not await outbox.advance_replay("rpl_2", "b", Replayed(5, 0, "1.1"), at(21), at(50))


async def test_steps_add_up_until_there_is_no_more(outbox: OutboxStore) -> None:
    await outbox.add_replay(replay(1))
    assert not await outbox.advance_replay("rpl_1", "a", Replayed(1, 0, None), at(9), at(20))  # nobody took it
    await outbox.lease_replay("a", at(9), at(20))
    assert await outbox.advance_replay("rpl_1", "a", Replayed(4, 1, "7.2"), at(10), at(30))
    found = await outbox.find_replay("rpl_1")
    assert found is not None
    assert (found.state, found.deliveries, found.expunged, found.after) == (RUNNING, 4, 1, "7.2")
    assert (found.leased_until, found.finished_at) == (at(30), None)
    assert await outbox.advance_replay("rpl_1", "a", Replayed(3, 0, None), at(11), at(31))
    found = await outbox.find_replay("rpl_1")
    assert found is not None
    assert (found.state, found.deliveries, found.expunged, found.finished_at) == (DONE, 7, 1, at(11))
    assert not await outbox.advance_replay("rpl_1", "a", Replayed(1, 0, None), at(12), at(32))
    assert await outbox.lease_replay("a", at(100), at(200)) is None


@pytest.mark.parametrize(("state", "error"), [(CANCELLED, ""), (FAILED, "There is no endpoint ep_a.")])
async def test_one_ends_before_its_end(outbox: OutboxStore, state: ReplayState, error: str) -> None:
    await outbox.add_replay(replay(1))
    await outbox.lease_replay("a", at(9), at(20))
    ended = await outbox.end_replay("rpl_1", state, error, at(10))
    assert (ended.state, ended.error, ended.finished_at) == (state, error, at(10))
    assert await outbox.find_replay("rpl_1") == ended
    assert not await outbox.advance_replay("rpl_1", "a", Replayed(1, 0, "1.1"), at(11), at(30))
    assert await outbox.lease_replay("a", at(100), at(200)) is None
    assert await outbox.end_replay("rpl_1", FAILED, "later", at(12)) == ended  # once
    with pytest.raises(NotFound):
        await outbox.end_replay("rpl_2", CANCELLED, "", at(10))
