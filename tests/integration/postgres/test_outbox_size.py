"""An outbox in PostgreSQL under retention stays of a size: what is removed makes room for what comes."""

from __future__ import annotations

from datetime import timedelta

from cdc.model.delivery import DeliveryState
from cdc.outbox.base import Retention
from cdc.outbox.postgres.outbox import PostgresOutbox
from support.database import Database
from support.outboxes import NOW, endpoint, event, finish, lease, store

DAY = timedelta(days=1)
TABLES = ("event", "delivery", "attempt")
EVENTS = 300


def size(database: Database) -> int:
    """Bytes of tables and indexes, once autovacuum has been there."""
    for table in TABLES:
        database.execute(f"VACUUM cdc_outbox.{table}")
    relations = " + ".join(f"pg_total_relation_size('cdc_outbox.{table}')" for table in TABLES)
    return int(database.execute(f"SELECT {relations}")[0][0])


async def test_tables_and_indexes_stay_of_a_size(postgres_outbox_db: Database) -> None:
    outbox = PostgresOutbox(postgres_outbox_db.info)
    await outbox.open()
    await outbox.add_endpoint(endpoint())
    sizes = []
    for day in range(12):
        now = NOW + day * DAY
        await store(
            outbox,
            *[event(1000 * day + number, time=now, data={"text": "x" * 1000}) for number in range(EVENTS)],
            now=now,
        )
        while leased := await lease(outbox, now, limit=100):
            await finish(outbox, *leased, now=now)
        after: int | None = 0
        while after is not None:
            step = await outbox.retain(Retention(now, finished_before=now - 2 * DAY), 100, after)
            after = step.after
        sizes.append(size(postgres_outbox_db))
    assert len(await outbox.events(10_000)) == 3 * EVENTS
    assert await outbox.counts() == {"ep_a": {DeliveryState.DELIVERED: 3 * EVENTS}}
    assert max(sizes[5:]) <= sizes[4] * 1.25, sizes
    await outbox.close()
