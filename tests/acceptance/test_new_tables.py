"""A plugin's table appears while ``cdc run`` reads, changes its columns, goes and comes again: events follow, by every
way to capture, without a restart."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from support.consumer import Consumer, Inbox, database_url, receiving
from support.database import Database

TABLE = "CREATE TABLE miplugin_cosas (id integer PRIMARY KEY, nombre varchar(40), cantidad integer, iban varchar(34))"
#: Not to be captured: its records have no names; the name does not match; it is excluded.
OTHERS = (
    "CREATE TABLE miplugin_sin_clave (nombre varchar(40))",
    "CREATE TABLE otra (id integer PRIMARY KEY)",
    "CREATE TABLE miplugin_log (id integer PRIMARY KEY)",
)
RULES = """
[source.{name}]
url = "{url}"
capture = "{capture}"
tables = ["miplugin_*"]
new_tables_seconds = 0.2
[source.{name}.rules]
exclude = ["miplugin_log"]
"""
#: Source → fixture of its database, way to capture.
ROUTES = {
    "postgres": ("postgres_db", "triggers"),
    "postgres-log": ("postgres_log_db", "logical"),
    "mariadb": ("mariadb_db", "triggers"),
    "mariadb-log": ("mariadb_binlog_db", "binlog"),
    "mysql": ("mysql_db", "triggers"),
    "mysql-log": ("mysql_binlog_db", "binlog"),
}

Databases = dict[str, Database]
#: Tables that FacturaScripts creates one after the other.
TABLES = 60


async def _everywhere(databases: Databases, *statements: str) -> None:
    for statement in statements:
        await asyncio.gather(*(asyncio.to_thread(each.execute, statement) for each in databases.values()))


def _about(inbox: Inbox, source: str, key: int) -> list[dict[str, Any]]:
    return [event for event in inbox.events if event["source"] == source and event["key"] == {"id": key}]


def _all_told(databases: Databases, key: int, holds: Callable[[dict[str, Any]], bool]) -> Callable[[Inbox], bool]:
    """Whether of each source an event of the record came that is as wanted."""
    return lambda inbox: all(any(map(holds, _about(inbox, source, key))) for source in databases)


async def _met(consumer: Consumer, databases: Databases, message: str, turn: int) -> None:
    await consumer.logged(message, times=turn * len(databases))


async def test_a_plugins_table_comes_and_goes(
    *,
    postgres_db: Database,
    postgres_log_db: Database,
    mariadb_db: Database,
    mariadb_binlog_db: Database,
    mysql_db: Database,
    mysql_binlog_db: Database,
    tmp_path: Path,
) -> None:
    fixtures = {
        "postgres_db": postgres_db,
        "postgres_log_db": postgres_log_db,
        "mariadb_db": mariadb_db,
        "mariadb_binlog_db": mariadb_binlog_db,
        "mysql_db": mysql_db,
        "mysql_binlog_db": mysql_binlog_db,
    }
    databases = {name: fixtures[fixture] for name, (fixture, _) in ROUTES.items()}
    sources = [
        RULES.format(name=name, url=database_url(databases[name].info), capture=capture)
        for name, (_, capture) in ROUTES.items()
    ]
    await _everywhere(databases, "CREATE TABLE miplugin_vieja (id integer PRIMARY KEY, nombre varchar(40))")
    consumer = Consumer.with_sources(tmp_path, "\n".join(sources))
    by_triggers = [option for name, (_, way) in ROUTES.items() if way == "triggers" for option in ("--source", name)]
    await consumer.call("install-triggers", *by_triggers)
    await consumer.call("install-slot", "--source", "postgres-log")
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url, "miplugin_*.*,*.read")
        async with consumer.running():
            await _met(consumer, databases, "reading", 1)
            await _play(databases, consumer, inbox)
    told = {event["event"].partition(".")[0] for event in inbox.events}
    created = Counter((each["source"], str(each["key"])) for each in inbox.events if each["event"].endswith(".created"))
    assert max(created.values()) == 1
    assert told == {"miplugin_cosas", "miplugin_vieja"}
    assert not any("iban" in event["data"] or "ES00" in str(event) for event in inbox.events)


async def _play(databases: Databases, consumer: Consumer, inbox: Inbox) -> None:
    async def until(key: int, holds: Callable[[dict[str, Any]], bool]) -> None:
        await inbox.until(_all_told(databases, key, holds))

    await _there_before(databases, until)
    # rows that are written before anybody can have seen the table
    await _everywhere(databases, TABLE, *OTHERS, "INSERT INTO miplugin_cosas VALUES (1, 'Ada', 1, 'ES00')")
    await until(1, lambda event: event["event"] == "miplugin_cosas.created" and event["data"]["nombre"] == "Ada")
    await _everywhere(
        databases, "INSERT INTO miplugin_cosas VALUES (2, 'Eva', 1, 'ES00')", "UPDATE miplugin_cosas SET cantidad = 5"
    )
    await until(2, lambda event: event["event"] == "miplugin_cosas.created")
    for key in (1, 2):
        await until(key, lambda event: event["event"] == "miplugin_cosas.updated" and event["data"]["cantidad"] == 5)
    await _altered(databases, until)
    await _everywhere(databases, "DROP TABLE miplugin_cosas")
    await _met(consumer, databases, "tables gone", 1)
    await _everywhere(databases, TABLE, "INSERT INTO miplugin_cosas VALUES (7, 'Otra vez', 1, 'ES00')")
    await until(7, lambda event: event["event"] == "miplugin_cosas.created")
    await _everywhere(databases, "DELETE FROM miplugin_cosas WHERE id = 7")
    await until(7, lambda event: event["event"] == "miplugin_cosas.deleted")


Until = Callable[[int, Callable[[dict[str, Any]], bool]], Awaitable[None]]


async def _there_before(databases: Databases, until: Until) -> None:
    await _everywhere(databases, "INSERT INTO miplugin_vieja VALUES (9, 'Vieja')")
    await until(9, lambda event: event["event"] == "miplugin_vieja.created")


async def _altered(databases: Databases, until: Until) -> None:
    """Gains, loses and renames columns; another type."""
    await _everywhere(
        databases,
        "ALTER TABLE miplugin_cosas ADD COLUMN precio integer",
        "ALTER TABLE miplugin_cosas DROP COLUMN cantidad",
        "ALTER TABLE miplugin_cosas RENAME COLUMN nombre TO titulo",
        "INSERT INTO miplugin_cosas (id, titulo, precio) VALUES (3, 'Nueva', 30)",
    )
    await until(3, lambda event: event["data"] == {"id": 3, "titulo": "Nueva", "precio": 30})
    for name, database in databases.items():
        change = "ALTER COLUMN precio TYPE varchar(20)" if name.startswith("postgres") else "MODIFY precio varchar(20)"
        await asyncio.to_thread(database.execute, f"ALTER TABLE miplugin_cosas {change}")
    await _everywhere(databases, "UPDATE miplugin_cosas SET precio = 'treinta' WHERE id = 3")
    await until(3, lambda event: event["data"].get("precio") == "treinta")


async def test_erp_sees_the_columns_of_tables_that_it_is_creating(mariadb_db: Database, tmp_path: Path) -> None:
    """FacturaScripts creates tables one after the other, and asks for their columns in a session that holds locks:
    while a trigger of the table is created, MariaDB refuses (error 1684)."""
    url = database_url(mariadb_db.info)
    consumer = Consumer.with_sources(tmp_path / "cdc", RULES.format(name="main", url=url, capture="triggers"))
    mariadb_db.execute("CREATE TABLE miplugin_first (id integer PRIMARY KEY)")
    consumer.run("install-triggers")
    consumer.start()
    await consumer.logged("reading")
    await asyncio.to_thread(_create_and_describe, mariadb_db)
    captured = await consumer.logged("tables captured")
    assert len(captured["tables"]) == TABLES
    await consumer.stop()


def _create_and_describe(database: Database) -> None:
    """Create tables for some seconds, and ask for all their columns after each."""
    session = database.connect().cursor()
    for number in range(TABLES):
        session.execute(f"CREATE TABLE miplugin_{number} (id integer PRIMARY KEY, nombre varchar(40))")
        session.execute("SELECT * FROM miplugin_first")  # the lock that such a session holds
        for _ in range(3):
            for each in range(number + 1):
                session.execute(f"SHOW COLUMNS FROM miplugin_{each}")
                assert len(session.fetchall()) == 2
    session.connection.close()
