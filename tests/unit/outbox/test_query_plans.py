"""No hot statement reads the log: SQLite's own plan of each is looked at."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import pytest

from cdc.outbox.migrate import migrate_sqlite
from cdc.sqlfile import load

#: statements that walk something on purpose: few rows (endpoints), a page of the log from its end, or unfinished rows
WALKS = {
    "subscribers.sql": {"endpoint"},
    "endpoints.sql": {"endpoint"},
    "stored_secrets.sql": {"endpoint"},
    "next_due.sql": {"endpoint", "json_each"},
    "oldest_due.sql": {"endpoint"},
    "events_newest.sql": {"event", "(subquery-1)"},
    "replays.sql": {"replay"},
    "backfills.sql": {"backfill"},
    "quarantined.sql": {"quarantine"},
    "unfinished.sql": {"(subquery-2)"},  # up to its limit
    "counts.sql": {"endpoint", "finished_count", "counted"},
    "insert_delivery.sql": {"CONSTANT", "given"},  # its own parameters
    "known_events.sql": {"json_each"},
    "note_success.sql": {"json_each"},
    "promote_behind.sql": {"given"},
    **{f"{name}.sql": {"json_each"} for name in ("lease", "finish", "insert_attempt", "insert_attempts")},
    "event_names.sql": {"found"},  # its own findings
    **{f"{name}.sql": {"given"} for name in ("attempts_of", "retriable_of", "undelivered", "finished_of_events")},
    "forget_answers.sql": {"given"},
    **{f"delete_{name}.sql": {"json_each"} for name in ("attempts", "deliveries", "events")},
    **{f"{name}.sql": {"json_each"} for name in ("empty_answers", "empty_payloads", "sequences", "cancel_events")},
}
#: searches are looked at in test_search_plans.py
SEARCHES = {"deliveries.sql", "find_events.sql", "find_newest.sql", "replayable.sql", "replayable_events.sql"}
NOT_FOR_THE_OUTBOX = {"record_index.sql"} | SEARCHES
STATEMENTS = sorted(
    file.name
    for file in (files("cdc.sql") / "sqlite").iterdir()
    if file.name.endswith(".sql") and file.name not in NOT_FOR_THE_OUTBOX
)


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
    """The table that a step reads without an index that narrows it; partial indexes hold unfinished rows only."""
    match = re.match(r"SCAN (\S+)(?: (?:USING|VIRTUAL) .*)?$", step)
    if match is None or re.search(r"INDEX delivery_(lane|due|worker|dead)\b", step):
        return None
    return match[1]


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_scans_a_table(db: sqlite3.Connection, name: str) -> None:
    steps = plan(db, re.sub(r"--.*", "", load(f"sqlite/{name}")))
    found = {table for step in steps if (table := scanned(step))}
    assert found <= WALKS.get(name, set()), steps


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("due_of_endpoint.sql", "delivery_due (endpoint=? AND due<?)"),
        ("next_due.sql", "delivery_due (endpoint=?)"),
        ("oldest_due.sql", "delivery_due (endpoint=?)"),
        ("insert_delivery.sql", "delivery_lane (endpoint=? AND lane=? AND state<?)"),
        ("promote_behind.sql", "delivery_lane (endpoint=? AND lane=? AND state=?)"),
        ("promote.sql", "delivery_lane (endpoint=? AND lane=? AND state=?)"),
        ("demote.sql", "delivery_lane (endpoint=? AND lane=? AND state=?)"),
        ("move_lane.sql", "delivery_lane (endpoint=? AND lane=? AND state<?)"),
        ("unfinished_of_endpoint.sql", "delivery_lane (endpoint=?)"),
        ("demote_endpoint.sql", "delivery_due (endpoint=?)"),
        ("promote_endpoint.sql", "COVERING INDEX delivery_lane (endpoint=?)"),
        ("finish.sql", "delivery USING INTEGER PRIMARY KEY (rowid=?)"),
        ("lease.sql", "delivery USING INTEGER PRIMARY KEY (rowid=?)"),
        ("note_failure.sql", "delivery USING INTEGER PRIMARY KEY (rowid=?)"),
        ("note_success.sql", "delivery USING INTEGER PRIMARY KEY (rowid=?)"),
        ("cancel_deliveries.sql", "delivery_lane (endpoint=?)"),
        ("release.sql", "delivery_worker (worker=?)"),
        ("held.sql", "delivery USING INTEGER PRIMARY KEY (rowid=?)"),
        ("give_back.sql", "delivery USING INTEGER PRIMARY KEY (rowid=?)"),
        ("attempts.sql", "attempt_delivery (delivery=?)"),
        ("retention_look.sql", "event USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ("delete_attempts.sql", "attempt_delivery (delivery=?)"),
        ("delete_deliveries.sql", "delivery USING INTEGER PRIMARY KEY (rowid=?)"),
    ],
)
def test_a_hot_statement_uses_its_index(db: sqlite3.Connection, name: str, index: str) -> None:
    steps = plan(db, re.sub(r"--.*", "", load(f"sqlite/{name}")))
    assert any(index in step for step in steps), steps
    assert not any("TEMP B-TREE" in step for step in steps), steps
