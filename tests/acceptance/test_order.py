"""Records do not wait for each other, nor do endpoints; the changes of one record keep their order."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from support.consumer import Consumer, Inbox, answering, receiving
from support.database import Database
from support.ports import free_port

INSERT = "INSERT INTO contadores VALUES (%s, 0, NULL)"
COUNT = "UPDATE contadores SET valor = valor + 1 WHERE id = %s"


def _refusing_until(mended: asyncio.Event, record: int) -> Any:
    """A receiver that answers 503 to requests about one record until it is mended."""

    async def answer(event: dict[str, Any]) -> int:
        return 503 if event["key"]["id"] == record and not mended.is_set() else 204

    return answer


def _refusing(record: int, times: int) -> Any:
    """A receiver that answers 503 to the first requests about one record."""
    left = times

    async def answer(event: dict[str, Any]) -> int:
        nonlocal left
        if event["key"]["id"] != record or left == 0:
            return 204
        left -= 1
        return 503

    return answer


async def test_a_refused_record_waits_alone(database: Database, tmp_path: Path) -> None:
    consumer = Consumer.of_one_table(tmp_path, database)
    inbox, mended = Inbox(), asyncio.Event()
    async with answering(_refusing_until(mended, 1), inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url, "*", "--retries", ",".join(["1"] * 50))
        async with consumer.running():
            for record in range(5):
                database.execute(INSERT, [record])
            for record in (1, 0, 1, 2, 3, 1, 4):
                database.execute(COUNT, [record])
            await inbox.until(lambda inbox: len(inbox.accepted) == 8)
            others = {(event["key"]["id"], event["data"]["valor"]) for event in inbox.accepted}
            assert others == {(record, value) for record in (0, 2, 3, 4) for value in (0, 1)}, "they did not wait"
            states = [each["state"] for each in await consumer.deliveries("--record", "contadores:1")]
            mended.set()
            await inbox.until(lambda inbox: len(inbox.accepted) == 12)
    assert states[:3] == ["waiting"] * 3, "its later events wait for it"
    of_one = [(each.event["data"]["valor"], each.answered) for each in inbox.received if each.event["key"]["id"] == 1]
    refused = of_one.count((0, 503))
    assert refused > 0
    assert of_one == [(0, 503)] * refused + [(0, 204), (1, 204), (2, 204), (3, 204)]


async def test_a_given_up_event_lets_the_next_one_go(postgres_db: Database, tmp_path: Path) -> None:
    consumer = Consumer.of_one_table(tmp_path, postgres_db)
    inbox = Inbox()
    async with answering(_refusing(1, 2), inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url, "*", "--retries", "0.1")
        async with consumer.running():
            postgres_db.execute(INSERT, [1])
            postgres_db.execute(COUNT, [1])
            await inbox.until(lambda inbox: len(inbox.accepted) == 1)
            states = [each["state"] for each in await consumer.deliveries()]
    assert [(each.event["data"]["valor"], each.answered) for each in inbox.received] == [(0, 503), (0, 503), (1, 204)]
    assert states == ["delivered", "dead"]


async def test_a_healthy_endpoint_does_not_wait_for_sick_ones(database: Database, tmp_path: Path) -> None:
    """One endpoint hangs, one refuses, one is not there; the healthy one has each change before the next is made, while
    nobody else has one answered well: the sick ones would be waited for without end."""
    consumer = Consumer.of_one_table(tmp_path, database)
    file = tmp_path / "cdc.toml"
    limits = "max_timeout_seconds = 1000\nlease_seconds = 2000\n"
    file.write_text(file.read_text().replace("[dispatch]\n", f"[dispatch]\n{limits}"))
    inbox, never = Inbox(), asyncio.Event()
    hanging_requests = 0

    async def hang(_event: dict[str, Any]) -> int:
        nonlocal hanging_requests
        hanging_requests += 1
        await never.wait()
        return 204

    async def refuse(_event: dict[str, Any]) -> int:
        return 500

    async with answering(hang) as hanging, answering(refuse) as refusing, receiving(inbox) as healthy:
        for url in (hanging, refusing, f"http://127.0.0.1:{free_port()}/", healthy):
            await asyncio.to_thread(consumer.add_endpoint, url, "*", "--concurrency", "100", "--timeout", "1000")
        async with consumer.running():
            for record in range(200):  # more than the requests that may be on their way in all
                database.execute(INSERT, [record])
            await inbox.until_count(200)
            for number in range(20):
                database.execute(COUNT, [number])
                await inbox.until_count(201 + number)
                assert inbox.received[-1].event["key"]["id"] == number
            assert hanging_requests == 100, "as many as may be on their way to one endpoint, and none has ended"
            never.set()
            assert await consumer.stop() == 0
