"""One run from a seed: faults drawn and injected while writers write, then the judge's verdict."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from support.fault.faults import FAULTS
from support.fault.judge import Verdict
from support.fault.routes import Route
from support.fault.run import Plan, Run
from support.fault.workload import Tally
from support.servers import KeeperClient

BULKS = 2


@dataclass
class Result:
    """``stuck``: waits in which nothing arrived.  ``crashes``: what the consumer did that no fault may cause.
    ``called``: judged calls of `cdc doctor`.  ``misjudged``: what they called WRONG."""

    route: str
    seed: int
    verdict: Verdict
    faults: Counter[str]
    tally: Tally
    seconds: float
    stuck: int
    crashes: list[str]
    folder: Path
    called: int
    misjudged: list[str]

    @property
    def failures(self) -> list[str]:
        found = [f"{name}: {number}" for name, number in self.verdict.faults.items()]
        found += [f"doctor: {each}" for each in self.misjudged]
        return [*found, *(f"ERP: {each}" for each in self.tally.errors), *self.crashes]


def go(route: Route, plan: Plan, keeper: KeeperClient, folder: Path) -> Result:
    """Run the plan.  Afterwards the folder holds the ledger, the received requests and the consumer's log."""
    began = time.monotonic()
    run = Run(route, plan, keeper, folder)
    with run.prepared():
        with run.doctors.working(run.writers.work) if plan.doctors else nullcontext():
            _trouble(run)
        run.start()
        run.writers.work.until_written()
        verdict = _verdict(run)
        run.writers.close()
        run.crashes += run.writers.vanished()
        run.note_crash()
    (folder / "ledger").write_text(run.ledger.dump(), encoding="utf-8")
    seconds = time.monotonic() - began
    return Result(
        route.name,
        plan.seed,
        verdict,
        run.faults,
        run.writers.tally,
        seconds,
        run.stuck,
        run.crashes,
        folder,
        run.doctors.calls,
        run.doctors.wrong,
    )


def _verdict(run: Run) -> Verdict:
    """Return the verdict.  Where faults made gaps, the last state of each record must arrive without another change of
    it; then every row is changed, and arrives with all its columns."""
    if not run.gaps | run.shapes:
        return run.settled()
    run.restarted()
    verdict = run.settled()
    if verdict.lost:
        return verdict
    run.touch_altered()
    return run.settled()


def _trouble(run: Run) -> None:
    weights = {name: weight for name, weight in run.plan.weights.items() if FAULTS[name].applies(run.route)}
    bulks = set(run.dice.sample(range(run.plan.faults), min(run.plan.faults, BULKS)))
    for number in count():
        if number >= run.plan.faults and run.doctors.calls >= run.plan.doctors:
            break
        run.start()
        run.writers.work.give(run.plan.changes)
        if number in bulks:
            run.writers.bulk()
        (name,) = run.dice.choices(list(weights), list(weights.values()))
        FAULTS[name].inject(run)
        run.faults[name] += 1


def table(results: Sequence[Result]) -> str:
    """The figures, a row for each run, as Markdown."""
    head = ("route", "changes", "kills", "other faults", "lost", "invented", "reordered", "doubled", "wrong", "split")
    lines = ["| " + " | ".join((*head, "again", "read", "seconds", "seed")) + " |", "|" + " --- |" * 14]
    for each in results:
        v, kills = each.verdict, each.faults["kill"]
        numbers: list[Any] = [each.route, v.delivered, kills, each.faults.total() - kills, v.lost, v.invented]
        numbers += [v.reordered, v.doubled, v.wrong, v.split, v.again, v.read, round(each.seconds), each.seed]
        lines.append("| " + " | ".join(map(str, numbers)) + " |")
    return "\n".join(lines)
