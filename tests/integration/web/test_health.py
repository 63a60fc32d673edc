"""Health and metrics of ``cdc run`` as a process: on real databases that stop, receivers that hang, a port in use."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from cdc.config import Config
from cdc.model.finding import Severity
from cdc.runtime.doctor import consumer_findings
from support.consumer import Consumer, Inbox, answering, receiving
from support.database import Database
from support.health import Health, is_ready
from support.http_servers import served
from support.ports import free_port

INSERT = "INSERT INTO contadores VALUES (%s, 0, NULL)"


def refused(reason: str) -> Callable[[int, dict[str, Any]], bool]:
    """Not ready, and one of the reasons has this in it."""
    return lambda status, told: status == 503 and any(reason in each for each in told["reasons"])


@pytest.mark.parametrize("flavour", ["postgresql", "mariadb"])
async def test_a_database_that_stops_and_comes_back(own_server: Any, tmp_path: Path, flavour: str) -> None:
    database: Database = own_server(flavour)
    consumer = Consumer.of_one_table(tmp_path, database)
    health = Health.of(consumer, free_port())
    inbox = Inbox()
    async with receiving(inbox) as url:
        endpoint = (await asyncio.to_thread(consumer.add_endpoint, url))["id"]
        async with consumer.running():
            told = await health.until(is_ready)
            assert told["sources"] == {"main": "reading"}
            assert told["dispatch"] == "active"
            database.execute(INSERT, [1])
            await inbox.until_count(1)
            database.close()
            database.server.stop()
            told = await health.until(refused("Source main has not been readable since "))
            assert database.info.password not in json.dumps(told)
            assert (await health.get("/health/live"))[0] == 200
            assert (await health.metrics())["cdc_source_state"]["main", "failed"] == 1
            database.server.start()
            await health.until(is_ready)
            database.execute(INSERT, [2])
            await inbox.until_count(2)
            metrics = await health.until_metrics(lambda metrics: sum(metrics["cdc_attempts_total"].values()) == 2)
    assert metrics["cdc_ready"] == {(): 1}
    assert metrics["cdc_events_stored_total"] == {("main",): 2}
    assert metrics["cdc_attempts_total"] == {(endpoint, "delivered", "2xx"): 2}
    assert metrics["cdc_attempt_duration_seconds_count"] == {(endpoint,): 2}
    assert metrics["cdc_source_failures_total"]["main",] >= 1


async def test_a_receiver_that_hangs_makes_deliveries_overdue(postgres_db: Database, tmp_path: Path) -> None:
    """More records than the endpoint may have under way: the others wait."""
    consumer = Consumer.of_one_table(tmp_path, postgres_db)
    health = Health.of(consumer, free_port(), "overdue_seconds = 2\n")
    answered = asyncio.Event()

    async def hang(_event: dict[str, Any]) -> int:
        await answered.wait()
        return 204

    inbox = Inbox()
    async with answering(hang, inbox) as url:
        options = ("--timeout", "25", "--concurrency", "2")
        endpoint = (await asyncio.to_thread(consumer.add_endpoint, url, "*", *options))["id"]
        async with consumer.running():
            await health.until(is_ready)
            for number in range(5):
                postgres_db.execute(INSERT, [number])
            await health.until(refused(f"A delivery to endpoint {endpoint} is overdue"))
            metrics = await health.metrics()
            assert metrics["cdc_delivery_lag_seconds"][endpoint,] >= 2
            assert metrics["cdc_deliveries"][endpoint, "leased"] == 2
            assert metrics["cdc_deliveries"][endpoint, "pending"] == 3
            answered.set()
            await inbox.until_count(5)
            await health.until(is_ready)


async def test_a_capture_that_hangs_while_its_database_moves(postgres_db: Database, tmp_path: Path) -> None:
    """Nothing fails: a session that forgot to commit holds a row of the journal, which the consumer waits to delete."""
    consumer = Consumer.of_one_table(tmp_path, postgres_db)
    health = Health.of(consumer, free_port(), "stalled_seconds = 3\n")
    inbox = Inbox()
    postgres_db.execute(INSERT, [1])
    forgotten = postgres_db.connect()
    forgotten.execute("SELECT FROM cdc.cdc_journal FOR UPDATE")
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            await inbox.until_count(1)
            postgres_db.execute(INSERT, [2])
            await health.until(refused("Source main is stalled: it has stored nothing since "))
            said = await consumer.call("doctor", expect=1)
            assert "WRONG    consumer: ready: Source main is stalled: it has stored nothing since " in said
            told = await health.until(refused("its database has 2 transactions that have waited"))
            assert told["sources"] == {"main": "stalled"}
            assert (await health.metrics())["cdc_source_lag_seconds"]["main",] >= 3
            forgotten.rollback()
            await inbox.until_count(2)
            await health.until(is_ready)


async def test_a_port_in_use_is_said_and_the_consumer_works(postgres_db: Database, tmp_path: Path) -> None:
    consumer = Consumer.of_one_table(tmp_path, postgres_db)
    inbox = Inbox()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        Health.of(consumer, taken.getsockname()[1])
        async with receiving(inbox) as url:
            await asyncio.to_thread(consumer.add_endpoint, url)
            async with consumer.running():
                said = await consumer.logged("page, API, health and metrics are not served")
                assert said["error"] == "The address cannot be had: Address already in use."
                postgres_db.execute(INSERT, [1])
                await inbox.until_count(1)


async def test_a_standby_is_ready_and_says_what_it_is(postgres_db: Database, tmp_path: Path) -> None:
    first = Consumer.of_one_table(tmp_path, postgres_db)
    second = Consumer(first.folder, log_name="second.log")
    async with first.running():
        health = Health.of(second, free_port())
        second.start()
        await second.logged("standby")
        told = await health.until(is_ready)
        assert (told["sources"], told["dispatch"]) == ({"main": "standby"}, "standby")
        metrics = await health.metrics()
        assert metrics["cdc_source_state"]["main", "standby"] == 1
        assert metrics["cdc_dispatch_active"] == {(): 0}
        assert await second.stop() == 0


async def test_an_outbox_that_fails(postgres_db: Database, tmp_path: Path) -> None:
    """Its file is locked by somebody else for longer than the consumer waits."""
    consumer = Consumer.of_one_table(tmp_path, postgres_db)
    health = Health.of(consumer, free_port())
    async with consumer.running():
        await health.until(is_ready)
        other = sqlite3.connect(tmp_path / "cdc.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        postgres_db.execute(INSERT, [1])
        await health.until(refused("Nothing has been stored since "))
        assert "WRONG    consumer: ready: Nothing has been stored since " in await consumer.call("doctor", expect=1)
        other.execute("ROLLBACK")
        other.close()
        await health.until(is_ready)
        assert "OK       consumer: ready: cdc run works, and answers on 127.0.0.1:" in await consumer.call("doctor")
    assert "WARNING  consumer: running: No cdc run answers on 127.0.0.1:" in await consumer.call("doctor")


async def test_doctor_does_not_take_the_consumer_of_another_installation_for_its_own(
    postgres_db: Database, tmp_path: Path
) -> None:
    """Both have the same source at the same address, as two with default values do."""
    first = Consumer.of_one_table(tmp_path / "first", postgres_db)
    second = Consumer.configure(tmp_path / "second", postgres_db.info, 'rules = "../first/rules.toml"')
    second.create_outbox()
    port = free_port()
    health = Health.of(first, port)
    Health.of(second, port)
    async with first.running():
        await health.until(is_ready)
        assert "OK       consumer: ready: cdc run works" in await first.call("doctor")
        told = await second.call("doctor")
    assert "WARNING  consumer: running: The cdc run that listens on 127.0.0.1:" in told
    assert "another installation's" in told
    assert "cdc run works" not in told


async def test_doctor_recognises_what_is_no_consumer_of_this_configuration(tmp_path: Path) -> None:
    others = '{"reasons": [], "sources": {}, "outbox": "0123456789abcdef"}'
    answers = iter(["no JSON", '{"reasons": [], "sources": {"other": "reading"}}', others])

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=next(answers))

    app = web.Application()
    app.router.add_get("/health/ready", answer)
    async with served(app) as url:
        config = Config.model_validate({"web": {"listen": urlsplit(url).netloc}})
        for expected in ("is no cdc run", "reads other sources", "is another installation's"):
            (found,) = await consumer_findings(config)
            assert (found.severity, expected in found.detail) == (Severity.WARNING, True), found


@pytest.mark.parametrize(("fixture", "capture"), [("postgres_log_db", "logical"), ("mariadb_binlog_db", "binlog")])
async def test_a_log_that_moves_without_us_is_no_reason(
    request: pytest.FixtureRequest, tmp_path: Path, fixture: str, capture: str
) -> None:
    """Others write to the same server, for longer than the source may stand still."""
    database: Database = request.getfixturevalue(fixture)
    consumer = Consumer.of_one_table(tmp_path, database, capture=capture)
    if capture == "logical":
        await consumer.call("install-slot")
    health = Health.of(consumer, free_port(), "stalled_seconds = 15\n")
    database.execute("CREATE TABLE others (id integer PRIMARY KEY)")
    async with consumer.running():
        await health.until(is_ready)
        for number in range(60):
            database.execute("INSERT INTO others VALUES (%s)", [number])
            status, told = await health.ready()
            assert is_ready(status, told), told
            await asyncio.sleep(0.4)
