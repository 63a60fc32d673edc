"""What an ERP's writes feel of a backfill: one that writes all the time, and a backfill that goes on and stops in turn.

The turns are short, so that what the machine does otherwise meets both sides alike; all turns of a side together give
its percentiles.  Halves of the turns without a backfill, compared with each other, say how much of a ratio is chance.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from dataclasses import dataclass, field

from measure import percentile

from cdc.model.backfill import Backfill, BackfillState
from cdc.model.clock import SystemClock
from cdc.outbox.store import OutboxStore
from support.database import Database

#: Transactions of the ERP a second.
PACE = 100
#: Seconds before a turn counts: the last page of the other side is stored meanwhile.
_SETTLING = 0.5
_CLOCK = SystemClock()


def job(number: int) -> Backfill:
    return Backfill(f"bf_{number}", "main", "facturascli", "bench", _CLOCK.now())


class Writer(threading.Thread):
    """Updates an invoice and commits, `PACE` times a second.  ``spent``: when each began, and the seconds it took."""

    def __init__(self, database: Database, rows: int) -> None:
        super().__init__(daemon=True)
        self._database = database
        self._rows = rows
        self._ended = threading.Event()
        self.spent: list[tuple[float, float]] = []

    def run(self) -> None:
        connection = self._database.connect()
        cursor, started, number = connection.cursor(), time.perf_counter(), 0
        while not self._ended.wait(max(0.0, started + number / PACE - time.perf_counter())):
            number += 1
            began = time.perf_counter()
            row = number * 7919 % self._rows + 1
            cursor.execute("UPDATE facturascli SET total = total + 1 WHERE idfactura = %s", [row])
            connection.commit()
            self.spent.append((began, time.perf_counter() - began))
        connection.close()

    def end(self) -> None:
        self._ended.set()
        self.join()

    def between(self, began: float, ended: float) -> list[float]:
        return [spent for at, spent in self.spent if began <= at < ended]


@dataclass
class Side:
    """``turns``: milliseconds of each write, one list a turn.  ``rows``: that the backfill stored in ``seconds``."""

    turns: list[list[float]] = field(default_factory=list)
    rows: int = 0
    seconds: float = 0.0

    def percentile(self, per_cent: float, which: slice = slice(None)) -> float:
        return percentile([spent * 1000 for turn in self.turns[which] for spent in turn], per_cent)


class Backfiller:
    """Has the consumer that keeps its events in ``outbox`` go on with a backfill, or not."""

    def __init__(self, outbox: OutboxStore, runner: asyncio.Runner) -> None:
        self._outbox = outbox
        self._runner = runner
        self._numbers = itertools.count()
        self._backfill = job(0)

    def begin(self) -> None:
        self._backfill = job(next(self._numbers))
        self._runner.run(self._outbox.add_backfill(self._backfill))
        while self.rows() == 0:
            time.sleep(0.01)

    def rows(self) -> int:
        """That it has stored."""
        found = self._runner.run(self._outbox.find_backfill(self._backfill.id)) or self._backfill
        if found.state is not BackfillState.RUNNING:
            raise SystemExit(f"the backfill ended before its turn did: more --rows or fewer --seconds {found.error}")
        return found.rows

    def end(self) -> None:
        cancelled = self._outbox.set_backfill(self._backfill.id, BackfillState.CANCELLED, "", _CLOCK.now())
        self._runner.run(cancelled)


def measure_writes(writer: Writer, backfiller: Backfiller, turns: int, seconds: float) -> None:
    """``turns``: of each side, the first of the two changing; ``seconds``: of a turn.  A consumer runs."""
    ours, other = Side(), Side()
    writer.start()
    try:
        for number in range(turns):
            if number % 2:
                _turn(ours, writer, seconds, backfiller)
            _turn(other, writer, seconds, None)
            if not number % 2:
                _turn(ours, writer, seconds, backfiller)
    finally:
        writer.end()
    _report(ours, other)


def _turn(side: Side, writer: Writer, seconds: float, backfiller: Backfiller | None) -> None:
    if backfiller is not None:
        backfiller.begin()
    time.sleep(_SETTLING)
    before, began = 0 if backfiller is None else backfiller.rows(), time.perf_counter()
    time.sleep(seconds)
    ended = time.perf_counter()
    if backfiller is not None:
        side.rows += backfiller.rows() - before
        backfiller.end()
    side.seconds += ended - began
    side.turns.append(writer.between(began, ended))


def _report(ours: Side, other: Side) -> None:
    numbers = [sum(map(len, side.turns)) for side in (ours, other)]
    rate = ours.rows / ours.seconds
    print(f"  ERP writes, {numbers[0]:,} with a backfill of {rate:,.0f} rows/s, {numbers[1]:,} without; milliseconds:")
    for per_cent in (50.0, 90.0, 95.0, 99.0):
        mine, others = ours.percentile(per_cent), other.percentile(per_cent)
        halves = [other.percentile(per_cent, slice(first, None, 2)) for first in (0, 1)]
        chance = max(halves) / min(halves)
        print(
            f"    p{per_cent:.0f} {mine:6.2f} {others:6.2f}  {mine / others:.2f} times (halves without: {chance:.2f})"
        )
