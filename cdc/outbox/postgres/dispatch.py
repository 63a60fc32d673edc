"""Leasing and recording in the PostgreSQL outbox, for any number of processes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from string import Template
from typing import Any, Final, NamedTuple

import orjson

from cdc.model.delivery import (
    AdmissionRequest,
    Admitted,
    DeliveryState,
    DueEndpoints,
    EndpointHold,
    LeasedDelivery,
    Outcome,
)
from cdc.model.event import TESTS, Event
from cdc.outbox import dispatch
from cdc.outbox.database import Row, postgres_statements
from cdc.outbox.dispatch import EndpointKey, key_columns
from cdc.outbox.log import ROW_STATE
from cdc.outbox.postgres.database import Lock, PostgresDatabase
from cdc.outbox.relay import announce, written
from cdc.outbox.shared import delivery_id, delivery_number, no_delivery
from cdc.outbox.upkeep import forget_answers


class Crowded(Exception):
    """A lane has several active deliveries, or an older one that waits, an endpoint is to be disabled, or there is
    something to announce: to be finished under `Lock.EXCLUSIVE`."""


class _Held(NamedTuple):
    """A delivery that an outcome is for, locked; ``number``: of the attempt that its lease counted."""

    id: int
    lane: EndpointKey
    worker: str | None
    number: int
    crowded: bool


#: After this the dispatcher asks again, while it would cost too much to say when something is due.
SOON: Final = timedelta(seconds=1)


async def lease(
    db: PostgresDatabase,
    worker: str,
    now: datetime,
    until: datetime,
    limit: int,
    room: Mapping[str, int] | None = None,
    *,
    only: bool = False,
) -> list[LeasedDelivery]:
    """One statement, which needs no lock of lanes."""
    room = room or {}
    turns = {endpoint: (most, turn) for turn, (endpoint, most) in enumerate(room.items())}
    parameters = {"worker": worker, "until": until, "rooms": orjson.dumps(turns).decode()}
    parameters |= {"ids": list(room)} if only else {}
    statement = lease_statement(only=only), lease_statement(only=only, resumed=True)
    return await _lease(db, statement, parameters, now, limit, room, only=only)


async def lease_of(
    db: PostgresDatabase, endpoint_id: str, worker: str, now: datetime, until: datetime, limit: int
) -> list[LeasedDelivery]:
    parameters = {"endpoint": endpoint_id, "worker": worker, "until": until}
    statement = lease_of_statement(), lease_of_statement(resumed=True)
    return await _lease(db, statement, parameters, now, limit, {endpoint_id: limit}, only=True)


async def _lease(
    db: PostgresDatabase,
    statement: tuple[str, str],
    parameters: dict[str, Any],
    now: datetime,
    limit: int,
    room: Mapping[str, int],
    *,
    only: bool,
) -> list[LeasedDelivery]:
    """Lease by the first statement, or, while `DueFloors.active`, by the second."""
    floors = db.shared.floors
    parameters |= {"now": now, "limit": limit}
    await floors.check(db)
    if floors.active:
        rows = await db.query(statement[1], parameters | floors.begin())
        floors.leased(rows, now, limit, room, only=only)
    else:
        rows = await db.query(statement[0], parameters)
    db.shared.writes += len(rows)
    until, opened = parameters["until"], db.box.contents.open
    return [
        LeasedDelivery(
            id=delivery_id(number),
            endpoint_id=endpoint_id,
            event_id=event_id,
            event_name=name,
            record=record,
            attempt=attempts,
            lease_until=until,
            body_event=opened(payload),
            source=source,
        )
        for number, endpoint_id, event_id, name, record, attempts, payload, source, *_ in rows
    ]


async def due_endpoints(
    db: PostgresDatabase,
    now: datetime,
    most: int,
    place: int,
    without: Collection[str] = (),
    runs: Sequence[tuple[int, int]] | None = None,
) -> DueEndpoints:
    floors = db.shared.floors
    if not floors.active:
        return await dispatch.due_endpoints(db, now, most, place, without, runs)
    floor = floors.begin() if runs is None else floors.present()
    name = "due_endpoints_from"
    found = await dispatch.find_due_endpoints(db, name, now, most, place, without=without, runs=runs, **floor)
    if runs is None:
        floors.found(found, now, without)
    return found


async def next_due(db: PostgresDatabase, now: datetime, without: Collection[str] = ()) -> datetime | None:
    """Return `SOON` from now while an old transaction makes the search for the next due time expensive."""
    return now + SOON if db.shared.floors.active else await dispatch.next_due(db, now, without)


@cache
def lease_statement(*, only: bool, resumed: bool = False) -> str:
    """``only``: of the endpoints in ``ids``; ``resumed``: with the parameters of `DueFloors.begin`."""
    which = "endpoint.id = ANY (%(ids)s::text[])" if only else "true"
    return _search("lease", "endpoint.id", resumed=resumed, which=which)


@cache
def lease_of_statement(*, resumed: bool = False) -> str:
    return _search("lease_of", "%(endpoint)s::text", resumed=resumed)


def _search(name: str, endpoint: str, *, resumed: bool, **parts: str) -> str:
    floor = f"AND delivery.due >= COALESCE((%(floors)s::jsonb ->> {endpoint})::timestamptz, %(base)s)"
    parts |= {"from": floor, "due": ", taken.due"} if resumed else {"from": "", "due": ""}
    return Template(postgres_statements()[name]).substitute(parts)


async def finish(
    db: PostgresDatabase,
    worker: str,
    outcomes: Sequence[Outcome],
    now: datetime,
    *,
    announcements: Sequence[Event],
    lock: Lock,
) -> tuple[list[Row], Sequence[Outcome]]:
    """Return what follows in the lanes, endpoints and due times; and outcomes that are left, of deliveries that another
    transaction locks, where ``lock`` is `Lock.FINISH`.  Raises `Crowded` when `Lock.EXCLUSIVE` is needed."""
    exclusive = lock is Lock.EXCLUSIVE
    if not exclusive and (announcements or any(outcome.disable_reason for outcome in outcomes)):
        raise Crowded
    if announcements:  # first: it may merge lanes
        await announce(db, written(announcements), now)
    held = await _hold(db, outcomes, waits=lock is not Lock.FINISH)
    if left := [outcome for outcome in outcomes if outcome.attempt.delivery_id not in held]:
        ids = [delivery_number(outcome.attempt.delivery_id) for outcome in left]
        known = {delivery_id(number) for (number,) in await db.rows("known_deliveries", ids=ids)}
        for outcome in left:
            if outcome.attempt.delivery_id not in known:
                raise no_delivery(outcome.attempt.delivery_id)
        outcomes = [outcome for outcome in outcomes if outcome.attempt.delivery_id in held]
    await _record(db, outcomes, now)
    ending = [(held[outcome.attempt.delivery_id], outcome) for outcome in outcomes]
    await _note_health(db, ending)
    ending = [
        (each, outcome) for each, outcome in ending if (each.worker, each.number) == (worker, outcome.attempt.number)
    ]
    if len(ending) < len(outcomes):
        await forget_answers(db, [each.id for each in held.values()])
    if not ending:
        return [], left
    if not exclusive and any(each.crowded for each, _ in ending):
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
    lanes = key_columns({each.lane for each, outcome in ending if exclusive or outcome.state.final})
    if exclusive:
        await db.write_each("demote", lanes)
    return (await db.rows("promote", **lanes) if lanes["lane"] else []), left


async def _note_health(db: PostgresDatabase, attempted: Sequence[tuple[_Held, Outcome]]) -> None:
    """Store since when each endpoint fails: set by its first failure, cleared by a success."""
    since: dict[int, datetime | None] = {}
    for held, outcome in attempted:
        endpoint, started = held.lane[0], outcome.attempt.started_at
        if outcome.state is DeliveryState.DELIVERED:
            since[endpoint] = None
        elif outcome.failed:
            first = since.get(endpoint, started)
            since[endpoint] = first and min(first, started)
    if since:
        await db.write("note_health", endpoints=list(since), since=list(since.values()))


@cache
def hold_statement(*, waits: bool) -> str:
    return Template(postgres_statements()["hold"]).substitute(locked="" if waits else "SKIP LOCKED")


async def _hold(db: PostgresDatabase, outcomes: Sequence[Outcome], *, waits: bool) -> dict[str, _Held]:
    """Delivery id → what it is now, and stays until the transaction ends."""
    numbers = {delivery_number(outcome.attempt.delivery_id) for outcome in outcomes} - {None}
    rows = await db.query(hold_statement(waits=waits), {"ids": list(numbers)})
    return {
        delivery_id(number): _Held(number, (endpoint, lane), worker, attempts, crowded)
        for number, endpoint, lane, worker, attempts, crowded in rows
    }


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
        answers=[db.box.contents.seal_text(attempt.answer) for attempt in attempts],
        minute=now.replace(second=0, microsecond=0),
        endpoint_ids=[outcome.endpoint_id for outcome in outcomes],
        sources=[outcome.source for outcome in outcomes],
        delivered=[
            None
            if outcome.state is DeliveryState.CANCELLED or outcome.source == TESTS
            else outcome.state is DeliveryState.DELIVERED
            for outcome in outcomes
        ],
    )


#: Seconds in which an admitted request may start by its endpoint's rate.
AHEAD: Final = 1.0


async def holds(db: PostgresDatabase) -> dict[str, EndpointHold]:
    rows = await db.rows("holds")
    return {endpoint_id: EndpointHold(held, failed, paused) for endpoint_id, held, failed, paused in rows}


async def publish_holds(db: PostgresDatabase, worker: str, given: Mapping[str, EndpointHold]) -> None:
    rows = [{"id": endpoint_id, **hold._asdict()} for endpoint_id, hold in given.items()]
    holds = orjson.dumps(rows).decode()
    await db.write("publish_breakers", worker=worker, holds=holds)
    if any(hold.paused for hold in given.values()):
        await db.write("publish_pauses", holds=holds)


async def admit(db: PostgresDatabase, worker: str, wanted: Mapping[str, AdmissionRequest]) -> dict[str, Admitted]:
    """One statement; more where an endpoint is limited for the first time."""
    admitted = await _admit(db, worker, wanted)
    missing = {endpoint_id: each for endpoint_id, each in wanted.items() if endpoint_id not in admitted}
    if missing:
        await db.write("add_limits", ids=list(missing))
        admitted |= await _admit(db, worker, missing)
    return admitted


async def _admit(db: PostgresDatabase, worker: str, wanted: Mapping[str, AdmissionRequest]) -> dict[str, Admitted]:
    given = [{"id": endpoint_id, **each._asdict()} for endpoint_id, each in wanted.items()]
    rows = await db.rows("admit", worker=worker, wanted=orjson.dumps(given).decode(), ahead=AHEAD)
    return {
        endpoint_id: Admitted(requests, booked, EndpointHold(held, failed, paused))
        for endpoint_id, requests, booked, held, failed, paused in rows
    }
