"""The outbox's file: who may read it, who shares it, and what happens when it cannot be used."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cdc.model.change import Position
from cdc.model.delivery import DeliveryFilter
from cdc.model.errors import OutboxError, OutboxLost
from cdc.outbox.base import Stored
from cdc.outbox.database import migrations
from cdc.outbox.sqlite import database
from cdc.outbox.sqlite.database import SqliteDatabase, SqliteThread
from cdc.outbox.sqlite.outbox import SqliteOutbox
from support.outboxes import EVERYTHING, NOW, endpoint, event, event_ids, finish, lease, store
from support.waiting import HANG_SECONDS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
async def outbox(path: Path) -> AsyncIterator[SqliteOutbox]:
    store = SqliteOutbox(path, busy_timeout=0.05)
    await store.open()
    yield store
    await store.close()


def raw(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def open_to_all(path: Path) -> None:
    path.chmod(0o644)
    assert mode(path) == 0o644


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_the_files_are_for_their_owner_only(outbox: SqliteOutbox, path: Path) -> None:
    await outbox.add_endpoint(endpoint())
    assert await outbox.become_dispatcher()
    assert await outbox.become_reader("main")
    await outbox.change_refusals("https://erp.example", lambda before: f"{before}refused")
    files = sorted(path.parent.iterdir())
    assert {"outbox.db", "outbox.db-dispatch", "outbox.db-refusals", "outbox.db-shm", "outbox.db-wal"} < {
        file.name for file in files
    }
    assert {mode(file) for file in files} == {0o600}


async def test_a_file_that_others_could_read_is_closed_to_them(path: Path) -> None:
    with closing(raw(path)) as db:
        db.execute("VACUUM")  # makes the file
    open_to_all(path)
    outbox = SqliteOutbox(path)
    await outbox.open()
    await outbox.close()
    assert mode(path) == 0o600


async def test_what_was_stored_is_there_when_opened_again(path: Path) -> None:
    first = SqliteOutbox(path)
    await first.open()
    await first.add_endpoint(endpoint())
    await first.store("main", Position("p1"), [event(1)], {"a": "b"}, NOW)
    await first.close()
    again = SqliteOutbox(path)
    await again.open()
    assert await again.position("main") == "p1"
    assert await again.states("main") == {"a": "b"}
    assert event_ids(await lease(again)) == ["evt_1"]
    await again.close()


def lose(path: Path, how: str) -> None:
    if how == "folder":
        path.parent.rename(path.parent.with_name("elsewhere"))
        path.parent.mkdir()
        return
    path.unlink()
    if how == "replaced":
        path.write_bytes(b"")


@pytest.mark.parametrize("how", ["deleted", "replaced", "folder"])
async def test_lost_file_stores_nothing_and_is_saved(outbox: SqliteOutbox, path: Path, how: str) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1))
    lose(path, how)
    for question in (outbox.check(), outbox.position("main"), store(outbox, event(2), position="p2")):
        with pytest.raises(OutboxLost, match="deleted or replaced"):
            await question
    saved = await outbox.save(NOW)
    assert saved is not None
    assert mode(saved) == 0o600
    kept = SqliteOutbox(saved)
    await kept.open()
    assert event_ids(await lease(kept)) == ["evt_1"]
    await kept.close()


async def test_commit_into_a_file_deleted_meanwhile_is_not_reported_as_stored(path: Path) -> None:
    """What the connection runs deletes the file, as somebody may do between the check before it and the commit."""
    thread = SqliteThread(path, 1)
    await thread.open()

    async def work(db: SqliteDatabase) -> None:
        db.connection.execute("CREATE TABLE t (a)")
        path.unlink()  # noqa: ASYNC240 - this runs in the outbox's thread

    with pytest.raises(OutboxLost):
        await thread.write(work)
    assert await thread.rescue(lambda db: db.execute("SELECT COUNT(*) FROM t").fetchone()) == (0,)
    await thread.close()


async def test_writes_in_bulk_wait_for_others_and_not_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    thread, ran, now = SqliteThread(path, 1), list[str](), 0.0
    await thread.open()
    monkeypatch.setattr(database, "time", SimpleNamespace(monotonic=lambda: now))
    free = threading.Event()

    async def work(_: SqliteDatabase, name: str) -> None:
        ran.append(name)
        if name == "first":
            assert free.wait(HANG_SECONDS)

    async with asyncio.timeout(HANG_SECONDS), asyncio.TaskGroup() as group:
        for at, name, run in (
            (0, "first", thread.write),
            (0.5, "bulk", thread.write_bulk),
            (0.501, "store", thread.write),
            (0.502, "lease", thread.write_relaxed),
            (0.503, "more bulk", thread.write_bulk),
            (0.6, "late store", thread.write),
        ):
            now = at
            group.create_task(run(work, name))
            await asyncio.sleep(0)  # it is in the queue
        free.set()
    assert ran == ["first", "store", "lease", "bulk", "more bulk", "late store"]
    await thread.close()


@pytest.mark.parametrize("deleted", [False, True])
async def test_log_is_copied_into_the_file_aside(path: Path, monkeypatch: pytest.MonkeyPatch, *, deleted: bool) -> None:
    """A file that was deleted is not created again by that."""
    monkeypatch.setattr(database, "_COPIED_AFTER", 50)
    thread = SqliteThread(path, 1)
    await thread.open()

    async def work(db: SqliteDatabase) -> None:
        db.connection.execute("CREATE TABLE t (a)")
        db.connection.executemany("INSERT INTO t VALUES (?)", [(each,) for each in range(60)])
        if deleted:
            path.unlink()  # noqa: ASYNC240 - this runs in the outbox's thread

    with pytest.raises(OutboxLost) if deleted else nullcontext():
        await thread.write(work)
    await thread.rescue(lambda _: thread._copied())
    if not deleted:
        alone = sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)  # without the log
        with closing(alone):
            assert alone.execute("SELECT count(*) FROM t").fetchone() == (60,)
    await thread.close()
    assert path.exists() is not deleted  # noqa: ASYNC240 - nothing else runs


async def test_log_stays_short_however_much_is_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_LONGEST_LOG", 100)
    thread = SqliteThread(path, 1)
    await thread.open()

    async def work(db: SqliteDatabase) -> None:
        db.connection.execute("CREATE TABLE IF NOT EXISTS t (a)")
        db.connection.executemany("INSERT INTO t VALUES (?)", [(b"x" * 4000,) for _ in range(40)])

    for _ in range(40):
        await thread.write(work)
    assert path.with_name(f"{path.name}-wal").stat().st_size < 4 * 100 * 4096
    await thread.close()


async def test_two_that_share_the_file_see_each_other(outbox: SqliteOutbox, path: Path) -> None:
    other = SqliteOutbox(path)
    await other.open()
    await outbox.changed()
    await other.add_endpoint(endpoint())
    assert await outbox.changed()
    assert not await outbox.changed()
    assert await store(outbox, event(1)) == Stored(1, 1)
    assert event_ids(await lease(other, worker="other")) == ["evt_1"]
    assert await lease(outbox) == []
    await other.remove_endpoint("ep_a", NOW)
    assert await store(outbox, event(2)) == Stored(1, 0)
    await other.close()


async def test_many_may_create_the_file_at_once(path: Path) -> None:
    outboxes = [SqliteOutbox(path) for _ in range(6)]
    await asyncio.gather(*[outbox.open() for outbox in outboxes])
    await asyncio.gather(*[store(outbox, event(n), position=str(n)) for n, outbox in enumerate(outboxes)])
    assert len(await outboxes[0].events(10)) == 6
    await asyncio.gather(*[outbox.close() for outbox in outboxes])


class _Contested(sqlite3.Connection):
    """Another process makes the same file: SQLite refuses, without waiting, three times."""

    refusals = 3
    codes = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY)

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if "journal_mode" in sql and self.refusals:
            self.refusals -= 1
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = self.codes[self.refusals % 2]
            raise error
        return super().execute(sql, *parameters)


async def test_who_makes_the_file_too_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = partial(sqlite3.connect, factory=_Contested)
    monkeypatch.setattr("cdc.outbox.sqlite.database.sqlite3.connect", connect)
    patient = SqliteOutbox(path)
    await patient.open()
    assert await store(patient, event(1)) == Stored(1, 0)
    await patient.close()
    with pytest.raises(OutboxError, match="locked by another process"):
        await SqliteOutbox(path, busy_timeout=0).open()


async def test_the_event_loop_runs_while_the_file_is_locked(outbox: SqliteOutbox, path: Path) -> None:
    patient = SqliteOutbox(path, busy_timeout=30)
    await patient.open()
    with closing(raw(path)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        storing = asyncio.create_task(store(patient, event(1)))
        for _ in range(100):
            await asyncio.sleep(0)  # the loop turns
        assert not storing.done()
        assert await patient.events(10) == []  # and the log can be read
        holder.execute("ROLLBACK")
    assert await storing == Stored(1, 0)
    await patient.close()


async def test_a_locked_file_is_named(outbox: SqliteOutbox, path: Path) -> None:
    with closing(raw(path)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(OutboxError, match=r"outbox\.db is locked by another process") as caught:
            await store(outbox, event(1))
        assert caught.value.hint
        holder.execute("ROLLBACK")
    assert await store(outbox, event(1)) == Stored(1, 0)


async def test_a_full_disk_leaves_nothing_half_written(outbox: SqliteOutbox, path: Path) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1), position="p1")
    await outbox._writer.read(limit_pages, pages(path) + 40)
    with pytest.raises(OutboxError, match="has no room: the disk is full"):
        await store(outbox, *[event(n, data={"text": "x" * 3000}) for n in range(2, 200)], position="p2")
    assert await outbox.position("main") == "p1"
    assert [one.id for one in await outbox.events(10)] == ["evt_1"]
    assert len(await outbox.deliveries(EVERYTHING, 10)) == 1
    await outbox._writer.read(limit_pages, 1_000_000)
    assert await store(outbox, event(2), position="p3") == Stored(1, 1)


def pages(path: Path) -> int:
    return path.stat().st_size // 4096


async def limit_pages(db: SqliteDatabase, pages: int) -> None:
    db.connection.execute(f"PRAGMA max_page_count = {pages}")


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to be looked at" * 40, b"<?php define('X', 1);\n" * 9]
)
def test_a_file_of_another_kind_is_refused_and_kept(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(OutboxError, match=r"outbox\.db is not an SQLite database"):
        asyncio.run(SqliteOutbox(path).open())
    assert path.read_bytes() == content


async def test_a_database_of_another_program_is_refused_and_kept(path: Path) -> None:
    with closing(raw(path)) as db:
        db.execute("CREATE TABLE theirs (x)")
    with pytest.raises(OutboxError, match="belongs to another program"):
        await SqliteOutbox(path).open()
    with closing(raw(path)) as db:
        assert [name for (name,) in db.execute("SELECT name FROM sqlite_master")] == ["theirs"]


async def test_a_file_of_a_newer_program_is_refused(outbox: SqliteOutbox, path: Path) -> None:
    newest = len(migrations("sqlite"))
    with closing(raw(path)) as db:
        db.execute(f"PRAGMA user_version = {newest + 1}")
    with pytest.raises(OutboxError, match=f"version {newest + 1}, newer than this program's {newest}") as caught:
        await SqliteOutbox(path).open()
    assert "Upgrade" in caught.value.hint


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutboxError, match=r"none/outbox\.db cannot be opened: No such file or directory") as caught:
        await SqliteOutbox(tmp_path / "none" / "outbox.db").open()
    assert "folder" in caught.value.hint


async def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutboxError, match="cannot be opened"):
        await SqliteOutbox(tmp_path).open()


async def test_an_outbox_that_is_not_open_says_so(path: Path) -> None:
    outbox = SqliteOutbox(path)
    with pytest.raises(OutboxError, match="is not open"):
        await outbox.position("main")
    await outbox.open()
    await outbox.close()
    await outbox.close()
    with pytest.raises(OutboxError, match="is not open"):
        await store(outbox, event(1))


async def test_a_store_that_is_cancelled_happens_whole_or_not_at_all(outbox: SqliteOutbox) -> None:
    await outbox.add_endpoint(endpoint())
    for number in range(20):
        storing = asyncio.create_task(store(outbox, event(number), position=str(number)))
        for _ in range(number % 4):
            await asyncio.sleep(0)
        storing.cancel()
        await asyncio.gather(storing, return_exceptions=True)
        position = await outbox.position("main")
        stored = await outbox.event(f"evt_{number}") is not None
        assert stored == (position == str(number))
        assert len(await outbox.deliveries(DeliveryFilter(event_id=f"evt_{number}"), 9)) == stored


async def test_a_removed_endpoint_leaves_no_secret_behind(outbox: SqliteOutbox, path: Path) -> None:
    await outbox.add_endpoint(endpoint(secret="whsec_cGxhbnRlZA==", former_secret="whsec_Zm9ybWVy"))
    await store(outbox, event(1))
    await finish(outbox, *await lease(outbox))
    await outbox.remove_endpoint("ep_a", NOW)
    with closing(raw(path)) as db:
        assert db.execute("SELECT secret, former_secret FROM endpoint").fetchall() == [("", None)]


async def test_one_process_dispatches_until_it_closes(tmp_path: Path) -> None:
    first, second = SqliteOutbox(tmp_path / "cdc.db"), SqliteOutbox(tmp_path / "cdc.db")
    await first.open()
    await second.open()
    assert await first.become_dispatcher()
    assert not await second.become_dispatcher()
    await first.close()
    assert await second.become_dispatcher()
    await second.close()


async def test_a_lock_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    store = SqliteOutbox(tmp_path / "cdc.db")
    await store.open()
    (tmp_path / "cdc.db-dispatch").mkdir()
    with pytest.raises(OutboxError, match="cannot be opened"):
        await store.become_dispatcher()
    await store.close()
