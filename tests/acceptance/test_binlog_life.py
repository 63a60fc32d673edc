"""The life of ``cdc run`` on a binlog: least grants, alterations under load, a standby, a purged log, a huge import."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import psutil
import pytest

from support.consumer import Consumer, Inbox, database_url, receiving
from support.database import Database
from support.grants import PrintedGrants
from support.waiting import HANG_SECONDS

FLAVOURS = ("mariadb", "mysql")
INSERT = "INSERT INTO contadores VALUES (%s, 0, NULL)"
COUNT = "UPDATE contadores SET valor = valor + 1 WHERE id = %s"
RECORDS = 10
IMPORT = 100_000
MEMORY = 150 << 20


@pytest.fixture(params=FLAVOURS)
def logged(request: pytest.FixtureRequest, own_server: Any) -> Database:
    """On a server of the test's own, whose log it may purge."""
    database: Database = own_server(request.param, binlog=True)
    return database


class Writer:
    """Counts up the records in turn, a transaction each, in a thread, until it is left."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._enough = threading.Event()
        self.written = 0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(asyncio.to_thread(self._run))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._enough.set()
        await self._task

    def _run(self) -> None:
        connection = self._database.connect(autocommit=True)
        cursor = connection.cursor()
        while not self._enough.wait(0.002):  # a machine at work must keep up
            cursor.execute(COUNT, [self.written % RECORDS])
            self.written += 1

    async def until_more(self, count: int = 50) -> None:
        wanted = self.written + count
        async with asyncio.timeout(HANG_SECONDS):
            while self.written < wanted:  # noqa: ASYNC110 - a thread counts, and sets nothing
                await asyncio.sleep(0.01)


def _values(database: Database) -> dict[int, int]:
    return dict(database.execute("SELECT id, valor FROM contadores"))


def _latest(inbox: Inbox) -> dict[int, int]:
    return {event["key"]["id"]: event["data"]["valor"] for event in inbox.events}


def _chained(inbox: Inbox, *, reread: bool = False) -> bool:
    """Each record's updates continue each other; a re-read may stand between."""
    last: dict[int, int] = {}
    seen: set[str] = set()
    for event in inbox.events:
        if event["id"] in seen:
            continue
        seen.add(event["id"])
        record, value = event["key"]["id"], event["data"]["valor"]
        if (
            event["event"] == "contadores.updated"
            and not reread
            and event["previous"].get("valor", value) != last[record]
        ):
            return False
        last[record] = value
    return True


async def test_alterations_under_load_lose_nothing(logged: Database, tmp_path: Path) -> None:
    consumer = await asyncio.to_thread(Consumer.of_one_table, tmp_path, logged, "", "binlog")
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            for number in range(RECORDS):
                logged.execute(INSERT, [number])
            async with Writer(logged) as writer:
                for alteration in (
                    "ADD COLUMN nuevo VARCHAR(20) DEFAULT 'n' FIRST",
                    "RENAME COLUMN nota TO apunte",
                    "MODIFY valor BIGINT",
                    "MODIFY nuevo VARCHAR(20) AFTER id",
                    "DROP COLUMN nuevo",
                ):
                    await writer.until_more()
                    await asyncio.to_thread(logged.execute, f"ALTER TABLE contadores {alteration}")
                await writer.until_more()
            await inbox.until(lambda inbox: _latest(inbox) == _values(logged))
            logged.execute("UPDATE contadores SET apunte = 'x' WHERE id = 0")
            await inbox.until_event(lambda event: event["data"].get("apunte") == "x")
            assert list(inbox.events[-1]["data"]) == ["id", "valor", "apunte"]
        reread = any(line["message"] == "gap" for line in consumer.messages())
    assert _chained(inbox, reread=reread)


async def test_a_standby_takes_over(logged: Database, tmp_path: Path) -> None:
    first = await asyncio.to_thread(Consumer.of_one_table, tmp_path / "first", logged, "", "binlog")
    url_of = database_url(logged.info)
    second = Consumer.with_sources(
        tmp_path / "second", f'[source.main]\nurl = "{url_of}"\nrules = "../first/rules.toml"\ncapture = "binlog"\n'
    )
    inbox = Inbox()
    async with receiving(inbox) as url:
        for consumer in (first, second):
            await asyncio.to_thread(consumer.add_endpoint, url)
        async with second.running():  # it learns where the log ends
            logged.execute(INSERT, [0])
            await inbox.until_count(1)
        async with first.running():
            second.start()
            await second.logged("standby")
            logged.execute(INSERT, [1])
            await inbox.until_event(lambda event: event["key"] == {"id": 1})
            await first.stop(signal.SIGKILL)
            logged.execute(INSERT, [2])
            await second.logged("took over")
            await inbox.until_event(lambda event: event["key"] == {"id": 2})
            assert await second.stop() == 0
    ids: dict[int, set[str]] = {}
    for event in inbox.events:
        ids.setdefault(event["key"]["id"], set()).add(event["id"])
    assert sorted(ids) == [0, 1, 2]
    assert all(len(each) == 1 for each in ids.values())  # whoever read it


def _purge(database: Database) -> None:
    database.execute("FLUSH BINARY LOGS")
    status = "SHOW MASTER STATUS" if database.flavour == "mariadb" else "SHOW BINARY LOG STATUS"
    file = database.execute(status)[0][0]
    for _ in range(100):  # a file is in use until the server notices that its reader is gone
        database.execute("PURGE BINARY LOGS TO %s", [file])
        if len(database.execute("SHOW BINARY LOGS")) == 1:
            return
        threading.Event().wait(0.1)
    pytest.fail("The log was not purged.")


async def test_a_purged_log(logged: Database, tmp_path: Path) -> None:
    """By default it is an error that says what to do, for as long as nobody does it; the doctor says the same."""
    consumer = await asyncio.to_thread(Consumer.of_one_table, tmp_path, logged, "", "binlog")
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            logged.execute(INSERT, [1])
            await inbox.until_count(1)
        logged.execute(INSERT, [2])
        logged.execute("DELETE FROM contadores WHERE id = 1")
        await asyncio.to_thread(_purge, logged)
        consumer.start()
        failed = await consumer.logged("source failed")
        assert await consumer.stop() == 0
        assert "on_purged" in failed["error"]
        told = json.loads(await consumer.call("doctor", "--json", expect=1))
        (check,) = [check for check in told["checks"] if check["check"] == "position"]
        assert check["severity"] == "wrong"
        assert "on_purged" in check["mend"]
        text = (tmp_path / "cdc.toml").read_text(encoding="utf-8")
        (tmp_path / "cdc.toml").write_text(text.replace('"binlog"', '"binlog"\non_purged = "reread"'), encoding="utf-8")
        async with consumer.running():
            await inbox.until_event(lambda event: event["event"] == "contadores.read")
            logged.execute(COUNT, [2])
            await inbox.until_event(lambda event: event["event"] == "contadores.updated")
            assert (await consumer.logged("lost"))["level"] == "error"
        told = json.loads(await consumer.call("doctor", "--json"))
        assert "wrong" not in {check["severity"] for check in told["checks"]}
    assert [(event["event"].partition(".")[2], event["key"]["id"]) for event in inbox.events] == [
        ("created", 1),
        ("read", 2),
        ("updated", 2),
    ]


async def test_the_printed_grants_are_enough(logged: Database, own_server: Any, tmp_path: Path) -> None:
    database: Database = own_server(logged.flavour, binlog=True, erp=True)
    dba = Consumer.configure(tmp_path / "dba", database.info, 'capture = "binlog"')
    printed = PrintedGrants.read(await dba.call("grants"))
    database.script(printed.text)
    consumer = Consumer.with_sources(tmp_path / "cdc", printed.source(database.info, 'capture = "binlog"'))
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            database.execute("INSERT INTO clientes (cifnif, codcliente, nombre) VALUES ('', '1', 'Ada')")
            database.execute("ALTER TABLE clientes ADD COLUMN nuevo VARCHAR(9)")
            database.execute("UPDATE clientes SET nuevo = 'x' WHERE codcliente = '1'")
            database.execute(
                "INSERT INTO users (nick, password, logkey, creationdate) VALUES ('ada', 'p', 'l', '2026-01-01')"
            )
            database.execute("UPDATE users SET password = 'secreto' WHERE nick = 'ada'")
            database.execute("INSERT INTO roles_users (codrole, nick, id) VALUES ('employee', 'ada', 1)")
            expected = ["customer.created", "customer.updated", "user.created", "user.password_changed"]
            await inbox.until_count(len(expected) + 1)
            told = json.loads(await consumer.call("doctor", "--json"))
            assert {check["severity"] for check in told["checks"]} <= {"ok", "warning"}
            types = json.loads(await consumer.call("event", "schema", "customer.updated", "--source", "main"))
            assert "nuevo" in json.dumps(types)
    # records do not wait for each other
    assert sorted(event["event"] for event in inbox.events) == sorted([*expected, "user.permissions_changed"])
    assert not any(b"secreto" in received.body for received in inbox.received)


async def test_cascades_through_triggers(own_server: Any, tmp_path: Path) -> None:
    """The rest comes from the log; the consumer empties the journal, with the grants that are printed for it."""
    database: Database = own_server("mariadb", binlog=True, erp=True)
    dba = Consumer.configure(tmp_path / "dba", database.info, 'capture = "binlog"')
    told = await dba.call("doctor", "--json")
    (check,) = [check for check in json.loads(told)["checks"] if check["check"] == "cascades"]
    assert (check["severity"], check["mend"]) == ("warning", "cdc install-triggers --cascades-only")
    await dba.call("install-triggers", "--cascades-only")
    told = await dba.call("doctor", "--json")
    assert {"cascades", "triggers"} <= {c["check"] for c in json.loads(told)["checks"] if c["severity"] == "ok"}
    printed = PrintedGrants.read(await dba.call("grants"))
    database.script(printed.text)
    options = 'capture = "binlog"\nrepair = false'
    consumer = Consumer.with_sources(tmp_path / "cdc", printed.source(database.info, options))
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            database.script(
                "INSERT INTO roles (codrole, descripcion) VALUES ('ventas', 'Ventas');"
                "INSERT INTO users (nick, password, logkey, creationdate) VALUES ('ada', 'p', 'l', '2026-01-01');"
                "INSERT INTO roles_users (id, codrole, nick) VALUES (900, 'ventas', 'ada');"
                "DELETE FROM roles WHERE codrole = 'ventas'"
            )
            expected = ["role.created", "user.created", "user.permissions_changed", "role.deleted"]
            await inbox.until_count(len(expected) + 1)
            last = await _empty(database)
    assert sorted(event["event"] for event in inbox.events) == sorted([*expected, "user.permissions_changed"])
    assert last == 0


async def _empty(database: Database) -> int:
    """Rows of the journal, once there are none or two minutes have passed."""
    rows = 1
    for _ in range(1200):
        ((rows,),) = database.execute("SELECT COUNT(*) FROM cdc_journal")
        if not rows:
            break
        await asyncio.sleep(0.1)  # the consumer deletes when it likes
    return int(rows)


MANY = """INSERT INTO contadores WITH RECURSIVE numbers AS (SELECT 1000 AS n UNION ALL
    SELECT n + 1 FROM numbers WHERE n < %s) SELECT n, 0, REPEAT('x', 40) FROM numbers"""
RECURSION = {"mysql": "SET cte_max_recursion_depth = 1000000", "mariadb": "SET max_recursive_iterations = 1000000"}


async def test_an_import_of_many_rows_takes_little_memory(logged: Database, tmp_path: Path) -> None:
    """One transaction; only its end is sent, so that the outbox and not the network is what is waited for."""
    consumer = await asyncio.to_thread(Consumer.of_one_table, tmp_path, logged, "", "binlog")
    consumer.as_installed = True  # its memory is measured
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url, "contadores.updated")
        async with consumer.running():
            logged.execute(INSERT, [1])
            logged.execute(COUNT, [1])
            await inbox.until_count(1)
        logged.execute(RECURSION[logged.flavour])
        logged.execute(MANY, [1000 + IMPORT - 1])
        logged.execute(COUNT, [1])
        async with consumer.running():
            most = await _watched(consumer, lambda: len(inbox.received) >= 2)
    assert most <= MEMORY
    with closing(sqlite3.connect(tmp_path / "cdc.db")) as outbox:
        ((events,),) = outbox.execute("SELECT count(*) FROM event")
    assert events == IMPORT + 3


async def _watched(consumer: Consumer, done: Callable[[], bool]) -> int:
    """The most memory (bytes) that the consumer has until then."""
    assert consumer.process is not None
    process = psutil.Process(consumer.process.pid)
    most = 0
    async with asyncio.timeout(200):
        while not done():
            most = max(most, process.memory_info().rss)
            await asyncio.sleep(0.05)  # memory tells nobody that it grew
    return most
