"""A backlog in an outbox, made inside the database from one stored event and its delivery."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from cdc.database.postgres_connection import conninfo
from cdc.model.connection import ConnectionInfo

#: Copies of the newest event and its only delivery; :records: their number of records, each with a lane of its own.
_SQL = """
INSERT INTO event (sequence, id, name, source, record, time, payload)
SELECT e.sequence + n, e.id || '-' || n, e.name, e.source, e.record || '-' || (n % {records}), e.time, e.payload
FROM {numbers}, event AS e WHERE e.sequence = (SELECT max(sequence) FROM event);
INSERT INTO delivery (id, event, endpoint, lane, state, due, created_at)
SELECT d.id + n, d.event + n, d.endpoint, d.lane + 1 + (n % {records}), CASE WHEN n <= {records} THEN 1 ELSE 0 END,
       d.due, d.created_at
FROM {numbers}, delivery AS d WHERE d.id = (SELECT max(id) FROM delivery)
"""
_SERIES = "WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count})"


def fill(outbox: Path | ConnectionInfo, count: int, records: int) -> None:
    """Let ``count`` events more wait, all like the newest one."""
    if isinstance(outbox, Path):
        text = _SQL.format(numbers="s", records=records)
        with closing(sqlite3.connect(outbox)) as file:
            for statement in text.split(";"):
                file.execute(statement.replace("SELECT", f"{_SERIES.format(count=count)} SELECT", 1))
            file.commit()
        return
    numbers = f"generate_series(1, {count}) AS s (n)"
    with psycopg.connect(conninfo(outbox, "backlog"), autocommit=True) as connection:
        statements: list[Any] = ["SET search_path = cdc_outbox", _SQL.format(numbers=numbers, records=records)]
        for each in [*statements, "ANALYZE"]:
            connection.execute(each.encode())
