"""One simulated run: what the plan does to a stage, and the end that must be reached."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cdc.model.delivery import DeliveryFilter, DeliveryState, DeliveryView
from cdc.model.endpoint import EndpointChange, Order
from cdc.outbox import endpoints, log, replays
from cdc.outbox.sqlite.database import SqliteDatabase, finished
from support.simulated.consumer import SOURCE, as_in_containers, without_log
from support.simulated.faults import Faults
from support.simulated.history import History
from support.simulated.judge import Rules, judge
from support.simulated.loop import Endless, VirtualLoop
from support.simulated.outbox import START
from support.simulated.plan import HEALED, Kind, Plan, plan_of
from support.simulated.stage import STOPPING, Stage

#: Seconds after the last fault within which everything must have been delivered.
PATIENCE = 150.0


@dataclass(frozen=True)
class Result:
    """``violations``: none is as it should be.  ``steps``: callbacks that ran.  ``seconds``: simulated."""

    plan: Plan
    violations: list[str]
    digest: str
    steps: int
    seconds: float
    requests: int
    changes: int
    trace: list[str] = field(repr=False, default_factory=list)


def simulate(seed: int, *, trace: bool = False) -> Result:
    """Run one seed.  ``trace``: keep what happened, line by line."""
    plan, loop = plan_of(seed), VirtualLoop()
    history = History(loop.time, [] if trace else None)
    with as_in_containers(), without_log(), _reproducible(seed):
        try:
            loop.run(_run(Stage(plan, loop, history)))
        except Endless as error:
            history.complain(f"stuck: it runs for ever without letting time pass: {error}")
        finally:
            loop.close()
    for defect in loop.defects:
        history.complain(f"unhandled: {defect.get('message')} {defect.get('exception')!r}")
    return Result(
        plan,
        judge(history, _rules(plan)),
        history.digest(),
        loop.steps,
        loop.time(),
        len(history.requests),
        len(history.changes),
        history.lines or [],
    )


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """Seed the random numbers of the product, and collect no garbage: what a collection closes, and when, depends on
    what else the process has done."""
    collecting, state = gc.isenabled(), random.getstate()
    gc.disable()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
        if collecting:
            gc.enable()


def _rules(plan: Plan) -> Rules:
    return Rules(
        schedules={hook.id: hook.retry_schedule for hook in plan.hooks},
        whole=frozenset(hook.id for hook in plan.hooks if hook.order is Order.ENDPOINT),
        fenced=plan.fenced,
        timely=not plan.has(Kind.CLOCK, Kind.PAUSE),
        undone=plan.has(Kind.POWER),
    )


async def _run(stage: Stage) -> None:
    faults = Faults(stage)
    stage.begin()
    faults.begin()
    await asyncio.sleep(HEALED if stage.plan.faults else 0.0)
    faults.heal()
    await _until_delivered(stage)
    await _stop(stage)


async def _until_delivered(stage: Stage) -> None:
    deadline = stage.loop.time() + PATIENCE
    while not _is_delivered(stage):
        if stage.loop.time() > deadline:
            left = [f"{view.id} {view.state}" for view in _undelivered(stage)]
            stage.history.complain(f"stuck: after {PATIENCE:.0f} s without a fault: {left}")
            return
        await asyncio.sleep(1.0)
        _operate(stage)


def _is_delivered(stage: Stage) -> bool:
    if stage.erp.busy or stage.server.journal or _undelivered(stage):
        return False
    if any(consumer.process.dead or consumer.process.stop.is_set() for consumer in stage.consumers):
        return False
    (stored,) = stage.disk.database.execute("SELECT COUNT(*) FROM event WHERE source = ?", (SOURCE,)).fetchone()
    return int(stored) >= len(stage.history.changes)


def _undelivered(stage: Stage) -> list[DeliveryView]:
    views = finished(log.deliveries(SqliteDatabase(stage.disk.database), DeliveryFilter(), 10_000, None))
    return [view for view in views if view.state is not DeliveryState.DELIVERED]


def _operate(stage: Stage) -> None:
    """Enable endpoints and retry dead letters, as an operator does."""
    database = SqliteDatabase(stage.disk.database)
    found = finished(endpoints.opened(database, endpoints.OpenedEndpoints()))
    for _, endpoint in found.all:
        if not endpoint.enabled:
            stage.history.note(f"{endpoint.id} is enabled")
            finished(endpoints.change(database, endpoint.id, EndpointChange(enabled=True, disabled_reason="")))
    for view in _undelivered(stage):
        if view.state is DeliveryState.DEAD:
            stage.history.note(f"{view.id} is retried")
            finished(replays.retry(database, view.id, START))


async def _stop(stage: Stage) -> None:
    stage.ending = True
    for consumer in stage.consumers:
        consumer.process.stop.set()
    await asyncio.sleep(STOPPING)
    for consumer in stage.consumers:
        if not consumer.process.ended:
            stage.history.complain(f"{consumer.process.name} did not stop in {STOPPING} s")
        stage.loop.kill(consumer.process)
    await asyncio.sleep(STOPPING)  # the cancelled tasks end
    stage.disk.close()
