"""``cdc run`` on a replication slot from its installation to its removal: accounts, standby, doctor, losses."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

from cdc.model.connection import AccountRole
from support.consumer import Consumer, Inbox, database_url, receiving
from support.database import Database
from support.grants import PrintedGrants
from support.logical import released

CUSTOMER = "INSERT INTO clientes (cifnif, codcliente, nombre) VALUES ('', %s, %s)"
INSERT = "INSERT INTO contadores VALUES (%s, 0, NULL)"
ON_PURGED = 'on_purged = "reread"'


def _checks(consumer: Consumer, *, expect: int = 0) -> dict[str, dict[str, Any]]:
    """What the doctor says of the source, by check."""
    told = json.loads(consumer.run("doctor", "--json", expect=expect))
    return {check["check"]: check for check in told["checks"] if check["about"] == "source main"}


def _names(inbox: Inbox) -> list[str]:
    return [event["event"] for event in inbox.events]


def _slots(database: Database) -> int:
    ((count,),) = database.execute("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()")
    return int(count)


async def test_the_printed_grants_are_enough(own_server: Any, tmp_path: Path) -> None:
    """One account installs and mends, the other consumes; secrets stay in the database."""
    database: Database = own_server("postgresql", erp=True)
    dba = Consumer.configure(tmp_path / "dba", database.info, 'capture = "logical"')
    # the tests' owner is a superuser: tables of an account that is none are what a membership gives rights on
    database.script("CREATE ROLE erp; GRANT ALL ON SCHEMA public TO erp;")
    for (table,) in database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        database.execute(f'ALTER TABLE "{table}" OWNER TO erp')
    printed = PrintedGrants.read(await dba.call("grants"))
    assert f'GRANT "erp" TO "{printed.name(AccountRole.INSTALLER)}"' in printed.text
    assert "the log of ALL its databases" in printed.text
    database.script(printed.text)
    sources = printed.named_source(tmp_path, database.info, f'capture = "logical"\n{ON_PURGED}')
    consumer = Consumer.with_sources(tmp_path, sources)
    await consumer.call("install-slot")
    inbox = Inbox()
    async with receiving(inbox) as receiver:
        await asyncio.to_thread(consumer.add_endpoint, receiver)
        async with consumer.running():
            database.execute(CUSTOMER, ["1", "Ada"])
            database.execute(
                "INSERT INTO users (nick, password, logkey, creationdate) VALUES ('ada', 'PLANTED', 'x', '2026-01-01')"
            )
            database.execute("INSERT INTO roles_users (codrole, nick, id) VALUES ('employee', 'ada', 1)")
            await inbox.until(lambda inbox: "user.permissions_changed" in _names(inbox))
            database.execute("ALTER TABLE clientes REPLICA IDENTITY DEFAULT")
            database.execute("UPDATE clientes SET nombre = 'Grace' WHERE codcliente = '1'")
            await inbox.until(lambda inbox: "customer.read" in _names(inbox))
            database.execute("UPDATE clientes SET nombre = 'Edsger' WHERE codcliente = '1'")
            await inbox.until(lambda inbox: "customer.updated" in _names(inbox))
            checks = await asyncio.to_thread(_checks, consumer)
            assert {check["severity"] for check in checks.values()} <= {"ok", "warning"}
            assert "at work" in checks["consumer"]["detail"]
        database.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
        async with consumer.running():  # which may make a slot again
            await inbox.until(lambda inbox: _names(inbox).count("customer.read") == 2)
        assert not [line for line in consumer.messages() if line["message"] == "source failed"]
    assert not any(b"PLANTED" in received.body for received in inbox.received)
    assert b"PLANTED" not in (tmp_path / "cdc.db").read_bytes() + consumer.log.read_bytes()
    await consumer.call("uninstall-slot")
    assert _slots(database) == 0


async def test_a_second_consumer_takes_over_when_the_first_is_killed(postgres_log_db: Database, tmp_path: Path) -> None:
    first = Consumer.of_one_table(tmp_path / "first", postgres_log_db, capture="logical")
    await first.call("install-slot")
    second = Consumer.with_sources(
        tmp_path / "second",
        f'[source.main]\nurl = "{database_url(postgres_log_db.info)}"\n'
        'capture = "logical"\nrules = "../first/rules.toml"\n',
    )
    inbox = Inbox()
    async with receiving(inbox) as url:
        for consumer in (first, second):
            await asyncio.to_thread(consumer.add_endpoint, url)
        async with first.running():
            for number in range(10):
                postgres_log_db.execute(INSERT, [number])
            await inbox.until_count(10)
            second.start()
            await second.logged("standby")
            await first.stop(signal.SIGKILL)
            await second.logged("took over")
            await second.logged("reading")
            postgres_log_db.execute(INSERT, [10])
            await inbox.until_event(lambda event: event["key"] == {"id": 10})
            assert await second.stop() == 0
    assert len({event["id"] for event in inbox.events}) == 11


async def test_what_is_lost_is_said_until_it_is_decided(postgres_log_db: Database, tmp_path: Path) -> None:
    consumer = Consumer.of_one_table(tmp_path, postgres_log_db, capture="logical")
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        consumer.start()
        failure = await consumer.logged("source failed")
        assert "there is no replication slot" in failure["error"]
        assert "cdc install-slot" in failure["error"]
        await consumer.call("install-slot")
        await consumer.logged("reading")
        postgres_log_db.execute(INSERT, [1])
        await inbox.until_count(1)
        assert await consumer.stop() == 0
        await released(postgres_log_db)
        postgres_log_db.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()"
        )
        postgres_log_db.execute(INSERT, [2])
        checks = await asyncio.to_thread(_checks, consumer, expect=1)
        assert checks["slot"]["mend"] == "cdc install-slot"
        await consumer.call("install-slot")
        consumer.start()
        failures = len([line for line in consumer.messages() if line["message"] == "source failed"])
        failure = await consumer.logged("source failed", failures + 1)
        assert "does not have what was committed between" in failure["error"]
        assert await consumer.stop() == 0
        configuration = tmp_path / "cdc.toml"
        configuration.write_text(
            configuration.read_text().replace('capture = "logical"', f'capture = "logical"\n{ON_PURGED}')
        )
        async with consumer.running():
            await inbox.until_count(3)
            postgres_log_db.execute(INSERT, [3])
            await inbox.until_count(4)
    assert [(event["event"], event["key"]["id"]) for event in inbox.events if event["key"]["id"] in (2, 3)] == [
        ("contadores.read", 2),
        ("contadores.created", 3),
    ]


async def test_a_server_that_lets_no_replication_connection_in(own_server: Any, tmp_path: Path) -> None:
    database: Database = own_server("postgresql", "max_wal_senders=0")
    consumer = Consumer.of_one_table(tmp_path, database, capture="logical")
    await consumer.call("install-slot")
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            told = await consumer.logged("no replication connection")
            assert told["action"] == "reading by SQL functions"
            for number in range(5):
                database.execute(INSERT, [number])
            await inbox.until_count(5)
            checks = await asyncio.to_thread(_checks, consumer)
            assert checks["replication"]["severity"] == "warning"
        async with consumer.running():
            database.execute(INSERT, [5])
            await inbox.until_count(6)
    assert sorted(event["key"]["id"] for event in inbox.events) == list(range(6))


def test_installing_by_command(postgres_log_db: Database, tmp_path: Path) -> None:
    consumer = Consumer.of_one_table(tmp_path, postgres_log_db, capture="logical")
    script = consumer.run("install-slot", "--dry-run")
    assert "pg_create_logical_replication_slot" in script
    assert 'ALTER TABLE "public"."contadores" REPLICA IDENTITY FULL' in script
    assert _slots(postgres_log_db) == 0
    told = json.loads(consumer.run("install-slot", "--json"))["sources"][0]
    assert [step["title"] for step in told["steps"]] == [
        "Make the publication",
        "Capture contadores",
        "Make the replication slot",
    ]
    assert told["applied"]
    assert json.loads(consumer.run("install-slot", "--json"))["sources"][0]["steps"] == []
    checks = _checks(consumer)
    assert checks["consumer"]["severity"] == "warning"
    assert "cdc run" in checks["consumer"]["mend"]
    assert checks["tables"]["detail"] == "whole rows of 1 tables in the log"
    consumer.run("event", "schema", "contadores.created")
    consumer.run("uninstall-slot")
    assert _slots(postgres_log_db) == 0
    assert _checks(consumer, expect=1)["slot"]["severity"] == "wrong"


def test_only_postgresql_has_slots(mariadb_db: Database, tmp_path: Path) -> None:
    consumer = Consumer.configure(tmp_path, mariadb_db.info, 'capture = "logical"')
    assert "is not a PostgreSQL database" in consumer.fail("install-slot", expect=2)
    consumer.run("outbox", "create")
    assert "is not a PostgreSQL database" in consumer.fail("run", expect=2)
