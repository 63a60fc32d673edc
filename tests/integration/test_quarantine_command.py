"""`cdc quarantine`: skipped changes are listed and shown, their rows read again, and removed."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cdc.model.change import Operation, Quarantined
from cdc.outbox import relay
from cdc.outbox.sqlite.database import SqliteDatabase, finished
from support.consumer import Consumer, Inbox, receiving
from support.database import Database
from support.outboxes import at


def skip(consumer: Consumer, number: int, operation: Operation = Operation.UPDATE) -> str:
    """Put a change of row ``number`` into quarantine, as the relay does; return its id."""
    reason = "Unexpected RecursionError in row_json.py, line 1."
    change = Quarantined(
        f"qr_{number}", "contadores", operation, {"id": number}, "1", at(number), reason, "", "no json"
    )
    with closing(sqlite3.connect(consumer.folder / "cdc.db")) as db, db:
        finished(relay.add_quarantined(SqliteDatabase(db), "main", [change], at(number)))
    return change.id


@pytest.mark.parametrize("fixture", ["postgres_db", "mariadb_db"])
async def test_skipped_changes_are_read_again_by_command(
    fixture: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    database: Database = request.getfixturevalue(fixture)
    consumer = Consumer.of_one_table(tmp_path / "cdc", database)
    inbox = Inbox()
    async with receiving(inbox) as url:
        made = await asyncio.to_thread(consumer.add_endpoint, url, "contadores.created")
        async with consumer.running():
            database.execute("INSERT INTO contadores VALUES (77, 5, 'now')")
            await inbox.until_count(1)
            deleted, changed = skip(consumer, 76, Operation.DELETE), skip(consumer, 77)
            table = await consumer.call("quarantine", "list")
            assert table.index(changed) < table.index(deleted)
            shown = json.loads(await consumer.call("quarantine", "show", changed, "--json"))
            assert (shown["key"], shown["after"], shown["backfill"]) == ({"id": 77}, "no json", "")
            await consumer.call("quarantine", "reread", deleted, expect=2)
            await consumer.call("quarantine", "reread", changed, "--endpoint", made["id"])
            await inbox.until_event(lambda event: bool(event["event"] == "contadores.existing"))
            assert [event["key"] for event in inbox.events] == [{"id": 77}, {"id": 77}]
            shown = json.loads(await consumer.call("quarantine", "show", changed, "--json"))
            assert shown["backfill"].startswith("bf_")
            await consumer.call("quarantine", "remove", changed)
            await consumer.call("quarantine", "show", changed, expect=2)
            await consumer.call("quarantine", "remove", "--all", "--yes")
            assert json.loads(await consumer.call("quarantine", "list", "--json")) == {"quarantined": [], "counts": {}}
    audit = await consumer.call("audit", "list")
    assert "quarantine.reread" in audit
    assert audit.count("quarantine.remove") == 2
