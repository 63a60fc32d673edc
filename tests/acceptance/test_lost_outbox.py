"""An outbox that is deleted, replaced by an empty one or restored from an older copy: reported, and no change lost."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support.consumer import Consumer, Inbox, database_url, receiving
from support.database import Database
from support.programs import find
from support.waiting import HANG_SECONDS

TRIGGERS = ["mariadb_db", "mariadb_binlog_db", "mysql_db", "postgres_db"]


def _insert(database: Database, *numbers: int) -> None:
    for number in numbers:
        database.execute("INSERT INTO contadores VALUES (%s, 0, NULL)", [number])


def _waiting(database: Database) -> int:
    journal = "cdc.cdc_journal" if database.flavour == "postgresql" else "cdc_journal"
    return int(database.execute(f"SELECT COUNT(*) FROM {journal}")[0][0])


def _marked(database: Database) -> int:
    """The batch that the journal's marker names."""
    marker = "cdc.cdc_marker" if database.flavour == "postgresql" else "cdc_marker"
    return int(database.execute(f"SELECT COALESCE(MAX(batch), 0) FROM {marker}")[0][0])


async def _acknowledged(database: Database, behind: int = 0) -> int:
    """Wait until a batch after ``behind`` is marked as read and the journal is empty; the batch."""
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            marked = _marked(database)
            if marked > behind and not _waiting(database):
                return marked
            await asyncio.sleep(0.02)  # a table gives no sign when it changes


def _remove(consumer: Consumer) -> None:
    for path in consumer.folder.glob("cdc.db*"):
        if "saved" not in path.name:
            path.unlink()


def _told(inbox: Inbox) -> list[tuple[str, int]]:
    rows = [event for event in inbox.events if "id" in event["key"]]
    return [(event["event"].partition(".")[2], event["key"]["id"]) for event in rows]


async def _ended(consumer: Consumer) -> int:
    """The exit code of a process that must end by itself."""
    assert consumer.process is not None
    code = await asyncio.to_thread(consumer.process.wait, 60)
    consumer.process = None
    return code


@pytest.mark.parametrize("how", ["deleted", "replaced"])
async def test_outbox_file_lost_while_running_is_saved_and_nothing_is_lost(
    how: str, mariadb_db: Database, tmp_path: Path
) -> None:
    consumer = Consumer.of_one_table(tmp_path / "cdc", mariadb_db)
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        consumer.start()
        _insert(mariadb_db, 1, 2)
        await inbox.until_count(2)
        if how == "deleted":
            _remove(consumer)
        else:
            shutil.copy(consumer.folder / "cdc.db", consumer.folder / "other.db")
            (consumer.folder / "other.db").rename(consumer.folder / "cdc.db")
        _insert(mariadb_db, 3)
        assert await _ended(consumer) == 1
        said = consumer.log.read_text()
        (saved,) = consumer.folder.glob("cdc.db-saved-*")
        assert str(saved) in said
        assert "was deleted or replaced" in said
        assert saved.stat().st_mode & 0o777 == 0o600
        if how == "deleted":
            assert "There is no outbox" in consumer.fail("run")
            assert "has read source 'main'" in consumer.fail("outbox", "create")
            assert "has read source 'main'" in consumer.fail("endpoint", "add", url, "--events", "*")
            assert "There is no outbox" in consumer.run("doctor", expect=1)
            assert not (consumer.folder / "cdc.db").exists()
        _remove(consumer)
        saved.rename(consumer.folder / "cdc.db")
        consumer.log_name = "again.log"
        async with consumer.running():
            await inbox.until_event(lambda event: event["key"] == {"id": 3})
    told = {event["key"]["id"]: event["id"] for event in inbox.events}
    assert sorted(told) == [1, 2, 3]
    assert len({event["id"] for event in inbox.events}) == 3


@pytest.mark.parametrize("name", TRIGGERS)
async def test_new_empty_outbox_reads_nothing_until_adopted(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    database: Database = request.getfixturevalue(name)
    consumer = Consumer.of_one_table(tmp_path / "cdc", database)
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            _insert(database, 1)
            await inbox.until_count(1)
            await _acknowledged(database)
        _remove(consumer)
        _insert(database, 2)
        await consumer.call("outbox", "create", "--anyway")
        await asyncio.to_thread(consumer.add_endpoint, url)
        consumer.start()
        assert "cdc source adopt main" in (await consumer.logged("source failed"))["error"]
        assert _waiting(database) == 1
        assert "does not hold" in await consumer.call("doctor", expect=1)
        await consumer.call("source", "adopt", "main")
        await inbox.until(lambda inbox: {("read", 1), ("created", 2)} <= set(_told(inbox)))
        assert await consumer.stop() == 0
        assert "without that" in consumer.fail("source", "adopt", "main", expect=2)
        async with consumer.running():
            _insert(database, 3)
            await inbox.until_event(lambda event: event["key"] == {"id": 3})
    told = _told(inbox)
    assert told[0] == ("created", 1)
    assert set(told[1:]) <= {("read", 1), ("read", 2), ("created", 2), ("created", 3)}


@pytest.mark.parametrize("name", ["mariadb_db", "postgres_db"])
@pytest.mark.parametrize("automatic", [False, True], ids=["stop", "reread"])
async def test_older_copy_of_outbox_is_recognised_and_tables_are_read_again(
    name: str, automatic: bool, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    database: Database = request.getfixturevalue(name)
    consumer = Consumer.of_one_table(tmp_path / "cdc", database, 'on_purged = "reread"' if automatic else "")
    inbox, backup = Inbox(), tmp_path / "backup.db"
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            _insert(database, 1)
            await inbox.until_count(1)
            first = await _acknowledged(database)
            await consumer.call("outbox", "backup", str(backup))
            _insert(database, 2)
            await inbox.until_count(2)
            await _acknowledged(database, first)
        _remove(consumer)
        shutil.copy(backup, consumer.folder / "cdc.db")
        _insert(database, 3)
        consumer.start()
        if not automatic:
            assert "cdc source adopt main" in (await consumer.logged("source failed"))["error"]
            assert _waiting(database) == 1
            await consumer.call("source", "adopt", "main")
        await inbox.until(lambda inbox: {("read", 2), ("created", 3)} <= set(_told(inbox)))
        assert await consumer.stop() == 0


@pytest.mark.parametrize("name", ["postgres_db", "mysql_db"])
async def test_copy_of_all_that_was_read_continues_without_question(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    database: Database = request.getfixturevalue(name)
    consumer = Consumer.of_one_table(tmp_path / "cdc", database)
    inbox, backup = Inbox(), tmp_path / "backup.db"
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            _insert(database, 1)
            await inbox.until_count(1)
        await consumer.call("outbox", "backup", str(backup))
        _remove(consumer)
        shutil.copy(backup, consumer.folder / "cdc.db")
        _insert(database, 2)
        async with consumer.running():
            await inbox.until_count(2)
    assert _told(inbox) == [("created", 1), ("created", 2)]


async def test_source_with_outdated_outbox_leaves_other_source_alone(
    mariadb_db: Database, postgres_db: Database, tmp_path: Path
) -> None:
    """The second source is added after the first outbox was lost: nothing of it is missing."""
    first = Consumer.of_one_table(tmp_path / "cdc", mariadb_db)
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(first.add_endpoint, url)
        async with first.running():
            _insert(mariadb_db, 1)
            await inbox.until_count(1)
        _remove(first)
        other = Consumer.of_one_table(tmp_path / "other", postgres_db)
        config = first.folder / "cdc.toml"
        text = (other.folder / "cdc.toml").read_text().partition("[outbox]")[0].replace("source.main", "source.second")
        config.write_text(text + config.read_text())
        await first.call("outbox", "create", "--anyway")
        await asyncio.to_thread(first.add_endpoint, url)
        _insert(mariadb_db, 2)
        _insert(postgres_db, 7)
        first.start()
        await inbox.until_event(lambda event: event["source"] == "second" and event["key"] == {"id": 7})
        failed = await first.logged("source failed")
        assert failed["source"] == "main"
        assert _waiting(mariadb_db) == 1
        assert await first.stop() == 0


@pytest.mark.parametrize("capture", ["binlog", "logical", "rest"])
async def test_run_creates_no_outbox(capture: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if capture == "rest":
        source = '[source.main]\ncapture = "rest"\n[source.main.rest]\nurl = "http://127.0.0.1:9"\ntoken = "x"\n'
        consumer = Consumer.with_sources(tmp_path / "cdc", source)
    else:
        database = request.getfixturevalue("mariadb_binlog_db" if capture == "binlog" else "postgres_log_db")
        consumer = Consumer.of_one_table(tmp_path / "cdc", database, capture=capture)
    assert "There is no outbox" in consumer.fail("run")
    assert "There is no outbox" in consumer.fail("endpoint", "list")
    assert not (consumer.folder / "cdc.db").exists()
    consumer.run("outbox", "create")
    assert json.loads(consumer.run("endpoint", "list", "--json"))["endpoints"] == []


# -- in PostgreSQL ---------------------------------------------------------------------------------------------------


def _in_postgres(consumer: Consumer, database: Database) -> None:
    path = consumer.folder / "cdc.toml"
    path.write_text(path.read_text().replace("sqlite:///cdc.db", database_url(database.info)))


def _dump(database: Database, target: Path) -> None:
    _program("pg_dump", database, "--schema=cdc_outbox", "--format=custom", f"--file={target}", database.name)


def _restore(database: Database, dump: Path) -> None:
    _program("pg_restore", database, "--dbname", database.name, "--exit-on-error", str(dump))


def _program(name: str, database: Database, *arguments: str) -> None:
    info = database.info
    where = [f"--host={info.host}", f"--port={info.port}", f"--username={info.user}"]
    command = [find("postgresql").folder / name, *where, *arguments]
    subprocess.run(command, check=True, timeout=60, env=os.environ | {"PGPASSWORD": info.password})


async def test_dropped_schema_ends_the_process_and_an_empty_one_reads_nothing(
    postgres_db: Database, mariadb_db: Database, tmp_path: Path
) -> None:
    consumer = Consumer.of_one_table(tmp_path / "cdc", mariadb_db)
    _in_postgres(consumer, postgres_db)
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        consumer.start()
        _insert(mariadb_db, 1)
        await inbox.until_count(1)
        await asyncio.to_thread(postgres_db.drop, "SCHEMA cdc_outbox CASCADE")
        _insert(mariadb_db, 2)
        assert await _ended(consumer) == 1
        assert "was dropped" in consumer.log.read_text()
        assert "There is no outbox" in consumer.fail("run")
        assert "has read source 'main'" in consumer.fail("outbox", "create")
        assert _waiting(mariadb_db) == 1


@pytest.mark.parametrize("running", [False, True], ids=["at start", "while running"])
async def test_older_dump_of_outbox_in_postgresql_is_recognised(
    running: bool, postgres_db: Database, mysql_db: Database, tmp_path: Path
) -> None:
    consumer = Consumer.of_one_table(tmp_path / "cdc", mysql_db)
    _in_postgres(consumer, postgres_db)
    inbox, dump = Inbox(), tmp_path / "dump"
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        consumer.start()
        _insert(mysql_db, 1)
        await inbox.until_count(1)
        first = await _acknowledged(mysql_db)
        await asyncio.to_thread(_dump, postgres_db, dump)
        _insert(mysql_db, 2)
        await inbox.until_count(2)
        await _acknowledged(mysql_db, first)
        if running:  # as a server that was put back to an older state: the tables are the same ones
            (older,) = postgres_db.execute("SELECT position FROM cdc_outbox.source_position")[0]
            known = json.loads(older)
            known["marker"][1] -= 1
            postgres_db.execute("UPDATE cdc_outbox.source_position SET position = %s", [json.dumps(known)])
            _insert(mysql_db, 3)
        else:
            assert await consumer.stop() == 0
            postgres_db.execute("DROP SCHEMA cdc_outbox CASCADE")
            await asyncio.to_thread(_restore, postgres_db, dump)
            _insert(mysql_db, 3)
            consumer.start()
        assert "cdc source adopt main" in (await consumer.logged("source failed"))["error"]
        assert _waiting(mysql_db) == 1
        await consumer.call("source", "adopt", "main")
        await inbox.until(lambda inbox: {("read", 2), ("created", 3)} <= set(_told(inbox)))
        assert await consumer.stop() == 0
