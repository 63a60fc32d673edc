"""What every outbox keeps of backfills, and who gets their events."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cdc.model.backfill import Backfill, BackfillState
from cdc.model.change import BackfillStep, Position
from cdc.model.errors import NotFound
from cdc.model.event import Event
from cdc.outbox.store import OutboxStore
from support.outboxes import EVERYTHING, at, endpoint, event

RUNNING, PAUSED, DONE, CANCELLED, FAILED = BackfillState


def backfill(number: int, **fields: Any) -> Backfill:
    given: dict[str, Any] = {"source": "main", "table": "clientes", "actor": "cli:root", "created_at": at(number)}
    return Backfill(id=f"bf_{number}", **(given | fields))


def existing(number: int, **fields: Any) -> Event:
    return event(number)._replace(name="invoice.existing", **fields)


async def store(outbox: OutboxStore, *events: Event, step: BackfillStep | None = None) -> int:
    """How many deliveries were made."""
    return (await outbox.store("main", Position("p"), events, {}, at(9), step=step)).deliveries


async def found(outbox: OutboxStore, backfill_id: str) -> Backfill:
    kept = await outbox.find_backfill(backfill_id)
    assert kept is not None
    return kept


async def test_it_is_kept_as_it_is(outbox: OutboxStore) -> None:
    much = backfill(2, where="pagada = 'x'", endpoint="ep_a", rate=2.5, estimate=500_000, source="other")
    for kept in (backfill(1), much):
        await outbox.add_backfill(kept)
        assert await outbox.find_backfill(kept.id) == kept
    assert await outbox.find_backfill("bf_9") is None
    assert await outbox.find_backfill("a\0b") is None
    assert await outbox.backfills(10) == [much, backfill(1)]
    assert await outbox.backfills(1) == [much]


async def test_the_newest_come_first_and_in_pages(outbox: OutboxStore) -> None:
    for number in (2, 4, 1, 3):
        await outbox.add_backfill(backfill(number))
    await outbox.add_backfill(replace(backfill(5), created_at=at(3)))  # at the same time as another
    pages = [await outbox.backfills(2, before) for before in (None, "bf_5", "bf_2", "bf_1", "bf_9", "a\0b")]
    assert [[each.id for each in page] for page in pages] == [["bf_4", "bf_5"], ["bf_3", "bf_2"], ["bf_1"], [], [], []]


async def test_those_of_a_source_go_one_after_the_other(outbox: OutboxStore) -> None:
    assert await outbox.next_backfill("main") is None
    assert not await outbox.backfilled_sources()
    for number in (3, 2):
        await outbox.add_backfill(backfill(number))
    await outbox.add_backfill(backfill(1, source="other"))
    assert set(await outbox.backfilled_sources()) == {"main", "other"}
    first = await outbox.next_backfill("main")
    assert first == backfill(2)
    await outbox.set_backfill("bf_2", PAUSED, "", at(5))
    assert await outbox.next_backfill("main") == backfill(3)
    assert await outbox.set_backfill("bf_2", RUNNING, "", at(6)) == first
    assert await outbox.next_backfill("main") == first


async def test_a_page_is_stored_with_its_events(outbox: OutboxStore) -> None:
    await outbox.add_backfill(backfill(1))
    await store(outbox, existing(1), existing(2), step=BackfillStep("bf_1", 2, {"codcliente": "Ñ'2"}, finished=False))
    assert await found(outbox, "bf_1") == backfill(1, rows=2, after={"codcliente": "Ñ'2"})
    await store(outbox, existing(3), step=BackfillStep("bf_1", 1, {"codcliente": "3"}, finished=True))
    done = backfill(1, rows=3, after={"codcliente": "3"}, state=DONE, finished_at=at(9))
    assert await found(outbox, "bf_1") == done
    assert await outbox.next_backfill("main") is None
    assert len(await outbox.events(10, after=0)) == 3


async def test_a_page_that_was_under_way_counts_for_a_paused_one_and_not_for_an_ended_one(outbox: OutboxStore) -> None:
    for number in (1, 2):
        await outbox.add_backfill(backfill(number))
    await outbox.set_backfill("bf_1", PAUSED, "", at(5))
    await outbox.set_backfill("bf_2", CANCELLED, "", at(5))
    for number in (1, 2):
        await store(outbox, step=BackfillStep(f"bf_{number}", 5, {"codcliente": "5"}, finished=False))
    assert await found(outbox, "bf_1") == backfill(1, state=PAUSED, rows=5, after={"codcliente": "5"})
    assert await found(outbox, "bf_2") == backfill(2, state=CANCELLED, finished_at=at(5))


@pytest.mark.parametrize(("state", "error"), [(CANCELLED, ""), (FAILED, "The table is gone.")])
async def test_one_that_has_ended_stays_as_it_is(outbox: OutboxStore, state: BackfillState, error: str) -> None:
    await outbox.add_backfill(backfill(1))
    ended = await outbox.set_backfill("bf_1", state, error, at(5))
    assert ended == backfill(1, state=state, error=error, finished_at=at(5))
    assert await outbox.set_backfill("bf_1", RUNNING, "", at(6)) == ended
    with pytest.raises(NotFound):
        await outbox.set_backfill("bf_2", CANCELLED, "", at(5))


async def test_its_events_are_for_who_names_them(outbox: OutboxStore) -> None:
    for number, patterns in enumerate([("*",), ("invoice.*",), ("*.existing",), ("order.*", "invoice.existing")]):
        await outbox.add_endpoint(replace(endpoint(f"ep_{number}"), events=patterns))
    await store(outbox, existing(1))
    listed = await outbox.deliveries(EVERYTHING, 10)
    assert sorted(each.endpoint_id for each in listed) == ["ep_2", "ep_3"]


async def test_events_for_one_endpoint_reach_it_whatever_it_names_and_no_other(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(replace(endpoint("ep_a"), events=("order.paid",)))
    await outbox.add_endpoint(replace(endpoint("ep_b"), events=("*.existing",)))
    assert await store(outbox, existing(1, only_to="ep_a")) == 1
    assert [each.endpoint_id for each in await outbox.deliveries(EVERYTHING, 10)] == ["ep_a"]
    assert await store(outbox, existing(2, only_to="ep_gone")) == 0


async def test_the_condition_of_an_endpoint_holds_for_what_is_for_it_alone(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(replace(endpoint("ep_a"), events=("order.paid",), condition='record == "a:2"'))
    events = [existing(number, only_to="ep_a", record=f"a:{number}") for number in (1, 2)]
    assert await store(outbox, *events) == 1


async def test_unfinished_deliveries_are_counted_up_to_a_limit(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(replace(endpoint("ep_a"), events=("*.existing",)))
    await store(outbox, *(existing(number) for number in range(1, 6)))
    assert await outbox.unfinished("ep_a", 10) == 5
    assert await outbox.unfinished("ep_a", 3) == 3
    assert await outbox.unfinished("ep_b", 3) == 0
