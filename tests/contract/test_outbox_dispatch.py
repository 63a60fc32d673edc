"""What every outbox holds: leases, outcomes, releases, due times."""

from __future__ import annotations

import pytest

from cdc.model.change import Position
from cdc.model.delivery import DeliveryState
from cdc.model.endpoint import EndpointChange
from cdc.model.errors import UsageError
from cdc.model.event import event_payload
from cdc.outbox.store import OutboxStore
from support.outboxes import (
    NOW,
    at,
    delivery_of,
    endpoint,
    event,
    event_ids,
    finish,
    lease,
    outcome,
    states_of,
    store,
)

DEAD, DELIVERED, PENDING = DeliveryState.DEAD, DeliveryState.DELIVERED, DeliveryState.PENDING


async def test_a_lease_holds_what_sending_needs(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1))
    (leased,) = await lease(outbox, at(2), seconds=30)
    view = await delivery_of(outbox, 1)
    assert (leased.id, leased.endpoint_id, leased.event_id) == (view.id, "ep_a", "evt_1")
    assert (leased.event_name, leased.record, leased.attempt) == ("invoice.updated", "facturascli:1", 1)
    assert (leased.lease_until, leased.body_event) == (at(32), event_payload(event(1)))
    assert (view.state, view.attempts, view.due_at) == (DeliveryState.LEASED, 1, None)


async def test_due_means_now_or_before(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1), now=at(10))
    assert await lease(outbox, at(9.999999)) == []
    assert event_ids(await lease(outbox, at(10))) == ["evt_1"]


async def test_the_oldest_due_go_first_up_to_the_limit(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    await outbox.add_endpoint(endpoint("ep_b", events=("stock.*",)))
    await store(outbox, event(1), now=at(3))
    await store(outbox, event(2, name="stock.changed"), now=at(1))
    await store(outbox, event(3), now=at(2))
    leased = await lease(outbox, at(9), limit=3)
    assert [(one.event_id, one.endpoint_id) for one in leased] == [
        ("evt_2", "ep_a"),
        ("evt_2", "ep_b"),
        ("evt_3", "ep_a"),
    ]
    assert event_ids(await lease(outbox, at(9), limit=3)) == ["evt_1"]


async def test_room_limits_single_endpoints(outbox: OutboxStore) -> None:
    for name in ("ep_a", "ep_b", "ep_c"):
        await outbox.add_endpoint(endpoint(name))
    await store(outbox, *[event(n) for n in range(5)])
    leased = await lease(outbox, limit=9, ep_a=2, ep_b=0)
    assert [one.endpoint_id for one in leased].count("ep_a") == 2
    assert [one.endpoint_id for one in leased].count("ep_b") == 0
    assert [one.endpoint_id for one in leased].count("ep_c") == 5
    assert event_ids(await lease(outbox, limit=2, ep_a=7, ep_b=-1, ep_c=0)) == ["evt_2", "evt_3"]


async def test_each_endpoint_gets_one_before_any_gets_a_second(outbox: OutboxStore) -> None:
    for name in ("ep_a", "ep_b", "ep_c"):
        await outbox.add_endpoint(endpoint(name, sources=(name,)))
    for n in range(9):
        await outbox.store("ep_a", Position("p"), [event(n, source="ep_a")], {}, at(n))
    await outbox.store("ep_b", Position("p"), [event(n, source="ep_b") for n in (20, 21)], {}, at(50))
    await outbox.store("ep_c", Position("p"), [event(30, source="ep_c")], {}, at(60))
    leased = await lease(outbox, at(90), limit=4, ep_a=9, ep_b=9, ep_c=9)
    assert event_ids(leased) == ["evt_0", "evt_1", "evt_20", "evt_30"]
    await outbox.release("w", at(90))
    assert event_ids(await lease(outbox, at(90), limit=1, ep_c=9, ep_b=9, ep_a=9)) == ["evt_30"], "its turn is first"
    until = at(200)
    leased = await outbox.lease("w", at(90), until, 9, {"ep_b": 9, "ep_x": 9, "ep_c": 9}, only=True)
    assert event_ids(leased) == ["evt_21", "evt_20"], "the second was given back later"


async def test_due_endpoints_have_their_turn(outbox: OutboxStore) -> None:
    for name in ("ep_a", "ep_b", "ep_off", "ep_c", "ep_idle"):
        await outbox.add_endpoint(
            endpoint(name, enabled=name != "ep_off", events=("stock.*",) if "idle" in name else ("*",))
        )
    assert (await outbox.due_endpoints(at(9), 2, 0)) == ([], 0)
    await store(outbox, event(1), now=at(3))
    assert (await outbox.due_endpoints(at(2.9), 2, 0)) == ([], 0)
    first = await outbox.due_endpoints(at(3), 2, 0)
    assert first.ids == ["ep_a", "ep_b"]
    second = await outbox.due_endpoints(at(3), 2, first.place)
    assert second.ids == ["ep_c", "ep_a"], "round and round"
    assert (await outbox.due_endpoints(at(3), 3, second.place, {"ep_a"})) == (["ep_b", "ep_c"], 0)
    await lease(outbox, at(3), seconds=60)
    assert (await outbox.due_endpoints(at(62), 9, 0)).ids == []
    assert (await outbox.due_endpoints(at(63), 9, 0)).ids == ["ep_a", "ep_b", "ep_c"], "their leases expired"


async def test_the_version_of_endpoints_changes_with_them(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_stays", events=("stock.*",)))
    seen = {await outbox.endpoints_version()}
    await outbox.add_endpoint(endpoint("ep_a"))
    seen.add(await outbox.endpoints_version())
    await outbox.change_endpoint("ep_a", EndpointChange(secret="whsec_b3RoZXI="))
    seen.add(await outbox.endpoints_version())
    await store(outbox, event(1), event(2))
    (first, second) = await lease(outbox)
    await finish(outbox, first, state=PENDING, due_at=at(500))
    assert await outbox.endpoints_version() in seen, "it fails; that changes nothing of it"
    await outbox.finish("w", [outcome(second, DEAD, disable_reason="It answered 410 Gone.")], NOW)
    seen.add(await outbox.endpoints_version())
    assert len(seen) == 4
    before = await outbox.endpoints_version()
    await outbox.remove_endpoint("ep_a", NOW)
    assert await outbox.endpoints_version() != before


async def test_a_leased_delivery_is_not_leased_again_until_the_lease_expires(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1))
    await lease(outbox, at(0), seconds=60)
    assert await lease(outbox, at(59.9), worker="other") == []
    (again,) = await lease(outbox, at(60), worker="other")
    assert (again.attempt, again.lease_until) == (2, at(120))


async def test_a_success_is_final(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1))
    (leased,) = await lease(outbox)
    done = outcome(leased, started_at=at(1.5), duration=0.125, answer="fine")
    await outbox.finish("w", [done], at(2))
    view = await delivery_of(outbox, 1)
    assert (view.state, view.attempts, view.finished_at) == (DELIVERED, 1, at(2))
    assert (view.due_at, view.last_status, view.last_error) == (None, 200, "")
    assert await outbox.attempts(view.id) == [done.attempt]
    assert await lease(outbox, at(1e9)) == []


async def test_a_retry_is_due_when_it_says(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1))
    await finish(outbox, *await lease(outbox), state=PENDING, due_at=at(5), now=at(1))
    view = await delivery_of(outbox, 1)
    assert (view.state, view.attempts, view.due_at, view.finished_at) == (PENDING, 1, at(5), None)
    assert (view.last_status, view.last_error) == (500, "The endpoint answered 500.")
    assert await outbox.next_due(at(1)) == at(5)
    (again,) = await lease(outbox, at(5))
    assert again.attempt == 2
    await finish(outbox, again, state=DEAD, now=at(6))
    view = await delivery_of(outbox, 1)
    assert (view.state, view.attempts, view.finished_at) == (DEAD, 2, at(6))
    assert [attempt.number for attempt in await outbox.attempts(view.id)] == [1, 2]


async def test_a_retry_without_a_time_is_due_at_once(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1))
    await finish(outbox, *await lease(outbox), state=PENDING, now=at(7))
    assert (await delivery_of(outbox, 1)).due_at == at(7)


async def test_a_retry_does_not_hurry_past_older_ones(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1), event(2))
    await finish(outbox, *await lease(outbox, limit=1), state=PENDING, due_at=at(5))
    assert event_ids(await lease(outbox, at(6))) == ["evt_2", "evt_1"]


async def test_an_expired_lease_can_still_be_finished_by_its_worker(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1))
    await finish(outbox, *await lease(outbox), now=at(100))
    assert await states_of(outbox, 1) == "delivered"


async def test_a_lease_that_someone_else_took_over_is_theirs(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1, "a:1"), event(2, "a:1"))
    (late,) = await lease(outbox, worker="slow")
    (taken,) = await lease(outbox, at(60), worker="quick")
    await finish(outbox, late, worker="slow", state=DEAD, now=at(61))
    assert await states_of(outbox, 1, 2) == "leased waiting"
    await finish(outbox, taken, worker="quick", now=at(62))
    view = await delivery_of(outbox, 1)
    assert (view.state, view.attempts, view.last_status) == (DELIVERED, 2, 200)
    assert [attempt.status for attempt in await outbox.attempts(view.id)] == [500, 200]
    await finish(outbox, late, worker="slow", state=PENDING, now=at(63))
    assert await states_of(outbox, 1, 2) == "delivered pending"


async def test_the_worker_itself_may_have_leased_it_again(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1))
    (late,) = await lease(outbox)
    (again,) = await lease(outbox, at(60))
    await finish(outbox, late, state=DEAD, now=at(61))
    assert await states_of(outbox, 1) == "leased"
    await finish(outbox, again, now=at(62))
    assert await states_of(outbox, 1) == "delivered"


async def test_many_outcomes_are_one_write_or_none(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1), event(2))
    first, second = await lease(outbox)
    stranger = outcome(second._replace(id="dlv_99"))
    with pytest.raises(UsageError, match="no delivery dlv_99"):
        await outbox.finish("w", [outcome(first), stranger], NOW)
    assert await states_of(outbox, 1, 2) == "leased leased"
    assert await outbox.attempts(first.id) == []


async def test_released_leases_are_due_at_once_and_not_counted(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1), event(2), event(3))
    mine = await lease(outbox, limit=2)
    theirs = await lease(outbox, worker="other")
    await finish(outbox, mine[0], state=PENDING, due_at=at(500))
    assert await outbox.release("w", at(9)) == 1
    view = await delivery_of(outbox, 2)
    assert (view.state, view.attempts, view.due_at) == (PENDING, 0, at(9))
    assert (await delivery_of(outbox, 1)).attempts == 1
    assert (await delivery_of(outbox, 3)).state is DeliveryState.LEASED
    assert await outbox.release("w", at(10)) == 0
    (again,) = await lease(outbox, at(9))
    assert (again.event_id, again.attempt) == ("evt_2", 1)
    await finish(outbox, *theirs, worker="other")


async def test_an_outcome_after_a_release_is_recorded_but_decides_nothing(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1))
    (given_back,) = await lease(outbox)
    await outbox.release("w", at(1))
    await finish(outbox, given_back, state=DEAD)
    view = await delivery_of(outbox, 1)
    assert (view.state, view.attempts) == (PENDING, 0)
    assert len(await outbox.attempts(view.id)) == 1


async def test_an_expired_attempt_stays_counted(outbox: OutboxStore) -> None:
    """Its request may have gone out: only a release knows that it counts for nothing."""
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1))
    await lease(outbox)
    await lease(outbox, at(60))
    assert await outbox.release("w", at(61)) == 1
    assert (await delivery_of(outbox, 1)).attempts == 1


async def test_leases_given_back_are_due_at_once_and_not_counted(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1, "a:1"), event(2, "a:1"), event(3), event(4))
    first, third, fourth = await lease(outbox)
    assert await outbox.give_back("w", [first, fourth], at(9)) == 2
    view = await delivery_of(outbox, 1)
    assert (view.state, view.attempts, view.due_at) == (PENDING, 0, at(9))
    assert await states_of(outbox, 1, 2, 3, 4) == "pending waiting leased pending"
    again = await lease(outbox, at(9))
    assert [(one.event_id, one.attempt) for one in again] == [("evt_1", 1), ("evt_4", 1)]
    await finish(outbox, third, *again)
    assert await states_of(outbox, 1, 2, 3, 4) == "delivered pending delivered delivered"


async def test_only_the_lease_that_is_held_can_be_given_back(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1), event(2), event(3))
    first, second, third = await lease(outbox)
    await finish(outbox, first)
    await lease(outbox, at(60), worker="other", limit=1)
    (own,) = await lease(outbox, at(60))
    assert (own.id, own.attempt) == (third.id, 2)
    assert await outbox.give_back("w", [first, second, third], at(61)) == 0
    assert await outbox.give_back("other", [own], at(61)) == 0
    assert await outbox.give_back("w", [], at(61)) == 0
    assert await states_of(outbox, 1, 2, 3) == "delivered leased leased"
    assert [(await delivery_of(outbox, number)).attempts for number in (1, 2, 3)] == [1, 2, 2]


async def test_an_expired_lease_may_still_be_given_back(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1))
    assert await outbox.give_back("w", await lease(outbox), at(100)) == 1
    assert (await delivery_of(outbox, 1)).attempts == 0


async def test_what_is_given_back_waits_for_an_older_one_of_its_record(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1, "a:1"), event(2, "a:1"))
    await finish(outbox, *await lease(outbox), state=DEAD)
    later = await lease(outbox)
    await outbox.retry((await delivery_of(outbox, 1)).id, at(1))
    assert await states_of(outbox, 1, 2) == "waiting leased"
    await outbox.give_back("w", later, at(2))
    assert await states_of(outbox, 1, 2) == "pending waiting"


async def test_next_due_passes_over_endpoints(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    await outbox.add_endpoint(endpoint("ep_b", events=("stock.*",)))
    await store(outbox, event(1), now=at(3))
    await store(outbox, event(2, name="stock.changed"), now=at(5))
    assert await outbox.next_due(at(9), ["ep_b", "ep_x"]) == at(3)
    assert await outbox.next_due(at(9), {"ep_a"}) == at(5)
    assert await outbox.next_due(at(9), ["ep_a", "ep_b"]) is None


async def test_next_due_is_the_earliest_due_time_or_lease_end(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    await outbox.add_endpoint(endpoint("ep_off", enabled=False))
    await outbox.add_endpoint(endpoint("ep_empty", events=("nothing",)))
    await store(outbox, event(1, "a:1"), event(2, "a:1"), now=at(3))
    assert await outbox.next_due(at(50)) == at(3)
    leased = await lease(outbox, at(3), seconds=60)
    assert await outbox.next_due(at(4)) == at(63)
    await store(outbox, event(3), now=at(40))
    assert await outbox.next_due(at(41)) == at(40)
    await finish(outbox, *leased, *await lease(outbox, at(41)))
    assert await outbox.next_due(at(42)) == at(3)  # event 2, which waited
    await finish(outbox, *await lease(outbox, at(42)))
    assert await outbox.next_due(at(43)) is None


async def test_oldest_due_names_what_could_be_leased_now(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    await outbox.add_endpoint(endpoint("ep_b", events=("stock.*",)))
    await outbox.add_endpoint(endpoint("ep_off", enabled=False))
    await store(outbox, event(1), now=at(3))
    await store(outbox, event(2), event(3, name="stock.changed"), now=at(5))
    assert await outbox.oldest_due(at(2)) == {}
    assert await outbox.oldest_due(at(3)) == {"ep_a": at(3)}
    assert await outbox.oldest_due(at(50)) == {"ep_a": at(3), "ep_b": at(5)}
    await lease(outbox, at(51), seconds=60, limit=1)
    assert await outbox.oldest_due(at(52)) == {"ep_a": at(5), "ep_b": at(5)}
    await lease(outbox, at(53), seconds=60)
    assert await outbox.oldest_due(at(54)) == {}  # on their way
    assert await outbox.oldest_due(at(111)) == {"ep_a": at(111)}  # a lease that expired


async def test_a_delivery_that_waited_takes_its_old_turn(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1, "a:1"), event(2, "a:1"), now=at(1))
    first = await lease(outbox, at(1))
    await store(outbox, event(3), now=at(2))
    await finish(outbox, *first, now=at(3))
    assert event_ids(await lease(outbox, at(3))) == ["evt_2", "evt_3"]


async def test_an_outcome_can_disable_the_endpoint(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    await outbox.add_endpoint(endpoint("ep_b"))
    await store(outbox, event(1), event(2))
    leased = await lease(outbox, limit=1)
    await outbox.finish("w", [outcome(leased[0], DEAD, disable_reason="It answered 410 Gone.")], NOW)
    disabled = await outbox.endpoint("ep_a")
    assert disabled == endpoint("ep_a", enabled=False, disabled_reason="It answered 410 Gone.", failing_since=NOW)
    assert {one.endpoint_id for one in await lease(outbox)} == {"ep_b"}


async def test_an_outcome_of_a_lost_lease_disables_nothing(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1))
    (leased,) = await lease(outbox)
    await outbox.release("w", NOW)
    await outbox.finish("w", [outcome(leased, DEAD, disable_reason="It answered 410 Gone.")], NOW)
    assert await outbox.endpoint("ep_a") == endpoint(failing_since=NOW)


async def test_one_process_dispatches(outbox: OutboxStore) -> None:
    assert await outbox.become_dispatcher()
    assert await outbox.become_dispatcher()  # it has the part already
