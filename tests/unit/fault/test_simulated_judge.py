"""The judge of simulated runs finds each class of planted defect, and none in a run without one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from cdc.model.change import Position
from support.simulated.history import Change, Delivery, History, Promise, Request
from support.simulated.judge import Rules, judge

EP = "ep_1"
RULES = Rules(schedules={EP: (1.0, 2.0)}, whole=frozenset())


def change(number: int, record: str = "C1") -> Change:
    return Change(float(number), record, "customer.updated", f"v{number}")


def request(history: History, change: Change, sent: float, status: int | None = 204, *, event_id: str = "") -> Request:
    """A request that was answered after 0.1 s."""
    event_id = event_id or f"evt_{change.text}"
    made = Request(
        len(history.requests),
        "p0.1",
        EP,
        event_id,
        [Delivery(change.record, change.event, change.text, event_id)],
        sent,
        sent + 0.1,
        status,
        accepted=[sent + 0.05] if status == 204 else [],
    )
    history.requests.append(made)
    return made


def position(batch: int, outbox: str = "a") -> Position:
    return Position(f'{{"marker":["{outbox}",{batch}]}}')


def run() -> History:
    """Two changes of one record; the first is refused once and sent again when it is due."""
    history = History(lambda: 0.0)
    history.changes = [change(1), change(2), change(3, "C2")]
    request(history, change(1), 4.0, 500)
    history.promises.append(Promise(EP, "evt_v1", 1, 4.1, 5.1, 4.1, 500))
    request(history, change(1), 5.1)
    request(history, change(2), 5.3)
    request(history, change(3, "C2"), 5.3)
    history.positions = [(float(batch), "p0.1", position(batch)) for batch in (1, 2, 3)]
    return history


def test_a_run_without_a_defect() -> None:
    assert judge(run(), RULES) == []


def lost(history: History) -> None:
    history.requests[3].accepted = []


def invented(history: History) -> None:
    request(history, change(9), 6.0)


def before_its_commit(history: History) -> None:
    history.changes[2] = replace(history.changes[2], at=5.4)


def another_id(history: History) -> None:
    request(history, change(3, "C2"), 6.0, event_id="evt_other")


def one_id_for_two(history: History) -> None:
    history.changes.append(change(4, "C4"))
    request(history, change(4, "C4"), 6.0, event_id="evt_v3")


def reordered(history: History) -> None:
    history.requests[2].sent = 5.0


def at_once(history: History) -> None:
    request(history, change(3, "C2"), 5.35)


def never_ended(history: History) -> None:
    history.requests[0].ended = None


def again(history: History) -> None:
    history.delivered[EP, "evt_v3"] = 5.5
    request(history, change(3, "C2"), 6.0)


def early(history: History) -> None:
    history.requests[1].sent = 4.9


def too_soon(history: History) -> None:
    history.promises[0] = replace(history.promises[0], due=4.6)


def too_late(history: History) -> None:
    history.promises[0] = replace(history.promises[0], due=5.3)


def too_soon_for_its_receiver(history: History) -> None:
    history.requests[0].status, history.requests[0].retry_after = 429, 3


def backwards(history: History) -> None:
    history.positions.append((6.0, "p1.2", position(2)))


def aside(history: History) -> None:
    history.positions.append((6.0, "p1.2", Position('{"done":["7"],"marker":["a",3]}')))


@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        (lost, "lost"),
        (invented, "invented"),
        (before_its_commit, "invented"),
        (another_id, "doubled"),
        (one_id_for_two, "doubled"),
        (reordered, "reordered"),
        (at_once, "at once"),
        (never_ended, "at once"),
        (again, "again"),
        (early, "early"),
        (too_soon, "at the wrong time"),
        (too_late, "at the wrong time"),
        (too_soon_for_its_receiver, "at the wrong time"),
        (backwards, "backwards"),
        (aside, "backwards"),
    ],
)
def test_a_planted_defect_is_found(plant: Callable[[History], None], kind: str) -> None:
    history = run()
    plant(history)
    found = judge(history, RULES)
    assert [each for each in found if each.startswith(f"{kind}: ")], found


def test_a_receiver_that_asks_for_no_pause_asks_not_for_one_of_zero_seconds() -> None:
    """The schedule holds for both; only a longer request takes its place."""
    history = run()
    for asked in (None, 0):
        history.requests[0].status, history.requests[0].retry_after = 429, asked
        assert judge(history, RULES) == []


def busy_run(results: str) -> History:
    """Many requests before the failure of the first change: ``+`` accepted, ``-`` failed, ``r`` rejected.  Its retry
    is scheduled 0.4 s after it, sooner than the schedule says."""
    history = run()
    statuses = {"+": 204, "-": None, "r": 400}
    for number, result in enumerate(results):
        other = change(number + 10, f"D{number}")
        other = replace(other, at=1.0)
        history.changes.append(other)
        request(history, other, 2.0 + number / 100, statuses[result])
        if result != "+":
            request(history, other, 6.0)
    too_soon(history)
    return history


@pytest.mark.parametrize("results", ["+++++----", "---------", "+----+++++----", "-----+++++" + "+" * 9])
def test_a_breaker_that_may_be_open_shortens_waits(results: str) -> None:
    """Half of ten results are failures, with the one that the retry belongs to: the breaker opens, seed 61049."""
    history = busy_run(results)
    assert judge(history, RULES) == []


@pytest.mark.parametrize("results", ["", "--------", "++++++---", "+++++---r", "+" * 30 + "--"])
def test_fewer_failures_shorten_no_wait(results: str) -> None:
    assert [each for each in judge(busy_run(results), RULES) if each.startswith("at the wrong time: ")]


def test_failures_of_another_process_shorten_no_wait() -> None:
    history = busy_run("---------")
    for each in history.requests[4:]:
        each.process = "p1.1"
    assert [each for each in judge(history, RULES) if each.startswith("at the wrong time: ")]


def test_a_dead_letter_lets_the_next_go() -> None:
    history = run()
    history.requests[1].accepted = []
    assert any(each.startswith("reordered: ") for each in judge(history, RULES))
    history.dead[EP, "evt_v1"] = 5.2
    request(history, change(1), 7.0)
    assert judge(history, RULES) == []


def test_an_endpoint_that_gets_each_event_after_all_earlier_ones() -> None:
    history = run()
    history.requests[2].sent, history.requests[2].ended = 5.3, 5.4
    assert any(
        each.startswith("reordered: ") for each in judge(history, replace(RULES, whole=frozenset({EP})))
    )  # requests 2 and 3 are on their way together
    history.requests[3].sent, history.requests[3].ended, history.requests[3].accepted = 5.5, 5.6, [5.55]
    assert judge(history, replace(RULES, whole=frozenset({EP}))) == []


def test_repetitions_are_allowed_after_a_death_or_a_power_failure() -> None:
    history = run()
    history.requests[3].died = True
    request(history, change(3, "C2"), 5.35)
    assert judge(history, RULES) == []
    history.delivered[EP, "evt_v3"] = 5.34
    assert judge(history, replace(RULES, undone=True)) == []
