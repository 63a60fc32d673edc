"""No hot statement reads the log: SQLite's own plan of each is looked at."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import groupby
from pathlib import Path

import pytest

from cdc.outbox.database import sqlite_statements
from cdc.outbox.sqlite.file import migrate_sqlite
from cdc.outbox.sqlite.outbox import SqliteOutbox
from support.outboxes import NOW, at, endpoint, event, finish, store

#: statements that walk something on purpose: few rows (endpoints), a page of the log from its end, or unfinished rows
WALKS = {
    "subscribers": {"endpoint"},
    **{name: {"endpoint_version"} for name in ("store_begin", "endpoints_version")},  # one row
    "endpoints": {"endpoint"},
    "failing_endpoints": {"endpoint"},
    "without_public_url": {"endpoint"},
    **{name: {"resealing"} for name in ("resealed", "forget_resealed")},
    **{name: {"active"} for name in ("late_endpoints", "oldest_due")},  # its own findings
    **{name: {"active", "json_each"} for name in ("due_endpoints", "next_due")},
    **{name: {"json_each"} for name in ("held", "lease_new")},
    "due": {"json_each", "endpoint", "head"},  # few endpoints; its own findings
    "events_newest": {"event", "newest"},
    "replays": {"replay"},
    **{name: {"backfill"} for name in ("backfills", "backfilled_sources")},
    "quarantined": {"quarantine"},
    "unfinished": {"counted"},  # up to its limit
    "all_unfinished": {"counted"},  # up to its limit
    "counts": {"endpoint", "json_each", "wanted", "unfinished", "given", "looked_at", "counted"},
    **{name: {"json_each"} for name in ("endpoints_of", "activity_of", "alerts_after", "forget_labels")},
    "activity_endpoints": {"top"},  # its own findings, as the next one
    "activity_slots": {"counted"},
    "search_endpoints": {"json_each", "named"},
    "insert_delivery": {"CONSTANT", "given"},  # its own parameters
    "known_events": {"json_each"},
    "note_success": {"json_each"},
    "promote_behind": {"given"},
    **{name: {"json_each"} for name in ("lease", "finish", "insert_attempt", "insert_attempts", "count_attempts")},
    **{name: {"found"} for name in ("event_names", "later")},  # its own findings, as the next ones
    "durations_of": {"newest"},
    "last_failures": {"active", "failed", "json_each"},
    "durations": {"attempt"},  # the newest
    **{name: {"given"} for name in ("attempts_of", "retriable", "undelivered", "finished_of_events")},
    "forget_answers": {"given"},
    "move_lane": {"endpoint"},
    **{name: {"quarantine"} for name in ("count_quarantined", "moved_quarantine", "forget_quarantine", "count_moved")},
    "activate_held": {"placed", "(subquery-5)"},  # its own findings
    "count_finished": {"delivery"},  # of a move, as the next one
    "all_endpoints": {"endpoint"},
    "numbers_of_endpoints": {"endpoint"},
    # when an object is created: as many rows as its limits allow, and its own findings
    "quota_usage": {"access_session", "access_token", "backfill", "endpoint", "idempotency", "item", "named", "replay"},
    **{name: {"access_user"} for name in ("users", "any_user", "totp_secrets")},
    "tokens": {"access_token"},
    "end_portals_of_token": {"access_session"},  # rare: when a token is removed
    "stored_answers": {"idempotency"},  # of a day
    **{name: {"audit"} for name in ("audit", "forget_audit")},  # from one of its ends
    "any_audit_hash": {"audit"},  # once, when its chain begins
    "audit_chain": {"audit_chain"},  # three rows
    **{f"delete_{name}": {"json_each"} for name in ("attempts", "deliveries", "events")},
    **{
        name: {"json_each"}
        for name in (
            "empty_answers",
            "empty_payloads",
            "sequences",
            "events_of",
            "newest_event",
            "removed_endpoints",
            "cancel_events",
            *("hold_deliveries", "sent_of_source", "held_deliveries", "logged_deliveries", "moved_deliveries"),
            *("moved_events", "moved_attempts", "endpoint_numbers", "deliveries_there", "cancel_held"),
        )
    },
}
#: searches are looked at in test_search_plans.py
SEARCHES = {"deliveries", "find_events", "find_newest", "replayable", "replayable_events"}
STATEMENTS = sorted(sqlite_statements().keys() - SEARCHES)


@pytest.fixture(scope="module")
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate_sqlite(connection, Path("outbox.db"))
        yield connection


def plan(db: sqlite3.Connection, statement: str) -> list[str]:
    """The steps, values left open as they are when the statement is prepared."""
    named = dict.fromkeys(re.findall(r":(\w+)", statement))
    numbered = max([int(number) for number in re.findall(r"\?(\d)", statement)], default=statement.count("?"))
    parameters = named or [None] * numbered
    return [step for *_, step in db.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]


def scanned(step: str) -> str | None:
    """The table that a step reads without an index that narrows it; partial indexes hold few rows."""
    match = re.match(r"SCAN (\S+)(?: (?:USING|VIRTUAL) .*)?$", step)
    if match is None or re.search(r"INDEX (delivery_(lane|due|worker|dead)|event_test)\b", step):
        return None
    return match[1]


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_scans_a_table(db: sqlite3.Connection, name: str) -> None:
    steps = plan(db, sqlite_statements()[name])
    found = {table for step in steps if (table := scanned(step))}
    assert found <= WALKS.get(name, set()), steps


def test_the_statistics_of_a_source_read_no_other_sources(db: sqlite3.Connection) -> None:
    wanted = "activity_source (source=? AND period_start>? AND period_start<?)"
    assert any(wanted in step for step in plan(db, sqlite_statements()["activity_source"]))


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("due", "COVERING INDEX delivery_due (endpoint=? AND due<?)"),
        ("due", "COVERING INDEX delivery_due (endpoint=? AND due=? AND rowid>?)"),
        ("due", "COVERING INDEX delivery_due (endpoint=? AND due>? AND due<?)"),
        ("next_due", "delivery_due (endpoint=?)"),
        ("oldest_due", "delivery_due (endpoint=?)"),
        ("oldest_due", "delivery_due (endpoint>?)"),
        ("due_endpoints", "delivery_due (endpoint=? AND due<?)"),
        ("late_endpoints", "delivery_due (endpoint=?)"),
        ("insert_delivery", "delivery_lane (endpoint=? AND lane=? AND state<?)"),
        ("promote_behind", "delivery_lane (endpoint=? AND lane=? AND state=?)"),
        ("promote", "delivery_lane (endpoint=? AND lane=? AND state=?)"),
        ("demote", "delivery_lane (endpoint=? AND lane=? AND state=?)"),
        ("move_lane", "delivery_lane (endpoint=? AND lane=? AND state<?)"),
        ("unfinished_of_endpoint", "delivery_lane (endpoint=?)"),
        ("demote_endpoint", "delivery_due (endpoint=?)"),
        ("promote_endpoint", "COVERING INDEX delivery_lane (endpoint=?)"),
        ("finish", "delivery USING INTEGER PRIMARY KEY (rowid=?)"),
        ("lease", "delivery USING INTEGER PRIMARY KEY (rowid=?)"),
        ("note_failure", "delivery USING INTEGER PRIMARY KEY (rowid=?)"),
        ("note_success", "delivery USING INTEGER PRIMARY KEY (rowid=?)"),
        ("cancel_deliveries", "delivery_lane (endpoint=?)"),
        ("release", "delivery_worker (worker=?)"),
        ("give_back", "delivery USING INTEGER PRIMARY KEY (rowid=?)"),
        ("attempts", "attempt_delivery (delivery=?)"),
        ("search_endpoints", "endpoint USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ("endpoints_of", "endpoint USING INDEX sqlite_autoindex_endpoint_1 (id=?)"),
        ("retention_look", "event USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ("delete_attempts", "attempt_delivery (delivery=?)"),
        ("delete_deliveries", "delivery USING INTEGER PRIMARY KEY (rowid=?)"),
    ],
)
def test_a_hot_statement_uses_its_index(db: sqlite3.Connection, name: str, index: str) -> None:
    steps = plan(db, sqlite_statements()[name])
    assert any(index in step for step in steps), steps
    assert not any("TEMP B-TREE" in step for step in steps), steps


def _trace(run: Callable[[str], None], db: sqlite3.Connection) -> None:
    db.set_trace_callback(run)


async def test_many_endpoints_are_leased_and_recorded_in_as_few_statements_as_two(tmp_path: Path) -> None:
    """After each step of a statement the driver waits for the interpreter, which the event loop has."""
    taken = []
    for number in (2, 60):
        outbox, statements = SqliteOutbox(tmp_path / f"{number}.db"), list[str]()
        await outbox.open()
        for each in range(number):
            await outbox.add_endpoint(endpoint(f"ep_{each}"))
        await store(outbox, event(1))
        await outbox._writer.rescue(partial(_trace, statements.append))
        room = {f"ep_{each}": 1 for each in range(number)}
        leased = await outbox.lease("w", NOW, at(60), 100, room, only=True)
        await finish(outbox, *leased)
        await outbox.close()
        assert len(leased) == number
        taken.append(sum(1 for _ in groupby(statements)))  # a trigger repeats the statement that it runs for
    assert taken[0] == taken[1] > 0
