"""Row changes, the transactions that committed them, and the positions of sources, or the mark of a source that moved.

Snapshot rows are stored in the outbox for a source that can only compare.  A store does not read them: a key is bytes,
at least one, whose order is that of the keys; digest and row are as the source made them.

A source has a mark in place of its position while it moves to another outbox, and after it has left.  Every store names
the position before, so that none succeeds where the mark is; no source reads after it.  The text is no JSON, which
positions are: earlier versions of this program refuse it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple, NewType, Protocol

from cdc.model.errors import SourceError


class SnapshotRow(NamedTuple):
    """``digest``: of the row; two rows with one digest are the same.  ``row``: packed."""

    key: bytes
    digest: bytes
    row: bytes


@dataclass(frozen=True, slots=True)
class SnapshotChange:
    """A change of the rows that are stored of one table.  ``reset``: forget all of it first.  ``gone``: keys to forget;
    ``written``: rows to keep, in the place of those that had their keys.

    ``behind``: the position of the source with which the kept rows were read: when the outbox has another one, another
    process has stored the same changes."""

    table: str
    written: tuple[SnapshotRow, ...] = ()
    gone: tuple[bytes, ...] = ()
    _: KW_ONLY
    behind: Position | None
    reset: bool = False


class RefusalStore(Protocol):
    """One text for each API: the calls that it refused.  All processes of the installation share it."""

    async def refusals(self, api: str) -> str:
        """Return the text; empty at first."""
        ...

    async def change_refusals(self, api: str, change: Callable[[str], str]) -> None:
        """Replace the text by ``change(text)``; no other process reads or changes it in between."""
        ...


class ReaderStore(Protocol):
    """The database sessions by which processes of this outbox read the sources."""

    async def reading_session(self, source: str) -> str:
        """Return the session that was noted last; empty before the first."""
        ...

    async def note_reading_session(self, source: str, session: str) -> None:
        """Note the session that has the consumer lock of the source's database now."""
        ...


class SnapshotStore(RefusalStore, Protocol):
    async def become_reader(self, source: str) -> bool:
        """Return whether this process may read a source that has no lock of its own.  It has the part until
        `stop_reading`, or until it closes the outbox or dies, and the others get False until then."""
        ...

    async def stop_reading(self, source: str) -> None:
        """Let another process read it; also where this one does not."""
        ...

    async def snapshot_digests(
        self, source: str, table: str, limit: int, after: bytes | None = None, until: bytes | None = None
    ) -> list[tuple[bytes, bytes]]:
        """Keys with their digests in the order of the keys: the first ``limit`` behind ``after``, up to ``until``
        inclusive (None: from the first, to the last)."""
        ...

    async def snapshot_rows(self, source: str, table: str, keys: Sequence[bytes]) -> dict[bytes, SnapshotRow]:
        """Return the stored ones of these rows, by their keys."""
        ...


#: Opaque text that a source writes and only the same kind of source reads.  The outbox stores it in the transaction
#: that stores the events which it covers, so after a crash the source resumes exactly behind them.
Position = NewType("Position", str)


Value = None | bool | int | float | str
#: A row in normal form (see `cdc.model.normal`): column name → value, in column order, secret columns absent.
Row = Mapping[str, Value]

_NEVER = datetime.min.replace(tzinfo=UTC)


class Operation(StrEnum):
    """A change of a row; ``READ`` is a row seen by a re-read, ``TRUNCATE`` empties a whole table."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    READ = "read"
    TRUNCATE = "truncate"


class RowChange(NamedTuple):
    """One change of one row.  (A named tuple: there are many, and a frozen dataclass costs three times as much.)

    ``key``: the primary key, from the after image (the before image for a delete; empty for a truncate).
    ``ordinal``: order within the transaction; with the transaction's token it names this change for good.
    ``time``: when it happened, UTC.  ``secrets_changed``: secret columns whose value changed (update only).
    """

    operation: Operation
    table: str
    key: Row
    before: Row | None
    after: Row | None
    time: datetime
    ordinal: int
    secrets_changed: frozenset[str] = frozenset()

    @property
    def image(self) -> Row | None:
        """The row as the change left it or, of one that is gone, as it was."""
        return self.after if self.after is not None else self.before


class DueDay(NamedTuple):
    """A day of a rule by time (`cdc.model.backfill`): the records whose date, in ``column``, is then one of so many
    ``days`` ago have the event ``event``."""

    event: str
    column: str
    days: tuple[int, ...]
    day: date


class Existing(NamedTuple):
    """The backfill for which unchanged rows are read (`cdc.model.backfill`).  ``job``: its id.  ``endpoint``: the only
    endpoint that receives them; empty: every endpoint that asks for such events.  ``due``: they are read for this
    instead, and ``job`` names it."""

    job: str
    endpoint: str = ""
    due: DueDay | None = None


class Transaction(NamedTuple):
    """The changes that one database transaction committed, in the order in which they happened.

    ``token`` is unique within the source for ever.  A huge transaction comes as several of these with one token, cut
    between records: all changes of one record are in the same part.
    ``journalled``: of a transaction in a log, the names that triggers beside it give it in their journal.
    ``observed``: nothing recorded it; two looks at a row differ.  There is no database transaction then, the times are
    those of the second look, and the token alone, not the time, names the change.
    ``existing``: of rows that were read (each once, ``READ``), unless that was to repair a gap.
    ``more``: another part of the same huge transaction follows.
    """

    token: str
    changes: tuple[RowChange, ...]
    journalled: tuple[str, ...] = ()
    observed: bool = False
    existing: Existing | None = None
    more: bool = False


@dataclass(frozen=True, slots=True)
class Gap:
    """A change that capture could not record: which table, what kind of operation, when (UTC).  ``reason``: all of it
    in sentences, where the operation does not say enough.  ``key``: of a single row that could not be read."""

    table: str
    operation: Operation
    time: datetime
    reason: str = ""
    key: Row | None = None


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A change that was skipped, because processing it fails each time.  ``key``: None when it cannot be read.
    ``token``: of its transaction.  ``before``, ``after``: the row, as JSON or as it came; empty when there is none.
    ``source``, ``found_at``, ``backfill`` (the id of the one that reads the row again): as the outbox knows them."""

    id: str
    table: str
    operation: Operation
    key: Row | None
    token: str
    changed_at: datetime
    reason: str
    before: str = ""
    after: str = ""
    source: str = ""
    found_at: datetime = _NEVER
    backfill: str = ""


@dataclass(frozen=True, slots=True)
class BackfillStep:
    """A page of a backfill: ``rows`` were read, up to the primary key ``after``; ``finished``: there are no more.
    ``due``: of no backfill, but of this."""

    job: str
    rows: int
    after: Row | None
    finished: bool
    due: DueDay | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Whole transactions in commit order (per record), stored and acknowledged together.

    ``position`` covers everything in the batch.  ``gaps`` were found in the same chunk; the re-read that repairs them
    follows as ``READ`` changes in later batches of the same source.  ``kept``: of a source that compares, what the rows
    look like from now on.  ``step``: of the backfill whose rows are in it.  ``quarantined``: changes that were skipped.
    """

    transactions: tuple[Transaction, ...]
    position: Position
    gaps: tuple[Gap, ...] = ()
    kept: SnapshotChange | None = None
    step: BackfillStep | None = None
    quarantined: tuple[Quarantined, ...] = ()


_BEGINS: Final = "moved:"


class Stage(StrEnum):
    """``ARRIVING``: in the new outbox, until it has everything.  ``LEAVING``, at the end ``LEFT``: in the old one."""

    ARRIVING = "arriving"
    LEAVING = "leaving"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Departure:
    """``move``: names it in both outboxes.  ``outbox``: the other one, for people.  ``position``: the source's own.
    ``endpoints``: ids of those that go along; ``removed``: of those that are then removed here; ``log``: with their
    finished deliveries."""

    move: str
    stage: Stage
    outbox: str
    position: str = ""
    endpoints: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    log: bool = False

    def dump(self) -> Position:
        return Position(_BEGINS + json.dumps(asdict(self)))


def departure(position: Position | None) -> Departure | None:
    """Return the mark in the place of a position; None where a source has its position, or none."""
    if position is None or not position.startswith(_BEGINS):
        return None
    fields: dict[str, Any] = json.loads(position.removeprefix(_BEGINS))
    lists = {name: tuple(fields[name]) for name in ("endpoints", "removed")}
    return Departure(**{**fields, **lists, "stage": Stage(fields["stage"])})


def check_present(source: str, position: Position | None) -> None:
    """Raise `SourceError` for a source that another outbox has, or will have."""
    found = departure(position)
    if found is None:
        return
    if found.stage is Stage.ARRIVING:
        raise SourceError(
            f"Source {source!r} is being moved here from the outbox {found.outbox}.",
            "cdc run reads it when everything has arrived; if the move was interrupted, run it again there: "
            "cdc source move-outbox",
        )
    raise SourceError(
        f"Source {source!r} was moved to the outbox {found.outbox}.",
        f"Remove [source.{source}] from this configuration.  If the move was interrupted, run it again: "
        "cdc source move-outbox",
    )
