"""How rows of a journal are put together: transactions in order, parts that are read together.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from operator import attrgetter

from cdc.capture.journal.database import JournalRow, TransactionHead
from cdc.model.change import Gap, RowChange

#: Transactions that are read together, by their tokens, or a huge one.
Part = list[str] | TransactionHead

_ordinal = attrgetter("change.ordinal")


@dataclass(frozen=True, slots=True)
class JournalLimits:
    """``batch``: rows read and stored together.  ``huge``: a transaction with more rows than this is read in parts.
    ``heads``: transactions listed at a time.  ``idle``: seconds to wait at most before looking again.
    ``standby``: seconds between two tries to become the consumer.  ``reread_pause``: between two re-reads of a table
    whose trigger could not be repaired.  ``check_pause``: between two looks at all triggers."""

    batch: int = 1000
    huge: int = 2000
    heads: int = 20_000
    idle: float = 1.0
    standby: float = 5.0
    reread_pause: timedelta = timedelta(minutes=1)
    check_pause: timedelta = timedelta(minutes=1)


def parts(heads: Iterable[TransactionHead], limits: JournalLimits) -> Iterator[Part]:
    """Tokens of transactions that are read together, about ``batch`` rows; a huge transaction by itself."""
    tokens: list[str] = []
    rows = 0
    for head in heads:
        huge = head.rows > limits.huge
        if tokens and (huge or rows + head.rows > limits.batch):
            yield tokens
            tokens, rows = [], 0
        if huge:
            yield head
        else:
            tokens.append(head.token)
            rows += head.rows
    if tokens:
        yield tokens


def by_transaction(rows: Iterable[JournalRow]) -> dict[str, list[JournalRow]]:
    """Token → rows by ordinal; the transactions by their greatest one."""
    grouped: dict[str, list[JournalRow]] = {}
    for row in rows:
        grouped.setdefault(row.token, []).append(row)
    for group in grouped.values():
        group.sort(key=_ordinal)
    return dict(sorted(grouped.items(), key=lambda item: _ordinal(item[1][-1])))


def changes_of(rows: Iterable[JournalRow]) -> tuple[RowChange, ...]:
    """A gap is one, too, if it says which record is gone."""
    return tuple([row.change for row in rows if not row.gap or row.change.before is not None])


def gaps_of(rows: Iterable[JournalRow]) -> tuple[Gap, ...]:
    return tuple(Gap(row.change.table, row.change.operation, row.change.time) for row in rows if row.gap)


def marked(parts: Iterator[tuple[int, list[int]]]) -> Iterator[tuple[int, list[int], bool]]:
    """Each part with whether it is the last."""
    part = next(parts, None)
    while part is not None:
        following = next(parts, None)
        yield *part, following is None
        part = following
