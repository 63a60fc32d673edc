"""Operators are told: by ``cdc run`` as a process, over a webhook and by mail."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from support.consumer import Consumer, Inbox, answering, receiving
from support.database import Database
from support.mail_server import PASSWORD, Mailbox, mail_server
from support.waiting import HANG_SECONDS

INSERT = "INSERT INTO contadores VALUES (%s, 0, NULL)"


def events(inbox: Inbox) -> list[tuple[str, str]]:
    """Name and subject of what arrived."""
    return [(event["event"], next(iter(event["key"].values()))) for event in inbox.events]


async def test_an_endpoint_that_is_gone_is_told_of_and_keeps_its_deliveries(
    postgres_db: Database, tmp_path: Path
) -> None:
    consumer = Consumer.of_one_table(tmp_path, postgres_db)
    ops, shop = Inbox(), Inbox()
    status = 410

    async def answer(_: dict[str, Any]) -> int:
        return status

    async with receiving(ops) as ops_url, answering(answer, shop) as shop_url:
        gone = (await asyncio.to_thread(consumer.add_endpoint, shop_url, "contadores.*", "--description", "Shop"))["id"]
        await asyncio.to_thread(consumer.add_endpoint, ops_url, "endpoint.*")
        async with consumer.running():
            for number in (1, 2):
                postgres_db.execute(INSERT, [number])
            await ops.until_count(1)
            assert events(ops) == [("endpoint.disabled", gone)]
            data = ops.events[0]["data"]
            shown = f"{shop_url.removesuffix('/hook')}/…{gone[-4:]}"
            assert (data["description"], data["url"], data["reason"]) == ("Shop", shown, "It answered 410 Gone.")
            assert data["message"].startswith(f"Endpoint {gone} (Shop) is disabled: It answered 410 Gone.")
            postgres_db.execute(INSERT, [3])
            await _until_stored(consumer, 3)
            status = 204
            shop.received.clear()
            await consumer.call("endpoint", "enable", gone)
            await shop.until_count(3)
    assert sorted(event["key"]["id"] for event in shop.accepted) == [1, 2, 3]
    assert len(ops.received) == 1


async def _until_stored(consumer: Consumer, count: int) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while len(await consumer.deliveries("--event", "contadores.*")) < count:  # noqa: ASYNC110 - another process writes
            await asyncio.sleep(0.1)


async def test_an_endpoint_that_fails_for_long_is_warned_of_and_disabled(postgres_db: Database, tmp_path: Path) -> None:
    consumer = Consumer.of_one_table(tmp_path, postgres_db)
    ops, shop = Inbox(), Inbox()
    status = 500

    async def answer(_: dict[str, Any]) -> int:
        return status

    async with receiving(ops) as ops_url, answering(answer, shop) as shop_url:
        options = ("--disable-after", "0.005", "--retries", ",".join(["0.5"] * 50))  # 18 seconds
        fails = (await asyncio.to_thread(consumer.add_endpoint, shop_url, "contadores.*", *options))["id"]
        await asyncio.to_thread(consumer.add_endpoint, ops_url, "endpoint.*")
        async with consumer.running():
            postgres_db.execute(INSERT, [1])
            await ops.until_count(4)
            status = 204
            await consumer.call("endpoint", "enable", fails)
            await shop.until(lambda inbox: len(inbox.accepted) == 1)
    assert events(ops) == [("endpoint.failing", fails)] * 3 + [("endpoint.disabled", fails)]
    assert [event["data"].get("percent") for event in ops.events] == [50, 70, 90, None]
    assert ops.events[3]["data"]["reason"] == "It has accepted nothing for 18 seconds."
    assert ops.events[3]["data"]["last_error"] == "The endpoint answered 500 Internal Server Error."


@pytest.mark.parametrize("flavour", ["mariadb"])
async def test_a_gap_is_told_of(own_server: Any, tmp_path: Path, flavour: str) -> None:
    """A trigger that names a column which is gone writes a gap row; the ERP's write goes through."""
    database: Database = own_server(flavour)
    # without repair: otherwise the altered table may be noticed before the row is written
    consumer = Consumer.of_one_table(tmp_path, database, "repair = false\n")
    ops = Inbox()
    async with receiving(ops) as url:
        await asyncio.to_thread(consumer.add_endpoint, url, "source.gap")
        async with consumer.running():
            database.execute("ALTER TABLE contadores DROP COLUMN nota")
            database.execute("INSERT INTO contadores VALUES (1, 0)")
            await ops.until_count(1)
    (event,) = ops.events
    assert (event["source"], event["key"]) == ("cdc", {"source": "main"})
    assert (event["data"]["table"], event["data"]["operation"]) == ("contadores", "create")


async def test_a_database_that_stops_is_told_of_by_mail_and_that_it_is_back(own_server: Any, tmp_path: Path) -> None:
    """Over STARTTLS with a login, and although health is not served."""
    database: Database = own_server("postgresql")
    consumer = Consumer.of_one_table(tmp_path, database)
    authority, offered = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(offered)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    (tmp_path / "password").write_text(f"{PASSWORD}\n", encoding="utf-8")
    mailbox = Mailbox(answers=["451 4.3.0 not now"])
    async with mail_server(mailbox, tls=offered, login=True) as port:
        config = tmp_path / "cdc.toml"
        text = config.read_text(encoding="utf-8").replace('listen = ""\n', 'listen = ""\nstalled_seconds = 1\n')
        mail = (
            f'host = "localhost"\nport = {port}\nsender = "cdc@example.com"\nuser = "cdc"\npassword_file = "password"'
        )
        config.write_text(f'{text}\n[mail]\n{mail}\nca_file = "ca.pem"\n', encoding="utf-8")
        retries = ("--retries", "0.2,0.2")
        added = await asyncio.to_thread(consumer.add_endpoint, "mailto:ops@example.com", "source.*", *retries)
        async with consumer.running():
            database.close()
            database.server.stop()
            await mailbox.until(1)
            database.server.start()
            await mailbox.until(2)
    stalled, resumed = mailbox.mails
    assert stalled["Subject"] == "[facturascripts-cdc] source.stalled: source main"
    assert stalled.get_content().startswith("Source main has not been readable since 20")
    assert resumed["Subject"] == "[facturascripts-cdc] source.resumed: source main"
    assert mailbox.encrypted == [True, True]
    resumed_view, stalled_view = await consumer.deliveries("--endpoint", added["id"])
    assert (stalled_view["state"], stalled_view["attempts"], resumed_view["attempts"]) == ("delivered", 2, 1)
    shown = json.loads(await consumer.call("delivery", "show", stalled_view["id"], "--json"))
    first, second = shown["log"]
    assert first["status"] == 451
    assert first["error"] == f"localhost:{port} refused the mail: 451 4.3.0 not now."
    assert (second["status"], second["error"]) == (250, None)
    assert PASSWORD not in consumer.log.read_text(encoding="utf-8")


async def test_a_mail_address_is_tested_and_needs_a_mail_server(tmp_path: Path) -> None:
    consumer = Consumer.with_sources(tmp_path, "")
    told = await asyncio.to_thread(consumer.fail, "endpoint", "add", "mailto:a@example.com", "--events", "*", expect=2)
    assert "no mail server is configured.\n  Set host and sender under [mail]." in told
    mailbox = Mailbox()
    async with mail_server(mailbox) as port:
        with (tmp_path / "cdc.toml").open("a", encoding="utf-8") as config:
            config.write(f'[mail]\nhost = "127.0.0.1"\nport = {port}\nsecurity = "none"\nsender = "cdc@example.com"\n')
        added = await asyncio.to_thread(consumer.add_endpoint, "mailto:a@example.com,b@example.com", "endpoint.*")
        assert added["concurrency"] == 2
        told = await consumer.call("endpoint", "test", added["id"])
        assert told.startswith("mailto:a@example.com,b@example.com answered 250 after ")
    (mail,) = mailbox.mails
    assert mailbox.recipients == [["a@example.com", "b@example.com"]]
    assert "message: A test of this endpoint: no record was changed." in mail.get_content()


def test_operational_events_are_listed_and_have_schemas(tmp_path: Path) -> None:
    consumer = Consumer.with_sources(tmp_path, "")
    listed = json.loads(consumer.run("event", "list", "--json", "endpoint.*"))["events"]
    assert [each["event"] for each in listed] == ["endpoint.failing", "endpoint.disabled", "endpoint.recovered"]
    schema = json.loads(consumer.run("event", "schema", "endpoint.failing"))
    assert schema["properties"]["data"]["properties"]["percent"]["type"] == "integer"
    added = consumer.add_endpoint("http://127.0.0.1:9/hook", "endpoint.failing,source.*")
    assert added["events"] == ["endpoint.failing", "source.*"]
    told = consumer.fail("endpoint", "add", "http://127.0.0.1:9/hook", "--events", "endpoint.failed", expect=2)
    assert "No event is called endpoint.failed.\n  Did you mean endpoint.failing" in told
