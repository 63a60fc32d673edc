"""Comparing a whole resource with what is kept of it, one page a step.

Pages begin behind a key, so that no row that stays is passed over, whatever comes and goes.  That a row is gone is
believed when two answers, a moment apart, lack it: FacturaScripts gives fewer rows, and no error, when its database
fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from cdc.clock import Clock
from cdc.errors import SourceError
from cdc.kept import KeptRow, KeptStore
from cdc.source.rest.difference import Difference, Look
from cdc.source.rest.position import Progress
from cdc.source.rest.reader import Page, Reader, Seen
from cdc.source.rest.resource import Resource

#: Kept rows that are looked at in a step, however many of them are gone.
_AT_ONCE: Final = 2000
#: Seconds between the two answers.
_MOMENT: Final = 2.0


@dataclass(frozen=True, slots=True)
class Step:
    """``after``: where the next step goes on, as far as that outlives the process; ``done``: there is none.  ``anew``:
    what was kept before is to be forgotten."""

    difference: Difference
    after: bytes | None
    done: bool
    anew: bool = False


class Comparison(Protocol):
    async def step(self) -> Step: ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What comparisons of one source work with.  ``existing``: whether rows at first sight are told."""

    source: str
    reader: Reader
    kept: KeptStore
    clock: Clock
    existing: bool = False

    def look(self, resource: Resource, progress: Progress) -> Look:
        return Look(resource, progress.round, self.clock.now())

    async def moment(self) -> None:
        await self.clock.wait(asyncio.Event(), _MOMENT)

    async def kept_rows(self, resource: Resource, keys: Sequence[bytes]) -> dict[bytes, KeptRow]:
        return await self.kept.kept_rows(self.source, resource.table, keys) if keys else {}


def comparison(tools: Tools, resource: Resource, progress: Progress) -> Comparison:
    """The one that goes on from ``progress``."""
    if not progress.known:
        return FirstSight(tools, resource, progress)
    return Numbered(tools, resource, progress) if resource.numbered else Unnumbered(tools, resource, progress)


class FirstSight:
    """Nothing is kept yet that could be compared.  Where the keys are no numbers it begins anew after a stop."""

    def __init__(self, tools: Tools, resource: Resource, progress: Progress) -> None:
        self._tools = tools
        self._resource = resource
        self._progress = progress
        self._after = progress.after

    async def step(self) -> Step:
        anew = self._after is None
        page = await self._tools.reader.page(self._resource, self._after)
        look = self._tools.look(self._resource, self._progress)
        self._after = page.until
        outlives = page.until if self._resource.numbered else None
        difference = look.first_sight(page.rows, told=self._tools.existing)
        return Step(difference, outlives, page.until is None, anew)


class Numbered:
    """In the order of the keys, which the store knows too: a stretch of rows beside the stretch that is kept."""

    def __init__(self, tools: Tools, resource: Resource, progress: Progress) -> None:
        self._tools = tools
        self._resource = resource
        self._progress = progress
        self._after = progress.after

    async def step(self) -> Step:
        page = await self._page()
        kept = await self._tools.kept.kept_digests(
            self._tools.source, self._resource.table, _AT_ONCE, self._after, page.until
        )
        if len(kept) == _AT_ONCE:
            page = _cut(page, kept[-1][0])
        digests = dict(kept)
        if missing := digests.keys() - {row.key for row in page.rows}:
            await self._tools.moment()
            again = await self._page()
            missing -= {row.key for row in again.rows}
            page = _cut(again, page.until)
        step = await self._compared(page, digests, [key for key in missing if page.until is None or key <= page.until])
        self._after = page.until
        return step

    async def _page(self) -> Page:
        return await self._tools.reader.page(self._resource, self._after)

    async def _compared(self, page: Page, digests: Mapping[bytes, bytes], gone: Sequence[bytes]) -> Step:
        changed = [row for row in page.rows if digests.get(row.key) != row.kept.digest]
        before = await self._tools.kept_rows(self._resource, [*(row.key for row in changed), *gone])
        look = self._tools.look(self._resource, self._progress)
        return Step(look.changed(changed, before, sorted(gone)), page.until, page.until is None)


def _cut(page: Page, until: bytes | None) -> Page:
    """The page up to ``until``, if it goes so far."""
    if until is None or (page.until is not None and page.until <= until):
        return page
    return Page(tuple(row for row in page.rows if row.key <= until), until)


class Unnumbered:
    """In an order that only the database knows: which keys were seen is remembered, and what was not seen in two whole
    readings, one after the other, is gone."""

    def __init__(self, tools: Tools, resource: Resource, progress: Progress) -> None:
        self._tools = tools
        self._resource = resource
        self._progress = progress
        self._after: bytes | None = None
        self._seen: set[bytes] = set()
        self._missing: frozenset[bytes] | None = None  # what the first reading lacked
        self._gone: list[bytes] | None = None  # what both did, as far as it was not told

    async def step(self) -> Step:
        if self._gone is not None:
            return await self._told(self._gone)
        page = await self._tools.reader.page(self._resource, self._after)
        self._note(page.rows)
        keys = [row.key for row in page.rows]
        before = await self._tools.kept_rows(self._resource, keys)
        look = self._tools.look(self._resource, self._progress)
        done = page.until is None and await self._read()
        self._after = page.until
        return Step(look.changed(page.rows, before), None, done)

    def _note(self, rows: Sequence[Seen]) -> None:
        keys = {row.key for row in rows}
        if keys and keys <= self._seen:
            raise SourceError(
                f"The API gives rows of {self._resource.path} again that it gave before.",
                "A key that looks like a date may be the cause: FacturaScripts does not compare it as text.",
            )
        self._seen |= keys

    async def _read(self) -> bool:
        """One reading has come to its end; whether the comparison has."""
        missing = frozenset(await self._unseen())
        if self._missing is not None:
            self._gone = sorted(missing & self._missing)
            return not self._gone
        self._missing = missing
        self._seen = set()
        if missing:
            await self._tools.moment()
        return not missing

    async def _unseen(self) -> list[bytes]:
        found: list[bytes] = []
        after: bytes | None = None
        while kept := await self._tools.kept.kept_digests(self._tools.source, self._resource.table, _AT_ONCE, after):
            found += [key for key, _ in kept if key not in self._seen]
            after = kept[-1][0]
        return found

    async def _told(self, gone: list[bytes]) -> Step:
        some, self._gone = gone[:_AT_ONCE], gone[_AT_ONCE:]
        before = await self._tools.kept_rows(self._resource, some)
        look = self._tools.look(self._resource, self._progress)
        return Step(look.changed((), before, some), None, not self._gone)
