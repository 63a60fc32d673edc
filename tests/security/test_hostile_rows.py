"""Rows that nobody foresaw stop neither their source nor anything else of the process, and are told of."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.consumer import Consumer, Inbox, receiving
from support.database import Database

#: What the ERP's account may write into the journal where it installed it: forms that no trigger writes.
POSTGRESQL = [
    "('contadores', 'X', NULL, '{\"id\": 1}', clock_timestamp())",  # an operation that there is not
    "('contadores', 'U', NULL, NULL, clock_timestamp())",
    "('contadores', 'I', NULL, 'no json', clock_timestamp())",
    "('contadores', 'I', NULL, '[1, 2]', clock_timestamp())",
    "('contadores', 'I', NULL, '{}', clock_timestamp())",
    "('contadores', 'I', NULL, '{\"id\": null}', clock_timestamp())",
    "('contadores', 'U', '{\"id\": 1', '{\"id\": 1, \"valor\": \"x\"}', clock_timestamp())",
    "('contadores', 'I', NULL, '{\"id\": 77, \"valor\": ' || repeat('[', 5000) || repeat(']', 5000) || '}', now())",
    "('contadores', 'D', NULL, NULL, 'infinity')",
    "('contadores', 'I', NULL, '{\"id\": 78, \"valor\": 1, \"nota\": null}', '-infinity')",
    "('no_such_table', 'I', NULL, '{\"id\": 1}', clock_timestamp())",
    "('', 'T', NULL, NULL, '294276-01-01')",
    "('contadores', 'I', NULL, '{\"id\": 1e400}', clock_timestamp())",
]
MYSQL = [
    "(1, NOW(6), 1, 9, NULL, '[1, 2, 3]', NULL)",  # an operation that there is not
    "(1, NOW(6), 4000000000, 1, NULL, '[1, 2, 3]', NULL)",  # a shape that there is not
    "(1, NOW(6), 1, 1, NULL, 'no json', NULL)",
    "(1, NOW(6), 1, 1, NULL, '{\"id\": 1}', NULL)",
    "(1, NOW(6), 1, 1, NULL, '[]', NULL)",
    "(1, NOW(6), 1, 2, '[1', '[1, \"x\", 3, 4, 5]', NULL)",
    "(1, NOW(6), 1, 1, NULL, CONCAT('[77, ', REPEAT('[', 5000), REPEAT(']', 5000), ', null]'), NULL)",
    "(1, '9999-12-31 23:59:59.999999', 1, 1, NULL, '[78, 1, null]', NULL)",
    "(1, NOW(6), 1, 2, '[1, 0, null]', '[1, 1, null]', 'a,b')",
    "(1, NOW(6), 1, 2, '[1, 0, null]', '[1, 1, null]', '99')",
    "(18446744073709551615, NOW(6), 1, 3, NULL, NULL, NULL)",
]


def _plant(database: Database) -> None:
    if database.flavour == "postgresql":
        for number, values in enumerate(POSTGRESQL, 1):
            database.execute(
                f"""
                INSERT INTO cdc.cdc_journal (xid, lsn, table_name, operation, before, after, at)
                SELECT pg_current_xact_id(), pg_current_wal_insert_lsn() + {number}, t, o::"char", b, a, at::timestamptz
                FROM (VALUES {values}) AS v (t, o, b, a, at)
                """
            )
        return
    columns = "`txn`, `at`, `shape`, `op`, `image_before`, `image_after`, `secrets`"
    database.execute("SET SESSION sql_mode = ''")
    for values in MYSQL:
        database.execute(f"INSERT INTO cdc_journal ({columns}) VALUES {values}")


@pytest.mark.parametrize("fixture", ["postgres_db", "mariadb_db", "mysql_db"])
async def test_hostile_journal_rows_stop_nothing(fixture: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    database: Database = request.getfixturevalue(fixture)
    consumer = Consumer.of_one_table(tmp_path / "cdc", database)
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url, "*,source.gap")
        async with consumer.running():
            database.execute("INSERT INTO contadores VALUES (1, 0, NULL)")
            await inbox.until_count(1)
            await asyncio.to_thread(_plant, database)
            database.execute("INSERT INTO contadores VALUES (2, 0, 'after')")
            await inbox.until(
                lambda inbox: any(e["event"] == "contadores.created" and e["key"] == {"id": 2} for e in inbox.events),
                seconds=120,
            )
            journal = "cdc.cdc_journal" if database.flavour == "postgresql" else "cdc_journal"
            async with asyncio.timeout(60):
                while database.execute(f"SELECT COUNT(*) FROM {journal}") != [(0,)]:  # noqa: ASYNC110 - it gives no sign
                    await asyncio.sleep(0.1)
        assert any(event["event"] == "source.gap" for event in inbox.events)
