"""History for a new endpoint, while ``cdc run`` goes on."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

from support.consumer import Consumer, Inbox, receiving
from support.database import Database
from support.waiting import HANG_SECONDS

INSERT = "INSERT INTO contadores VALUES (%s, 0, NULL)"
UPDATE = "UPDATE contadores SET valor = valor + 1"


async def test_a_new_endpoint_gets_the_history(postgres_db: Database, tmp_path: Path) -> None:
    consumer = await asyncio.to_thread(Consumer.of_one_table, tmp_path, postgres_db)
    old, new = Inbox(), Inbox()
    async with consumer.running(), receiving(old) as old_url, receiving(new) as new_url:
        await asyncio.to_thread(consumer.add_endpoint, old_url)
        for number in range(10):
            postgres_db.execute(INSERT, [number])
        for _ in range(3):
            postgres_db.execute(UPDATE)
        await old.until_count(40)
        added = await asyncio.to_thread(consumer.add_endpoint, new_url, "contadores.updated")
        replay = ("replay", "--endpoint", added["id"], "--json")
        assert json.loads(await consumer.call(*replay, "--dry-run"))["deliveries"] == 30
        assert json.loads(await consumer.call(*replay, "--yes", "--rate", "100"))["deliveries"] == 30
        postgres_db.execute(UPDATE)
        await new.until_count(40)
        await old.until_count(50)
    by_record: dict[int, list[int]] = {}
    for event in new.events:
        by_record.setdefault(event["key"]["id"], []).append(event["data"]["valor"])
    assert by_record == {number: [1, 2, 3, 4] for number in range(10)}
    assert {event["id"] for event in new.events} < {event["id"] for event in old.events}
    assert {each.headers["webhook-id"] for each in new.received} == {event["id"] for event in new.events}


async def test_a_replay_that_is_interrupted_goes_on(postgres_db: Database, tmp_path: Path) -> None:
    consumer = await asyncio.to_thread(Consumer.of_one_table, tmp_path, postgres_db)
    inbox = Inbox()
    async with consumer.running(), receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        for number in range(12):
            postgres_db.execute(INSERT, [number])
        await inbox.until_count(12)
        command = consumer.command("replay", "--event", "*", "--yes", "--json", "--rate", "0.05")
        running = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        await inbox.until_count(13)
        running.send_signal(signal.SIGINT)
        told, _ = await asyncio.wait_for(running.communicate(), HANG_SECONDS)
        assert running.returncode == 130
        stopped = json.loads(told)
        assert 1 <= stopped["deliveries"] < 12
        rest = json.loads(await consumer.call("replay", "--event", "*", "--yes", "--json", "--after", stopped["after"]))
        assert rest["deliveries"] == 12 - stopped["deliveries"]
        await inbox.until_count(24)
    sent = [event["id"] for event in inbox.events]
    assert {identity: sent.count(identity) for identity in sent} == dict.fromkeys(sent, 2)
