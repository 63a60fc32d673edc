"""Leasing and recording in the PostgreSQL outbox, for any number of processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from string import Template
from typing import NamedTuple

import orjson

from cdc.model.delivery import DeliveryState, LeasedDelivery, Outcome, counted
from cdc.model.event import Event
from cdc.outbox.database import Row, postgres_statements
from cdc.outbox.dispatch import Lane, promote, settle
from cdc.outbox.postgres.database import PostgresDatabase
from cdc.outbox.relay import announce, written
from cdc.outbox.retention import forget_answers
from cdc.outbox.rows import ROW_STATE
from cdc.outbox.shared import delivery_id, delivery_number, no_delivery


class Crowded(Exception):
    """A lane has several active deliveries, or an older one that waits, an endpoint is to be disabled, or there is
    something to announce: to be finished under `Lock.FREELY`."""


class _Held(NamedTuple):
    """A delivery that an outcome is for, locked; ``number``: of the attempt that its lease counted."""

    id: int
    lane: Lane
    worker: str | None
    number: int
    crowded: bool


async def lease(
    db: PostgresDatabase,
    worker: str,
    now: datetime,
    until: datetime,
    *,
    limit: int,
    room: Mapping[str, int],
    only: bool,
) -> list[LeasedDelivery]:
    """One statement, which needs no lock of lanes."""
    rooms = orjson.dumps({endpoint: (most, turn) for turn, (endpoint, most) in enumerate(room.items())}).decode()
    given = {"worker": worker, "now": now, "until": until, "limit": limit, "rooms": rooms}
    return _leased(await db.query(lease_statement(only=only), {**given, "ids": list(room)} if only else given), until)


async def lease_of(
    db: PostgresDatabase, endpoint_id: str, worker: str, now: datetime, until: datetime, *, limit: int
) -> list[LeasedDelivery]:
    given = {"endpoint": endpoint_id, "worker": worker, "now": now, "until": until, "limit": limit}
    return _leased(await db.rows("lease_of", **given), until)


def _leased(rows: Sequence[Row], until: datetime) -> list[LeasedDelivery]:
    return [
        LeasedDelivery(
            id=delivery_id(number),
            endpoint_id=endpoint_id,
            event_id=event_id,
            event_name=name,
            record=record,
            attempt=attempts,
            lease_until=until,
            body_event=payload,
            source=source,
        )
        for number, endpoint_id, event_id, name, record, attempts, payload, source in rows
    ]


@cache
def lease_statement(*, only: bool) -> str:
    """``only``: of the endpoints in ``ids``."""
    which = "endpoint.id = ANY (%(ids)s::text[])" if only else "true"
    return Template(postgres_statements()["lease"]).substitute(which=which)


async def finish(
    db: PostgresDatabase,
    worker: str,
    outcomes: Sequence[Outcome],
    now: datetime,
    *,
    announcements: Sequence[Event],
    freely: bool,
) -> None:
    """``freely``: under `Lock.FREELY`; otherwise raises `Crowded` when that is needed."""
    if not freely and (announcements or any(outcome.disable_reason for outcome in outcomes)):
        raise Crowded
    if announcements:  # first: it may merge lanes
        await announce(db, written(announcements), now)
    held = await _hold(db, outcomes)
    await _record(db, outcomes, now)
    ending = [(held[outcome.attempt.delivery_id], outcome) for outcome in outcomes]
    await _note_health(db, ending)
    ending = [
        (each, outcome) for each, outcome in ending if (each.worker, each.number) == (worker, outcome.attempt.number)
    ]
    if len(ending) < len(outcomes):
        await forget_answers(db, [each.id for each in held.values()])
    if not ending:
        return
    if not freely and any(each.crowded for each, _ in ending):
        raise Crowded
    await db.write(
        "finish",
        ids=[each.id for each, _ in ending],
        states=[ROW_STATE[outcome.state] for _, outcome in ending],
        dues=[now if outcome.state.final else outcome.due_at or now for _, outcome in ending],
        now=now,
    )
    for each, outcome in ending:
        if outcome.disable_reason:
            await db.write("disable_endpoint", number=each.lane[0], reason=outcome.disable_reason)
            db.due()
    if freely:
        await settle(db, {each.lane for each, _ in ending})
    else:
        await promote(db, {each.lane for each, outcome in ending if outcome.state.final})


async def _note_health(db: PostgresDatabase, attempted: Sequence[tuple[_Held, Outcome]]) -> None:
    """Store since when each endpoint fails: set by its first failure, cleared by a success."""
    well: set[int] = set()
    failed: dict[int, datetime] = {}
    for held, outcome in attempted:
        endpoint = held.lane[0]
        if outcome.state is DeliveryState.DELIVERED:
            well.add(endpoint)
        elif outcome.failed:
            started = outcome.attempt.started_at
            failed[endpoint] = min(failed.get(endpoint, started), started)
    failing = {endpoint: since for endpoint, since in failed.items() if endpoint not in well}
    await db.write("note_health", well=list(well), failing=list(failing), since=list(failing.values()))


async def _hold(db: PostgresDatabase, outcomes: Sequence[Outcome]) -> dict[str, _Held]:
    """Delivery id → what it is now, and stays until the transaction ends.  Raises `UsageError` when one is unknown."""
    numbers = {delivery_number(outcome.attempt.delivery_id) for outcome in outcomes} - {None}
    rows = await db.rows("hold", ids=list(numbers))
    held = {
        delivery_id(number): _Held(number, (endpoint, lane), worker, attempts, crowded)
        for number, endpoint, lane, worker, attempts, crowded in rows
    }
    for outcome in outcomes:
        if outcome.attempt.delivery_id not in held:
            raise no_delivery(outcome.attempt.delivery_id)
    return held


async def _record(db: PostgresDatabase, outcomes: Sequence[Outcome], now: datetime) -> None:
    attempts = [outcome.attempt for outcome in outcomes]
    await db.write(
        "insert_attempts",
        deliveries=[delivery_number(attempt.delivery_id) for attempt in attempts],
        numbers=[attempt.number for attempt in attempts],
        urls=[attempt.url for attempt in attempts],
        statuses=[attempt.status for attempt in attempts],
        starts=[attempt.started_at for attempt in attempts],
        durations=[attempt.duration for attempt in attempts],
        errors=[attempt.error for attempt in attempts],
        answers=[attempt.answer for attempt in attempts],
        minute=now.replace(second=0, microsecond=0),
        counters=orjson.dumps(
            [
                {
                    "endpoint": endpoint_id,
                    "source": source,
                    "delivered": delivered,
                    "failed": failed,
                    "seconds": seconds,
                }
                for _, endpoint_id, source, delivered, failed, seconds in counted(outcomes, now)
            ]
        ).decode(),
    )
