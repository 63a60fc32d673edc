"""A running consumer disables an endpoint whose filter exceeds a limit, and delivers to the others."""

from __future__ import annotations

import asyncio
from pathlib import Path

from support.consumer import Consumer, Inbox, receiving
from support.database import Database

ONES = "[" + ",".join("1" for _ in range(62)) + "]"
#: Costs nothing until a row has a large value.
DEAR = f"data.valor > 5 ? {ONES}.all(a, {ONES}.all(b, a == b && b == a && a == b && b == a)) : data.valor > 1"


async def test_a_filter_that_exceeds_a_limit_disables_its_endpoint_only(postgres_db: Database, tmp_path: Path) -> None:
    consumer = Consumer.of_one_table(tmp_path / "cdc", postgres_db)
    fine, filtered = Inbox(), Inbox()
    async with receiving(fine) as url, receiving(filtered) as other:
        await asyncio.to_thread(consumer.add_endpoint, url, "contadores.*,endpoint.*")
        made = await asyncio.to_thread(consumer.add_endpoint, other, "contadores.*", "--filter", DEAR)
        async with consumer.running():
            postgres_db.execute("INSERT INTO contadores VALUES (1, 0, NULL), (2, 3, NULL), (3, 9, NULL)")
            await fine.until_event(lambda event: bool(event["event"] == "endpoint.disabled"))
            postgres_db.execute("INSERT INTO contadores VALUES (4, 2, NULL)")
            await fine.until_event(lambda event: bool(event["key"] == {"id": 4}))
            told = await consumer.call("endpoint", "show", made["id"])
            assert "The filter takes more than 50,000 steps for one event." in " ".join(told.split())
            await consumer.call("endpoint", "update", made["id"], "--filter", "data.valor > 1")
            await consumer.call("endpoint", "enable", made["id"])
            await filtered.until_event(lambda event: bool(event["key"] == {"id": 4}))
    assert {event["key"]["id"] for event in fine.events if event["event"] == "contadores.created"} == {1, 2, 3, 4}
    assert {event["key"]["id"] for event in filtered.events} == {2, 3, 4}
