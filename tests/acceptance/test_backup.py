"""An outbox is copied while it is used, and put back after the consumer went on: what comes again has the same id."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from support.consumer import Consumer, Inbox, database_url, receiving
from support.database import Database
from support.programs import find
from support.waiting import HANG_SECONDS


def _insert(database: Database, *numbers: int) -> None:
    for number in numbers:
        database.execute("INSERT INTO contadores VALUES (%s, 0, NULL)", [number])


def _put_back(consumer: Consumer, backup: Path) -> None:
    for path in consumer.folder.glob("cdc.db*"):
        path.unlink()
    shutil.copy(backup, consumer.folder / "cdc.db")


async def _lived(consumer: Consumer, database: Database, backup: Path, again: list[int]) -> None:
    """1 to 3 before the backup, 4 to 6 behind it, then the backup is put back, 7 meanwhile: these arrive again, nothing
    else does, and no number under two ids."""
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        off = (await asyncio.to_thread(consumer.add_endpoint, "https://off.example.com/"))["id"]
        await consumer.call("endpoint", "disable", off)
        async with consumer.running():
            _insert(database, 1, 2, 3)
            await inbox.until_count(3)
            told = json.loads(await consumer.call("outbox", "backup", str(backup), "--json"))
            assert told["file"] == str(backup)
            assert told["bytes"] > 0
            _insert(database, 4, 5, 6)
            await inbox.until_count(6)
        before = len(inbox.events)
        _put_back(consumer, backup)
        _insert(database, 7)
        async with consumer.running():
            await inbox.until_count(before + len(again))
        kept = {each["endpoint"]: each for each in await consumer.deliveries("--endpoint", off)}
        assert set(kept) == {off}, "what waits for an endpoint that is disabled is in the backup too"
    numbers = [event["key"]["id"] for event in inbox.events]
    assert len({(event["id"], event["key"]["id"]) for event in inbox.events}) == len(set(numbers))
    assert sorted(numbers[:before]) == [1, 2, 3, 4, 5, 6]
    assert sorted(numbers[before:]) == again


async def test_a_binlog_is_read_again_from_the_backup_on(mariadb_binlog_db: Database, tmp_path: Path) -> None:
    consumer = Consumer.of_one_table(tmp_path / "cdc", mariadb_binlog_db, capture="binlog")
    await _lived(consumer, mariadb_binlog_db, tmp_path / "backup.db", again=[4, 5, 6, 7])


async def test_a_slot_does_not_go_back(postgres_log_db: Database, tmp_path: Path) -> None:
    """The server has let go of the log behind the backup: that is said; who wants it has the tables read again."""
    consumer = Consumer.of_one_table(tmp_path / "cdc", postgres_log_db, capture="logical")
    await consumer.call("install-slot")
    inbox, backup = Inbox(), tmp_path / "backup.db"
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            _insert(postgres_log_db, 1)
            await inbox.until_count(1)
            await consumer.call("outbox", "backup", str(backup))
            _insert(postgres_log_db, 2)
            ((written,),) = postgres_log_db.execute("SELECT pg_current_wal_lsn()::text")
            await inbox.until_count(2)
            async with asyncio.timeout(HANG_SECONDS):
                while not await asyncio.to_thread(_let_go, postgres_log_db, written):
                    pass
        _put_back(consumer, backup)
        _insert(postgres_log_db, 3)
        consumer.start()
        assert "slot" in (await consumer.logged("source failed"))["error"]
        path = consumer.folder / "cdc.toml"
        path.write_text(path.read_text().replace("[source.main]", '[source.main]\non_purged = "reread"'))
        assert consumer.process is not None
        consumer.process.send_signal(signal.SIGHUP)
        await inbox.until(lambda inbox: {("read", 1), ("read", 2), ("created", 3)} <= set(_told(inbox)))
        assert await consumer.stop() == 0
    told = _told(inbox)
    assert len(told) == len(set(told)), "nothing comes twice, under another id or the same"
    assert told[:2] == [("created", 1), ("created", 2)]


def _let_go(database: Database, written: str) -> bool:
    """Return whether the slot has released the log up to ``written``."""
    sql = "SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots WHERE database = current_database()"
    return database.execute(sql, (written,)) == [(True,)]


def _told(inbox: Inbox) -> list[tuple[str, int]]:
    return [(event["event"].partition(".")[2], event["key"]["id"]) for event in inbox.events]


def test_a_backup_is_private_whole_and_overwrites_nothing(postgres_db: Database, tmp_path: Path) -> None:
    consumer = Consumer.of_one_table(tmp_path / "cdc", postgres_db)
    consumer.add_endpoint("https://example.com/hook")
    backup = tmp_path / "backup.db"
    consumer.run("outbox", "backup", str(backup))
    assert backup.stat().st_mode & 0o777 == 0o600
    assert "is there already" in consumer.fail("outbox", "backup", str(backup), expect=2)
    assert "cannot be made" in consumer.fail("outbox", "backup", str(tmp_path / "nowhere" / "backup.db"))
    (consumer.folder / "cdc.db").write_bytes(b"no database" * 100)
    assert "is not an SQLite database" in consumer.fail("outbox", "backup", str(tmp_path / "other.db"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.db", "cdc"], "nothing half-made is left"


def test_an_outbox_in_postgresql_is_dumped_and_restored_as_the_command_says(
    postgres_db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer = Consumer.of_one_table(tmp_path, postgres_db)
    path = tmp_path / "cdc.toml"
    path.write_text(path.read_text().replace("sqlite:///cdc.db", database_url(postgres_db.info)))
    added = consumer.add_endpoint("https://example.com/hook")
    told = consumer.fail("outbox", "backup", str(tmp_path / "backup.dump"), expect=2)
    command = told.partition("pg_dump ")[2].split()
    assert postgres_db.info.password not in told
    monkeypatch.setitem(os.environ, "PGPASSWORD", postgres_db.info.password)
    programs = find("postgresql").folder
    subprocess.run([programs / "pg_dump", *command], check=True, timeout=60)
    postgres_db.execute("DROP SCHEMA cdc_outbox CASCADE")
    where = [each for each in command if each.startswith(("--host=", "--port=", "--username="))]
    restore = ["--dbname", postgres_db.name, "--exit-on-error", str(tmp_path / "backup.dump")]
    subprocess.run([programs / "pg_restore", *where, *restore], check=True, timeout=60)
    listed = json.loads(consumer.run("endpoint", "list", "--json"))["endpoints"]
    assert [each["id"] for each in listed] == [added["id"]]
