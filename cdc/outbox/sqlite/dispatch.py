"""Leasing and recording in the SQLite outbox, in transactions of `SqliteThread`; tuned by hand."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from cdc.model.delivery import DeliveryState, LeasedDelivery, Outcome, counted
from cdc.model.event import Event
from cdc.outbox.database import sqlite_statements
from cdc.outbox.dispatch import rebalance
from cdc.outbox.log import ROW_STATE
from cdc.outbox.relay import announce, written
from cdc.outbox.secret_box import MAGIC
from cdc.outbox.shared import delivery_id, delivery_number, no_delivery
from cdc.outbox.sqlite.database import SqliteDatabase
from cdc.outbox.sqlite.rows import micros
from cdc.outbox.upkeep import forget_answers


async def lease(
    database: SqliteDatabase,
    worker: str,
    now: datetime,
    until: datetime,
    limit: int,
    room: Mapping[str, int] | None = None,
    *,
    only: bool = False,
) -> list[LeasedDelivery]:
    turns = {endpoint_id: (most, turn) for turn, (endpoint_id, most) in enumerate((room or {}).items())}
    wanted = {"room": orjson.dumps(turns).decode(), "only": only, "limit": limit, "now": micros(now)}
    due = sorted(database.connection.execute(sqlite_statements()["due"], wanted))  # oldest first
    database.connection.execute(sqlite_statements()["lease"], (worker, micros(until), _list([row[1] for row in due])))
    contents = database.box.contents
    # tuple.__new__: as in `cdc.dispatch.sender`
    return [
        tuple.__new__(
            LeasedDelivery,
            (delivery_id(number), endpoint_id, event_id, name, record, attempt, until, payload, source),
        )
        for _, number, endpoint_id, event_id, name, record, attempt, stored, source in due
        for payload in (contents.open(stored) if stored[: len(MAGIC)] == MAGIC else stored,)
    ]


async def lease_of(
    database: SqliteDatabase, endpoint_id: str, worker: str, now: datetime, until: datetime, limit: int
) -> list[LeasedDelivery]:
    return await lease(database, worker, now, until, limit, room={endpoint_id: limit}, only=True)


async def finish(
    database: SqliteDatabase,
    worker: str,
    outcomes: Sequence[Outcome],
    now: datetime,
    announcements: Sequence[Event] = (),
) -> None:
    db = database.connection
    sent = list(_requests(outcomes))
    _record(database, sent)
    minute = micros(now.replace(second=0, microsecond=0))
    counters = [each[1:] for each in counted(outcomes, now)]
    db.execute(sqlite_statements()["count_attempts"], (minute, _list(counters)))
    _note_health(db, sent)
    final = [each for each in sent if each.outcome.state.final and not each.outcome.disable_reason]
    concluded = _conclude_all(db, worker, final, now)
    if len(final) < len(sent):
        for each in sent:
            if each.outcome.disable_reason or not each.outcome.state.final:
                for outcome in each.outcomes:
                    concluded += await _conclude(database, worker, outcome, now)
    if concluded < len(outcomes):
        await forget_answers(database, [number for each in sent for number in each.deliveries])
    if announcements:
        await announce(database, written(announcements), now)


class _Sent(NamedTuple):
    """One request: the ``outcomes`` of what travelled in it, of which the first, ``outcome``, says what holds for all;
    and the numbers of the deliveries, None where an id is none."""

    outcome: Outcome
    outcomes: Sequence[Outcome]
    deliveries: Sequence[int | None]


def _requests(outcomes: Sequence[Outcome]) -> Iterator[_Sent]:
    place = 0
    while place < len(outcomes):
        first = outcomes[place]
        if first.batch == 1:  # spelled out, for there is one for each event
            yield _Sent(first, (first,), (delivery_number(first.attempt.delivery_id),))
        else:
            together = outcomes[place : place + first.batch]
            yield _Sent(first, together, [delivery_number(each.attempt.delivery_id) for each in together])
        place += first.batch


def _note_health(db: sqlite3.Connection, sent: Sequence[_Sent]) -> None:
    """Store since when each endpoint fails: set by its first failure, cleared by a success."""
    failed = [(micros(each.outcome.attempt.started_at), each.deliveries[0]) for each in sent if each.outcome.failed]
    if failed:
        failed.sort()
        db.executemany(sqlite_statements()["note_failure"], failed)
    if db.execute("SELECT EXISTS (SELECT 1 FROM endpoint WHERE failing_since IS NOT NULL)").fetchone()[0]:
        delivered = [each.deliveries[0] for each in sent if each.outcome.state is DeliveryState.DELIVERED]
        db.execute(sqlite_statements()["note_success"], (_list(delivered),))


def _record(database: SqliteDatabase, sent: Sequence[_Sent]) -> None:
    """A row an attempt.  Those of one request differ by the delivery only: one statement writes them all."""
    db, sealed = database.connection, database.box.contents.seal_text
    single: list[tuple[Any, ...]] = []
    try:
        for outcome, _, deliveries in sent:
            _, number, _, _, url, status, started_at, *rest, answer = outcome.attempt
            of_all = number, url, status, micros(started_at), *rest, sealed(answer)
            if len(deliveries) == 1:
                single.append((*of_all, deliveries[0]))
            else:
                db.execute(sqlite_statements()["insert_attempts"], (*of_all, _list(deliveries)))
        db.execute(sqlite_statements()["insert_attempt"], (_list(single),))
    except sqlite3.IntegrityError as error:  # the attempt of a delivery that is not there
        for each in sent:
            for outcome in each.outcomes:
                _delivery(db, outcome)
        raise error from None


def _delivery(db: sqlite3.Connection, outcome: Outcome) -> tuple[Any, ...]:
    """(number, endpoint, lane, worker, attempts)"""
    number = delivery_number(outcome.attempt.delivery_id)
    found = db.execute("SELECT id, endpoint, lane, worker, attempts FROM delivery WHERE id = ?", (number,)).fetchone()
    if found is None:
        raise no_delivery(outcome.attempt.delivery_id)
    row: tuple[Any, ...] = found
    return row


def _conclude_all(db: sqlite3.Connection, worker: str, sent: Sequence[_Sent], now: datetime) -> int:
    """Deliveries that are finished for good, nearly all of them: a few statements for the whole lot; how many."""
    alike: defaultdict[tuple[DeliveryState, int], list[int | None]] = defaultdict(list)
    for outcome, _, deliveries in sent:
        alike[outcome.state, outcome.attempt.number] += deliveries
    finished_at = micros(now)
    concluded = 0
    for (state, attempt), deliveries in alike.items():
        numbers = _list(deliveries)
        new = (ROW_STATE[state], finished_at, finished_at)
        concluded += db.execute(sqlite_statements()["finish"], (*new, numbers, worker, attempt)).rowcount
        db.execute(sqlite_statements()["promote_behind"], (numbers,))
    return concluded


def _list(values: Sequence[Any]) -> str:
    """Return a list for `json_each`: one statement on many rows costs less for each than one statement a row."""
    return orjson.dumps(values).decode()


async def _conclude(database: SqliteDatabase, worker: str, outcome: Outcome, now: datetime) -> bool:
    """A delivery that is due again, or whose endpoint must be disabled; whether the worker still had it."""
    db = database.connection
    number, endpoint, lane, holder, attempts = _delivery(db, outcome)
    if (holder, attempts) != (worker, outcome.attempt.number):
        return False
    finished_at = micros(now) if outcome.state.final else None
    due = micros(outcome.due_at or now)
    new = (ROW_STATE[outcome.state], due, finished_at)
    db.execute(sqlite_statements()["finish"], (*new, _list([number]), worker, attempts))
    await rebalance(database, [(endpoint, lane)])  # an older one of the lane may have been retried in between
    if outcome.disable_reason:
        await database.write("disable_endpoint", reason=outcome.disable_reason, number=endpoint)
    return True
