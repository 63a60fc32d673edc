"""``cdc run`` reads its configuration again on SIGHUP: nothing is lost or doubled, and what did not change goes on."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from support.consumer import TABLE, Consumer, Inbox, answering, receiving
from support.database import Database
from support.health import Health
from support.notify_socket import notify_socket
from support.ports import free_port
from support.waiting import HANG_SECONDS

RULE_SETS = ('tables = ["contadores"]\n', 'tables = ["contadores", "otros"]\n')
RELOADED, REFUSED = "configuration reloaded", "configuration not reloaded: the present one stays in force"


def _insert(database: Database, number: int, table: str = "contadores") -> None:
    database.execute(f"INSERT INTO {table} VALUES (%s, 0, NULL)", [number])


def _edit(consumer: Consumer, old: str, new: str, name: str = "cdc.toml") -> None:
    path = consumer.folder / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


async def _reload(consumer: Consumer, message: str = RELOADED, times: int = 1) -> dict[str, Any]:
    assert consumer.process is not None
    consumer.process.send_signal(signal.SIGHUP)
    return await consumer.logged(message, times)


def _opened(consumer: Consumer, source: str) -> int:
    return sum(line["message"] == "reading" and line["source"] == source for line in consumer.messages())


@pytest.mark.parametrize("name", ["postgres_db", "mariadb_db"])  # of MySQL it is the same code
async def test_nothing_is_lost_while_sources_change(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Under writes, the rules of a source change again and again, in a file of their own."""
    database: Database = request.getfixturevalue(name)
    database.execute(TABLE.replace("contadores", "otros"))
    consumer = Consumer.of_one_table(tmp_path, database)
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            for round_ in range(1, 4):
                _insert(database, 2 * round_)
                (consumer.folder / "rules.toml").write_text(RULE_SETS[round_ % 2], encoding="utf-8")
                told = await _reload(consumer, times=round_)
                assert told["changed"] == ["source main", "watch"]
                _insert(database, 2 * round_ + 1)
            await inbox.until_count(6)
            opened = _opened(consumer, "main")
            assert (await _reload(consumer, times=4))["changed"] == [], "the same file again"
            assert _opened(consumer, "main") == opened
    assert sorted(event["key"]["id"] for event in inbox.events) == [2, 3, 4, 5, 6, 7]  # records wait for nobody
    assert len({event["id"] for event in inbox.events}) == 6


async def test_a_wrong_configuration_changes_nothing(postgres_db: Database, tmp_path: Path) -> None:
    consumer = Consumer.of_one_table(tmp_path, postgres_db)
    inbox = Inbox()
    wrong = {
        "no TOML": ("[outbox]", "[outbox"),
        "no such option": ("[outbox]", "[outbox]\nulr = 1"),
        "no usable rules": ('"rules.toml"', '"nowhere.toml"'),
        "takes a restart": ("sqlite:///cdc.db", "sqlite:///other.db"),
        "no source": ("[source.main]", "[mail]"),
        "no certificate": ("allow_private = true", 'client_certificates = { x = "nowhere.pem" }'),
    }
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            good = (consumer.folder / "cdc.toml").read_text(encoding="utf-8")
            told = []
            for number, (old, new) in enumerate(wrong.values(), start=1):
                _edit(consumer, old, new)
                told.append((await _reload(consumer, REFUSED, number))["error"])
                (consumer.folder / "cdc.toml").write_text(good, encoding="utf-8")
            assert all("nowhere" in error or "cdc.toml" in error or "[" in error for error in told), told
            assert "cannot change while cdc run is running" in told[3]
            _insert(postgres_db, 1)
            await inbox.until_count(1)
            assert _opened(consumer, "main") == 1
            assert [line for line in consumer.messages() if line["message"] == RELOADED] == []


async def test_sources_come_and_go_and_the_others_go_on(
    postgres_db: Database, mariadb_db: Database, tmp_path: Path
) -> None:
    consumer = Consumer.of_one_table(tmp_path / "one", postgres_db)
    other = Consumer.of_one_table(tmp_path / "two", mariadb_db)
    source = (other.folder / "cdc.toml").read_text(encoding="utf-8").partition("[outbox]")[0]
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            _edit(consumer, "[outbox]", source.replace("main", "bilbao") + "[outbox]")
            assert (await _reload(consumer))["changed"] == ["source bilbao", "watch"]
            _insert(mariadb_db, 1)
            await inbox.until_count(1)
            _edit(consumer, source.replace("main", "bilbao"), "")
            assert (await _reload(consumer, times=2))["changed"] == ["source bilbao", "watch"]
            _insert(mariadb_db, 2)  # waits in its journal
            _insert(postgres_db, 3)
            await inbox.until_count(2)
            _edit(consumer, "[outbox]", source.replace("main", "bilbao") + "[outbox]")
            await _reload(consumer, times=3)
            await inbox.until_count(3)
            assert _opened(consumer, "main") == 1
    told = [(event["source"], event["key"]["id"]) for event in inbox.events]
    assert told == [("bilbao", 1), ("main", 3), ("bilbao", 2)]


async def test_no_client_is_refused_while_the_page_takes_on_what_changed(postgres_db: Database, tmp_path: Path) -> None:
    consumer = Consumer.of_one_table(tmp_path, postgres_db)
    health = Health.of(consumer, port := free_port())
    async with consumer.running():
        await health.until(lambda status, _: status == 200)
        ended, served = asyncio.Event(), 0

        async def ask() -> None:
            nonlocal served
            while not ended.is_set():
                try:
                    assert (await health.get("/health/live"))[0] == 200
                    served += 1
                except (aiohttp.ServerDisconnectedError, ConnectionResetError):
                    continue  # a request that came as its connection was given up

        async with asyncio.TaskGroup() as group:
            group.create_task(ask())
            for round_ in range(1, 6):
                few, many = "[web]\n", "[web]\nconnections = 99\n"
                _edit(consumer, *((few, many) if round_ % 2 else (many, few)))
                assert (await _reload(consumer, times=round_))["changed"] == ["watch"]
                before = served
                await health.until(lambda _status, _answer, before=before: served > before)
            ended.set()
        _edit(consumer, str(port), str(free_port()))
        await _reload(consumer, times=6)
        assert not await _accepts(port)


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


async def test_dispatch_takes_on_what_changed_and_finishes_what_is_on_its_way(
    postgres_db: Database, tmp_path: Path
) -> None:
    consumer = Consumer.of_one_table(tmp_path, postgres_db)
    may_answer, arrived, inbox = asyncio.Event(), asyncio.Event(), Inbox()

    async def answer(_event: dict[str, Any]) -> int:
        arrived.set()
        await may_answer.wait()
        return 204

    async with answering(answer, inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            _insert(postgres_db, 1)
            await asyncio.wait_for(arrived.wait(), HANG_SECONDS)
            _edit(consumer, "allow_private = true", "allow_private = true\nconcurrency = 3")
            reloading = asyncio.create_task(_reload(consumer))
            _insert(postgres_db, 2)
            may_answer.set()
            assert (await reloading)["changed"] == ["dispatch", "watch"]
            await inbox.until_count(2)
            assert _opened(consumer, "main") == 1
        delivered = await consumer.deliveries()
    assert [(each["state"], each["attempts"]) for each in delivered] == [("delivered", 1)] * 2
    assert [event["key"]["id"] for event in inbox.events] == [1, 2]


_SERIES = "INSERT INTO contadores SELECT number, 0, NULL FROM generate_series(%s::integer, %s::integer) AS number"


async def test_reloads_during_an_outage_spend_no_attempts(postgres_db: Database, tmp_path: Path) -> None:
    """An open breaker stays open: what comes during the outage is attempted by probes only, which are not counted."""
    consumer = Consumer.of_one_table(tmp_path, postgres_db)
    down, inbox = True, Inbox()

    async def answer(_event: dict[str, Any]) -> int:
        return 503 if down else 204

    async with answering(answer, inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            postgres_db.execute(_SERIES, [1, 12])
            await inbox.until_count(10)
            for round_ in (1, 2, 3):
                limit = f"concurrency = {10 + round_}\n"
                _edit(consumer, "allow_private = true\n", f"allow_private = true\n{limit}")
                assert (await _reload(consumer, times=round_))["changed"] == ["dispatch", "watch"]
                _edit(consumer, limit, "")
                first = 1000 * round_
                postgres_db.execute(_SERIES, [first, first + 11])
            seen = len(inbox.received)
            await inbox.until_count(seen + 1)  # a probe
            down = False
            await inbox.until(lambda inbox: len(inbox.accepted) == 48)
        delivered = await consumer.deliveries()
    assert [each["state"] for each in delivered] == ["delivered"] * 48
    assert len({event["id"] for event in inbox.accepted}) == 48
    refused = [each.event["key"]["id"] for each in inbox.received if each.answered == 503]
    assert len([number for number in refused if number >= 1000]) < 10, refused  # the breaker would open at ten


async def test_the_service_manager_is_told(postgres_db: Database, tmp_path: Path, monkeypatch: Any) -> None:
    consumer = Consumer.of_one_table(tmp_path, postgres_db)
    with notify_socket(tmp_path) as listening:
        monkeypatch.setenv("NOTIFY_SOCKET", listening.address)
        monkeypatch.setenv("WATCHDOG_USEC", "900000")
        consumer.start()
        try:
            await listening.until(lambda told: told.get("READY") == "1")
            await listening.until(lambda told: told.get("WATCHDOG") == "1" and told["STATUS"] == "All is well.")
            assert consumer.process is not None
            consumer.process.send_signal(signal.SIGHUP)
            reload = await listening.until(lambda told: told.get("READY") == "1")
            assert any(told.get("RELOADING") == "1" and told["MONOTONIC_USEC"].isdecimal() for told in reload)
        finally:
            assert await consumer.stop() == 0
        assert [told["STATUS"] for told in listening.told() if told.get("STOPPING") == "1"] == ["Stopping."] * 2


_HANGS_UP_ITSELF = """
import os, signal, sys

module = sys.argv.pop(1)

class HangUp:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGHUP)

sys.meta_path.insert(0, HangUp)
from cdc.cli import main
main()
"""


@pytest.mark.parametrize("imported", ["cdc.cli.app", "cdc.runtime.consumer"])
async def test_reload_during_the_start_follows_it(imported: str, postgres_db: Database, tmp_path: Path) -> None:
    """The signal comes while the process imports a module, long before it can reload."""
    consumer = Consumer.of_one_table(tmp_path, postgres_db)
    consumer.create_outbox()
    program = (sys.executable, "-c", _HANGS_UP_ITSELF, imported)
    arguments = consumer.arguments("--log-format", "json", "run")
    with consumer.log.open("ab") as log:
        consumer.process = await asyncio.to_thread(
            subprocess.Popen, [*program, *arguments], stdout=subprocess.DEVNULL, stderr=log
        )
    try:
        assert (await consumer.logged(RELOADED))["changed"] == []
    finally:
        code = await consumer.stop()
    assert code == 0


def test_other_commands_end_when_their_terminal_does(tmp_path: Path) -> None:
    program = [sys.executable, "-c", _HANGS_UP_ITSELF, "cdc.admin", "--config", str(tmp_path / "cdc.toml"), "doctor"]
    assert subprocess.run(program, check=False, capture_output=True).returncode == -signal.SIGHUP
