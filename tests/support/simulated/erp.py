"""The ERP: transactions on customers that overlap, commit out of order, and are sometimes rolled back."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

from cdc.capture.journal.database import JournalRow
from cdc.model.change import Operation, Row, RowChange
from support.simulated.database import CUSTOMERS, Server
from support.simulated.history import Change
from support.simulated.network import NOWHERE, Machine
from support.simulated.outbox import START
from support.simulated.plan import WORKING, Plan

_EVENTS = {
    Operation.CREATE: "customer.created",
    Operation.UPDATE: "customer.updated",
    Operation.DELETE: "customer.deleted",
}


@dataclass
class Erp:
    """``busy``: transactions that have not ended."""

    machine: Machine
    server: Server
    plan: Plan
    busy: int = 0
    _locked: set[str] = field(default_factory=set)
    _numbers: count[int] = field(default_factory=lambda: count(1))
    _texts: count[int] = field(default_factory=lambda: count(1))

    def begin(self) -> None:
        """Schedule everything that it writes."""
        choice = self.machine.random
        for _ in range(self.plan.transactions):
            self.busy += 1
            self.machine.loop.call_later(choice.uniform(0.0, WORKING), self._write, context=NOWHERE)

    def _write(self) -> None:
        choice, server = self.machine.random, self.server
        free = [name for name in map("C{}".format, range(self.plan.records)) if name not in self._locked]
        chosen = choice.sample(free, min(len(free), choice.choice((1, 1, 2, 4))))
        token = str(next(self._numbers))
        rows: list[JournalRow] = []
        new: dict[str, Row | None] = {}
        changes: list[Change] = []
        for name in chosen:
            self._locked.add(name)
            before = server.customers.get(name)
            after: Row | None = {"codcliente": name, "nombre": f"v{next(self._texts)}"}
            operation = Operation.CREATE if before is None else Operation.UPDATE
            if before is not None and choice.random() < 0.15:
                operation, after = Operation.DELETE, None
            rows.append(self._row(token, operation, name, before, after))
            if after is not None and choice.random() < 0.15:  # once more: one event covers both
                again = {"codcliente": name, "nombre": f"v{next(self._texts)}"}
                rows.append(self._row(token, Operation.UPDATE, name, after, again))
                after = again
            new[name] = after
            shown = after if after is not None else before
            assert shown is not None
            changes.append(Change(0.0, name, _EVENTS[operation], str(shown["nombre"])))
        seconds = choice.choice((0.0, 0.01, 2.0)) * choice.random()
        self.machine.loop.call_later(seconds, self._end, rows, new, changes, choice.random() < 0.1, context=NOWHERE)

    def _row(self, token: str, operation: Operation, name: str, before: Row | None, after: Row | None) -> JournalRow:
        time = START + timedelta(seconds=self.machine.loop.time())
        number = next(self._numbers)
        return JournalRow(
            token, RowChange(operation, CUSTOMERS.name, {"codcliente": name}, before, after, time, number)
        )

    def _end(self, rows: list[JournalRow], new: dict[str, Row | None], changes: list[Change], undo: bool) -> None:
        self.busy -= 1
        self._locked.difference_update(new)
        history = self.machine.history
        history.note(f"{'rollback' if undo else 'commit'} {[(each.record, each.event, each.text) for each in changes]}")
        if undo:
            return
        now = history.clock()
        history.changes += [Change(now, each.record, each.event, each.text) for each in changes]
        for name, row in new.items():
            if row is None:
                self.server.customers.pop(name, None)
            else:
                self.server.customers[name] = row
        self.server.commit(rows)
