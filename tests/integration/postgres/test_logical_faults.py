"""What goes wrong between a server, its slot and us: nothing is lost without being said, nothing comes twice but under
the same name."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cdc.capture.logical import replication
from cdc.capture.logical.position import LogicalPosition
from cdc.capture.logical.replication import ReplicationStream
from cdc.capture.logical.slot import position_findings
from cdc.database.postgres_capture import lsn_number
from cdc.model.change import Operation, RowChange, Transaction, Value
from cdc.model.column import Capture
from cdc.model.errors import LogPurged, SourceUnavailable
from cdc.model.finding import Severity
from support.database import Database
from support.logical import EAGER, Reading, install_slot, log_end, logical_source, reading, released, slot_installer
from support.outboxes import fixed
from support.proxy import proxied
from support.waiting import HANG_SECONDS

ROWS = [Capture("rows")]
TABLE = "CREATE TABLE rows (id integer PRIMARY KEY, n integer, note text)"
#: The tables are looked at before every read.
WATCHFUL = replace(EAGER, check_pause=timedelta(0), reread_pause=timedelta(0))


@pytest.fixture
def rows(postgres_log_db: Database) -> Database:
    postgres_log_db.execute(TABLE)
    install_slot(postgres_log_db, ROWS)
    return postgres_log_db


def _drop_slot(database: Database) -> None:
    database.execute(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()"
    )


def _gaps(read: Reading) -> list[tuple[str, Operation]]:
    return [(gap.table, gap.operation) for batch in read.seen for gap in batch.gaps]


def _operations(transactions: list[Transaction]) -> list[tuple[str, Any]]:
    return [(change.operation.value, change.key["id"]) for each in transactions for change in each.changes]


# -- connections ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("huge", [False, True])
async def test_connections_cut_at_random_bytes(rows: Database, huge: bool, seed: int) -> None:
    """Opened again and again with the position that was stored: every change once, in order, with the same names."""
    dice = random.Random(seed)
    if huge:
        rows.execute("INSERT INTO rows SELECT n, 0, repeat('x', 200) FROM generate_series(0, 299) AS n")
    writer = rows.connect()
    for number in range(300):
        writer.execute("INSERT INTO rows VALUES (%s, 0, repeat('x', 200)) ON CONFLICT DO NOTHING", [number])
        writer.execute("UPDATE rows SET n = n + 1 WHERE id = %s", [dice.randrange(number + 1)])
        writer.commit()
    stored: dict[tuple[str, int], RowChange] = {}
    # a huge transaction must come through once as a whole
    async with proxied(rows.info, lambda: dice.randrange(1000, 200_000 if huge else 40_000)) as proxy:
        limits = replace(EAGER, batch=20, huge=100)
        read = Reading(rows, logical_source(rows, ROWS, limits=limits, info=proxy.through()))
        async with asyncio.timeout(100):
            while len(stored) < 600:
                await _read_on(read, stored)
                await read.source.close()
        assert proxy.cuts > 1
    _assert_chains(rows, stored)


async def _read_on(read: Reading, stored: dict[tuple[str, int], RowChange]) -> None:
    """Until a cut, or everything is there."""
    try:
        await read.open()
        while len(stored) < 600:
            batch = await read.next()
            read.position = batch.position
            for transaction in batch.transactions:
                for change in transaction.changes:
                    assert (transaction.token, change.ordinal) not in stored, "stored already"
                    stored[transaction.token, change.ordinal] = change
            await read.source.acknowledge(batch.position)
    except SourceUnavailable:
        return


def _assert_chains(database: Database, stored: dict[tuple[str, int], RowChange]) -> None:
    """The changes of each record form a chain that ends with what the table holds."""
    last: dict[Value, Value] = {}
    for change in stored.values():
        record = change.key["id"]
        if change.before is not None:
            assert change.before["n"] == last[record]
        assert change.after is not None
        last[record] = change.after["n"]
    assert last == dict(database.execute("SELECT id, n FROM rows"))


async def test_a_server_that_says_nothing_more_is_left(rows: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication, "SILENCE_SECONDS", 3.0)
    monkeypatch.setattr(replication, "STATUS_SECONDS", 0.2)
    monkeypatch.setattr(replication, "NUDGE_SECONDS", 0.2)
    async with proxied(rows.info) as proxy:
        stream = ReplicationStream(proxy.through(), f"cdc_{rows.name}", "cdc")
        await stream.connect()
        await stream.open(0)
        for _ in range(40):  # a quiet server is no dead one: it answers
            await stream.wait(0.1)
            stream.take()
        proxy.hears.clear()
        with pytest.raises(SourceUnavailable, match="has not said anything"):
            await _wait_for_ever(stream)
        await stream.close()


async def _wait_for_ever(stream: ReplicationStream) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            await stream.wait(0.2)
            stream.take()


@pytest.mark.parametrize("confirmed", [False, True])
async def test_a_server_that_sleeps_is_made_to_look_again(
    rows: Database, monkeypatch: pytest.MonkeyPatch, *, confirmed: bool
) -> None:
    """It may have missed that there is more (`replication.NUDGE_SECONDS`): each second, soon after we confirm."""
    if confirmed:
        monkeypatch.setattr(replication, "NUDGE_SECONDS", 600.0)
    stream = ReplicationStream(rows.info, f"cdc_{rows.name}", "cdc")
    await stream.connect()
    await stream.open(0)
    try:
        async with asyncio.timeout(HANG_SECONDS):
            if confirmed:  # long before it would have been told anyhow
                now = datetime.now(UTC)
                await stream.confirm(1)
                await _told(rows, now + timedelta(seconds=0.03))
            else:
                first = await _told(rows, datetime.min.replace(tzinfo=UTC))
                second = await _told(rows, first)
                assert timedelta(seconds=0.9) < await _told(rows, second) - second
    finally:
        await stream.close()


async def _told(database: Database, after: datetime) -> datetime:
    """When the slot's reader, by its own clock, said where it stands: the first time after a moment."""
    told = (
        "SELECT reply_time FROM pg_stat_replication AS r JOIN pg_replication_slots AS s ON s.active_pid = r.pid"
        " WHERE s.database = current_database() AND reply_time > %s"
    )
    while not (found := database.execute(told, [after])):  # noqa: ASYNC110 - the server is asked
        await asyncio.sleep(0.01)
    return datetime.fromisoformat(str(found[0][0]))


async def test_nobody_reads_for_longer_than_the_server_waits(own_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outbox may take its time with a huge transaction."""
    monkeypatch.setattr(replication, "STATUS_SECONDS", 0.3)
    monkeypatch.setattr(replication, "NUDGE_SECONDS", 0.3)
    database: Database = own_server("postgresql", "wal_sender_timeout=3s")
    database.execute(TABLE)
    install_slot(database, ROWS)
    async with reading(database, ROWS, limits=replace(EAGER, batch=500, huge=1000)) as read:
        await read.drain()
        database.execute("INSERT INTO rows SELECT n, n, repeat('x', 5000) FROM generate_series(1, 5000) AS n")
        database.execute("INSERT INTO rows SELECT n, n, repeat('x', 5000) FROM generate_series(5001, 10000) AS n")
        await read.take()
        await asyncio.sleep(7)  # more than twice as long as the server waits
        rest = await read.drain()
        assert sum(len(each.changes) for batch in read.seen for each in batch.transactions) == 10_000
        assert len({each.token for each in rest}) == 2


async def test_the_server_is_killed_and_comes_back(own_server: Any) -> None:
    database: Database = own_server("postgresql")
    database.execute(TABLE)
    install_slot(database, ROWS)
    async with reading(database, ROWS) as read:
        for number in range(3):
            database.execute("INSERT INTO rows VALUES (%s)", [number])
            assert _operations(await read.drain()) == [("create", number)]
            await asyncio.to_thread(database.server.kill)
            assert isinstance(await read.failure(), SourceUnavailable)
            database.close()
            await asyncio.to_thread(database.server.start)
            await read.reopen()
        assert await read.drain() == []


def _make_standby(database: Database) -> None:
    ((folder,),) = database.execute("SHOW data_directory")
    if not Path(folder).is_dir():
        pytest.skip("the server's files are not on this machine")
    database.server.stop()
    (Path(folder) / "standby.signal").touch()
    database.server.start()
    database.close()


async def test_a_standby_is_not_read_until_it_is_promoted(own_server: Any) -> None:
    database: Database = own_server("postgresql")
    database.execute(TABLE)
    install_slot(database, ROWS)
    async with reading(database, ROWS) as read:
        database.execute("INSERT INTO rows VALUES (1)")
        await read.drain()
    database.execute("INSERT INTO rows VALUES (2)")
    await asyncio.to_thread(_make_standby, database)
    again = Reading(database, logical_source(database, ROWS), read.position)
    with pytest.raises(SourceUnavailable, match="The server is a standby"):
        await again.open()
    await again.source.close()
    assert [each.check for each in slot_installer(database).findings(ROWS) if each.severity is Severity.WRONG] == [
        "server"
    ]
    assert database.execute("SELECT pg_promote()") == [(True,)]
    await again.open()
    assert _operations(await again.drain()) == [("create", 2)]
    await again.source.close()


# -- slot and publication ---------------------------------------------------------------------------------------------


def _forgotten(database: Database) -> None:
    _drop_slot(database)
    database.execute("INSERT INTO rows VALUES (2)")


def _made_again(database: Database) -> None:
    _forgotten(database)
    install_slot(database, ROWS)


def _moved(database: Database) -> None:
    database.execute("INSERT INTO rows VALUES (2)")
    database.execute(
        "SELECT pg_replication_slot_advance(slot_name, pg_current_wal_flush_lsn()) FROM pg_replication_slots "
        "WHERE database = current_database()"
    )


def _unpublished(database: Database) -> None:
    database.execute("DROP PUBLICATION cdc")
    database.execute("INSERT INTO rows VALUES (2)")


@pytest.mark.parametrize("loss", [_forgotten, _made_again, _moved, _unpublished])
async def test_what_is_lost_is_said_or_read_again(rows: Database, loss: Callable[[Database], None]) -> None:
    async with reading(rows, ROWS) as read:
        rows.execute("INSERT INTO rows VALUES (1)")
        await read.drain()
    await released(rows)
    loss(rows)
    for _ in range(2):
        stopped = Reading(rows, logical_source(rows, ROWS), read.position)
        with pytest.raises(LogPurged) as caught:
            await stopped.open()
        await stopped.source.close()
        assert "on_purged" in caught.value.hint
    again = Reading(rows, logical_source(rows, ROWS, reread_lost=True), read.position)
    await again.open()
    rows.execute("INSERT INTO rows VALUES (3)")
    found = await again.drain()
    assert _gaps(again) == [("rows", Operation.READ)]
    assert sorted(_operations(found)) == [("create", 3), ("read", 1), ("read", 2), ("read", 3)]
    await again.reopen()
    assert await again.drain() == []
    await again.source.close()


async def test_without_a_slot_or_leave_to_make_one_it_is_said_what_to_do(postgres_log_db: Database) -> None:
    postgres_log_db.execute(TABLE)
    for reread in (True, False):
        source = logical_source(postgres_log_db, ROWS, reread_lost=reread, may_repair=False)
        with pytest.raises(LogPurged, match=r"there is no replication slot cdc_.*Run cdc install-slot"):
            await source.open(None)
        await source.close()


async def test_a_slot_given_up_by_the_server(own_server: Any) -> None:
    """max_slot_wal_keep_size: the server does not let a slot fill its disk."""
    database: Database = own_server(
        "postgresql", "max_slot_wal_keep_size=1MB", "min_wal_size=32MB", "max_wal_size=32MB"
    )
    database.execute(TABLE)
    install_slot(database, ROWS)
    async with reading(database, ROWS) as read:
        database.execute("INSERT INTO rows VALUES (1)")
        await read.drain()
    database.execute("INSERT INTO rows SELECT n, n, repeat('x', 3000) FROM generate_series(2, 20000) AS n")
    for _ in range(3):
        database.execute("SELECT pg_switch_wal()")
        database.execute("CHECKPOINT")
    stopped = Reading(database, logical_source(database, ROWS), read.position)
    with pytest.raises(LogPurged, match="the server has given up the replication slot"):
        await stopped.open()
    await stopped.source.close()
    details = {each.check: each.detail for each in slot_installer(database).findings(ROWS)}
    assert "the server has given up the slot" in details["slot"]
    again = Reading(database, logical_source(database, ROWS, reread_lost=True), read.position)
    await again.open()
    found = await again.drain()
    assert _gaps(again) == [("rows", Operation.READ)]
    assert sum(len(each.changes) for each in found) == 20_000
    await again.source.close()


async def test_another_server_or_one_that_was_set_back_is_not_taken_for_the_same(rows: Database) -> None:
    async with reading(rows, ROWS) as read:
        await read.drain()
    assert read.position is not None
    stand = LogicalPosition.load(read.position)
    for position, words in (
        (replace(stand, system="1"), "is on another server"),
        (replace(stand, lsn=stand.lsn + (1 << 40)), "it was set back"),
    ):
        source = logical_source(rows, ROWS)
        await source.open(position.dump())
        with pytest.raises(LogPurged, match=words):
            await source.begin()
        await source.close()


def _written(database: Database, first: int, last: int) -> None:
    for number in range(first, last):
        database.execute("INSERT INTO rows VALUES (%s)", [number])


def _put_back(database: Database) -> None:
    database.close()
    database.server.stop()
    database.server.restore()
    database.server.start()


@pytest.fixture
async def copied(own_server: Any) -> tuple[Database, Reading]:
    """A server with a slot of which there is a copy, and a position at 20 transactions of which 10 are in the copy."""
    database: Database = own_server("postgresql")
    database.execute(TABLE)
    install_slot(database, ROWS)
    read = Reading(database, logical_source(database, ROWS))
    await read.open()
    _written(database, 0, 10)
    await read.drain()
    await read.source.close()
    database.close()
    database.server.stop()
    database.server.save()
    database.server.start()
    await read.open()
    _written(database, 10, 20)
    assert _operations(await read.drain()) == [("create", number) for number in range(10, 20)]
    await read.source.close()
    return database, read


async def test_server_put_back_to_an_older_copy_and_grown_since_is_noticed(copied: tuple[Database, Reading]) -> None:
    database, read = copied
    assert read.position is not None
    stand = LogicalPosition.load(read.position)
    _put_back(database)
    number = 1000
    while log_end(database) <= stand.lsn:
        _written(database, number, number + 10)
        number += 10
    stopped = Reading(database, logical_source(database, ROWS), read.position)
    with pytest.raises(LogPurged, match="older copy") as caught:
        await stopped.open()
    await stopped.source.close()
    assert "on_purged" in caught.value.hint
    await released(database)
    (finding,) = await position_findings(database.info, fixed(read.position))
    assert finding.severity is Severity.WRONG
    assert "older copy" in finding.detail
    again = Reading(database, logical_source(database, ROWS, reread_lost=True), read.position)
    await again.open()
    found = _operations(await again.drain())
    assert _gaps(again) == [("rows", Operation.READ)]
    there = {*range(10), *range(1000, number)}
    assert {key for operation, key in found if operation == "read"} == there
    assert {key for operation, key in found if operation == "create"} >= there - {*range(10)}, "the log has them all"
    await again.reopen()
    _written(database, 5000, 5001)
    assert _operations(await again.drain()) == [("create", 5000)]
    await again.source.close()


async def test_server_that_was_killed_is_the_same(copied: tuple[Database, Reading]) -> None:
    """Its slot is before the last stored transaction, too."""
    database, read = copied
    assert read.position is not None
    database.close()
    database.server.kill()
    database.server.start()
    stand = LogicalPosition.load(read.position)
    ((confirmed,),) = database.execute("SELECT confirmed_flush_lsn::text FROM pg_replication_slots")
    assert lsn_number(confirmed) <= stand.last.lsn
    (finding,) = await position_findings(database.info, fixed(read.position))
    assert finding.severity is Severity.OK
    _written(database, 20, 22)
    await read.open()
    assert _operations(await read.drain()) == [("create", 20), ("create", 21)]
    await read.source.close()


async def test_server_put_back_to_an_older_copy_without_new_changes_is_noticed(
    copied: tuple[Database, Reading],
) -> None:
    """The log has grown, but only by changes that are not captured."""
    database, read = copied
    assert read.position is not None
    stand = LogicalPosition.load(read.position)
    _put_back(database)
    database.execute("CREATE TABLE filler (note text)")
    while log_end(database) <= stand.lsn + 1000:
        database.execute("INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 100)")
    stopped = Reading(database, logical_source(database, ROWS), read.position)
    with pytest.raises(LogPurged, match="older copy"):
        await stopped.open()
    await stopped.source.close()


async def test_changes_of_a_copy_put_back_are_read_where_nothing_was_stored_after_it(own_server: Any) -> None:
    """The position was moved on by a log without captured changes: all that the copy shares with it is proven."""
    database: Database = own_server("postgresql")
    database.script(f"{TABLE}; CREATE TABLE filler (note text)")
    install_slot(database, ROWS)
    read = Reading(database, logical_source(database, ROWS))
    await read.open()
    _written(database, 0, 3)
    await read.drain()
    await read.source.close()
    database.close()
    database.server.stop()
    database.server.save()
    database.server.start()
    await read.open()
    filler = "INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 1000)"
    database.execute(filler)
    assert await read.drain() == []
    await read.source.close()
    _put_back(database)
    _written(database, 1000, 1003)
    for _ in range(3):
        database.execute(filler)
    assert read.position is not None
    assert log_end(database) > LogicalPosition.load(read.position).lsn
    await read.open()
    assert _operations(await read.drain()) == [("create", number) for number in range(1000, 1003)]
    await read.source.close()


async def test_position_without_the_last_transaction_gets_it(rows: Database) -> None:
    """As earlier versions stored them."""
    async with reading(rows, ROWS) as read:
        _written(rows, 0, 2)
        await read.drain()
    assert read.position is not None
    old = replace(LogicalPosition.load(read.position), stored=None).dump()
    assert "stored" not in old
    again = Reading(rows, logical_source(rows, ROWS), old)
    await again.open()
    _written(rows, 2, 3)
    assert _operations(await again.drain()) == [("create", 2)]
    assert again.position is not None
    assert LogicalPosition.load(again.position).last.xid
    await again.source.close()


async def test_the_slot_is_dropped_on_purpose_beyond_the_limit(own_server: Any) -> None:
    """Also while nobody reads, because the outbox does not take any more.  A slot retains what others write, too: on a
    shared server the limit may be passed at once."""
    rows: Database = own_server("postgresql")
    rows.execute(TABLE)
    install_slot(rows, ROWS)
    limits = replace(EAGER, retained=1 << 20, check_pause=timedelta(seconds=0.2))
    async with reading(rows, ROWS, limits=limits) as read:
        rows.execute("INSERT INTO rows VALUES (0)")
        await read.take()
        rows.execute("INSERT INTO rows SELECT n, n, repeat('x', 1500) FROM generate_series(1, 3000) AS n")
        slots = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()"
        async with asyncio.timeout(HANG_SECONDS):
            while rows.execute(slots) == [(1,)]:  # noqa: ASYNC110 - a server's slot
                await asyncio.sleep(0.02)
        assert await read.failure()
        with pytest.raises(LogPurged, match="there is no replication slot"):
            await read.reopen()


async def test_beyond_the_limit_a_slot_that_cannot_be_read_is_dropped_too(rows: Database) -> None:
    rows.execute("INSERT INTO rows SELECT n, n, repeat('x', 1500) FROM generate_series(1, 3000) AS n")
    source = logical_source(rows, ROWS, limits=replace(EAGER, retained=1 << 20))
    with pytest.raises(LogPurged, match="there is no replication slot"):
        await source.open(None)
    await source.close()


# -- tables that the log does not hold whole --------------------------------------------------------------------------


async def test_a_replica_identity_that_was_changed(rows: Database) -> None:
    """The row that was deleted is told of, by its key; the rest is read again once the table is mended."""
    async with reading(rows, ROWS) as read:
        rows.execute("INSERT INTO rows VALUES (1, 1), (2, 1), (3, 1)")
        await read.drain()
        rows.execute(  # in one transaction: between two the table may be mended, and the second leaves a gap of its own
            "ALTER TABLE rows REPLICA IDENTITY DEFAULT; UPDATE rows SET n = 2 WHERE id = 1;"
            "DELETE FROM rows WHERE id = 2; UPDATE rows SET id = 9 WHERE id = 3"
        )
        found = _operations(await read.drain())
        assert sorted(found) == [("delete", 2), ("read", 1), ("read", 9)]
        assert [table for table, _ in _gaps(read)] == ["rows"]
        rows.execute("UPDATE rows SET n = 3 WHERE id = 1")
        assert _operations(await read.drain()) == [("update", 1)]


async def test_a_replica_identity_that_may_not_be_mended(rows: Database) -> None:
    async with reading(rows, ROWS, may_repair=False) as read:
        rows.execute("ALTER TABLE rows REPLICA IDENTITY DEFAULT")
        rows.execute("INSERT INTO rows VALUES (1, 1)")
        rows.execute("UPDATE rows SET n = 2 WHERE id = 1")
        assert _operations(await read.drain()) == [("create", 1), ("read", 1)]


async def test_a_table_that_is_not_published_any_more_is_noticed(rows: Database) -> None:
    async with reading(rows, ROWS, limits=WATCHFUL) as read:
        rows.execute("INSERT INTO rows VALUES (1)")
        await read.drain()
        rows.execute("ALTER PUBLICATION cdc DROP TABLE rows")
        rows.execute("INSERT INTO rows VALUES (2)")
        found = await read.drain()
        while not found:
            found = await read.drain()
        assert sorted(_operations(found)) == [("read", 1), ("read", 2)]
        assert _gaps(read) == [("rows", Operation.READ)]
        rows.execute("INSERT INTO rows VALUES (3)")
        assert _operations(await read.drain()) == [("create", 3)]


async def test_a_blind_table_that_somebody_mends_while_we_are_away_is_read_again(rows: Database) -> None:
    async with reading(rows, ROWS, limits=WATCHFUL, may_repair=False) as read:
        await read.drain()
        rows.execute("ALTER PUBLICATION cdc DROP TABLE rows")
        while not _gaps(read):
            await read.take()
        rows.execute("INSERT INTO rows VALUES (1)")
        assert await read.drain() == []
    slot_installer(rows).repair()
    again = Reading(rows, logical_source(rows, ROWS, limits=WATCHFUL), read.position)
    await again.open()
    found = await again.drain()
    while not found:
        found = await again.drain()
    assert _operations(found) == [("read", 1)]
    assert LogicalPosition.load(again.position or read.seen[-1].position).blind == ()
    await again.source.close()


#: By hand, and what doctor and health say of it.
ALTERED = {
    "SET (publish = 'insert')": "leaves out UPDATE",
    "SET (publish = 'update, delete, truncate')": "leaves out INSERT",
    "SET (publish_via_partition_root = true)": "publish_via_partition_root",
    "SET TABLE rows WHERE (n > 5)": "a row filter",
    "SET TABLE rows (id, n)": "a column list",
}


async def _read_again(read: Reading) -> list[tuple[str, Any]]:
    """Read until the table has been read again."""
    found: list[tuple[str, Any]] = []
    async with asyncio.timeout(HANG_SECONDS):
        while not any(operation == "read" for operation, _ in found):
            found += _operations(list((await read.take()).transactions))
    return found + _operations(await read.drain())


@pytest.mark.parametrize("alteration", ALTERED)
async def test_publication_altered_by_hand_is_noticed_at_once_and_repaired_and_its_tables_are_read_again(
    rows: Database, alteration: str
) -> None:
    async with reading(rows, ROWS) as read:
        rows.execute("INSERT INTO rows VALUES (1)")
        await read.drain()
        rows.execute(f"ALTER PUBLICATION cdc {alteration}")
        wrong = [each.detail for each in slot_installer(rows).findings(ROWS) if each.severity is Severity.WRONG]
        assert len(wrong) == 1
        assert ALTERED[alteration] in wrong[0]
        rows.execute("INSERT INTO rows VALUES (2)")
        if "column list" not in ALTERED[alteration]:  # with one the server refuses updates and deletes
            rows.execute("DELETE FROM rows WHERE id = 1")
        found = await _read_again(read)
        there = [("read", key) for (key,) in rows.execute("SELECT id FROM rows ORDER BY id")]
        assert [each for each in found if each[0] == "read"] == there
        assert _gaps(read) == [("rows", Operation.READ)]
        assert not [each for each in slot_installer(rows).findings(ROWS) if each.severity is Severity.WRONG]
        rows.execute("INSERT INTO rows VALUES (3)")
        rows.execute("UPDATE rows SET n = 1 WHERE id = 3")
        assert _operations(await read.drain()) == [("create", 3), ("update", 3)]


@pytest.mark.parametrize(
    ("away", "back"),
    [
        ("SET (publish = 'insert')", "SET (publish = 'insert, update, delete, truncate')"),
        ("DROP TABLE rows", "ADD TABLE rows"),
    ],
)
async def test_publication_altered_and_put_back_between_two_checks_is_noticed(
    rows: Database, away: str, back: str
) -> None:
    async with reading(rows, ROWS) as read:
        rows.execute("INSERT INTO rows VALUES (1), (2)")
        await read.drain()
        rows.execute(f"ALTER PUBLICATION cdc {away}")
        rows.execute("DELETE FROM rows WHERE id = 1")
        rows.execute("UPDATE rows SET n = 1")
        rows.execute(f"ALTER PUBLICATION cdc {back}")
        assert await _read_again(read) == [("read", 2)]


async def test_publication_whose_options_were_set_and_put_back_while_nobody_read_is_noticed(rows: Database) -> None:
    async with reading(rows, ROWS) as read:
        rows.execute("INSERT INTO rows VALUES (1), (2)")
        await read.drain()
    rows.execute("ALTER PUBLICATION cdc SET (publish = 'insert')")
    rows.execute("DELETE FROM rows WHERE id = 1")
    rows.execute("ALTER PUBLICATION cdc SET (publish = 'insert, update, delete, truncate')")
    again = Reading(rows, logical_source(rows, ROWS), read.position)
    await again.open()
    assert await _read_again(again) == [("read", 2)]
    await again.reopen()
    rows.execute("INSERT INTO rows VALUES (3)")
    assert _operations(await again.drain()) == [("create", 3)], "once"
    await again.source.close()


async def test_publication_that_may_not_be_repaired_is_a_problem_until_it_is(rows: Database) -> None:
    async with reading(rows, ROWS, limits=WATCHFUL, may_repair=False) as read:
        await read.drain()
        rows.execute("ALTER PUBLICATION cdc SET (publish = 'insert')")
        rows.execute("INSERT INTO rows VALUES (1)")
        await read.drain()
        (problem,) = read.source.problems
        assert problem.startswith("changes of rows are lost: the publication leaves out UPDATE; the publication leaves")
        slot_installer(rows).repair()
        assert ("read", 1) in await _read_again(read)
        assert read.source.problems == ()


async def test_a_publication_that_is_dropped_while_we_read(rows: Database) -> None:
    async with reading(rows, ROWS, limits=WATCHFUL) as read:
        await read.drain()
        rows.execute("DROP PUBLICATION cdc")
        rows.execute("INSERT INTO rows VALUES (1)")
        assert isinstance(await read.failure(), LogPurged)
