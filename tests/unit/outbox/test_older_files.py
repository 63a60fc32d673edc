"""A file of an older version opens, and keeps its endpoints and what they wait for."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cdc.model.endpoint import EndpointChange, Order
from cdc.outbox.database import migrations
from cdc.outbox.shared import record_key
from cdc.outbox.sqlite.file import migrate_sqlite
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.sqlite.rows import micros
from support.outboxes import NOW, at, endpoint, event, event_ids, finish, lease, states_of, store

#: written as the program of the time wrote it
ENDPOINT = """
    INSERT INTO endpoint (id, url, events, sources, secret, former_secret, former_secret_until, format, timeout,
                          retry_schedule, concurrency, description, enabled, disabled_reason, created_at, removed_at)
    VALUES (?, ?, '["*"]', '[]', ?, NULL, NULL, 'facturascripts', 10.0, '[5, 25, 125, 625, 3125]', 16, '', ?, '', ?, ?)
"""
EVENT = (
    "INSERT INTO event (id, name, source, record, time, payload) VALUES (?, 'invoice.updated', 'main', 'a:1', ?, '{}')"
)
DELIVERY = "INSERT INTO delivery (event, endpoint, lane, state, due, created_at) VALUES (?, 1, ?, ?, ?, ?)"
KEPT, GONE = endpoint("ep_a"), endpoint("ep_gone")


def write(path: Path, version: int) -> None:
    """Two events of one record, the second waiting; an endpoint that was removed."""
    now = micros(NOW)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        migrate_sqlite(db, path, migrations("sqlite")[:version])
        db.execute(ENDPOINT, ("ep_a", KEPT.url, KEPT.secret, 1, now, None))
        db.execute(ENDPOINT, ("ep_gone", GONE.url, "", 0, now, now))
        for number in (1, 2):
            db.execute(EVENT, (f"evt_{number}", micros(at(number))))
            db.execute(DELIVERY, (number, record_key("main", "a:1"), number == 1, now, now))


@pytest.mark.parametrize("version", range(1, len(migrations("sqlite"))))
async def test_an_older_file_opens_and_goes_on(tmp_path: Path, version: int) -> None:
    path = tmp_path / "outbox.db"
    write(path, version)
    outbox = SqliteOutbox(path)
    await outbox.open()
    assert await outbox.endpoints() == [KEPT], "with what was not known then as it is by default"
    await store(outbox, event(3, "a:1"), event(4))
    assert await states_of(outbox, 1, 2, 3, 4) == "pending waiting waiting pending"
    for numbers in (("evt_1", "evt_4"), ("evt_2",), ("evt_3",)):
        leased = await lease(outbox, at(1))
        assert event_ids(leased) == list(numbers)
        await finish(outbox, *leased)
    changed = await outbox.change_endpoint("ep_a", EndpointChange(order=Order.NONE, headers=(("X-Key", "k"),)))
    await outbox.close()
    await outbox.open()
    assert await outbox.endpoints() == [changed]
    await outbox.close()
