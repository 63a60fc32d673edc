"""Comparison of a whole resource with its stored rows, one page a step, and the position of a source that compares: how
far each resource was read.

Pages begin at a key, so that no row that stays is passed over when others come or go.  Rows that two answers, a moment
apart, lack are missing; `MissingRows` decides when the comparison has read everything whether they are deleted.

`Look` makes transactions of one change each of the differences.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final

import orjson

from cdc.capture.rest.reader import (
    MissingRows,
    Resource,
    ResourcePage,
    ResourceReader,
    SeenRow,
    differ,
    few,
    key_value,
    unpack,
)
from cdc.model.change import Gap, Operation, Position, Row, RowChange, SnapshotRow, SnapshotStore, Transaction
from cdc.model.clock import Clock
from cdc.model.errors import SourceError
from cdc.model.normal import decimal_columns, with_decimals


@dataclass(frozen=True, slots=True)
class ResourceProgress:
    """The progress of one resource.

    ``round``: of the comparison that was begun last; each look at a row until the next has this number, which names
    what was found.  ``known``: it was read whole once; before that there is nothing to compare with.
    ``after``: the key after which the comparison under way continues.  ``newest``: the greatest key of a numbered one.
    """

    round: int = 0
    known: bool = False
    after: bytes | None = None
    newest: bytes | None = None


@dataclass(frozen=True, slots=True)
class RestPosition:
    """The position of a source that asks the API.  ``progress``: by table.  ``refused``: when the API refused calls,
    seconds since 1970, as version 0.1 wrote it."""

    progress: Mapping[str, ResourceProgress] = field(default_factory=dict)
    refused: tuple[float, ...] = ()

    def progress_of(self, table: str) -> ResourceProgress:
        return self.progress.get(table, ResourceProgress())

    def with_progress(self, table: str, progress: ResourceProgress) -> RestPosition:
        return replace(self, progress={**self.progress, table: progress})

    def without(self, table: str) -> RestPosition:
        return replace(self, progress={name: each for name, each in self.progress.items() if name != table})

    def dump(self) -> Position:
        rest = {
            table: [each.round, each.known, *(None if key is None else key.hex() for key in (each.after, each.newest))]
            for table, each in self.progress.items()
        }
        return Position(orjson.dumps({"rest": rest}).decode())

    @classmethod
    def load(cls, position: Position | None) -> RestPosition | None:
        """Load a position; None when another kind of source wrote it."""
        if position is not None and not position.startswith('{"rest":'):
            return None
        fields: dict[str, Any] = {"rest": {}} if position is None else orjson.loads(position)
        progress = {
            table: ResourceProgress(number, known, *(None if key is None else bytes.fromhex(key) for key in keys))
            for table, (number, known, *keys) in fields["rest"].items()
        }
        return cls(progress, tuple(fields.get("refused", ())))


@dataclass(frozen=True, slots=True)
class RowDifference:
    """The differences of rows from the stored ones.  ``changes`` in the order of the rows, then what is gone.
    ``written``, ``gone``: as in `SnapshotChange`."""

    changes: tuple[Transaction, ...] = ()
    written: tuple[SnapshotRow, ...] = ()
    gone: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """A comparison of rows of one resource.  ``round``: of its `ResourceProgress`; ``time``: UTC."""

    resource: Resource
    round: int
    time: datetime

    def changed(
        self, seen: Iterable[SeenRow], before: Mapping[bytes, SnapshotRow], gone: Iterable[bytes] = ()
    ) -> RowDifference:
        """Return the differences of rows from the stored ones.  ``before``: the stored rows of those ``seen`` and of
        those that are ``gone``; a row that is not stored is new."""
        changes: list[Transaction] = []
        written: list[SnapshotRow] = []
        for row, now in seen:
            known = before.get(now.key)
            if known is not None and known.digest == now.digest:
                continue
            written.append(now)
            former = None if known is None else with_decimals(unpack(known.row), decimal_columns(row))
            if former is None or differ(former, row):
                operation = Operation.CREATE if former is None else Operation.UPDATE
                changes.append(self._change(operation, now.key, (former, row), (known, now)))
        lost = tuple(key for key in gone if key in before)
        changes += [
            self._change(Operation.DELETE, key, (unpack(before[key].row), None), (before[key], None)) for key in lost
        ]
        return RowDifference(tuple(changes), tuple(written), lost)

    def first_sight(self, seen: Iterable[SeenRow], *, emit: bool) -> RowDifference:
        """Return the changes for rows that there is nothing to compare with; ``emit``: as rows that were read."""
        rows = tuple(seen)
        read = (self._change(Operation.READ, now.key, (None, row), (None, now)) for row, now in rows if emit)
        return RowDifference(tuple(read), tuple(now for _, now in rows))

    def _change(
        self,
        operation: Operation,
        key: bytes,
        images: tuple[Row | None, Row | None],
        kept: tuple[SnapshotRow | None, SnapshotRow | None],
    ) -> Transaction:
        """Return a change as a transaction.  Its token holds everything that the event ids depend on: a comparison that
        is repeated after a crash, in the same round, gives the same ids, and a row that changes back and forth gives
        new ones."""
        digests = b"\0".join(b"" if each is None else each.digest for each in kept)
        named = b"%s\0%d\0%d\0%s%s" % (self.resource.table.encode(), self.round, len(key), key, digests)
        change = RowChange(operation, self.resource.table, {self.resource.key: key_value(key)}, *images, self.time, 0)
        return Transaction(f"rest/{blake2b(named, digest_size=12).hexdigest()}", (change,), observed=True)


#: Kept rows that are looked at in a step, however many of them are gone.
_AT_ONCE: Final = 2000
#: Seconds between the two answers.
_MOMENT: Final = 2.0


@dataclass(frozen=True, slots=True)
class ComparisonStep:
    """The outcome of a step of a comparison.  ``after``: where the next step continues, as far as that outlives the
    process; ``done``: there is none.  ``reset``: the snapshot stored before is to be forgotten.  ``soon``: seconds
    until the next comparison, if sooner than usual."""

    difference: RowDifference
    after: bytes | None
    done: bool
    reset: bool = False
    soon: float | None = None
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools of one source's comparisons.  ``existing``: whether rows found by the first comparison are emitted."""

    source: str
    reader: ResourceReader
    kept: SnapshotStore
    clock: Clock
    doubts: MissingRows
    existing: bool = False

    def look(self, resource: Resource, progress: ResourceProgress) -> Look:
        return Look(resource, progress.round, self.clock.now())

    async def moment(self) -> None:
        await self.clock.wait(asyncio.Event(), _MOMENT)

    async def stored_rows(self, resource: Resource, keys: Sequence[bytes]) -> dict[bytes, SnapshotRow]:
        return await self.kept.snapshot_rows(self.source, resource.table, keys) if keys else {}


def comparison(tools: Tools, resource: Resource, progress: ResourceProgress) -> Comparison:
    """Return the comparison that continues from ``progress``."""
    if not progress.known:
        return FirstSight(tools, resource, progress)
    return Numbered(tools, resource, progress) if resource.numbered else Unnumbered(tools, resource, progress)


class Comparison(ABC):
    """A comparison of one resource, a page a step."""

    def __init__(self, tools: Tools, resource: Resource, progress: ResourceProgress) -> None:
        self._tools = tools
        self._resource = resource
        self._progress = progress
        self._after = progress.after
        self._doubtful = False
        self._deletions: Deletions | None = None

    @abstractmethod
    async def step(self) -> ComparisonStep:
        """Read the next page and compare it."""


class FirstSight(Comparison):
    """The first comparison of a resource, without any snapshot.  Where the keys are no numbers it begins again after a
    stop."""

    async def step(self) -> ComparisonStep:
        reset = self._after is None
        page = await self._page()
        look = self._tools.look(self._resource, self._progress)
        self._after = page.until
        outlives = page.until if self._resource.numbered else None
        difference = look.first_sight(page.rows, emit=self._tools.existing)
        return ComparisonStep(difference, outlives, page.until is None, reset)

    async def _page(self) -> ResourcePage:
        """Raises `SourceError` when the table has no rows any more: those behind would look new when it has."""
        reader = self._tools.reader
        page = await reader.page(self._resource, self._after)
        if not page.empty or self._after is None:
            return page
        await self._tools.moment()
        again = await reader.page(self._resource, self._after)
        if again.empty and not await reader.has_rows(self._resource):
            raise SourceError(
                f"The API gives no rows of {self._resource.path}, after it gave some of them.",
                "FacturaScripts' own log says more.",
            )
        return again


class Numbered(Comparison):
    """A comparison in the order of the keys, which the store knows too: a range of rows beside the range of stored
    ones.  One that continues after a stop knows nothing of the rows before, and reports no deletion: the next one
    does."""

    def __init__(self, tools: Tools, resource: Resource, progress: ResourceProgress) -> None:
        super().__init__(tools, resource, progress)
        self._whole = progress.after is None
        self._known = 0
        self._missing: set[bytes] = set()

    async def step(self) -> ComparisonStep:
        if self._deletions is not None:
            return await self._deletions.step()
        page = await self._page()
        kept = await self._tools.kept.snapshot_digests(
            self._tools.source, self._resource.table, _AT_ONCE, self._after, page.until
        )
        if len(kept) == _AT_ONCE:
            page = _cut(page, kept[-1][0])
        digests = dict(kept)
        if missing := digests.keys() - {row.key for row in page.rows}:
            page, missing = await self._again(page, missing)
        covered = [key for key in digests if page.until is None or key <= page.until]
        self._known += len(covered)
        self._missing.update(key for key in missing if page.until is None or key <= page.until)
        self._after = page.until
        return await self._compared(page, digests)

    async def _page(self) -> ResourcePage:
        page = await self._tools.reader.page(self._resource, self._after)
        self._doubtful = self._doubtful or page.empty
        return page

    async def _again(self, page: ResourcePage, missing: set[bytes]) -> tuple[ResourcePage, set[bytes]]:
        """A second answer, unless minutes decide anyway."""
        if page.empty:
            return page, missing
        await self._tools.moment()
        again = await self._page()
        still = missing - {row.key for row in again.rows}
        self._doubtful = self._doubtful or still != missing  # some came back: more may
        return _cut(again, page.until), still

    async def _compared(self, page: ResourcePage, digests: Mapping[bytes, bytes]) -> ComparisonStep:
        changed = [row for row in page.rows if digests.get(row.key) != row.kept.digest]
        before = await self._tools.stored_rows(self._resource, [row.key for row in changed])
        look = self._tools.look(self._resource, self._progress)
        step = ComparisonStep(look.changed(changed, before), page.until, page.until is None)
        if page.until is not None:
            return step
        if not self._whole:
            return replace(step, soon=0.0)
        self._deletions = Deletions(self._tools, self._resource, self._progress)
        doubtful = self._doubtful or not few(len(self._missing), self._known)
        return self._deletions.after(step, self._missing, self._known, doubtful=doubtful)


def _cut(page: ResourcePage, until: bytes | None) -> ResourcePage:
    """The page up to ``until``, if it goes so far."""
    if until is None or (page.until is not None and page.until <= until):
        return page
    return replace(page, rows=tuple(row for row in page.rows if row.key <= until), until=until)


class Unnumbered(Comparison):
    """A comparison in an order that only the database knows: which keys were seen is remembered, and what was not seen
    in two whole readings, one after the other, is missing."""

    def __init__(self, tools: Tools, resource: Resource, progress: ResourceProgress) -> None:
        super().__init__(tools, resource, replace(progress, after=None))
        self._seen: set[bytes] = set()
        self._missing: set[bytes] | None = None  # in the first reading

    async def step(self) -> ComparisonStep:
        if self._deletions is not None:
            return await self._deletions.step()
        page = await self._tools.reader.page(self._resource, self._after)
        self._doubtful = self._doubtful or page.empty
        keys = {row.key for row in page.rows}
        if keys and keys <= self._seen:
            raise SourceError(
                f"The API gives rows of {self._resource.path} again that it gave before.",
                "A key that looks like a date may be the cause: FacturaScripts does not compare it as text.",
            )
        self._seen |= keys
        before = await self._tools.stored_rows(self._resource, [row.key for row in page.rows])
        look = self._tools.look(self._resource, self._progress)
        step = ComparisonStep(look.changed(page.rows, before), None, done=False)
        self._after = page.until
        return await self._read(step) if page.until is None else step

    async def _read(self, step: ComparisonStep) -> ComparisonStep:
        """End one reading: its missing rows are the stored ones that were not seen."""
        missing: set[bytes] = set()
        known, after = 0, None
        kept, source = self._tools.kept, self._tools.source
        while stored := await kept.snapshot_digests(source, self._resource.table, _AT_ONCE, after):
            missing.update(key for key, _ in stored if key not in self._seen)
            known += len(stored)
            after = stored[-1][0]
        self._doubtful = self._doubtful or not few(len(missing), known)
        if self._missing is None and missing:
            self._missing, self._seen = missing, set()
            await self._tools.moment()
            return step
        first = self._missing or set()
        doubtful = self._doubtful or not first <= missing
        self._deletions = Deletions(self._tools, self._resource, self._progress)
        return self._deletions.after(step, missing & first, known, doubtful=doubtful)


class Deletions:
    """The end of a comparison: those of the missing rows that are believed to be deleted."""

    def __init__(self, tools: Tools, resource: Resource, progress: ResourceProgress) -> None:
        self._tools = tools
        self._resource = resource
        self._look = tools.look(resource, progress)
        self._gone: list[bytes] = []

    def after(self, step: ComparisonStep, missing: set[bytes], known: int, *, doubtful: bool) -> ComparisonStep:
        """The step that ends the reading, with the verdict."""
        verdict = self._tools.doubts.settle(self._resource.table, missing, known, plain=not doubtful)
        self._gone = sorted(verdict.gone)
        gaps = (Gap(self._resource.table, Operation.DELETE, self._look.time, verdict.gap),) if verdict.gap else ()
        soon = self._tools.doubts.recheck(self._resource.table)
        return replace(step, done=not self._gone, gaps=gaps, soon=soon)

    async def step(self) -> ComparisonStep:
        some, self._gone = self._gone[:_AT_ONCE], self._gone[_AT_ONCE:]
        before = await self._tools.stored_rows(self._resource, some)
        soon = self._tools.doubts.recheck(self._resource.table)
        return ComparisonStep(self._look.changed((), before, some), None, not self._gone, soon=soon)
