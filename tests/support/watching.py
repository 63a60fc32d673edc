"""A monitor whose clock, outbox and sources the test moves."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

from cdc.capture.probe import Backlog
from cdc.model.change import Batch, Gap, Operation, Position, RowChange, Transaction
from cdc.model.delivery import Attempt, DeliveryState, Outcome
from cdc.model.errors import SourceUnavailable
from cdc.outbox.store import OutboxStore
from cdc.web.health import HealthLimits, reasons
from cdc.web.monitor import Monitor, Queue, Reported, WatchedSource
from support.manual_clock import START, ManualClock
from support.memory_outbox import MemoryOutbox

NOTHING = Backlog(0.0, 0)
BOUNDS = HealthLimits(stalled=timedelta(seconds=60), overdue=timedelta(seconds=300))


@dataclass
class AskedProbe:
    """Answers ``ahead``, or fails."""

    ahead: Backlog | None = NOTHING
    error: SourceUnavailable | None = None
    asked: list[Position | None] = field(default_factory=list)
    closed: bool = False
    server: str = "PostgreSQL 18.4"

    async def ask(self, position: Position | None) -> Backlog | None:
        self.asked.append(position)
        if self.error:
            raise self.error
        return self.ahead

    async def close(self) -> None:
        self.closed = True


class IdleSource:
    """A source as a monitor sees it."""

    name = "main"
    standby = False
    blocked = ""
    problems: Sequence[str] = ()


class Watch:
    """One source, ``main``.  Everything is asked and answered as the test says."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.reported = Reported(self.clock, ("main",))
        self.source = IdleSource()
        self.probe = AskedProbe()
        watched = WatchedSource(self.source, self.probe)  # type: ignore[arg-type]  # no more of it is looked at
        self.store = MemoryOutbox()
        self.monitor = Monitor(cast(OutboxStore, self.store), {"main": watched}, self.reported, self.clock)

    def reasons(self) -> list[str]:
        return reasons(self.monitor, BOUNDS, self.clock.now())

    def answer(self, seconds: float = 0.0, transactions: int | None = 0) -> None:
        """The source's probe."""
        self.monitor.ahead["main"].came(Backlog(seconds, transactions), self.clock.now())

    def queue(self, holdable: Collection[str] = (), **due_since: datetime) -> None:
        """The outbox; the endpoints that are named have something due."""
        counts = {name: {DeliveryState.PENDING: 3} for name in due_since}
        queue = Queue(counts, dict.fromkeys(due_since, True), due_since, frozenset(holdable))
        self.monitor.queue.came(queue, self.clock.now())

    def reading(self) -> None:
        """Report like a healthy consumer."""
        self.reported.opening("main")
        self.reported.reading("main", Position("0"))
        self.reported.dispatching(active=True)
        self.queue()
        self.answer()

    def pass_time(self, seconds: float, *, ahead: float = 0.0) -> None:
        """Let time pass; outbox and probe answer every five seconds.  ``ahead``: of the probe at first, it grows."""
        for second in range(5, int(seconds) + 1, 5):
            self.clock.advance(5)
            self.queue()
            self.answer(ahead + second if ahead else 0.0, 2 if ahead else 0)


def batch(position: str, *changes: RowChange, gaps: tuple[Gap, ...] = ()) -> Batch:
    transactions = (Transaction(f"t{position}", changes),) if changes else ()
    return Batch(transactions, Position(position), gaps)


def change(table: str = "clientes", operation: Operation = Operation.CREATE) -> RowChange:
    row = {"codcliente": "1", "nombre": "Ana Secreta"}
    return RowChange(operation, table, {"codcliente": "1"}, None, row, START, 1)


def outcome(
    state: DeliveryState = DeliveryState.DELIVERED, status: int | None = 204, duration: float = 0.02
) -> Outcome:
    url = "https://example.com/hook"
    return Outcome(Attempt("dlv_1", 1, "evt_1", "customer.created", url, status, START, duration, "", ""), state)
