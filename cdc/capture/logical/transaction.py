"""Messages of a slot → the row changes of each committed transaction.

A transaction is emitted whole when it has committed, between its Begin and its Commit.  What is small is kept in
memory, what is huge on disk.  Its token names the transaction and the place of its commit; the ordinal of a change is
its number among all the changes that the slot sends of the transaction, wanted here or not: both depend on nothing but
the log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from cdc.capture.logical.decode import Begin, Change, Commit, Delete, Insert, Message, RelationMessage, Truncate, Update
from cdc.capture.logical.layout import SlotLayout, UnknownRow
from cdc.capture.logical.position import StoredCommit
from cdc.capture.spool import Spool
from cdc.model.change import Gap, Operation, RowChange
from cdc.model.errors import MalformedEvent

#: The layout of a table from here on; None when it is not wanted.
Layouts = Callable[[RelationMessage], Awaitable[SlotLayout | None]]
#: Bytes of messages that one transaction may have in memory.
_HUGE_BYTES = 16 << 20


@dataclass
class SlotTransaction:
    """One transaction.  ``name``: identifies it.  ``end``: the LSN behind its commit.  ``count`` and ``size``: all the
    changes that the slot sent of it, and the bytes of its messages.  ``spool`` holds the changes of a huge one; its
    reader closes it."""

    token: str
    time: datetime
    name: StoredCommit
    end: int = 0
    changes: list[RowChange] = field(default_factory=list)
    spool: Spool | None = None
    gaps: dict[str, Gap] = field(default_factory=dict)
    count: int = 0
    size: int = 0

    @property
    def rows(self) -> int:
        return len(self.changes) if self.spool is None else self.spool.count


class Assembler:
    """``huge``: changes that a transaction may have in memory.  ``seen``: what committed before this LSN is passed
    over."""

    def __init__(self, layouts: Layouts, huge: int, seen: int) -> None:
        self._layouts = layouts
        self._huge = huge
        self._seen = seen
        self._known: dict[int, SlotLayout | None] = {}
        self._open: SlotTransaction | None = None
        self._passing = False

    @property
    def under_way(self) -> bool:
        """Return whether a transaction has begun and not ended."""
        return self._open is not None

    async def add(self, message: Message, size: int) -> SlotTransaction | None:
        """The transaction that this message ends, if it does.  ``size``: of the message, in bytes."""
        match message:
            case Begin():
                self._begin(message)
            case Commit():
                return self._commit(message)
            case RelationMessage():
                self._known[message.oid] = await self._layouts(message)
            case _:
                self._current().size += size
                self._change(message)
        return None

    def close(self) -> None:
        if self._open is not None and self._open.spool is not None:
            self._open.spool.close()
        self._open = None

    def _begin(self, begin: Begin) -> None:
        if self._open is not None:
            raise _out_of_order()
        self._passing = begin.lsn < self._seen
        self._open = SlotTransaction(f"{begin.xid}.{begin.lsn}", begin.time, StoredCommit.of(begin))

    def _commit(self, commit: Commit) -> SlotTransaction | None:
        done, self._open = self._current(), None
        done.end = commit.end
        if self._passing:
            return None
        self._seen = commit.end
        return done

    def _current(self) -> SlotTransaction:
        if self._open is None:
            raise _out_of_order()
        return self._open

    def _change(self, message: Change) -> None:
        current = self._current()
        if self._passing:
            return
        if isinstance(message, Truncate):
            self._truncate(message, current)
            return
        ordinal = current.count
        current.count += 1
        layout = self._layout(message.relation)
        if layout is None:
            return
        try:
            change = layout.change(message, current.time, ordinal)
        except UnknownRow:
            current.gaps.setdefault(layout.table, Gap(layout.table, _operation(message), current.time))
            change = layout.deleted(message, current.time, ordinal) if isinstance(message, Delete) else None
        if change is not None:
            self._keep(change, current)

    def _truncate(self, message: Truncate, current: SlotTransaction) -> None:
        """Add a TRUNCATE.  Where only some of a table's partitions are emptied, the deleted rows are a gap."""
        emptied = set(message.relations)
        handled: set[str] = set()
        for relation in message.relations:
            ordinal = current.count
            current.count += 1
            layout = self._layout(relation)
            if layout is None or layout.table in handled:
                continue
            handled.add(layout.table)
            if layout.leaves <= emptied:
                self._keep(RowChange(Operation.TRUNCATE, layout.table, {}, None, None, current.time, ordinal), current)
            else:
                current.gaps.setdefault(layout.table, Gap(layout.table, Operation.TRUNCATE, current.time))

    def _layout(self, relation: int) -> SlotLayout | None:
        if relation not in self._known:
            raise MalformedEvent("The replication slot sent a row of a table that it did not announce.")
        return self._known[relation]

    def _keep(self, change: RowChange, current: SlotTransaction) -> None:
        if current.spool is not None:
            current.spool.add(change)
            return
        current.changes.append(change)
        if len(current.changes) > self._huge or current.size > _HUGE_BYTES:
            current.spool = Spool()
            for each in current.changes:
                current.spool.add(each)
            current.changes.clear()


def _operation(message: Insert | Update | Delete) -> Operation:
    match message:
        case Insert():
            return Operation.CREATE
        case Update():
            return Operation.UPDATE
        case Delete():
            return Operation.DELETE


def _out_of_order() -> MalformedEvent:
    return MalformedEvent("The replication slot does not send transactions one after the other.")
