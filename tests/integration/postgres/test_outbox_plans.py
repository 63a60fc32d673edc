"""No statement of the PostgreSQL outbox reads the log: the server's own plan of each is looked at.

On empty tables, where a planner is most tempted, and on full ones.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from string import Template
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from cdc.database.postgres_connection import conninfo
from cdc.database.sqlfile import load
from cdc.model.change import Position
from cdc.model.connection import ConnectionInfo
from cdc.model.delivery import DeliveryState
from cdc.outbox.database import postgres_statements
from cdc.outbox.postgres.dispatch import hold_statement, lease_of_statement, lease_statement
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.postgres.search import ENDPOINT_TERM, STATE_TERMS
from support.database import Database, fresh_database
from support.outboxes import NOW, endpoint, event, finish, lease
from support.server import Spec
from support.servers import KeeperClient, shared_server

#: tables with few rows, which any statement may walk
FEW = {"endpoint", "endpoint_version", "endpoint_limit", "replay", "backfill", "quarantine", "resealing"}
#: statements that walk more on purpose: a page of the log from its end, the last ids
WALKS = {
    "store_begin": {"event", "delivery"}, "events_newest": {"event"}, "finished_of_events": {"delivery"},
    "event_names": {"event"}, "log_ends": {"event"}, "last_event": {"event"}, "last_delivery": {"delivery"},
    "durations": {"attempt"},
}  # fmt: skip
#: may walk these, which hold unfinished rows, tests, or none but what is asked for
NARROW = {"delivery_lane", "delivery_due", "delivery_dead", "delivery_cancelled", "event_test"}
SEARCHES = {"deliveries", "find_events", "find_newest", "replayable", "replayable_events"}
SETUP = set(re.findall(r"^-- name: (\w+)", load("outbox/postgres/setup.sql"), re.MULTILINE))
SCRIPTS = SETUP | SEARCHES
#: access, its audit log, limits and workers plan as PostgreSQL sees fit
ACCESS = {
    name
    for file in ("outbox/access.sql", *(f"outbox/postgres/{name}.sql" for name in ("audit", "quotas", "workers")))
    for name in re.findall(r"^-- name: (\w+)", load(file), re.MULTILINE)
}
#: a move reads all that there is of its source, once
MOVES = {
    name
    for file in ("outbox/move.sql", "outbox/postgres/move.sql")
    for name in re.findall(r"^-- name: (\w+)", load(file), re.MULTILINE)
}
#: calls a function, whose statements EXPLAIN does not show
FUNCTIONS = {"store"}
STATEMENTS = sorted(postgres_statements().keys() - SCRIPTS - ACCESS - MOVES - FUNCTIONS)
#: The forms of leasing: at first, and continued beside an old transaction; and of locking what was attempted.
LEASE = {
    "hold": hold_statement(waits=True),
    "hold_free": hold_statement(waits=False),
    "lease": lease_statement(only=False),
    "lease_only": lease_statement(only=True),
    "lease_of": lease_of_statement(),
    "lease_resumed": lease_statement(only=False, resumed=True),
    "lease_only_resumed": lease_statement(only=True, resumed=True),
    "lease_of_resumed": lease_of_statement(resumed=True),
}
VALUES: dict[str, Any] = {
    "now": NOW, "until": NOW, "latest": NOW, "limit": 64, "rooms": "{}", "enabled": True, "settings": Jsonb({}),
    "created_at": NOW, "minute": NOW,
    "base": NOW, "floors": "{}", "earliest": NOW, "above": 0, "upto": 9,
    "state": 2, "after": 5, "position": "p", "attempts": 1, "failing_since": NOW, "since": NOW,
    "before": NOW, "newest": 9, "rate": 1.0, "total": 1, "deliveries": 1, "expunged": 1, "finished_at": NOW,
    "row_count": 3, "most": 5, "epoch": 1, "finished": True, "found_at": NOW, "changed_at": NOW, "estimate": 3,
    "holds": "[]", "wanted": "[]", "ahead": 1.0, "runs": "[[0, 9]]",
}  # fmt: skip
LISTS: dict[str, Any] = {
    "payload": [b"x"], "time": [NOW], "dues": [NOW], "starts": [NOW], "durations": [0.5], "states": [2],
    "numbers": [1], "statuses": [200], "sequences": [1000], "endpoints": [1], "lanes": [7], "deliveries": [3],
    "events": [1], "delivered": [True], "fenced": [True], "since": [NOW], "period_start": [NOW], "period_end": [NOW],
}  # fmt: skip
#: statements that name the endpoint by its id
_BY_ID = (
    "unfinished",
    "insert_backfill",
    "bring_forward",
    "bring_forward_waiting",
    "due_of",
    "durations_of",
    "later",
    "hurry_endpoint",
    "lease_of",
    "lease_of_resumed",
)
#: statements that continue after a text
_BY_TEXT = ("quarantined_after",)
_BY_NUMBER = ("attempts", "hurry", "reopen", "retriable", "place")
NUMBERS = {"lane", "into", "number", "endpoint", "last", "event"}


def _rendered(name: str, **parts: str) -> str:
    return Template(postgres_statements()[name]).substitute(parts)


def parameters(name: str, text: str) -> dict[str, Any]:
    names = set(re.findall(r"%\((\w+)\)[sb]", text))
    found: dict[str, Any] = {}
    for each in names:
        array = re.search(rf"%\({each}\)[sb]::(\w+)", text)
        if re.search(rf"%\({each}\)[sb]::[\w ]+\[\]", text):
            whole = array is not None and array[1] in ("bigint", "integer", "smallint")
            found[each] = LISTS.get(each) or ([3] if whole else ["x"])
        elif each == "fenced":
            found[each] = True
        elif array is not None and array[1] == "bytea":
            found[each] = b"x"
        elif name in ("insert_endpoint", "update_endpoint") and each in ("events", "sources"):
            found[each] = ["x"]
        else:
            named = (each == "endpoint" and name in _BY_ID) or name in _BY_TEXT
            number = (each in NUMBERS and not named) or (each == "id" and name in _BY_NUMBER)
            found[each] = "x" if each == "after" and named else VALUES.get(each, 3 if number else "x")
    return found


class Planner:
    """Plans as the outbox's own sessions do."""

    def __init__(self, info: ConnectionInfo) -> None:
        self._connection = psycopg.connect(conninfo(info, "plans"), autocommit=True)
        self._connection.execute(_rendered("session", commit="on", plain="off").encode())

    def steps(self, text: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        row = self._connection.execute(f"EXPLAIN (FORMAT JSON) {text}".encode(), values).fetchone()
        assert row is not None
        return list(_flat(row[0][0]["Plan"]))

    def rows(self, text: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(text.encode()).fetchall()

    def reads(self, text: str, values: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
        """Run a statement, and undo it.  Return what it read of each table: scans of all rows, rows by an index."""
        with self._connection.transaction(force_rollback=True):
            self._connection.execute(text.encode(), values)
            rows = self._connection.execute(
                "SELECT relname, seq_scan, idx_tup_fetch FROM pg_stat_xact_user_tables"
                " WHERE schemaname = 'cdc_outbox' AND seq_scan + idx_scan > 0"
            ).fetchall()
        return {name: (scans, fetched) for name, scans, fetched in rows}

    def close(self) -> None:
        self._connection.close()


def _flat(node: dict[str, Any]) -> Any:
    yield node
    for child in node.get("Plans", []):
        yield from _flat(child)


def walked(step: dict[str, Any]) -> str | None:
    """The table that a step reads without a condition on an index that narrows it."""
    if step["Node Type"] == "Seq Scan":
        return str(step["Relation Name"])
    if step["Node Type"] in ("Index Scan", "Index Only Scan") and "Index Cond" not in step:
        return None if step["Index Name"] in NARROW else str(step["Relation Name"])
    if step["Node Type"] == "Bitmap Index Scan" and "Index Cond" not in step and step["Index Name"] not in NARROW:
        return str(step["Index Name"])
    return None


@pytest.fixture(scope="module", params=["empty", "full"])
def planner(request: pytest.FixtureRequest, keeper: KeeperClient) -> Iterator[Planner]:
    """For all tests of the module: `EXPLAIN` changes nothing."""
    with fresh_database(shared_server(keeper, Spec("postgresql")), erp=False) as database:
        asyncio.run(_prepare(database, full=request.param == "full"))
        planner = Planner(database.info)
        yield planner
        planner.close()


async def _prepare(database: Database, *, full: bool) -> None:
    outbox = PostgresOutbox(database.info)
    await outbox.open()
    if full:
        await outbox.add_endpoint(endpoint())
        await outbox.store("main", Position("p"), [event(n) for n in range(1, 2001)], {}, NOW)
        for _ in range(19):
            await finish(outbox, *await lease(outbox, limit=100))
        await lease(outbox, limit=10)
        database.execute("ANALYZE")
    await outbox.close()


def test_no_statement_walks_a_table(planner: Planner) -> None:
    wrong = []
    for name in {*STATEMENTS, *LEASE}:
        text = LEASE.get(name) or postgres_statements()[name]
        steps = planner.steps(text, parameters(name, text))
        found = {table for step in steps if (table := walked(step))}
        joins = {step["Node Type"] for step in steps} & {"Hash Join", "Merge Join"}
        if joins or not found <= FEW | WALKS.get(name, set()):
            wrong.append((name, found, steps))
    assert not wrong, [(name, found) for name, found, _ in wrong]


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("lease", "delivery_due"),
        ("lease_only", "delivery_due"),
        ("lease_only", "endpoint_id_key"),
        ("lease_of", "delivery_due"),
        ("due_endpoints", "delivery_due"),
        ("due_endpoints", "endpoint_pkey"),
        ("late_endpoints", "delivery_due"),
        ("next_due", "delivery_due"),
        ("oldest_due", "delivery_due"),
        ("insert_delivery", "delivery_lane"),
        ("promote", "delivery_lane"),
        ("demote", "delivery_lane"),
        ("move_lane", "delivery_lane"),
        ("cancel_deliveries", "delivery_lane"),
        ("unfinished_of_endpoint", "delivery_lane"),
        ("promote_endpoint", "delivery_lane"),
        ("promote_endpoint", "delivery_pkey"),
        ("demote_endpoint", "delivery_due"),
        ("reorder", "delivery_pkey"),
        ("hold", "delivery_pkey"),
        ("finish", "delivery_pkey"),
        ("give_back", "delivery_pkey"),
        ("insert_attempts", "attempt_delivery"),
        ("attempts", "attempt_delivery"),
    ],
)
def test_a_hot_statement_uses_its_index(planner: Planner, name: str, index: str) -> None:
    text = LEASE.get(name) or postgres_statements()[name]
    steps = planner.steps(text, parameters(name, text))
    used = {step["Index Name"] for step in steps if "Index Name" in step}
    assert index in used, steps


def test_the_function_that_stores_reads_no_log(planner: Planner) -> None:
    ((version, number),) = planner.rows("SELECT version, 1 FROM cdc_outbox.endpoint_version")
    values = {
        "now": NOW,
        "token": "t",
        "version": version,
        "worker": "w",
        "until": NOW,
        "full": ["x"],
        "source": ["main"],
        "position": ["q"],
        "fenced": [False],
        "expected": [None],
        "epoch": [None],
        "state_source": ["main"],
        "state_name": ["x"],
        "state_value": ["y"],
        "id": ["evt_new"],
        "name": ["a.b"],
        "event_source": ["main"],
        "record": ["r:1"],
        "time": [NOW],
        "payload": [b"{}"],
        "label_code": [None],
        "label_name": [None],
        "event": [1],
        "endpoint": [number],
        "lane": [7],
        "leased_event": [1],
        "leased_endpoint": [number],
    }
    for _ in range(7):  # from the sixth call on PostgreSQL may plan for any values
        read = planner.reads(postgres_statements()["store"], values)
        assert {"event", "delivery", "source_position"} <= read.keys()
        few = {"endpoint", "endpoint_version"}
        assert not {
            name: each for name, each in read.items() if name not in few and (each[0] or each[1] > 99)
        }  # reads what was undone, too


@pytest.mark.parametrize("name", ["lease_resumed", "lease_only_resumed", "lease_of_resumed", "due_endpoints_from"])
def test_a_continued_search_begins_behind_the_former_one(planner: Planner, name: str) -> None:
    text = LEASE.get(name) or postgres_statements()[name]
    (search,) = [
        step for step in planner.steps(text, parameters(name, text)) if step.get("Index Name") == "delivery_due"
    ]
    assert re.search(r"endpoint = .*due <= .*due >= ", search["Index Cond"]), search


@pytest.mark.parametrize("name", ["hold", "promote", "demote", "insert_delivery"])
def test_a_lane_is_found_by_all_that_names_it(planner: Planner, name: str) -> None:
    text = LEASE.get(name) or postgres_statements()[name]
    for step in planner.steps(text, parameters(name, text)):
        if step.get("Index Name") == "delivery_lane":
            assert "endpoint = " in step["Index Cond"], step
            assert "lane = " in step["Index Cond"], step
        assert step.get("Index Name") != "delivery_due", step


@pytest.mark.parametrize(
    ("where", "indexes"),
    [
        ("true", {"delivery_event"}),
        ("event.id = %(x)s", {"event_id_key"}),
        ("event.record = %(x)s", {"event_record"}),
        ("event.name = ANY (%(names)s::text[])", {"event_name", "delivery_event"}),
        ('event."time" >= %(now)s AND event."time" < %(now)s', {"event_time", "delivery_event"}),
        (ENDPOINT_TERM, {"delivery_endpoint"}),
        (STATE_TERMS[DeliveryState.DEAD], {"delivery_dead"}),
        (STATE_TERMS[DeliveryState.CANCELLED], {"delivery_cancelled"}),
        (STATE_TERMS[DeliveryState.LEASED], {"delivery_due", "delivery_lane", "delivery_event"}),
        (STATE_TERMS[DeliveryState.PENDING], {"delivery_due", "delivery_event"}),
        (STATE_TERMS[DeliveryState.WAITING], {"delivery_lane", "delivery_event"}),
        (STATE_TERMS[DeliveryState.DELIVERED], {"delivery_event"}),
    ],
)
def test_a_listing_reads_no_more_than_it_must(planner: Planner, where: str, indexes: set[str]) -> None:
    """By the index of what is asked for, or from the end of the log where that is dense."""
    text = _rendered("deliveries", where=where)
    steps = planner.steps(text, {"x": "x", "endpoint": 1, "names": ["invoice.paid"], "now": NOW, "limit": 20})
    assert not [step for step in steps if step["Node Type"] == "Seq Scan" and step["Relation Name"] != "endpoint"]
    assert indexes & {step.get("Index Name") for step in steps}, steps


@pytest.mark.parametrize(
    ("where", "index"),
    [
        ("event.record = %(x)s AND event.sequence > %(after)s", "event_record"),
        ("event.name = ANY (%(names)s::text[]) AND event.sequence > %(after)s", "event_name"),
        ("event.sequence > %(after)s", "event_pkey"),
    ],
)
def test_events_are_searched_by_index(planner: Planner, where: str, index: str) -> None:
    for name in ("find_events", "find_newest", "replayable_events"):
        text = _rendered(name, where=where)
        values = {"x": "a:1", "names": ["order.paid"], "after": 7, "subscriber": 1, "limit": 20}
        scans = [step for step in planner.steps(text, values) if "Scan" in step["Node Type"]]
        assert {step.get("Index Name") for step in scans} & {index, "event_pkey"}, scans
        assert not [step for step in scans if step["Node Type"] == "Seq Scan"], scans


async def test_due_deliveries_are_found_behind_a_long_log(postgres_db: Database) -> None:
    """What a lease reads does not grow with what was delivered."""
    outbox = PostgresOutbox(postgres_db.info)
    await outbox.open()
    await outbox.add_endpoint(endpoint())
    read = []
    for number in (1, 2):
        await outbox.store(
            "main", Position("p"), [event(n) for n in range(number * 5000, number * 5000 + 3000)], {}, NOW
        )
        while leased := await lease(outbox, limit=500):
            await finish(outbox, *leased)
        postgres_db.execute("VACUUM ANALYZE cdc_outbox.delivery")
        await outbox.store("main", Position("p"), [event(n) for n in range(number * 100, number * 100 + 64)], {}, NOW)
        planner = Planner(postgres_db.info)
        text = LEASE["lease"]
        values = parameters("lease", text) | {"until": NOW + timedelta(seconds=60)}
        steps = planner.steps(text, values)
        assert not [step for step in steps if walked(step) not in (None, *FEW)]
        row = planner._connection.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {text}".encode(), values).fetchone()
        assert row is not None
        read.append(row[0][0]["Plan"]["Shared Hit Blocks"] + row[0][0]["Plan"]["Shared Read Blocks"])
        planner.close()
        await outbox.release("x", NOW)
        await finish(outbox, *await lease(outbox, limit=500))
    await outbox.close()
    assert read[1] < read[0] * 1.5, read


async def test_the_statistics_of_a_source_read_its_rows_only(postgres_db: Database) -> None:
    outbox = PostgresOutbox(postgres_db.info)
    await outbox.open()
    await outbox.add_endpoint(endpoint())
    postgres_db.execute(
        "INSERT INTO cdc_outbox.activity SELECT %s - ago * interval '1 hour', 1, 'tenant' || n, 0, 1, 0, 0.1 "
        "FROM generate_series(1, 1000) AS n, generate_series(1, 24) AS ago",
        [NOW],
    )
    postgres_db.execute("VACUUM ANALYZE cdc_outbox.activity")
    planner = Planner(postgres_db.info)
    text = postgres_statements()["activity_source"]
    values = {"period_start": [NOW - timedelta(hours=24)], "period_end": [NOW], "source": "tenant7"}
    row = planner._connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}".encode(), values).fetchone()
    planner.close()
    await outbox.close()
    assert row is not None
    reads = [step for step in _flat(row[0][0]["Plan"]) if step.get("Relation Name") == "activity"]
    assert [step["Actual Rows"] for step in reads] == [24], reads
    assert not any(step.get("Rows Removed by Filter") for step in reads), reads
