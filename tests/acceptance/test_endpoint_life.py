"""Endpoints through their lives, changed while ``cdc run`` sends to them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import count, groupby
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from cdc.demo.receiver import Received, Refusals
from support.commands import run_command
from support.consumer import Consumer, Inbox, receiving
from support.database import Database
from support.waiting import HANG_SECONDS

INSERT = "INSERT INTO contadores VALUES (%s, 0, NULL)"


@pytest.fixture
async def reading(postgres_db: Database, tmp_path: Path) -> AsyncIterator[Consumer]:
    """A consumer at work."""
    consumer = await asyncio.to_thread(Consumer.of_one_table, tmp_path, postgres_db)
    async with consumer.running():
        yield consumer


async def _add(consumer: Consumer, url: str, *options: str) -> dict[str, Any]:
    return await asyncio.to_thread(consumer.add_endpoint, url, "*", *options)


async def test_an_endpoint_added_at_work_is_served_at_once(reading: Consumer, postgres_db: Database) -> None:
    inbox = Inbox()
    postgres_db.execute(INSERT, [1])
    while not json.loads(await reading.call("event", "list", "--json"))["events"]:  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.02)
    async with receiving(inbox) as url:
        await _add(reading, url)
        postgres_db.execute(INSERT, [2])
        await inbox.until_count(1)
    assert [event["key"]["id"] for event in inbox.events] == [2], "what happened before it was added is not sent"


async def test_an_endpoint_gets_what_it_asked_for_and_how(reading: Consumer, postgres_db: Database) -> None:
    """Its filter, fields, headers and order, of an endpoint that is changed while it is served."""
    (reading.folder / "token").write_text("abc")
    how = ["--fields", "valor", "--bearer", f"@{reading.folder / 'token'}", "--order", "endpoint"]
    inbox = Inbox()
    async with receiving(inbox) as url:
        added = await _add(reading, url, "--filter", "data.id % 2 == 0", *how)
        for number in range(1, 7):
            postgres_db.execute(INSERT, [number])
        await inbox.until_count(3)
        await reading.call("endpoint", "update", added["id"], "--filter", "data.id > 7", "--fields", "", "--no-headers")
        await _seen(reading, postgres_db)
        for number in (7, 8):
            postgres_db.execute(INSERT, [number])
        await inbox.until_count(4)
    assert [event["key"]["id"] for event in inbox.events] == [2, 4, 6, 8]
    assert [event["data"] for event in inbox.events] == [{"valor": 0}] * 3 + [{"id": 8, "valor": 0, "nota": None}]
    assert [received.headers.get("Authorization") for received in inbox.received] == ["Bearer abc"] * 3 + [None]
    assert all(_signed(received, added["secret"]) for received in inbox.received)


async def _seen(consumer: Consumer, database: Database) -> None:
    """Wait until the running consumer has seen all changes of endpoints up to now: it serves one that is added last."""
    inbox = Inbox()
    async with receiving(inbox) as url:
        added = await _add(consumer, url)
        number = -1
        while not inbox.received:
            database.execute(INSERT, [number])  # odd and negative: no other endpoint's filter lets it through
            number -= 2
            await asyncio.sleep(0.1)
        await consumer.call("endpoint", "remove", added["id"])


async def test_disabled_keeps_and_enabled_lets_flow(reading: Consumer, postgres_db: Database) -> None:
    inbox, other = Inbox(), Inbox()
    async with receiving(inbox) as url, receiving(other) as other_url:
        added = await _add(reading, url)
        await _add(reading, other_url)
        await reading.call("endpoint", "disable", added["id"], "--reason", "maintenance")
        for number in range(3):
            postgres_db.execute(INSERT, [number])
        await other.until_count(3)
        assert inbox.received == []
        shown = json.loads(await reading.call("endpoint", "show", added["id"], "--json"))
        assert (shown["enabled"], shown["disabled_reason"], shown["deliveries"]["pending"]) == (False, "maintenance", 3)
        await reading.call("doctor", expect=1)
        await reading.call("endpoint", "enable", added["id"])
        await inbox.until_count(3)


async def test_410_disables(reading: Consumer, postgres_db: Database) -> None:
    inbox = Inbox()
    async with receiving(inbox, Refusals(count=1, status=410)) as url:
        added = await _add(reading, url)
        postgres_db.execute(INSERT, [1])
        await inbox.until_count(1)
        async with asyncio.timeout(HANG_SECONDS):
            while (shown := json.loads(await reading.call("endpoint", "show", added["id"], "--json")))["enabled"]:
                pass  # each look takes a process
        postgres_db.execute(INSERT, [2])
        deliveries = await _deliveries(reading, 2)
        assert "410" in shown["disabled_reason"]
        assert {each["state"] for each in deliveries} == {"pending"}
        await reading.call("endpoint", "enable", added["id"])
        await inbox.until_count(3)
    assert [event["key"]["id"] for event in inbox.accepted] == [1, 2]


async def _deliveries(consumer: Consumer, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(HANG_SECONDS):
        while len(found := await consumer.deliveries()) < count:
            pass  # each look takes a process
    return found


async def test_a_rotated_secret_signs_with_both(reading: Consumer, postgres_db: Database) -> None:
    inbox, numbers = Inbox(), count(1)

    async def until_signed(secret: str) -> None:
        """Until the running consumer, which reads the endpoints twice a second, signs with it."""
        while not inbox.received or not _signed(inbox.received[-1], secret):
            number = next(numbers)
            postgres_db.execute(INSERT, [number])
            await inbox.until_count(number)

    async with receiving(inbox) as url:
        former = await _add(reading, url)
        await until_signed(former["secret"])
        present = json.loads(await reading.call("endpoint", "rotate-secret", former["id"], "--json"))
        await until_signed(present["secret"])
        last = json.loads(await reading.call("endpoint", "rotate-secret", former["id"], "--overlap", "0", "--json"))
        await until_signed(last["secret"])
    secrets = (former["secret"], present["secret"], last["secret"])
    valid = [[_signed(received, secret) for secret in secrets] for received in inbox.received]
    assert [each for each, _ in groupby(valid)] == [[True, False, False], [True, True, False], [False, False, True]]


def _signed(received: Received, secret: str) -> bool:
    """As the reference implementation of the receivers' side judges."""
    try:
        Webhook(secret).verify(received.body, dict(received.headers))
    except WebhookVerificationError:
        return False
    return True


async def test_a_removed_endpoint_s_deliveries_are_cancelled(reading: Consumer, postgres_db: Database) -> None:
    inbox = Inbox()
    async with receiving(inbox, Refusals(count=1000, status=500)) as url:
        added = await _add(reading, url)
        postgres_db.execute(INSERT, [1])
        await inbox.until_count(1)
        await reading.call("endpoint", "remove", added["id"])
        assert [each["state"] for each in await reading.deliveries()] == ["cancelled"]
        assert json.loads(await reading.call("endpoint", "list", "--json"))["endpoints"] == []
        await reading.call("endpoint", "show", added["id"], expect=2)


async def test_a_dead_letter_is_sent_again_by_hand(reading: Consumer, postgres_db: Database) -> None:
    inbox = Inbox()
    async with receiving(inbox, Refusals(count=2, status=500)) as url:
        added = await _add(reading, url, "--retries", "0.1")
        postgres_db.execute(INSERT, [1])
        await inbox.until_count(2)
        async with asyncio.timeout(HANG_SECONDS):
            while not (dead := await reading.deliveries("--state", "dead", "--endpoint", added["id"])):
                pass  # each look takes a process
        told = json.loads(await reading.call("delivery", "show", dead[0]["id"], "--json"))
        assert [(each["number"], each["status"]) for each in told["log"]] == [(1, 500), (2, 500)]
        await reading.call("doctor", expect=1)
        await reading.call("delivery", "retry", dead[0]["id"])
        await inbox.until_count(3)
    assert len({received.headers["webhook-id"] for received in inbox.received}) == 1
    await reading.call("doctor", "--json")


async def test_event_tail_sees_live_events(reading: Consumer, postgres_db: Database) -> None:
    """Stored events are seen, whether or not there is an endpoint."""
    command = reading.command("event", "tail", "--json", "--event", "contadores.updated", "--count", "2")
    tail = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    postgres_db.execute(INSERT, [1])
    for note in ("a", "b"):
        postgres_db.execute("UPDATE contadores SET nota = %s", [note])
    async with asyncio.timeout(HANG_SECONDS):
        told, _ = await tail.communicate()
    assert tail.returncode == 0
    assert [json.loads(line)["data"]["nota"] for line in told.splitlines()] == ["a", "b"]


async def test_endpoint_test_tells_what_came_of_it(reading: Consumer) -> None:
    inbox = Inbox()
    async with receiving(inbox, Refusals(count=1, status=500)) as url:
        added = await _add(reading, url)
        refused = json.loads(await reading.call("endpoint", "test", added["id"], "--json", expect=1))
        assert refused["status"] == 500
        assert await _endpoint_check(reading, added["id"]) == "ok", "a failed test is no failed delivery"
        taken = json.loads(await reading.call("endpoint", "test", added["id"], "--json"))
        assert (taken["status"], taken["error"]) == (204, None)
    for received in inbox.received:
        assert _signed(received, added["secret"])
        assert received.event["event"] == "endpoint.test"


async def _endpoint_check(consumer: Consumer, endpoint_id: str) -> str:
    """The severity of what the doctor says of the endpoint."""
    done = await asyncio.to_thread(run_command, *consumer.arguments("doctor", "--json"))
    (check,) = [each for each in json.loads(done.stdout)["checks"] if each["about"] == f"endpoint {endpoint_id}"]
    return str(check["severity"])


async def test_a_changed_url_is_used_for_what_waits(reading: Consumer, postgres_db: Database) -> None:
    wrong, right = Inbox(), Inbox()
    async with receiving(wrong, Refusals(count=1000, status=404)) as first, receiving(right) as second:
        added = await _add(reading, first, "--retries", "1,1,1,1,1")
        postgres_db.execute(INSERT, [1])
        await wrong.until_count(1)
        await reading.call("endpoint", "update", added["id"], "--url", second)
        await right.until_count(1)
