"""FacturaScripts makes its tables after the capture was installed (its web installer makes a few, its wizard the rest):
they are captured by every way, without a restart and across one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cdc.demo import server as demo
from support.consumer import Consumer, Inbox, receiving
from support.database import Database

#: Fixture of an empty database, way to capture, command that installs it (binlog: nothing to install).
ROUTES = {
    "postgresql": ("postgres_db", "triggers", "install-triggers"),
    "postgresql-log": ("postgres_log_db", "logical", "install-slot"),
    "mariadb": ("mariadb_db", "triggers", "install-triggers"),
    "mariadb-with-binlog": ("mariadb_binlog_db", "triggers", "install-triggers"),
    "mysql": ("mysql_db", "triggers", "install-triggers"),
    "mysql-log": ("mysql_binlog_db", "binlog", ""),
}
NAMES = "new_tables_seconds = 0.2\n"


def _insert(code: str) -> str:
    return (
        "INSERT INTO clientes (cifnif, codcliente, fechaalta, nombre, razonsocial, tipoidfiscal) "
        f"VALUES ('', '{code}', '2026-01-31', 'Ada', 'Ada', 'NIF')"
    )


def _install_erp(database: Database) -> None:
    flavour = database.server.flavour
    database.script(demo.ddl(flavour))
    database.script(demo.seed(flavour))


@pytest.mark.parametrize("route", ROUTES)
async def test_core_tables_made_while_the_consumer_runs_are_captured(
    route: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    fixture, capture, command = ROUTES[route]
    database: Database = request.getfixturevalue(fixture)
    consumer = Consumer.configure(tmp_path, database.info, f'capture = "{capture}"\n{NAMES}')
    if command:
        consumer.run(command)
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url, "customer.*,customer.read")
        async with consumer.running():
            await asyncio.to_thread(_install_erp, database)
            await asyncio.to_thread(database.execute, _insert("EARLY"))
            await inbox.until_event(lambda each: each["key"] == {"codcliente": "EARLY"})
            await asyncio.to_thread(database.execute, _insert("LATE"))
            await inbox.until_event(lambda each: each["key"] == {"codcliente": "LATE"})
            await asyncio.to_thread(database.execute, "UPDATE clientes SET nombre = 'Eva' WHERE codcliente = 'LATE'")
            await inbox.until_event(
                lambda each: each["event"] == "customer.updated" and each["key"] == {"codcliente": "LATE"}
            )


@pytest.mark.parametrize("route", [name for name, (_, capture, _) in ROUTES.items() if capture != "binlog"])
async def test_core_tables_made_while_the_consumer_is_stopped_are_captured_and_read_at_its_start(
    route: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    fixture, capture, command = ROUTES[route]
    database: Database = request.getfixturevalue(fixture)
    consumer = Consumer.configure(tmp_path, database.info, f'capture = "{capture}"\n{NAMES}')
    consumer.run(command)
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url, "customer.*,customer.read")
        async with consumer.running():
            pass
        await asyncio.to_thread(_install_erp, database)
        await asyncio.to_thread(database.execute, _insert("EARLY"))
        async with consumer.running():
            await inbox.until_event(lambda each: each["key"] == {"codcliente": "EARLY"})
            await asyncio.to_thread(database.execute, "DELETE FROM clientes WHERE codcliente = 'EARLY'")
            await inbox.until_event(lambda each: each["event"] == "customer.deleted")


def test_installing_before_the_erp_says_that_its_tables_are_captured_later(
    mariadb_db: Database, tmp_path: Path
) -> None:
    consumer = Consumer.configure(tmp_path, mariadb_db.info)
    installed = consumer.talk("install-triggers")
    assert "none of FacturaScripts' tables is there" in installed
    assert "cdc run captures them" in installed
    assert "The database has none of the" in consumer.run("doctor", "--source", "main", expect=0)
    without = Consumer.configure(tmp_path / "without", mariadb_db.info, "repair = false\n")
    assert "run this command again" in without.talk("install-triggers")


async def test_without_repair_an_uncaptured_core_table_is_reported_and_the_consumer_is_not_ready(
    mariadb_db: Database, tmp_path: Path
) -> None:
    consumer = Consumer.configure(tmp_path, mariadb_db.info, f"repair = false\n{NAMES}")
    consumer.run("install-triggers")
    async with consumer.running():
        await asyncio.to_thread(_install_erp, mariadb_db)
        line = await consumer.logged("table not captured")
        assert "cdc install-triggers" in line["reason"]
