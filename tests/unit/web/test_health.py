"""When a consumer is ready, and what it says when it is not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from cdc.capture.probe import Backlog
from cdc.model.delivery import Held, Hold
from cdc.model.errors import Defect, OutboxError, SourceUnavailable
from cdc.outbox.base import Replication
from cdc.web.health import hangs, state, warnings
from support.manual_clock import START
from support.outboxes import endpoint
from support.watching import BOUNDS, AskedProbe, Watch, batch, change, outcome

GONE = SourceUnavailable("The database does not answer.", "Is it up?")
FULL = OutboxError("The disk is full.")


@pytest.fixture
def watch() -> Watch:
    made = Watch()
    made.reading()
    return made


def test_a_consumer_at_work_is_ready(watch: Watch) -> None:
    assert watch.reasons() == []
    watch.pass_time(3600)
    assert watch.reasons() == []  # nothing to store: standing still is no fault


def test_it_is_not_ready_before_its_source_is_open() -> None:
    watch = Watch()
    assert watch.reasons() == ["Source main is being opened."]
    watch.reported.opening("main")
    assert state(watch.monitor, "main", BOUNDS, START) == "opening"
    watch.reported.reading("main", None)
    assert watch.reasons() == []


def test_a_source_that_fails_is_named_with_the_reason_and_since_when(watch: Watch) -> None:
    watch.clock.advance(10)
    watch.reported.source_failed("main", GONE)
    watch.clock.advance(5)
    reason = "The database does not answer. Is it up?"
    expected = f"Source main has not been readable since 2026-11-24 21:48:10 UTC (5 s): {reason}"
    assert watch.reasons() == [expected]
    assert state(watch.monitor, "main", BOUNDS, watch.clock.now()) == "failed"


def test_component_that_broke_off_is_named_until_it_has_worked_for_a_moment(watch: Watch) -> None:
    watch.reported.component_started("retention")
    watch.pass_time(60)
    watch.reported.component_failed("retention", Defect("Unexpected KeyError in upkeep.py, line 61."))
    (why,) = watch.reasons()
    assert why.startswith("Component retention has failed since ")
    assert why.endswith("Unexpected KeyError in upkeep.py, line 61.")
    since = why.partition("(")[0]
    watch.pass_time(10)
    watch.reported.component_started("retention")
    watch.reported.component_failed("retention", Defect("Unexpected KeyError in upkeep.py, line 61."))
    assert watch.reasons()[0].startswith(since), "since the first time"
    watch.reported.component_started("retention")
    assert watch.reasons() != []
    watch.pass_time(5)
    assert watch.reasons() == []


def test_a_source_that_fails_again_and_again_fails_since_the_first_time(watch: Watch) -> None:
    for _ in range(3):  # it opens each time, and fails as soon as it reads
        watch.reported.source_failed("main", GONE)
        watch.pass_time(30)
        watch.reported.opening("main")
        watch.reported.reading("main", None)
        assert "since 2026-11-24 21:48:00" in watch.reasons()[0]
    watch.clock.advance(2)
    assert watch.reasons() == []
    assert watch.reported.sources["main"].failures == 3


def test_a_source_that_stores_again_is_mended_at_once(watch: Watch) -> None:
    watch.reported.source_failed("main", GONE)
    watch.reported.opening("main")
    watch.reported.reading("main", None)
    assert watch.reasons() != []
    watch.reported.stored("main", batch("1", change()), (), 1)
    assert watch.reasons() == []


def test_standing_still_while_the_source_moves(watch: Watch) -> None:
    watch.pass_time(55, ahead=1)
    assert watch.reasons() == []
    watch.pass_time(5, ahead=56)
    expected = (
        "Source main is stalled: it has stored nothing since 2026-11-24 21:48:00 UTC (60 s), and its database has "
        "2 transactions that have waited for up to 61 s."
    )
    assert watch.reasons() == [expected]
    assert state(watch.monitor, "main", BOUNDS, watch.clock.now()) == "stalled"
    watch.reported.stored("main", batch("1", change()), (), 1)
    assert state(watch.monitor, "main", BOUNDS, watch.clock.now()) == "reading"


def test_who_is_far_behind_and_at_work_does_not_stand_still(watch: Watch) -> None:
    for number in range(20):
        watch.pass_time(10, ahead=5000)
        watch.reported.stored("main", batch(str(number), change()), (), 1)
    assert watch.reasons() == []


def test_a_position_that_does_not_move_is_not_work(watch: Watch) -> None:
    for _ in range(7):
        watch.pass_time(10, ahead=100)
        watch.reported.stored("main", batch("0"), (), 0)
    assert "is stalled" in watch.reasons()[0]


def test_what_waits_for_a_moment_only_does_not_count(watch: Watch) -> None:
    watch.pass_time(3600)
    watch.answer(2.0, 1)  # after an idle hour
    assert watch.reasons() == []


def test_a_database_that_does_not_answer_the_probe(watch: Watch) -> None:
    """Capture hangs, and so does the probe: nobody fails."""
    watch.clock.advance(59)
    watch.queue()
    assert watch.reasons() == []
    watch.clock.advance(1)
    said = "Source main has not answered since 2026-11-24 21:48:00 UTC (60 s): "
    assert watch.reasons() == [f"{said}its database does not answer."]
    watch.monitor.ahead["main"].failed(GONE, watch.clock.now())
    assert watch.reasons() == [f"{said}The database does not answer. Is it up?"]
    assert state(watch.monitor, "main", BOUNDS, watch.clock.now()) == "stalled"


def test_refused_connection_and_full_disk_are_dangers_but_no_outage(watch: Watch) -> None:
    assert warnings(watch.monitor, BOUNDS) == []
    backlog = Backlog(0.0, 0, refused="The server refuses the user.")
    watch.monitor.ahead["main"].came(backlog, watch.clock.now())
    last = watch.monitor.queue.last
    assert last is not None
    watch.monitor.queue.came(replace(last, free=300 << 20), watch.clock.now())
    assert warnings(watch.monitor, BOUNDS) == [
        "The disk of the outbox is nearly full: 300.0 MB are free.",
        "Source main is read over an old connection, and a new one fails: The server refuses the user.",
    ]
    assert watch.reasons() == []
    assert state(watch.monitor, "main", BOUNDS, watch.clock.now()) == "reading"
    watch.answer()
    watch.reported.source_failed("main", GONE)
    assert warnings(watch.monitor, BOUNDS) == ["The disk of the outbox is nearly full: 300.0 MB are free."]


def test_a_standby_is_ready_whatever_waits(watch: Watch) -> None:
    watch.reported.opening("main")
    watch.source.standby = True
    watch.pass_time(600, ahead=1)
    assert watch.reasons() == []
    assert state(watch.monitor, "main", BOUNDS, watch.clock.now()) == "standby"


def test_table_that_is_not_captured_makes_the_consumer_not_ready(watch: Watch) -> None:
    watch.reading()
    watch.source.problems = ["Table facturascli is not captured. Run cdc install-triggers."]
    assert watch.reasons() == ["Source main: Table facturascli is not captured. Run cdc install-triggers."]


def test_server_whose_changes_are_not_captured_makes_the_consumer_not_ready(watch: Watch) -> None:
    watch.reading()
    watch.monitor.ahead["main"].came(Backlog(0.0, 0, ("This server is a replica.",)), watch.clock.now())
    assert watch.reasons() == ["Source main: This server is a replica."]


@pytest.mark.parametrize(
    ("replication", "asked", "warned"),
    [
        (Replication.NONE, False, []),
        (Replication.NONE, True, ["The outbox's server has no standby, and [outbox] synchronous asks for one."]),
        (
            Replication.ASYNCHRONOUS,
            False,
            ["The outbox's server does not wait for its standby: a fail-over may lose what was acknowledged."],
        ),
        (Replication.SYNCHRONOUS, True, []),
    ],
)
def test_asynchronous_replication_is_a_warning(
    watch: Watch, replication: Replication, asked: bool, warned: list[str]
) -> None:
    queue = watch.monitor.queue
    assert queue.last is not None
    queue.came(replace(queue.last, replication=replication), watch.clock.now())
    assert warnings(watch.monitor, replace(BOUNDS, synchronous=asked)) == warned
    assert watch.reasons() == []


def test_an_outbox_that_fails_for_anyone(watch: Watch) -> None:
    watch.reported.outbox_failed("main", FULL)
    watch.clock.advance(7)
    watch.reported.outbox_failed("recording", OutboxError("The file is locked."))
    said = "Nothing has been stored since 2026-11-24 21:48:00 UTC (7 s): The disk is full."
    assert watch.reasons() == [said]
    watch.reported.outbox_failed("main", FULL)
    assert watch.reasons() == [said]
    watch.reported.stored("main", batch("1", change()), (), 1)
    assert watch.reasons() == ["Nothing has been stored since 2026-11-24 21:48:07 UTC (0 s): The file is locked."]
    watch.reported.outbox_worked("recording")
    assert watch.reasons() == []


def test_an_outbox_that_fails_the_monitor_or_does_not_answer(watch: Watch) -> None:
    watch.monitor.queue.failed(FULL, watch.clock.now())
    assert watch.reasons() == ["Nothing has been stored since 2026-11-24 21:48:00 UTC (0 s): The disk is full."]
    watch.queue()
    watch.clock.advance(60)
    watch.answer()
    assert watch.reasons() == ["The outbox has not answered since 2026-11-24 21:48:00 UTC (60 s)."]


def test_a_delivery_is_overdue_when_it_is_so_at_two_looks(watch: Watch) -> None:
    watch.clock.advance(300)
    watch.answer()
    watch.queue(ep_a=START)
    assert watch.reasons() == []  # its turn has just come, perhaps
    watch.clock.advance(5)
    watch.queue(ep_a=START, ep_b=START + timedelta(seconds=6))
    assert watch.reasons() == [
        "A delivery to endpoint ep_a is overdue: it has been due since 2026-11-24 21:48:00 UTC (5 min) and not sent."
    ]
    watch.clock.advance(5)
    watch.queue(ep_b=watch.clock.now())
    assert watch.reasons() == []


def overdue(watch: Watch, *, holdable: bool = False) -> list[str]:
    """The reasons when a delivery to ``ep_a`` has been due for ten minutes, at two looks in a row."""
    watch.clock.advance(600)
    watch.answer()
    for _ in range(2):
        watch.queue(holdable=["ep_a"] if holdable else [], ep_a=START)
    return watch.reasons()


@pytest.mark.parametrize("by", list(Hold))
def test_what_is_held_back_is_not_overdue(watch: Watch, by: Hold) -> None:
    watch.reported.held({"ep_a": Held(by, START + timedelta(seconds=600))})
    assert overdue(watch) == []
    watch.reported.held({"ep_b": Held(by, START + timedelta(seconds=600))})
    assert "ep_a is overdue" in watch.reasons()[0]


def test_what_should_have_been_let_go_long_since_is_overdue(watch: Watch) -> None:
    watch.reported.held({"ep_a": Held(Hold.BREAKER, START + timedelta(seconds=300))})
    assert "ep_a is overdue" in overdue(watch)[0]


def test_where_another_process_dispatches_it_may_hold_back_who_fails_or_has_a_rate(watch: Watch) -> None:
    watch.reported.dispatching(active=False)
    assert overdue(watch, holdable=True) == []
    assert "ep_a is overdue" in overdue(watch)[0]
    watch.reported.dispatching(active=True)
    assert "ep_a is overdue" in overdue(watch, holdable=True)[0]


async def test_the_monitor_knows_who_may_be_held_back(watch: Watch) -> None:
    await watch.store.open()
    for name, more in {"ep_well": {}, "ep_fails": {"failing_since": START}, "ep_rate": {"rate": 2.0}}.items():
        await watch.store.add_endpoint(endpoint(name, **more))
    stop = asyncio.Event()
    running = asyncio.create_task(watch.monitor.run(stop))
    while watch.monitor.queue.last is None or len(watch.monitor.queue.last.enabled) < 3:
        await asyncio.sleep(0)
        watch.clock.advance(5)
    stop.set()
    await running
    assert watch.monitor.queue.last.holdable == {"ep_fails", "ep_rate"}


async def test_the_monitor_asks_for_what_is_behind_the_position(watch: Watch) -> None:
    watch.reported.stored("main", batch("7", change()), (), 1)
    await watch.store.open()
    stop = asyncio.Event()
    running = asyncio.create_task(watch.monitor.run(stop))
    while len(watch.probe.asked) < 3:
        await asyncio.sleep(0)
        watch.clock.advance(5)
    stop.set()
    await running
    assert watch.probe.asked[:3] == ["7", "7", "7"]
    assert watch.probe.closed
    assert watch.monitor.queue.answered_at > START


async def test_a_question_that_fails_is_asked_again_and_a_defect_stops_nothing(watch: Watch) -> None:
    answers = iter([GONE, ZeroDivisionError(), None])

    class Moody(AskedProbe):
        async def ask(self, position: object) -> None:
            error = next(answers, None)
            if error:
                raise error

    watch.monitor._watched["main"].probe.__class__ = Moody
    await watch.store.open()
    stop = asyncio.Event()
    running = asyncio.create_task(watch.monitor.run(stop))
    failures = []
    while watch.monitor.ahead["main"].answered_at <= START:
        await asyncio.sleep(0)
        failure = watch.monitor.ahead["main"].failure
        if failure:
            failures.append(failure.error.message)
        watch.clock.advance(5)
    stop.set()
    await running
    assert GONE.message in failures
    assert "The question broke off: ZeroDivisionError; see the log." in failures
    assert watch.monitor.ahead["main"].failure is None


def _hangs(watch: Watch) -> list[str]:
    return hangs(watch.monitor, BOUNDS, watch.clock.now())


def test_what_others_do_wrong_is_nothing_that_hangs(watch: Watch) -> None:
    """A database that is away, a full disk, a source that stands still, a receiver that is slow."""
    watch.pass_time(600, ahead=1)
    assert "is stalled" in watch.reasons()[0]
    assert _hangs(watch) == []
    for _ in range(60):
        watch.clock.advance(10)
        watch.monitor.queue.failed(FULL, watch.clock.now())
        watch.monitor.ahead["main"].failed(GONE, watch.clock.now())
    assert len(watch.reasons()) == 2
    assert _hangs(watch) == []


def test_a_question_that_does_not_end_hangs(watch: Watch) -> None:
    watch.clock.advance(119)
    assert _hangs(watch) == []
    watch.clock.advance(1)
    since = "has been asked since 2026-11-24 21:48:00 UTC (2 min), and the question does not end."
    assert _hangs(watch) == [f"The outbox {since}", f"Source main {since}"]
    watch.queue()
    assert _hangs(watch) == [f"Source main {since}"]


def test_a_dispatch_that_sends_nothing_hangs(watch: Watch) -> None:
    due = watch.clock.now()
    for _ in range(34):
        watch.clock.advance(10)
        watch.queue(ep_a=due)
        watch.answer()
    assert [sentence[:40] for sentence in _hangs(watch)] == ["A delivery to endpoint ep_a is overdue: "]
    watch.reported.attempted([(outcome(), "ep_b")])
    assert watch.reasons() != []
    assert _hangs(watch) == [], "the endpoint is slow, not dispatch"


def test_a_dispatch_whose_outbox_fails_does_not_hang(watch: Watch) -> None:
    due = watch.clock.now()
    for _ in range(34):
        watch.clock.advance(10)
        watch.queue(ep_a=due)
        watch.answer()
    watch.reported.outbox_failed("leasing", FULL)
    assert _hangs(watch) == []
    watch.reported.outbox_worked("leasing")
    watch.reported.dispatching(active=False)
    assert _hangs(watch) == [], "another process dispatches"
