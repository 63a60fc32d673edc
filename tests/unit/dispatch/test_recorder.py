"""An outcome that the outbox cannot take keeps no other one from being recorded."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from cdc.dispatch.outcome_writer import AHEAD, LEAST, LIMIT, Finished, OutcomeWriter, log_attempts
from cdc.dispatch.request import BATCH, batch_id
from cdc.model.clock import SystemClock
from cdc.model.delivery import DeliveryState, LeasedDelivery
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import MOST_OUTCOMES
from support.manual_clock import START
from support.outboxes import EVERYTHING, endpoint, event, lease, outcome, store
from support.waiting import HANG_SECONDS


async def test_delivery_that_is_gone_is_left_out_and_the_others_are_recorded(tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "cdc.db")
    await outbox.open()
    await outbox.add_endpoint(endpoint())
    await store(outbox, *(event(number) for number in range(5)))
    leased = await lease(outbox)
    with closing(sqlite3.connect(tmp_path / "cdc.db")) as other:  # as an operator's hand, or a damaged file
        other.execute("DELETE FROM delivery WHERE id = (SELECT id FROM delivery ORDER BY id LIMIT 1 OFFSET 2)")
        other.commit()
    recorder = OutcomeWriter(outbox, "w", SystemClock(), lambda: None)
    for each in leased:
        recorder.add([outcome(each)], "ep_a")
    recorder.close()
    async with asyncio.timeout(HANG_SECONDS):
        await recorder.run()
    views = await outbox.deliveries(EVERYTHING, 10)
    assert [view.state for view in views] == [DeliveryState.DELIVERED] * 4
    assert recorder.unrecorded == 0
    await outbox.close()


class Accepting:
    """An outbox that accepts all."""

    most_outcomes = MOST_OUTCOMES

    async def finish(self, *_arguments: object) -> None:
        pass


@pytest.mark.parametrize(
    ("writes", "unrecorded"),
    [
        ([], LEAST),
        ([1], LEAST),
        ([LEAST], AHEAD * LEAST),
        ([100], AHEAD * 100),
        ([LIMIT], LIMIT),
        ([100, 1], AHEAD * 100 // 2),  # fewer at once may be an accident
        ([100, 1, 1], AHEAD * 100 // 4),
        ([100, 60], AHEAD * 60),
    ],
)
async def test_unrecorded_requests_are_bounded_by_the_last_writes(writes: Sequence[int], unrecorded: int) -> None:
    leased = LeasedDelivery("dlv_1", "ep_a", "evt_1", "invoice.paid", "f:1", 1, START, b"{}")
    recorder = OutcomeWriter(cast("Any", Accepting()), "w", SystemClock(), lambda: None)
    recorder.close()
    for requests in writes:
        for _ in range(requests):
            recorder.add([outcome(leased)], "ep_a")
        await recorder.run()
    added = 0
    while not recorder.full:
        recorder.add([outcome(leased)], "ep_a")
        added += 1
    assert added == unrecorded


async def test_as_many_outcomes_are_written_together_as_the_outbox_takes() -> None:
    """Those of one request always are."""
    leased = LeasedDelivery("dlv_1", "ep_a", "evt_1", "invoice.paid", "f:1", 1, START, b"{}")
    written = list[int]()

    class Few(Accepting):
        most_outcomes = 5

        async def finish(self, *arguments: Any) -> None:
            written.append(len(arguments[1]))

    recorder = OutcomeWriter(cast("Any", Few()), "w", SystemClock(), lambda: None)
    for size in (2, 2, 2, 7, 1, 1):
        recorder.add([outcome(leased)._replace(batch=size) for _ in range(size)], "ep_a")
    recorder.close()
    await recorder.run()
    assert written == [4, 2, 7, 2]
    assert recorder.unrecorded == 0
    assert not recorder.full


def test_log_has_a_line_for_each_request_and_warnings_for_failures() -> None:
    lease = [LeasedDelivery(f"dlv_{n}", "ep_a", f"evt_{n}", "a.b", f"f:{n}", n, START, b"{}") for n in range(6)]
    batches = [*[outcome(each)._replace(batch=2) for each in lease[:4]], outcome(lease[4], DeliveryState.DEAD)]
    batches.append(outcome(lease[5], DeliveryState.PENDING, START, "It answered 410 Gone."))
    with capture_logs() as lines:
        log_attempts([Finished(each, "ep_a") for each in batches])
    assert [(line["log_level"], line["event"]) for line in lines] == [
        ("warning", "attempt"), ("warning", "attempt"), ("warning", "endpoint disabled"), ("info", "attempt"),
        ("info", "attempt"),
    ]  # fmt: skip
    dead, pending, disabled, first, second = lines
    assert (dead["state"], dead["next"], dead["event_id"], "batch" in dead) == ("dead", None, "evt_4", False)
    assert (pending["next"], disabled["reason"]) == (START.isoformat(), "It answered 410 Gone.")
    for line, events in ((first, ["evt_0", "evt_1"]), (second, ["evt_2", "evt_3"])):
        assert (line["batch"], line["event_id"], line["event_name"]) == (2, batch_id(events), BATCH)
    with capture_logs() as lines:
        log_attempts([Finished(outcome(lease[0], DeliveryState.DEAD), "ep_a")])
    assert len(lines) == 1
