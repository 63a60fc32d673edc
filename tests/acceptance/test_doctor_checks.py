"""Each check of `cdc doctor` is reported by itself: one that fails hides no other."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path

import pytest

from support.consumer import TABLE, Consumer
from support.database import Database
from support.facturascripts_api import TOKEN, Api, serving

#: Fixture, capture mode, installing command; a statement that breaks a table's capture, and the check that sees it.
ROUTES = {
    "postgresql": (
        *("postgres_db", "triggers", "install-triggers"),
        *("ALTER TABLE contadores DISABLE TRIGGER ALL", "table contadores"),
    ),
    "postgresql-log": (
        *("postgres_log_db", "logical", "install-slot"),
        *("ALTER TABLE contadores REPLICA IDENTITY DEFAULT", "table contadores"),
    ),
    "mariadb": (
        *("mariadb_db", "triggers", "install-triggers"),
        *("ALTER TABLE contadores ADD COLUMN extra integer", "triggers of contadores"),
    ),
    "mysql-log": (
        *("mysql_binlog_db", "binlog", ""),
        *("ALTER TABLE contadores DROP PRIMARY KEY", "key of contadores"),
    ),
}


@pytest.mark.parametrize("route", ROUTES)
def test_table_that_a_rule_names_and_that_was_dropped_hides_no_other_check(
    route: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    fixture, capture, install, break_it, check = ROUTES[route]
    database: Database = request.getfixturevalue(fixture)
    database.execute(TABLE)
    database.execute(TABLE.replace("contadores", "plugin"))
    consumer = Consumer.configure(tmp_path, database.info, f'capture = "{capture}"\nrules = "rules.toml"\n')
    (tmp_path / "rules.toml").write_text('tables = ["contadores", "plugin"]\n', encoding="utf-8")
    if install:
        consumer.run(install)
    database.execute("DROP TABLE plugin")
    database.execute(break_it)
    checks = json.loads(consumer.run("doctor", "--source", "main", "--json", expect=1))["checks"]
    wrong = {each["check"]: each["detail"] for each in checks if each["severity"] == "wrong"}
    assert wrong.keys() >= {"rules", check}
    assert "line 1: The database has no table plugin." in wrong["rules"]


async def test_doctor_beside_a_polled_api_and_kills_calls_nothing_wrong(tmp_path: Path) -> None:
    """Which is away when it is first asked, as while a web server restarts."""
    async with serving(Api(now=time.monotonic)) as api:
        source = f'[source.main]\ncapture = "rest"\n[source.main.rest]\nurl = "{api.url}"\ntoken = "{TOKEN}"\n'
        consumer = Consumer.with_sources(tmp_path, f"{source}requests_per_minute = 6000\ninterval_seconds = 1\n")
        await asyncio.to_thread(consumer.create_outbox)
        for number in range(4):
            if number % 2:
                api.failing = [503]
            else:
                await asyncio.to_thread(consumer.start)
            api.put("clientes", {"codcliente": str(number), "nombre": "Ada"})
            found = json.loads(await consumer.call("doctor", "--json"))["checks"]
            assert [each for each in found if each["severity"] == "wrong"] == []
            if consumer.process is not None:
                await asyncio.to_thread(consumer.end, signal.SIGKILL)
