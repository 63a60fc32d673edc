"""Rates, breakers and pauses of endpoints over all processes on one PostgreSQL outbox."""

from __future__ import annotations

import asyncio
import time
from itertools import product

import pytest

from cdc.dispatch.flow_control import TokenBucket
from cdc.model.delivery import AdmissionRequest, EndpointHold
from cdc.model.endpoint import EndpointChange
from cdc.outbox.postgres.dispatch import AHEAD
from cdc.outbox.postgres.outbox import PostgresLimits, PostgresOutbox
from support.database import Database
from support.outboxes import NOW, Processes, endpoint

OPEN = EndpointHold(5.0, 0)
PROBE = {"ep_a": AdmissionRequest(1, 0.0, 0.0, 20.0)}


async def opened(processes: Processes, number: int) -> list[PostgresOutbox]:
    made = await processes(number)
    await made[0].add_endpoint(endpoint())
    return made


async def claims(*members: PostgresLimits) -> list[int]:
    """Have all ask for the probe at once; return how many requests each may send."""
    asked = [member.admit(f"w{number}", PROBE) for number, member in enumerate(members)]
    return [each["ep_a"].requests for each in await asyncio.gather(*asked)]


def pass_time(database: Database, column: str = "held_until", by: str = "interval '0'") -> None:
    database.execute(f"UPDATE cdc_outbox.endpoint_limit SET {column} = clock_timestamp() + {by}")


@pytest.mark.parametrize("rate", [20.0, 0.5])
async def test_processes_share_a_rate(processes: Processes, rate: float) -> None:
    members = [each.limits for each in await opened(processes, 3)]
    bucket, began, admitted = TokenBucket(rate), time.monotonic(), 0
    for _ in range(10):
        asked = [each.admit("w", {"ep_a": AdmissionRequest(7, bucket.interval, bucket.slack, 20)}) for each in members]
        admitted += sum(each["ep_a"].requests for each in await asyncio.gather(*asked))
        assert admitted <= max(rate, 1) + rate * (time.monotonic() - began + AHEAD) + 1e-6
    assert admitted >= max(rate, 1)


async def test_each_published_fact_counts_by_itself(processes: Processes, postgres_outbox_db: Database) -> None:
    """Any breaker and pause before, with any breaker, pause and result of a probe that is published."""
    (outbox,) = await opened(processes, 1)
    for open_, paused, prober, held, pause, probed in product(
        [False, True], [0, 900], [None, "w0"], [None, 20], [0, 600], [False, True]
    ):
        postgres_outbox_db.execute("DELETE FROM cdc_outbox.endpoint_limit")
        postgres_outbox_db.execute(
            "INSERT INTO cdc_outbox.endpoint_limit (endpoint, held_until, failed_probes, paused_until, prober) "
            "SELECT number, CASE WHEN %s THEN clock_timestamp() + interval '100 s' END, 7, "
            "CASE WHEN %s > 0 THEN clock_timestamp() + make_interval(secs => %s) END, %s FROM cdc_outbox.endpoint",
            [open_, paused, paused, prober],
        )
        await outbox.limits.publish("w0", {"ep_a": EndpointHold(held, 1, pause, probed)})
        found = (await outbox.limits.holds()).get("ep_a", EndpointHold())
        taken = prober == "w0" if probed else not open_
        wanted = held if taken else (100 if open_ else None)
        case = (open_, paused, prober, held, pause, probed, found)
        assert (found.held is None) == (wanted is None), case
        assert found.held is None or wanted is None or wanted - 20 < found.held <= wanted, case
        assert max(paused, pause) - 100 < found.paused <= max(paused, pause), case


async def test_booked_requests_delay_those_of_other_processes(processes: Processes) -> None:
    one, two = [each.limits for each in await opened(processes, 2)]
    wanted = {"ep_a": AdmissionRequest(1, 1000.0, 0.0, 20.0)}  # its rate is one in 1000 seconds
    assert (await one.admit("w1", wanted))["ep_a"].requests == 1
    later = (await two.admit("w2", wanted))["ep_a"]
    assert later.requests == 0
    assert 900 < later.booked <= 1000


async def test_breaker_opened_by_one_holds_all_back(processes: Processes) -> None:
    one, two = [each.limits for each in await opened(processes, 2)]
    assert await two.holds() == {}
    await one.publish("w0", {"ep_a": OPEN})
    held = (await two.holds())["ep_a"].held
    assert held is not None
    assert held <= 5
    await two.publish("w1", {"ep_a": EndpointHold(3600.0)})
    (hold,) = (await one.holds()).values()
    assert hold.held is not None
    assert hold.held <= 5, "the first one to open it counts"
    assert (await two.admit("w1", PROBE))["ep_a"].hold.held is not None
    assert (await one.admit("w0", {"ep_a": AdmissionRequest(5, 0.05, 0.95, 20)}))["ep_a"].requests == 0, (
        "its rate is no excuse"
    )


async def test_one_process_probes_and_its_result_counts(processes: Processes, postgres_outbox_db: Database) -> None:
    members = [each.limits for each in await opened(processes, 3)]
    await members[0].publish("w0", {"ep_a": OPEN})
    assert await claims(*members) == [0, 0, 0]
    pass_time(postgres_outbox_db)
    admitted = await claims(*members)
    assert sorted(admitted) == [0, 0, 1]
    prober = admitted.index(1)
    other = (prober + 1) % 3
    await members[other].publish(f"w{other}", {"ep_a": EndpointHold(probed=True)})
    assert "ep_a" in await members[other].holds(), "a late result of another probe changes nothing"
    await members[prober].publish(f"w{prober}", {"ep_a": EndpointHold(20.0, 1, probed=True)})
    assert (await members[other].holds())["ep_a"].failed_probes == 1
    pass_time(postgres_outbox_db)
    admitted = await claims(*members)
    prober = admitted.index(1)
    await members[prober].publish(f"w{prober}", {"ep_a": EndpointHold(probed=True)})
    assert [await each.holds() for each in members] == [{}, {}, {}]


async def test_another_process_probes_after_the_prober_died(processes: Processes, postgres_outbox_db: Database) -> None:
    one, two = [each.limits for each in await opened(processes, 2)]
    await one.publish("w0", {"ep_a": OPEN})
    pass_time(postgres_outbox_db)
    assert await claims(one) == [1]
    assert await claims(one, two) == [0, 0]
    held = (await two.holds())["ep_a"].held
    assert held is not None
    assert held <= PROBE["ep_a"].claim
    pass_time(postgres_outbox_db)  # the claim ends
    assert (await two.admit("w1", PROBE))["ep_a"].requests == 1
    await one.publish("w0", {"ep_a": EndpointHold(60.0, 3, probed=True)})
    assert (await one.holds())["ep_a"].failed_probes == 0, "the right to probe had passed to another"


async def test_pause_holds_for_all_until_it_passes(processes: Processes) -> None:
    one, two = [each.limits for each in await opened(processes, 2)]
    await one.publish("w0", {"ep_a": EndpointHold(paused=600.0)})
    hold = (await two.holds())["ep_a"]
    assert hold.held is None
    assert 300 < hold.paused <= 600
    assert await claims(two) == [0]
    await two.publish("w1", {"ep_a": EndpointHold(paused=5.0)})
    assert (await one.holds())["ep_a"].paused > 300, "the longest pause counts"


@pytest.mark.parametrize("change", ["url", "enabled"])
async def test_changed_endpoint_is_probed_at_once(processes: Processes, change: str) -> None:
    outbox, other = await opened(processes, 2)
    one, two = outbox.limits, other.limits
    if change == "enabled":
        await outbox.change_endpoint("ep_a", EndpointChange(enabled=False))
    await one.publish("w0", {"ep_a": EndpointHold(3600.0, 4, paused=3600.0)})
    assert await claims(one, two) == [0, 0]
    await outbox.change_endpoint("ep_a", EndpointChange(events=("invoice.*",)))
    assert await claims(one, two) == [0, 0], "that has nothing to do with the receiver"
    changed = EndpointChange(url="https://other.example.com") if change == "url" else EndpointChange(enabled=True)
    await outbox.change_endpoint("ep_a", changed)
    assert sorted(await claims(one, two)) == [0, 1]
    await outbox.remove_endpoint("ep_a", NOW)
    assert await two.holds() == {}


async def test_limits_do_not_change_the_version_of_endpoints(processes: Processes) -> None:
    (outbox,) = await opened(processes, 1)
    before = await outbox.endpoints_version()
    await outbox.limits.publish("w0", {"ep_a": OPEN})
    await outbox.limits.admit("w0", PROBE)
    assert await outbox.endpoints_version() == before


async def test_times_of_a_wrong_clock_hold_nothing_back(processes: Processes, postgres_outbox_db: Database) -> None:
    (outbox,) = await opened(processes, 1)
    await outbox.limits.publish("w0", {"ep_a": EndpointHold(5.0, paused=5.0)})
    for column in ("held_until", "paused_until", "booked_until"):
        pass_time(postgres_outbox_db, column, "interval '1 year'")
    wanted = {"ep_a": AdmissionRequest(1, 10.0, 0.0, 20.0)}
    admitted = (await outbox.limits.admit("w0", wanted))["ep_a"]
    assert admitted.booked <= 10 + AHEAD
    await outbox.limits.publish("w0", {"ep_a": EndpointHold(paused=600.0)})
    assert (await outbox.limits.holds())["ep_a"].paused <= 600
    pass_time(postgres_outbox_db, "paused_until")
    pass_time(postgres_outbox_db, "booked_until")
    assert (await outbox.limits.admit("w0", wanted))["ep_a"].requests == 1
