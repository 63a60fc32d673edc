"""Columns of decimals: texts in events, numbers in rules and filters, on every engine and by every capture mode."""

from __future__ import annotations

import asyncio
import json
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from cdc.mapping.catalogue import load_catalogue
from support.consumer import Consumer, Inbox, receiving
from support.database import Database
from support.logical import EAGER, logical_pipeline
from support.pipeline import Pipeline, binlog_pipeline, install, pipeline
from support.routes import commit

RULES = """
[[event]]
table = "anticipos"
name = "large"
becomes = { importe = { at_least = 1234567890123456789012345678.5 } }

[[event]]
table = "anticipos"
name = "exact"
becomes = { importe = 150 }

[[event]]
table = "anticipos"
name = "covered"
operations = ["create", "update"]
where = { pagado = { at_least = { column = "importe" } } }
"""
CATALOGUE = load_catalogue(RULES)
TABLE = "CREATE TABLE anticipos (id integer PRIMARY KEY, importe decimal(32,2), pagado decimal(12,4), nota varchar(20))"
WORK = [
    "INSERT INTO anticipos VALUES (1, 150.00, 9.5, '150')",
    "INSERT INTO anticipos VALUES (2, 1234567890123456789012345678.49, 150.0000, '9')",
    "UPDATE anticipos SET importe = 1234567890123456789012345678.50 WHERE id = 2",
    "UPDATE anticipos SET importe = 150 WHERE id = 2",
    "UPDATE anticipos SET importe = 1000 WHERE id = 1",
]
EVENTS = [
    ["created", "exact"],
    ["created"],
    ["updated", "large"],
    ["updated", "exact", "covered"],
    ["updated"],
]


async def _check(database: Database, route: AbstractAsyncContextManager[Pipeline]) -> None:
    async with route as running:
        for statement in WORK:
            await asyncio.to_thread(commit, database, [statement])
        transactions = await running.drain()
    assert [[event.name.rpartition(".")[2] for event in events] for events in transactions] == EVENTS
    assert all(type(event.data["importe"]) is str for events in transactions for event in events)
    assert transactions[2][0].data["importe"] == "1234567890123456789012345678.50"


@pytest.mark.parametrize("flavour", ["postgres", "mariadb", "mysql"])
async def test_rules_by_triggers(flavour: str, request: pytest.FixtureRequest) -> None:
    database: Database = request.getfixturevalue(f"{flavour}_db")
    database.execute(TABLE)
    install(database, CATALOGUE)
    await _check(database, pipeline(database, CATALOGUE))


@pytest.mark.parametrize("flavour", ["mariadb", "mysql"])
async def test_rules_by_binlog(flavour: str, request: pytest.FixtureRequest) -> None:
    database: Database = request.getfixturevalue(f"{flavour}_binlog_db")
    database.execute(TABLE)
    await _check(database, binlog_pipeline(database, CATALOGUE))


async def test_rules_by_logical_decoding(postgres_log_db: Database) -> None:
    postgres_log_db.execute(TABLE)
    await _check(postgres_log_db, logical_pipeline(postgres_log_db, CATALOGUE))


async def test_rules_in_a_huge_transaction(postgres_log_db: Database) -> None:
    """Its changes wait in a file, which has no types."""
    postgres_log_db.execute(TABLE)
    async with logical_pipeline(postgres_log_db, CATALOGUE, replace(EAGER, idle=0.01, huge=1, batch=1)) as running:
        await asyncio.to_thread(
            commit, postgres_log_db, ["INSERT INTO anticipos VALUES (1, 150, 9.5, 'x'), (2, 1, 1, 'y')"]
        )
        (events,) = await running.drain()
    assert [event.name for event in events] == [
        "anticipos.created",
        "anticipos.exact",
        "anticipos.created",
        "anticipos.covered",
    ]


async def test_filters_and_what_never_holds(postgres_db: Database, tmp_path: Path) -> None:
    postgres_db.execute(TABLE)
    consumer = Consumer.configure(tmp_path, postgres_db.info, 'rules = "rules.toml"')
    impossible = '[[event]]\ntable = "anticipos"\nname = "noted"\nbecomes = { nota = { at_least = 100 } }'
    (tmp_path / "rules.toml").write_text(f"{RULES}\n{impossible}", encoding="utf-8")
    await consumer.call("install-triggers")
    inbox, failing = Inbox(), Inbox()
    async with receiving(inbox) as url, receiving(failing) as other:
        large = "data.importe >= 150.00 && data.importe != 1000 && data.importe in [150, 151]"
        await asyncio.to_thread(consumer.add_endpoint, url, "anticipos.updated", "--filter", large)
        fails = await asyncio.to_thread(consumer.add_endpoint, other, "anticipos.*", "--filter", "data.nota + 5 > 7")
        async with consumer.running():
            for statement in WORK[:4]:
                await asyncio.to_thread(commit, postgres_db, [statement])
            await inbox.until_count(1)
            await failing.until(lambda box: len(box.events) == 8)
            await consumer.logged("filter problem noted")
            shown = await consumer.call("endpoint", "show", fails["id"], "--json")
            found = json.loads(await consumer.call("doctor", "--json"))["checks"]
    assert [event["key"] for event in inbox.events] == [{"id": 2}]
    assert json.loads(shown)["filter_problem"] == (
        "The expression compares or computes with values of different types."
    )
    details = [each["detail"] for each in found]
    assert any("anticipos.noted never fires: nota is no number" in detail for detail in details)
    assert any("The filter of" in detail and "failed for an event" in detail for detail in details)
