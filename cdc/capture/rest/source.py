"""A `cdc.capture.base.Source` that asks FacturaScripts' API again and again, and compares; and the checks of `cdc
doctor` for it.

Invariant: a batch holds the changes that one answer shows, and what is stored of its rows; the outbox stores both, and
the position, in one transaction.  The next answer is compared with the stored rows: nothing is emitted twice, and
changes that a crash left unstored still differ.

Of the requests that are due, the one that has been due longest comes first.  A comparison under way is due again as
soon as it was served, so that many of them take turns, and requests for new rows come between their pages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum, auto
from functools import partial
from http import HTTPStatus
from typing import Final

import structlog
from yarl import URL

from cdc.capture.base import NO_BACKFILLS, SingleReader, SourceBackfills, try_reading
from cdc.capture.rest.client import ALLOW, BAN_SECONDS, ApiClient, Withheld, is_refusal
from cdc.capture.rest.comparison import Comparison, ResourceProgress, RestPosition, RowDifference, Tools, comparison
from cdc.capture.rest.reader import ApiLookup, MissingRows, Resource, ResourceReader
from cdc.model.change import Batch, Gap, Position, Row, SnapshotChange, SnapshotStore, Value
from cdc.model.clock import Backoff, Clock
from cdc.model.column import Table
from cdc.model.errors import ApiError, SourceError, SourceUnavailable
from cdc.model.finding import Finding, Severity


class Kind(Enum):
    NEW = auto()
    COMPARE = auto()


@dataclass(frozen=True, slots=True)
class ScheduledRead:
    """A read of a resource: its new rows, or a page of its comparison.  ``at``: when it is due, in seconds of a
    monotonic clock."""

    resource: Resource
    kind: Kind
    at: float


class _Times:
    """The times of one resource.  ``begun``: when the comparison under way was.  ``aside``: until when, after an error;
    ``failed``: that was a failure, which may be the whole API's, and no refusal."""

    def __init__(self, resource: Resource, now: float) -> None:
        self.resource = resource
        self.new = now
        self.compare = now
        self.begun: float | None = None
        self.known = False
        self.aside: float | None = None
        self.failed = False
        self.refusals = Backoff(first=300.0, most=3600.0)
        self.failures = Backoff(first=5.0, most=300.0)


class ReadSchedule:
    """Says which resource is read next, and when.  ``resources``: at least one.  ``now``: seconds of a monotonic
    clock.  ``failing``: the whole API fails; the first resource that answers brings back those that were put aside for
    failures."""

    def __init__(self, resources: Iterable[Resource], now: Callable[[], float]) -> None:
        self._now = now
        self._times = {each.table: _Times(each, now()) for each in resources}
        self.failing = False

    def next(self) -> ScheduledRead:
        """Return the read that is due first."""
        turns = []
        for times in self._times.values():
            since = times.aside or 0.0
            turns.append(ScheduledRead(times.resource, Kind.COMPARE, max(times.compare, since)))
            if times.known and times.resource.numbered:
                turns.append(ScheduledRead(times.resource, Kind.NEW, max(times.new, since)))
        return min(turns, key=lambda turn: turn.at)

    def known(self, table: str) -> None:
        """Note that the table was read whole: new rows can be looked for."""
        self._times[table].known = True

    def served(self, turn: ScheduledRead, *, done: bool, soon: float | None = None) -> None:
        """Note that a read was done.  ``done``: nothing more is to be asked before the next interval; ``soon``: or so
        many seconds."""
        times, now = self._times[turn.resource.table], self._now()
        if times.failed or self.failing:
            self.failing = False
            self.bring_back()
        times.refusals.reset()
        times.failures.reset()
        times.aside = None
        if turn.kind is Kind.NEW:
            times.new = now + turn.resource.interval if done else now
            return
        begun = now if times.begun is None else times.begun
        times.begun = None if done else begun
        times.compare = max(begun + turn.resource.compare, now) if done else now
        if done and soon is not None:
            times.compare = min(times.compare, now + soon)

    def repeat(self, table: str) -> None:
        """Note that the rows read last were not stored."""
        times = self._times[table]
        times.new = times.compare = self._now()

    def put_aside(self, table: str, *, failed: bool) -> float:
        """Leave the resource out after its error; return for how many seconds.  ``failed``: it was not refused."""
        times = self._times[table]
        pause = (times.failures if failed else times.refusals).next()
        times.aside, times.failed = self._now() + pause, failed
        times.begun = None
        return pause

    def bring_back(self) -> None:
        """The resources that were put aside for failures are due."""
        for times in self._times.values():
            if times.failed:
                times.aside, times.failed = None, False

    def postpone(self, turn: ScheduledRead, seconds: float, refused: float) -> None:
        """Postpone a read that may not be made now.  ``refused``: seconds instead, if it was refused the last time:
        others come first."""
        times = self._times[turn.resource.table]
        seconds = refused if times.aside is not None and not times.failed else seconds
        if turn.kind is Kind.NEW:
            times.new = self._now() + seconds
        else:
            times.compare = self._now() + seconds

    @property
    def all_aside(self) -> bool:
        now = self._now()
        return all(times.aside is not None and times.aside > now for times in self._times.values())


#: What the API says of all of itself, not of the resource asked for.
_OF_ALL: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS})
#: Seconds between two tries to become the only reader.
STANDBY_SECONDS: Final = 1.0
#: Seconds after which a resource is asked for again that may not be asked for now.
_LATER: Final = 30.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Polled:
    """The resources of a source and how they are read.  ``resources``: those whose rows are captured, at least one.
    ``lookups``: those whose rows mapping asks for, by table.  ``existing``: whether rows found by the first comparison
    are emitted."""

    resources: Sequence[Resource]
    lookups: Mapping[str, Resource]
    page_size: int = 500
    existing: bool = False


@dataclass(frozen=True, slots=True)
class _Opened:
    """The tools of a connection to the API."""

    client: ApiClient
    tools: Tools
    lookup: ApiLookup


class RestSource(SingleReader):
    """A `cdc.capture.base.Source` that asks FacturaScripts' API.  ``connect``: makes a client; it raises
    `SourceError`.  ``kept``: where the outbox keeps rows."""

    def __init__(
        self, name: str, connect: Callable[[], ApiClient], polled: Polled, kept: SnapshotStore, clock: Clock
    ) -> None:
        super().__init__(name)
        self._connect = connect
        self._polled = polled
        self._kept = kept
        self._clock = clock
        self._schedule = ReadSchedule(polled.resources, clock.monotonic)
        self._doubts = MissingRows(name, len(polled.resources), clock.monotonic)
        self._opened: _Opened | None = None
        self._position = RestPosition()
        self._stored: Position | None = None
        self._foreign = False
        self._unstored: str | None = None  # the table of a batch that is not acknowledged
        self._comparisons: dict[str, Comparison] = {}

    async def open(self, position: Position | None) -> None:
        loaded = RestPosition.load(position)
        become_reader = partial(try_reading, store=self._kept, source=self._name, clock=self._clock)
        await self._lock.acquire(become_reader, STANDBY_SECONDS)
        self._foreign = loaded is None
        self._position, self._stored = loaded or RestPosition(), position
        self._comparisons.clear()
        if self._unstored is not None:
            self._schedule.repeat(self._unstored)
        for resource in self._polled.resources:
            if self._position.progress_of(resource.table).known:
                self._schedule.known(resource.table)
        client = self._connect()
        if self._position.refused:
            await client.guard.add(self._position.refused)
        reader = ResourceReader(client, self._polled.page_size)
        tools = Tools(self._name, reader, self._kept, self._clock, self._doubts, self._polled.existing)
        self._opened = _Opened(client, tools, ApiLookup(reader, self._polled.lookups, self._doubts))

    async def close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.client.close()
        await self._kept.stop_reading(self._name)

    @property
    def _api(self) -> _Opened:
        if self._opened is None:
            raise SourceUnavailable(f"The source {self._name} is not open.")
        return self._opened

    async def acknowledge(self, position: Position) -> None:
        self._position, self._stored = RestPosition.load(position) or self._position, position
        self._unstored = None

    async def rows(self, table: str, column: str, values: Sequence[Value]) -> list[Row]:
        return await self._api.lookup.rows(table, column, values)

    async def all_rows(self, table: str) -> list[Row]:
        return await self._api.lookup.all_rows(table)

    async def site_url(self) -> str:
        return self._api.client.address

    async def tables(self) -> dict[str, Table]:
        """Return the tables with their configured keys, without columns: those would take a request each."""
        return {each.table: Table(each.table, (), (each.key,)) for each in self._polled.resources}

    # -- reading ----------------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Do nothing: how far each resource was read is stored with its rows, so nothing is missed."""

    async def batches(self, _backfills: SourceBackfills = NO_BACKFILLS) -> AsyncGenerator[Batch]:
        if self._foreign:
            reason = "changes came by another capture mode before: those since its end give no events"
            log.warning("moving", source=self._name, to="rest", reason=reason)
        for table in self._position.progress.keys() - {each.table for each in self._polled.resources}:
            kept = SnapshotChange(table, behind=self._stored, reset=True)
            yield Batch((), self._position.without(table).dump(), kept=kept)
        try:
            await self._api.client.get()  # whether it lets us in, before any resource is asked for
            if self._schedule.failing:
                self._schedule.bring_back()
            while True:
                turn = self._schedule.next()
                batch = await self._turn(turn)
                if batch is not None:
                    self._unstored = turn.resource.table
                    yield batch
        except SourceError:
            self._doubts.disturb()
            raise

    async def _turn(self, turn: ScheduledRead) -> Batch | None:
        if self._schedule.all_aside:
            self._schedule.failing = True
            raise SourceError("No resource of the API can be read.", "The log says why of each; cdc doctor, too.")
        await self._clock.wait(asyncio.Event(), max(turn.at - self._clock.monotonic(), 0.0))
        try:
            return await (self._new_rows(turn) if turn.kind is Kind.NEW else self._compare(turn))
        except Withheld as error:
            if error.wholly:
                raise
            self._schedule.postpone(turn, _LATER, BAN_SECONDS)
        except SourceError as error:
            await self._put_aside(turn.resource.table, error)
        return None

    async def _put_aside(self, table: str, error: SourceError) -> None:
        """Leave out only the resource that failed, if the API answers otherwise; else raises the error, which is the
        API's."""
        status = error.status if isinstance(error, ApiError) else HTTPStatus.OK
        if status in _OF_ALL:
            raise error
        self._comparisons.pop(table, None)
        failed = not is_refusal(status)
        pause = self._schedule.put_aside(table, failed=failed)
        if failed:
            self._doubts.disturb(table)
            await self._check_alone(error)
        log.error("resource put aside", source=self._name, table=table, error=str(error), retry_in=round(pause))

    async def _check_alone(self, error: SourceError) -> None:
        """Raise ``error`` when the API fails as a whole: its list of resources fails too, or nothing has answered since
        it failed last."""
        if not self._schedule.failing:
            try:
                await self._api.client.get()
            except SourceError:
                self._schedule.failing = True
        if self._schedule.failing:
            raise error

    async def _new_rows(self, turn: ScheduledRead) -> Batch | None:
        resource, progress = turn.resource, self._position.progress_of(turn.resource.table)
        page = await self._api.tools.reader.page(resource, progress.newest)
        difference = self._api.tools.look(resource, progress).changed(page.rows, {})
        self._schedule.served(turn, done=page.until is None)
        return self._batch(resource, difference, replace(progress, newest=_newest(progress, difference)))

    async def _compare(self, turn: ScheduledRead) -> Batch | None:
        resource, progress = turn.resource, self._position.progress_of(turn.resource.table)
        table = resource.table
        if table not in self._comparisons:
            # a round of its own, since event ids hold it: also for a comparison that begins again after a stop, and for
            # the first one in a new outbox
            if not progress.round:
                progress = replace(progress, round=int(self._clock.now().timestamp()))
            elif progress.known and progress.after is None:
                progress = replace(progress, round=progress.round + 1)
            self._comparisons[table] = comparison(self._api.tools, resource, progress)
        step = await self._comparisons[table].step()
        self._schedule.served(turn, done=step.done, soon=step.soon)
        newest = _newest(progress, step.difference) if resource.numbered else None
        if step.done:
            del self._comparisons[table]
            self._schedule.known(table)
            reached = ResourceProgress(progress.round, known=True, newest=newest)
        else:
            reached = replace(progress, after=step.after, newest=newest)
        return self._batch(resource, step.difference, reached, reset=step.reset, gaps=step.gaps)

    def _batch(
        self,
        resource: Resource,
        difference: RowDifference,
        reached: ResourceProgress,
        *,
        reset: bool = False,
        gaps: tuple[Gap, ...] = (),
    ) -> Batch | None:
        """Return the batch; None when there is nothing to store: the progress is stored with the next batch.  The end
        of a comparison whose progress is stored is stored too, or else a later one would continue there."""
        position = self._position.with_progress(resource.table, reached)
        content = difference.changes or difference.written or difference.gone or gaps
        stored = (RestPosition.load(self._stored) or RestPosition()).progress_of(resource.table)
        over = reached.after is None and stored.after is not None
        if not content and not reset and not over and reached.known == stored.known:
            self._position = position
            return None
        kept = SnapshotChange(resource.table, difference.written, difference.gone, behind=self._stored, reset=reset)
        return Batch(difference.changes, position.dump(), gaps, kept=kept)


def _newest(progress: ResourceProgress, difference: RowDifference) -> bytes | None:
    keys = [row.key for row in difference.written]
    if progress.newest is not None:
        keys.append(progress.newest)
    return max(keys, default=None)


#: Until a server that is restarted may answer.
_AGAIN_SECONDS: Final = 1.0
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class ApiInspector:
    """Checks an API for `cdc doctor`.  ``per_minute``: the budget of requests; ``page_size``: rows of one."""

    def __init__(self, client: ApiClient, url: str, per_minute: int, page_size: int) -> None:
        self._client = client
        self._url = URL(url)
        self._per_minute = per_minute
        self._page_size = page_size

    async def findings(self, polled: Sequence[Resource], lookups: Sequence[Resource]) -> list[Finding]:
        """Return the checks of the API.  ``lookups``: resources whose rows are only asked for where events need
        them."""
        try:
            return [each async for each in self._findings(polled, lookups)]
        finally:
            await self._client.close()

    async def _findings(self, polled: Sequence[Resource], lookups: Sequence[Resource]) -> AsyncIterator[Finding]:
        if self._url.scheme == "https":
            yield Finding("encryption", Severity.OK, "https")
        elif self._url.host in _LOCAL:
            yield Finding("encryption", Severity.OK, "http, on this machine")
        else:
            detail = "The token and all rows travel unencrypted (http)."
            yield Finding("encryption", Severity.WARNING, detail, "Write https:// in [source.….rest] url.")
        try:
            await self._greeted()
        except SourceError as error:
            yield Finding("API", Severity.WRONG, error.message, error.hint)
            return
        yield Finding("API", Severity.OK, f"enabled at {self._client.place}; the token is accepted")
        async for finding in self._rights(list(dict.fromkeys((*polled, *lookups)))):
            yield finding
        yield self._budget(polled)

    async def _greeted(self) -> None:
        """Ask for the list of resources; once more, a second later, where nothing answers, or a failing server.  Raises
        `SourceError`."""
        try:
            await self._client.get()
        except (SourceUnavailable, ApiError) as error:
            if isinstance(error, ApiError) and error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            await asyncio.sleep(_AGAIN_SECONDS)
            await self._client.get()

    async def _rights(self, resources: Sequence[Resource]) -> AsyncIterator[Finding]:
        """Refusals count towards a ban: soon nothing more is asked."""
        reader = ResourceReader(self._client, self._page_size)
        allowed = 0
        withheld: dict[Resource, Withheld] = {}
        for resource in resources:
            try:
                await reader.table(resource)
            except Withheld as error:
                withheld[resource] = error
            except SourceUnavailable as error:
                yield Finding("rights", Severity.WRONG, error.message, error.hint)
                break  # each of the others would take as long
            except SourceError as error:
                missing = isinstance(error, ApiError) and error.status == HTTPStatus.NOT_FOUND
                severity = Severity.WARNING if missing else Severity.WRONG
                yield Finding("rights", severity, error.message, error.hint)
            else:
                allowed += 1
        refused = {each.resource: each for each in (await self._client.guard.memory()).calls if each.status}
        for resource in [each for each in withheld if each.path in refused]:
            until = withheld.pop(resource).until
            time = datetime.fromtimestamp(refused[resource.path].at, UTC)
            detail = f"{resource.path} was refused at {time:%H:%M:%S} UTC, and was not asked for again."
            fix = f"{ALLOW} It is asked for again after {until:%H:%M:%S} UTC."
            yield Finding("rights", Severity.WRONG, detail, fix)
        if withheld:
            names, first = ", ".join(each.path for each in withheld), next(iter(withheld.values()))
            detail = f"{len(withheld)} resources were not asked for: {names}. {first.message}"
            fix = f"Run cdc doctor again after {first.until:%H:%M:%S} UTC."
            yield Finding("rights", Severity.WARNING, detail, fix)
        if allowed:
            yield Finding("rights", Severity.OK, f"{allowed} of {len(resources)} resources can be read")

    def _budget(self, resources: Sequence[Resource]) -> Finding:
        """The least that the intervals need: a page for each comparison."""
        needed = sum(60 / each.compare + (60 / each.interval if each.numbered else 0) for each in resources)
        least = f"the intervals need {needed:.0f}, and more where a comparison takes more than one page"
        if needed > self._per_minute:
            detail = f"{self._per_minute} requests a minute are allowed, and {least}: changes are reported late."
            fix = "Raise requests_per_minute, or the intervals, in [source.….rest]."
            return Finding("budget", Severity.WARNING, detail, fix)
        return Finding("budget", Severity.OK, f"{self._per_minute} requests a minute are allowed; {least}")
