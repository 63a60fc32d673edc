"""Endpoints.  All that writes runs inside a transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from cdc.model.audit import Note
from cdc.model.delivery import LeasedDelivery
from cdc.model.endpoint import Endpoint, EndpointChange, EndpointFilter, public_url
from cdc.model.event import Event
from cdc.outbox.audit import record
from cdc.outbox.database import Database, Ledger, Row
from cdc.outbox.dispatch import reorder
from cdc.outbox.relay import announce, insert_deliveries, insert_events, written
from cdc.outbox.shared import (
    Subscriber,
    SubscriberIndex,
    delivery_id,
    endpoint_disabled,
    endpoint_exists,
    event_exists,
    no_endpoint,
    record_busy,
)
from cdc.outbox.slices import LogScan, LogSlice, SearchPage, TimeBudget


async def endpoint(db: Database, endpoint_id: str) -> Endpoint | None:
    return next(iter(await endpoints_of(db, [endpoint_id])), None)


async def endpoints_of(db: Database, endpoint_ids: Sequence[str]) -> list[Endpoint]:
    """Return those of these endpoints that were not removed, in any order."""
    return [db.endpoint_from(row) for row in await db.rows("endpoints_of", ids=list(endpoint_ids))]


@dataclass(frozen=True, slots=True)
class OpenedEndpoints:
    """All endpoints, each with its row.  ``version``: of `version`, read before them."""

    version: int | None = None
    all: Sequence[tuple[Row, Endpoint]] = ()


async def opened(db: Database, before: OpenedEndpoints, statement: str = "endpoints") -> OpenedEndpoints:
    """Return all endpoints.  Nothing but what the version does not cover is read while they are as ``before``; then
    those whose rows are as before are not decoded again.  ``statement``: reads them."""
    now = await version(db)
    if now == before.version:
        failing: dict[str, datetime] = dict(await db.rows("failing_endpoints"))
        # a changed one has no row: it is decoded again when all are read
        every = [
            (row, each)
            if each.failing_since == (since := failing.get(each.id))
            else ((), replace(each, failing_since=since))
            for row, each in before.all
        ]
        return OpenedEndpoints(now, every)
    rows = await db.rows(statement)
    known = before.all
    every = [
        known[place] if place < len(known) and known[place][0] == row else (row, db.endpoint_from(row))
        for place, row in enumerate(rows)
    ]
    return OpenedEndpoints(now, every)


async def search(
    db: Database,
    which: EndpointFilter,
    limit: int,
    budget: TimeBudget,
    after: int = 0,
    *,
    fits: Callable[[Endpoint], bool] = lambda _: True,
) -> SearchPage[Endpoint]:
    """Return a page of endpoints, in the order in which they were added.  ``after``: where the page before ended
    (`SearchPage.further`).  ``fits``: judges those that fit the filter, in any thread, with sealed secrets."""
    walk: LogScan[tuple[int, Endpoint]] = LogScan(
        LogSlice(after, await db.value("last_endpoint")), limit, budget, oldest_first=True
    )
    state = which.state.value if which.state else ""
    given = {"text": which.text, "state": state, "source": which.source, "sources": list(which.sources)}
    for part in walk:
        above, wanted = part.above, walk.missing
        while wanted > 0:
            rows = await db.rows("search_endpoints", above=above, upto=part.upto, limit=wanted, **given)
            read = [(int(row[0]), db.endpoint_from(row[1:])) for row in rows]
            walk.rows += [each for each in read if fits(each[1])]
            if len(rows) < wanted:
                break
            above, wanted = read[-1][0], walk.missing
    return walk.page(lambda row: row[1], lambda row: str(row[0]), str)


async def version(db: Database) -> int:
    """Return a number that is another one after each change of endpoints, but for ``failing_since``."""
    return int(await db.value("endpoints_version"))


async def removed_endpoints(db: Database, endpoint_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Id → name and URL of those of these endpoints that were removed."""
    rows = await db.rows("removed_endpoints", ids=list(endpoint_ids))
    return {endpoint_id: (description, url) for endpoint_id, description, url in rows}


async def subscriber(db: Database, endpoint_id: str) -> Subscriber:
    row = await db.row("subscriber", id=endpoint_id)
    if row is None:
        raise no_endpoint(endpoint_id)
    return db.subscriber_from(row)


async def seal_secrets(db: Database, *, former: bool = True, dry_run: bool = False) -> int:
    """Seal every stored secret (former ones too) that is not, or that a former key sealed, with the present key,
    in one write; how many there were.  ``dry_run``: only how many.  Raises `OutboxError`, and changes nothing, when
    no key opens one.  ``former``: also those that a former key sealed.

    Endpoints of former versions, which count as well, get a public URL; removed ones have nothing else any more."""
    missing = {number for (number,) in await db.rows("without_public_url")}
    count = 0
    with db.overwriting():
        for number, removed_at, *columns in await db.rows("all_endpoints"):
            stored = db.codec.endpoint(tuple(columns))
            stale = 0 if removed_at is not None else db.box.stale_texts(stored, former=former)
            count += stale + (number in missing)
            if dry_run or not (stale or number in missing):
                continue
            if removed_at is not None:
                await db.write("set_public_url", number=number, public_url=public_url(db.box.open(stored.url)))
                await db.write("forget_url", number=number)
            else:
                row = db.endpoint_row(db.box.open_endpoint(stored), None if former else stored)
                await db.write("update_endpoint", **row)
    return count


async def add(db: Database, endpoint: Endpoint, note: Note = ()) -> None:
    """Raises `UsageError` when the id is, or ever was, in use."""
    if not await db.write("insert_endpoint", **db.endpoint_row(endpoint)):
        raise endpoint_exists(endpoint.id)
    db.due()
    await record(db, note)


async def restore(db: Database, endpoint: Endpoint) -> None:
    """Add an endpoint under the id of one that was removed."""
    await db.write("restore_endpoint", id=endpoint.id)
    await db.write("update_endpoint", **db.endpoint_row(endpoint))
    db.due()


async def change(db: Database, endpoint_id: str, change: EndpointChange, note: Note = ()) -> Endpoint:
    """Change the fields that ``change`` names, in one write that keeps concurrent changes of others.  Return the
    changed endpoint.  Its unfinished deliveries keep to a new order at once.  Raises `UsageError` when there is none.
    The row, or the file, is locked from the read to the write."""
    number, _ = await _find(db, endpoint_id)
    (row,) = await db.rows("endpoints_of", ids=[endpoint_id])
    found = db.endpoint_from(row)
    changed = change.applied_to(found)
    await db.write("update_endpoint", **db.endpoint_row(changed, db.codec.endpoint(row)))
    if changed.order is not found.order:
        await reorder(db, number, changed.order)
    db.due()
    await record(db, note)
    return changed


async def disable_failing(
    db: Database, endpoint_id: str, failing_since: datetime, reason: str, announcement: Event, now: datetime
) -> bool:
    changed = await db.write("disable_failing", id=endpoint_id, failing_since=failing_since, reason=reason)
    return await _announced(db, changed, announcement, now)


async def disable_filtered(
    db: Database, endpoint_id: str, condition: str, reason: str, announcement: Event, now: datetime
) -> bool:
    changed = await db.write("disable_filtered", id=endpoint_id, condition=condition, reason=reason)
    return await _announced(db, changed, announcement, now)


async def note_filter(db: Database, endpoint_id: str, condition: str, problem: str) -> None:
    await db.write("note_filter", id=endpoint_id, condition=condition, problem=problem)


async def _announced(db: Database, changed: int, announcement: Event, now: datetime) -> bool:
    """Announce a change of an endpoint, if there was one; whether there was."""
    if changed:
        await announce(db, written([announcement]), now)
        db.due()
    return bool(changed)


async def remove(db: Database, endpoint_id: str, now: datetime, note: Note = ()) -> None:
    """The log keeps naming it.  Raises `UsageError` when there is none (any more)."""
    number, _ = await _find(db, endpoint_id)
    await db.write("cancel_deliveries", number=number, now=now)
    with db.overwriting():
        await db.write("remove_endpoint", number=number, now=now)
        await db.write("forget_url", number=number)
    db.due()
    await record(db, note)


async def send_test(
    db: Database, endpoint_id: str, event: Event, worker: str, now: datetime, until: datetime, *, note: Note = ()
) -> LeasedDelivery:
    number, enabled = await _find(db, endpoint_id)
    if not enabled:
        raise endpoint_disabled(endpoint_id)
    (test,) = written([event])
    ledger = await db.ledger([event.id])
    only = Ledger(ledger.last_event, ledger.last_delivery, ledger.known, SubscriberIndex([Subscriber(number, ("*",))]))
    new = await insert_events(db, [test], only)
    if not new:
        raise event_exists(event.id)
    await insert_deliveries(db, new, only, now)
    taken = await db.row("take", event=only.last_event + 1, worker=worker, until=until)
    if taken is None:
        raise record_busy(event.record)
    await record(db, note)
    return LeasedDelivery(
        id=delivery_id(taken[0]),
        endpoint_id=endpoint_id,
        event_id=event.id,
        event_name=event.name,
        record=db.text(event.record),
        attempt=1,
        lease_until=until,
        body_event=test[1],
        source=event.source,
    )


async def _find(db: Database, endpoint_id: str) -> tuple[int, bool]:
    """Return an endpoint's number and whether it is enabled, and lock its row."""
    row = await db.row("find_endpoint", id=endpoint_id)
    if row is None:
        raise no_endpoint(endpoint_id)
    return int(row[0]), bool(row[1])
