"""A transaction of the ERP stays open after it wrote to the journal: nothing of all others waits for it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.consumer import Consumer, Inbox, receiving
from support.database import Database

INSERT = "INSERT INTO contadores VALUES (%s, 0, NULL)"
COUNT = "UPDATE contadores SET valor = valor + 1 WHERE id = %s"
OPEN = 0
RECORDS = range(1, 6)
ROUNDS = 4
#: Seconds for one change to arrive: less than the 50 s after which InnoDB ends a lock wait by an error.
ARRIVAL = 30


@pytest.fixture(params=["postgres_db", "mariadb_db", "mariadb_binlog_db", "mysql_db"])
def any_db(request: pytest.FixtureRequest) -> Database:
    """Every engine, MariaDB with and without a binlog."""
    return request.getfixturevalue(str(request.param))  # type: ignore[no-any-return]


@pytest.mark.parametrize("waiting", [0, 4500], ids=["small journal", "large journal"])
async def test_open_transaction_delays_no_other_change(any_db: Database, waiting: int, tmp_path: Path) -> None:
    consumer = await asyncio.to_thread(Consumer.of_one_table, tmp_path, any_db)
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        _write(any_db, waiting // 2)
        holding = any_db.connect()
        holding.cursor().execute(INSERT, [OPEN])
        _write(any_db, waiting - waiting // 2, 10_000)
        async with consumer.running():
            await inbox.until_count(waiting)
            for record in RECORDS:
                await _arrives(any_db, inbox, INSERT, record)
            for _ in range(ROUNDS):
                for record in RECORDS:
                    await _arrives(any_db, inbox, COUNT, record)
            assert OPEN not in _ids(inbox)
            holding.commit()
            await inbox.until(lambda inbox: OPEN in _ids(inbox))
    small = [(event["key"]["id"], event["data"]["valor"]) for event in inbox.events if event["key"]["id"] in RECORDS]
    assert small == [(record, value) for value in range(ROUNDS + 1) for record in RECORDS]
    assert len(inbox.events) == len(small) + waiting + 1
    assert not [line for line in consumer.messages() if line["message"] == "source failed"]


@pytest.mark.parametrize(
    ("fixture", "way"),
    [
        ("postgres_log_db", "logical"),
        ("mariadb_binlog_db", "binlog"),
        ("mysql_binlog_db", "binlog"),
    ],
)
async def test_open_transaction_delays_no_change_read_in_the_log(
    request: pytest.FixtureRequest, fixture: str, way: str, tmp_path: Path
) -> None:
    """After a move from triggers that are still installed: what they journal is deleted while the log is read."""
    database: Database = request.getfixturevalue(fixture)
    consumer = await asyncio.to_thread(Consumer.of_one_table, tmp_path, database)
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            await _arrives(database, inbox, INSERT, 1)
        file = consumer.folder / "cdc.toml"
        file.write_text(file.read_text(encoding="utf-8").replace('"triggers"', f'"{way}"'), encoding="utf-8")
        if way == "logical":
            await consumer.call("install-slot")
        async with consumer.running():
            await consumer.logged("moved")
            holding = database.connect()
            holding.cursor().execute(INSERT, [OPEN])
            for _ in range(ROUNDS):
                await _arrives(database, inbox, COUNT, 1)
            assert OPEN not in _ids(inbox)
            holding.commit()
            await inbox.until(lambda inbox: OPEN in _ids(inbox))
    values = [event["data"]["valor"] for event in inbox.events if event["key"]["id"] == 1]
    assert values == list(range(ROUNDS + 1))
    assert not [line for line in consumer.messages() if line["message"] == "source failed"]


def _write(database: Database, count: int, first: int = 1000) -> None:
    """A transaction each."""
    for record in range(first, first + count):
        database.execute(INSERT, [record])


async def _arrives(database: Database, inbox: Inbox, statement: str, record: int) -> None:
    """Commit one change, and wait until it has arrived."""
    before = len(inbox.events)
    await asyncio.to_thread(database.execute, statement, [record])
    await inbox.until_count(before + 1, ARRIVAL)


def _ids(inbox: Inbox) -> set[int]:
    return {event["key"]["id"] for event in inbox.events}
