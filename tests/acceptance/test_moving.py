"""From triggers to the log and back while eight writers work and the consumer is killed: every change arrives once, in
order, whatever told of it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from support.consumer import Consumer, Inbox, receiving
from support.counting import begin, check_chains, configured, until_quiet, writing
from support.database import Database
from support.waiting import HANG_SECONDS

CHANGES = int(os.environ.get("CDC_TEST_CHANGES", "12000"))
MOVES = 6
#: Flavour → what reads its log, and options of the server.
LOGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "postgresql": ("logical", ("deadlock_timeout=50ms",)),
    "mariadb": ("binlog", ()),
    "mysql": ("binlog", ()),
}


def _capture(consumer: Consumer, way: str) -> None:
    file = consumer.folder / "cdc.toml"
    text = file.read_text(encoding="utf-8")
    lines = [f'capture = "{way}"' if line.startswith("capture") else line for line in text.splitlines()]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("flavour", list(LOGS))
async def test_moving_there_and_back_under_load(flavour: str, own_server: Any, tmp_path: Path, seed: int) -> None:
    way, options = LOGS[flavour]
    database: Database = own_server(flavour, *options, binlog=flavour != "postgresql")
    consumer = configured(database, tmp_path, 'capture = "triggers"')
    consumer.run("install-triggers")
    if flavour == "postgresql":
        consumer.run("install-slot")
    dice = random.Random(seed)
    inbox = Inbox()

    async def trouble() -> None:
        for number in range(MOVES):
            _capture(consumer, "triggers" if number % 2 else way)
            consumer.start()
            await asyncio.sleep(dice.uniform(0.4, 4))  # the move is under way, or done, when the kill comes
            consumer.end(signal.SIGKILL)
        _capture(consumer, way)
        consumer.start()

    async with receiving(inbox) as url:
        consumer.add_endpoint(url, "contadores.*,*.read")
        try:
            await begin(database, consumer, inbox)
            await writing(database, CHANGES, dice, trouble)
            await _said(consumer, '"moved"')
            await until_quiet(database, consumer, inbox)
            await _back(database, consumer, inbox)
        finally:
            consumer.end()
    check_chains(database, inbox, CHANGES)
    assert _journal_rows(database) == 0


async def _back(database: Database, consumer: Consumer, inbox: Inbox) -> None:
    """To the triggers, to stay there."""
    await consumer.stop()
    database.execute("UPDATE contadores SET valor = valor + 1 WHERE id = 1")
    _capture(consumer, "triggers")
    consumer.start()
    database.execute("UPDATE contadores SET valor = valor + 1 WHERE id = 1")
    await _said(consumer, '"to":"journal","level":"info"')
    await until_quiet(database, consumer, inbox)
    database.execute("UPDATE contadores SET valor = valor + 1 WHERE id = 1")
    await until_quiet(database, consumer, inbox)


def _journal_rows(database: Database) -> int:
    table = "cdc.cdc_journal" if database.flavour == "postgresql" else "cdc_journal"
    return int(database.execute(f"SELECT COUNT(*) FROM {table}")[0][0])


@pytest.mark.parametrize("flavour", list(LOGS))
async def test_triggers_that_are_not_there_are_waited_for(flavour: str, own_server: Any, tmp_path: Path) -> None:
    way, options = LOGS[flavour]
    database: Database = own_server(flavour, *options, binlog=flavour != "postgresql")
    consumer = configured(database, tmp_path, f'capture = "{way}"')
    if flavour == "postgresql":
        consumer.run("install-slot")
    inbox = Inbox()
    async with receiving(inbox) as url:
        consumer.add_endpoint(url, "contadores.*,*.read")
        await begin(database, consumer, inbox)
        database.execute("UPDATE contadores SET valor = valor + 1 WHERE id = 2")  # nobody runs
        _capture(consumer, "triggers")
        consumer.start()
        try:
            await _said(consumer, "continues by triggers once they are all in place")
            consumer.run("install-triggers")
            database.execute("UPDATE contadores SET valor = valor + 1 WHERE id = 2")
            await until_quiet(database, consumer, inbox)
            await _said(consumer, '"moved"')
        finally:
            consumer.end()
    check_chains(database, inbox, 0)


async def _said(consumer: Consumer, words: str) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            if words in consumer.log.read_text(encoding="utf-8"):
                return
            await asyncio.sleep(0.1)  # a file of another process: there is no event to await


PARENTS = 40
CASCADES = (
    "CREATE TABLE padres (id INT PRIMARY KEY);"
    "CREATE TABLE hijos (id INT PRIMARY KEY, padre INT, valor INT DEFAULT 0,"
    " FOREIGN KEY (padre) REFERENCES padres (id) ON DELETE CASCADE);"
    "CREATE TABLE notas (id INT PRIMARY KEY, padre INT, FOREIGN KEY (padre) REFERENCES padres (id) ON DELETE SET NULL)"
)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("flavour", ["mariadb", "mysql"])
@pytest.mark.parametrize("then", ["", "--cascades-only"])
async def test_moving_to_the_binlog_loses_no_cascade(flavour: str, then: str, own_server: Any, tmp_path: Path) -> None:
    """Rows that foreign keys delete or change while the source moves, after it, and after the triggers are replaced."""
    options = ("--innodb-native-foreign-keys=ON",) if flavour == "mysql" else ()
    database: Database = own_server(flavour, *options, binlog=True)
    database.script(CASCADES)
    for number in range(3 * PARENTS):
        database.execute("INSERT INTO padres VALUES (%s)", [number])
        database.execute(
            "INSERT INTO hijos (id, padre) VALUES (%s, %s), (%s, %s)", [number, number, -number - 1, number]
        )
        database.execute("INSERT INTO notas VALUES (%s, %s)", [number, number])
    (tmp_path / "rules.toml").write_text('tables = ["padres", "hijos", "notas"]\n', encoding="utf-8")
    consumer = Consumer.configure(tmp_path, database.info, 'rules = "rules.toml"\ncapture = "triggers"\n')
    consumer.run("install-triggers")
    inbox = Inbox()

    def delete(first: int) -> None:
        """Half of the children are changed by themselves in the same transaction."""
        for number in range(first, first + PARENTS):
            database.script(
                f"BEGIN; UPDATE hijos SET valor = 1 WHERE id = {number}; DELETE FROM padres WHERE id = {number}; COMMIT"
            )

    async with receiving(inbox) as url:
        consumer.add_endpoint(url)
        try:
            async with consumer.running():
                database.execute("INSERT INTO padres VALUES (1000)")
                await inbox.until_count(1)
            _capture(consumer, "binlog")
            consumer.start()
            await asyncio.to_thread(delete, 0)
            await _said(consumer, '"moved"')
            await asyncio.to_thread(delete, PARENTS)
            if then:
                await consumer.call("install-triggers", then)
            await asyncio.to_thread(delete, 2 * PARENTS)
            await inbox.until_count(1 + 4 * 3 * PARENTS)
            database.execute("INSERT INTO padres VALUES (1001)")
            await inbox.until_count(2 + 4 * 3 * PARENTS)
        finally:
            consumer.end()
    told = Counter((event["event"], event["key"]["id"]) for event in inbox.events)
    parents = range(3 * PARENTS)
    assert told == {
        **{("padres.created", number): 1 for number in (1000, 1001)},
        **{("padres.deleted", number): 1 for number in parents},
        **{("hijos.deleted", number): 1 for number in (*parents, *(-number - 1 for number in parents))},
        **{("notas.updated", number): 1 for number in parents},
    }
