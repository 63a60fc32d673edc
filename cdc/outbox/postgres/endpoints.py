"""Endpoints in the PostgreSQL outbox.  All but `endpoints` run inside a transaction."""

from __future__ import annotations

from datetime import datetime

from cdc.model.delivery import LeasedDelivery
from cdc.model.endpoint import Endpoint, EndpointChange
from cdc.model.event import Event
from cdc.model.payload import event_payload
from cdc.outbox.postgres.lanes import reorder
from cdc.outbox.postgres.relay import Ledger, announce, insert_deliveries, insert_events, read_ledger
from cdc.outbox.postgres.rows import endpoint_from, endpoint_row, storable
from cdc.outbox.postgres.session import Db, Tell
from cdc.outbox.secret_box import SecretBox
from cdc.outbox.shared import (
    Subscriber,
    delivery_id,
    endpoint_disabled,
    endpoint_exists,
    event_exists,
    no_endpoint,
    record_busy,
)


async def endpoints(db: Db, endpoint_id: str | None) -> list[Endpoint]:
    """All, or the one of this id (if any), without the removed."""
    return [endpoint_from(row) for row in await db.rows("endpoints", id=endpoint_id)]


async def seal_secrets(db: Db, box: SecretBox, *, former: bool, dry_run: bool = False) -> int:
    """Those that are not sealed, and (``former``) those that a former key sealed; how many."""
    sealed, rows = box.reseal(await db.rows("stored_secrets"), former=former)
    for number, secret, former_secret, headers in () if dry_run else rows:
        await db.write("set_secrets", number=number, secret=secret, former_secret=former_secret, headers=headers)
    return sealed


async def add(db: Db, endpoint: Endpoint) -> None:
    if not await db.rows("insert_endpoint", **endpoint_row(endpoint)):
        raise endpoint_exists(endpoint.id)
    db.tell = Tell.DUE


async def change(db: Db, endpoint_id: str, wanted: EndpointChange) -> Endpoint:
    """Nobody writes between the reading and the writing: the row is locked."""
    number, _ = await _find(db, endpoint_id)
    (found,) = await endpoints(db, endpoint_id)
    changed = wanted.applied_to(found)
    await db.write("update_endpoint", **endpoint_row(changed))
    if changed.order is not found.order:
        await reorder(db, number, changed.order)
    db.tell = Tell.DUE
    return changed


async def disable_failing(
    db: Db, endpoint_id: str, since: datetime, reason: str, announced: tuple[Event, bytes], *, now: datetime
) -> bool:
    """``announced``: with its payload."""
    changed = await db.write("disable_failing", id=endpoint_id, since=since, reason=storable(reason))
    return await _announced(db, changed, announced, now)


async def disable_filtered(
    db: Db, endpoint_id: str, condition: str, reason: str, announced: tuple[Event, bytes], *, now: datetime
) -> bool:
    """``announced``: with its payload."""
    changed = await db.write("disable_filtered", id=endpoint_id, condition=condition, reason=storable(reason))
    return await _announced(db, changed, announced, now)


async def _announced(db: Db, changed: int, announced: tuple[Event, bytes], now: datetime) -> bool:
    """Announce a change of an endpoint, if there was one; whether there was."""
    if changed:
        await announce(db, [announced[0]], [announced[1]], now)
        db.tell = Tell.DUE
    return bool(changed)


async def remove(db: Db, endpoint_id: str, now: datetime) -> None:
    number, _ = await _find(db, endpoint_id)
    await db.write("cancel_deliveries", number=number, now=now)
    await db.write("remove_endpoint", number=number, now=now)
    db.tell = Tell.DUE


async def send_test(
    db: Db, endpoint_id: str, event: Event, worker: str, *, now: datetime, until: datetime
) -> LeasedDelivery:
    number, enabled = await _find(db, endpoint_id)
    if not enabled:
        raise endpoint_disabled(endpoint_id)
    ledger = await read_ledger(db, [event.id])
    only = Ledger(ledger.last_event, ledger.last_delivery, ledger.known, (Subscriber(number, ("*",)),))
    payload = event_payload(event)
    new = await insert_events(db, [event], [payload], only)
    if not new:
        raise event_exists(event.id)
    await insert_deliveries(db, new, only, now)
    made = await db.rows("take", event=only.last_event + 1, worker=worker, until=until)
    if not made:
        raise record_busy(event.record)
    return LeasedDelivery(
        id=delivery_id(made[0][0]),
        endpoint_id=endpoint_id,
        event_id=event.id,
        event_name=event.name,
        record=storable(event.record),
        attempt=1,
        lease_until=until,
        body_event=payload,
    )


async def _find(db: Db, endpoint_id: str) -> tuple[int, bool]:
    """Its number, and whether it is enabled; locked."""
    rows = await db.rows("find_endpoint", id=endpoint_id)
    if not rows:
        raise no_endpoint(endpoint_id)
    return int(rows[0][0]), bool(rows[0][1])
