"""Each search of the log begins where it narrows most, and reads in order: SQLite's own plan of each is looked at."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cdc.model.delivery import DeliveryFilter, DeliveryState, EventFilter
from cdc.model.errors import UsageError
from cdc.outbox.slices import LogSlice
from cdc.outbox.sqlite import search as sqlite_search
from cdc.outbox.sqlite.file import migrate_sqlite
from cdc.outbox.sqlite.search import SqliteSearch, of_deliveries, of_events, span
from support.outboxes import at

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAMES = ("invoice.created", "invoice.paid", "stock.changed")


@pytest.fixture(scope="module")
def db() -> Iterator[sqlite3.Connection]:
    """One event of each name; SQLite's plans do not depend on how many there are."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate_sqlite(connection, Path("outbox.db"))
        rows = [(number, f"evt_{number}", name, "main", "a:1", number, b"{}") for number, name in enumerate(NAMES, 1)]
        connection.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL)", rows)
        yield connection


@pytest.fixture
def _much(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every stretch of time held many events, and many deliveries were unfinished."""
    monkeypatch.setattr(sqlite_search, "FEW", -1)


def plan(db: sqlite3.Connection, name: str, search: SqliteSearch) -> list[str]:
    text = re.sub(r"--.*", "", search.text(name))
    return [step for *_, step in db.execute(f"EXPLAIN QUERY PLAN {text}", {**search.parameters, "limit": 50})]


def check(steps: list[str], start: str, last_term: bool) -> None:
    """``last_term``: the deliveries of one event at a time may be sorted."""
    tables = [step for step in steps if re.match(r"(SCAN|SEARCH) (event|delivery)\b", step)]
    assert tables[0].startswith(start), steps
    for step in steps[steps.index(tables[0]) + 1 :]:
        assert not re.match(r"SCAN (event|attempt)|SCAN delivery$", step), steps
    sorts = [step for step in steps if "TEMP B-TREE" in step]
    assert sorts == (["USE TEMP B-TREE FOR LAST TERM OF ORDER BY"] if last_term else []), steps


BY_EVENT = "SEARCH event USING INTEGER PRIMARY KEY (rowid=?)"  # of each found by its time
DELIVERIES: list[tuple[dict[str, Any], str, bool]] = [
    ({}, "SCAN delivery USING INDEX delivery_event", True),
    ({"event_id": "evt_1"}, "SEARCH event USING INDEX sqlite_autoindex_event_1 (id=?)", True),
    ({"record": "a:1"}, "SEARCH event USING INDEX event_record (record=?)", True),
    ({"event_pattern": "invoice.paid"}, "SEARCH event USING INDEX event_name (name=?)", True),
    ({"event_pattern": "*"}, "SCAN delivery USING INDEX delivery_event", True),
    ({"text": "A1"}, BY_EVENT, True),
    ({"text": "A1", "record": "a:1"}, "SEARCH event USING INDEX event_record (record=?)", True),
    ({"text": "A1", "endpoint_id": "ep_a", "since": at(0)}, BY_EVENT, True),
    ({"endpoint_id": "ep_a"}, "SEARCH delivery USING INDEX delivery_endpoint (<expr>=?)", False),
    ({"state": DeliveryState.DEAD}, "SCAN delivery USING INDEX delivery_dead", False),
    ({"state": DeliveryState.CANCELLED}, "SCAN delivery USING INDEX delivery_cancelled", False),
    ({"state": DeliveryState.DELIVERED}, "SCAN delivery USING INDEX delivery_event", True),
    ({"since": at(0)}, BY_EVENT, True),
    ({"until": at(0)}, BY_EVENT, True),
    ({"record": "a:1", "endpoint_id": "ep_a"}, "SEARCH event USING INDEX event_record (record=?)", True),
    ({"record": "a:1", "since": at(0), "state": DeliveryState.DEAD}, "SEARCH event USING INDEX event_record", True),
    ({"endpoint_id": "ep_a", "state": DeliveryState.DEAD}, "SCAN delivery USING INDEX delivery_dead", False),
    ({"endpoint_id": "ep_a", "since": at(0)}, BY_EVENT, True),
    ({"endpoint_id": "ep_a", "source": "main"}, "SEARCH delivery USING INDEX delivery_endpoint (<expr>=?)", False),
]


@pytest.mark.parametrize(("fields", "start", "last_term"), DELIVERIES)
def test_a_listing_begins_where_it_narrows_most(
    db: sqlite3.Connection, fields: dict[str, Any], start: str, last_term: bool
) -> None:
    (search,) = of_deliveries(db, DeliveryFilter(**fields))
    check(plan(db, "deliveries", search), start, last_term)
    for narrowed in (search.before(5, 5), search.within(LogSlice(3, 9)), search.before(5, 5).within(LogSlice(3, 9))):
        check(plan(db, "deliveries", narrowed), start.replace("SCAN", "SEARCH").partition(" (")[0], last_term)
    check(plan(db, "replayable", search.after(5, 5)), start.replace("SCAN", "SEARCH").partition(" (")[0], last_term)


@pytest.mark.parametrize("state", [DeliveryState.WAITING, DeliveryState.PENDING, DeliveryState.LEASED])
def test_few_unfinished_deliveries_are_found_by_themselves(db: sqlite3.Connection, state: DeliveryState) -> None:
    (search,) = of_deliveries(db, DeliveryFilter(state=state))
    steps = plan(db, "deliveries", search)
    assert any(re.search(r"USING (COVERING )?INDEX delivery_(due|lane|worker)", step) for step in steps), steps
    assert not any(re.match(r"SCAN (event|delivery)( USING INDEX delivery_event)?$", step) for step in steps), steps


@pytest.mark.usefixtures("_much")
@pytest.mark.parametrize(
    ("fields", "start"),
    [
        ({"endpoint_id": "ep_a", "since": at(0)}, "SEARCH delivery USING INDEX delivery_endpoint"),
        ({"event_pattern": "invoice.paid", "since": at(0)}, "SEARCH event USING INDEX event_name"),
        ({"since": at(0), "until": at(9)}, BY_EVENT),
        ({"state": DeliveryState.PENDING}, "SCAN delivery USING INDEX delivery_event"),
        ({"text": "Talleres"}, "SCAN delivery USING INDEX delivery_event"),
        ({"text": "Talleres", "endpoint_id": "ep_a"}, "SEARCH delivery USING INDEX delivery_endpoint"),
        ({"text": "Talleres", "state": DeliveryState.DEAD}, "SCAN delivery USING INDEX delivery_dead"),
    ],
)
def test_what_would_not_narrow_is_looked_at_on_the_way(
    db: sqlite3.Connection, fields: dict[str, Any], start: str
) -> None:
    (search,) = of_deliveries(db, DeliveryFilter(**fields))
    assert plan(db, "deliveries", search)[0].startswith(start) or start == BY_EVENT
    sorted_within = not re.search("delivery_(endpoint|dead)", start)
    check(plan(db, "deliveries", search), start, last_term=sorted_within)


@pytest.mark.parametrize(
    ("fields", "start"),
    [
        ({}, "SCAN event"),
        ({"source": "main"}, "SCAN event"),
        ({"event_id": "evt_1"}, "SEARCH event USING INDEX sqlite_autoindex_event_1 (id=?)"),
        ({"record": "a:1"}, "SEARCH event USING INDEX event_record (record=?"),
        ({"event_pattern": "invoice.paid"}, "SEARCH event USING INDEX event_name (name=?"),
        ({"since": at(0)}, BY_EVENT),
        ({"text": "A1"}, BY_EVENT),
    ],
)
def test_events_are_found_in_order(db: sqlite3.Connection, fields: dict[str, Any], start: str) -> None:
    (search,) = of_events(db, EventFilter(**fields))
    check(plan(db, "find_events", search), start, last_term=False)
    behind = search.narrowed("$sequence > :after", after=7, subscriber=1)
    for name in ("find_events", "replayable_events"):
        steps = plan(db, name, behind)
        assert steps[0].startswith(start.replace("SCAN", "SEARCH").rstrip("?)=")) or start == BY_EVENT, steps
        assert not any("TEMP B-TREE" in step for step in steps), steps


@pytest.mark.usefixtures("_much")
def test_a_long_time_is_looked_at_on_the_way_where_it_is_walked(db: sqlite3.Connection) -> None:
    fields: dict[str, Any] = {"since": at(0), "until": at(9)}
    (deliveries,) = of_deliveries(db, DeliveryFilter(**fields), walked=True)
    check(plan(db, "deliveries", deliveries.within(LogSlice(3, 9))), "SEARCH delivery USING INDEX delivery_event", True)
    (events,) = of_events(db, EventFilter(**fields), walked=True)
    check(
        plan(db, "find_events", events.within(LogSlice(3, 9))), "SEARCH event USING INTEGER PRIMARY KEY (rowid>", False
    )


def test_a_time_that_has_ended_is_walked_where_it_lies(db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """The events' times are microseconds 1 to 3."""
    second = EPOCH + timedelta(microseconds=2)
    whole = LogSlice(0, 3)
    assert span(db, EventFilter(since=second), whole) == whole
    assert span(db, EventFilter(until=second), whole) == LogSlice(0, 1)
    assert span(db, EventFilter(since=second, until=at(0)), whole) == LogSlice(1, 3)
    assert span(db, EventFilter(until=EPOCH), whole).empty
    monkeypatch.setattr(sqlite_search, "MANY", 1)
    assert span(db, EventFilter(since=second, until=at(0)), whole) == whole


def test_a_pattern_is_looked_up_name_by_name(db: sqlite3.Connection) -> None:
    searches = of_deliveries(db, DeliveryFilter(event_pattern="invoice.*"))
    assert [search.parameters["name"] for search in searches] == ["invoice.created", "invoice.paid"]
    (nothing,) = of_deliveries(db, DeliveryFilter(event_pattern="order.*"))
    assert "0" in nothing.terms
    with pytest.raises(UsageError, match="not an event pattern"):
        of_events(db, EventFilter(event_pattern="invoice.?"))
