"""Servers whose triggers or log do not show all changes: replicas, filtered logs, sessions kept out of the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from cdc.capture.base import JournalLimits
from cdc.capture.binlog.inspector import BinlogInspector
from cdc.capture.binlog.source import BinlogProbe, BinlogSource
from cdc.capture.journal.mysql import MySQLJournal, MySQLJournalProbe
from cdc.capture.journal.source import JournalSource
from cdc.capture.triggers.mysql import MySQLInstaller
from cdc.model.column import Capture
from cdc.model.connection import AccountChoice, AccountRole
from cdc.model.errors import InstallError, SourceError
from cdc.model.finding import Finding, Severity
from support.binlog_capture import QUICK, reading
from support.database import Database
from support.mysql_capture import IMPATIENT, drain, install, installer, run
from support.mysql_pair import PROMOTE, pair, replicate, wait_for
from support.waiting import HANG_SECONDS

CAPTURES = [Capture("articulos")]
FLAVOURS = ("mariadb", "mysql")
UNLOGGED = {"mariadb": "--skip-log-slave-updates", "mysql": "--skip-log-replica-updates"}
#: A replica that is written to has transactions of its own.
OWN_WRITES = {"mariadb": ("--gtid-strict-mode=0",), "mysql": ()}
STOP = {"mariadb": "STOP SLAVE", "mysql": "STOP REPLICA"}


def opened(shop: Database) -> Database:
    return Database(shop.server, "shop")


def of(check: str, findings: list[Finding]) -> Finding:
    (found,) = [each for each in findings if each.check == check]
    return found


def log_findings(shop: Database, check: str) -> Finding:
    return of(check, BinlogInspector(shop.info).findings(CAPTURES))


async def problems(probe: MySQLJournalProbe | BinlogProbe, position: Any = None) -> tuple[str, ...]:
    try:
        backlog = await probe.ask(position)
    finally:
        await probe.close()
    assert backlog is not None
    return backlog.problems


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_log_of_a_replica_that_does_not_log_what_it_receives_is_refused(flavour: str, own_server: Any) -> None:
    primary, replica = pair(flavour, own_server, UNLOGGED[flavour])
    wait_for(primary, replica)
    shop = opened(replica)
    with pytest.raises(SourceError, match=r"is a replica, and does not write .* log_slave_updates = ON"):
        async with reading(shop, "articulos"):
            pass
    assert log_findings(shop, "replica").severity is Severity.WRONG
    assert log_findings(primary, "log").severity is Severity.OK
    replica.script(STOP[flavour])
    async with reading(shop, "articulos") as log:
        shop.execute("INSERT INTO articulos VALUES (-1, 'its own')")
        assert len(await log.drain()) == 1
        replicate_again(primary, replica)
        (problem,) = await problems(BinlogProbe(shop.info), log.position)
        assert "does not write what it receives" in problem
        assert await problems(BinlogProbe(shop.info, replica=True), log.position) == ()


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_log_of_a_replica_that_logs_what_it_receives_is_read(flavour: str, own_server: Any) -> None:
    primary, replica = pair(flavour, own_server)
    wait_for(primary, replica)
    async with reading(opened(replica), "articulos") as log:
        for number in range(3):
            primary.script(f"BEGIN; INSERT INTO articulos VALUES ({number}, ''), ({number + 10}, ''); COMMIT")
        wait_for(primary, replica)
        assert [change.key["id"] for change in await log.drain()] == [0, 10, 1, 11, 2, 12]
        assert len(log.tokens) == 3


def replicate_again(primary: Database, replica: Database) -> None:
    replica.script(PROMOTE[primary.flavour])
    replicate(primary, replica)
    primary.execute("INSERT INTO articulos VALUES (1, 'replicated')")
    wait_for(primary, replica)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_triggers_on_a_replica_are_refused_and_reported(flavour: str, own_server: Any) -> None:
    primary, replica = pair(flavour, own_server, *OWN_WRITES[flavour])
    wait_for(primary, replica)
    shop = opened(replica)
    for options in ({}, {"cascades_only": True}):
        if not (options and flavour == "mysql"):  # MySQL's log holds cascades
            with pytest.raises(InstallError, match="triggers do not run for the changes that replication writes"):
                installer(shop).plan_install(CAPTURES, **options)

    replica.script(STOP[flavour])
    there = install(shop, "articulos")
    assert of("capture", there.findings(CAPTURES)).severity is Severity.OK
    assert run(problems(MySQLJournalProbe(shop.info))) == ()

    replicate_again(primary, replica)
    assert shop.execute("SELECT id FROM articulos") == [(1,)]
    assert shop.execute("SELECT * FROM cdc_journal") == []
    proof = of("capture", there.findings(CAPTURES))
    assert (proof.severity, "is a replica" in proof.detail) == (Severity.WRONG, True)
    (problem,) = run(problems(MySQLJournalProbe(shop.info)))
    assert "triggers do not run" in problem
    with pytest.raises(SourceError, match="is a replica"):
        drain(shop)
    accepted = MySQLInstaller(shop.info, IMPATIENT, replica=True)
    assert of("capture", accepted.findings(CAPTURES)).severity is Severity.WARNING
    assert accepted.plan_install(CAPTURES).steps == ()

    replica.script(PROMOTE[flavour])
    shop.execute("INSERT INTO articulos VALUES (2, 'promoted')")
    assert of("capture", there.findings(CAPTURES)).severity is Severity.OK
    assert len(drain(shop)) == 1


def test_an_account_of_mysql_that_may_not_know_proves_nothing(own_server: Any) -> None:
    primary, replica = pair("mysql", own_server)
    wait_for(primary, replica)
    shop = opened(replica)
    replica.script(STOP["mysql"])
    install(shop, "articulos")
    replicate_again(primary, replica)
    shop.execute("CREATE USER erp IDENTIFIED BY 'p4ssw0rd!'")
    shop.execute("GRANT ALL ON shop.* TO erp")
    there = MySQLInstaller(shop.info.as_user("erp", "p4ssw0rd!"), IMPATIENT)
    proof = of("capture", there.findings(CAPTURES))
    assert (proof.severity, proof.detail[:10]) == (Severity.WARNING, "Not proved")
    shop.execute(proof.fix)
    assert of("capture", there.findings(CAPTURES)).severity is Severity.WRONG
    shop.execute("REVOKE SELECT ON performance_schema.replication_applier_status FROM erp")
    shop.execute("SET GLOBAL read_only = ON")
    assert of("capture", there.findings(CAPTURES)).severity is Severity.WRONG, "where nobody else may write"


@pytest.mark.parametrize("logged", [True, False])
def test_mariadb_may_run_triggers_for_what_it_receives(logged: bool, own_server: Any) -> None:
    """Without log_slave_updates, `@@last_gtid` does not move: several transactions would be taken for one."""
    updates = "--log-slave-updates" if logged else "--skip-log-slave-updates"
    options = ("--slave-run-triggers-for-rbr=YES", "--gtid-strict-mode=0", updates)
    primary, replica = pair("mariadb", own_server, *options)
    wait_for(primary, replica)
    shop = opened(replica)
    if not logged:
        with pytest.raises(InstallError, match="cannot tell apart the transactions that replication writes"):
            installer(shop).plan_install(CAPTURES)
        return
    there = install(shop, "articulos")
    assert of("capture", there.findings(CAPTURES)).severity is Severity.OK
    for number in range(4):
        primary.script(f"BEGIN; INSERT INTO articulos VALUES ({number}, ''), ({number + 10}, ''); COMMIT")
    wait_for(primary, replica)
    found = drain(shop)
    assert [row.change.key["id"] for row in found] == [0, 10, 1, 11, 2, 12, 3, 13]
    assert len({row.token for row in found}) == 4


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize(
    ("option", "check", "severity"),
    [
        ("--binlog-ignore-db=shop", "binlog_ignore_db", Severity.WRONG),
        ("--binlog-do-db=other", "binlog_do_db", Severity.WRONG),
        ("--binlog-do-db=shop", "log filters", Severity.WARNING),
        ("--init-connect=SET sql_log_bin=0", "init_connect", Severity.WRONG),
    ],
)
async def test_log_without_the_database_is_refused(
    flavour: str, option: str, check: str, severity: Severity, own_server: Any
) -> None:
    server = own_server(flavour, option, binlog=True)
    server.script("CREATE DATABASE shop; USE shop; CREATE TABLE articulos (id INT PRIMARY KEY)")
    shop = opened(server)
    found = log_findings(shop, check)
    assert (found.severity, bool(found.fix)) == (severity, True)
    if severity is Severity.WRONG:
        with pytest.raises(SourceError, match=check):
            async with reading(shop, "articulos"):
                pass
    else:
        async with reading(shop, "articulos") as log:
            shop.execute("INSERT INTO articulos VALUES (1)")
            assert len(await log.drain()) == 1


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_session_outside_the_log_is_seen_by_triggers_only(flavour: str, own_server: Any) -> None:
    """Documented in docs/sources.md: nothing in the server shows it to a reader of the log."""
    server = own_server(flavour, binlog=True)
    server.script("CREATE DATABASE shop; USE shop; CREATE TABLE articulos (id INT PRIMARY KEY, nombre VARCHAR(20))")
    shop = opened(server)
    async with reading(shop, "articulos") as log:
        await asyncio.to_thread(install, shop, "articulos")
        shop.script("SET SESSION sql_log_bin = 0; INSERT INTO articulos VALUES (1, 'a'), (2, 'b'); SET sql_log_bin = 1")
        shop.execute("INSERT INTO articulos VALUES (3, 'c')")
        assert [change.key["id"] for change in await log.drain()] == [3]
    assert [row.change.key["id"] for row in await asyncio.to_thread(drain, shop)] == [1, 2, 3]


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("mode", ["triggers", "binlog"])
async def test_privilege_withdrawn_while_reading_is_named_and_loses_nothing(
    flavour: str, mode: str, own_server: Any
) -> None:
    server = own_server(flavour, binlog=True)
    server.script("CREATE DATABASE shop; USE shop; CREATE TABLE articulos (id INT PRIMARY KEY, nombre VARCHAR(20))")
    shop = opened(server)
    await asyncio.to_thread(install, shop, "articulos")
    inspector = installer(shop) if mode == "triggers" else BinlogInspector(shop.info)
    info = shop.info.as_user("cdc_consumer", "Ch4nge.me")
    choice = AccountChoice(configured={AccountRole.CONSUMER: info})
    for line in (await asyncio.to_thread(inspector.grants, CAPTURES, choice)).splitlines():
        if "cdc_consumer" in line and not line.startswith("--"):
            shop.execute(line.rstrip(";").replace("%", "%%"), ())
    withdrawn = "SELECT, DELETE ON shop.cdc_journal" if mode == "triggers" else "SELECT ON shop.articulos"

    def source() -> JournalSource | BinlogSource:
        if mode == "binlog":
            return BinlogSource("main", info, CAPTURES, limits=QUICK)
        return JournalSource("main", MySQLJournal(info, CAPTURES), no_repair, JournalLimits(idle=0.1))

    seen: list[Any] = []
    position = await read_until(source(), None, seen, lambda: shop.execute("INSERT INTO articulos VALUES (1, 'a')"))

    def withdraw() -> None:
        shop.execute(f"REVOKE {withdrawn} FROM cdc_consumer")
        shop.execute("INSERT INTO articulos VALUES (2, 'b')")

    if mode == "binlog":  # a log that is being read is read on, with what is known of the table
        position = await read_until(source(), position, seen, withdraw)
    else:
        with pytest.raises(SourceError, match="privilege"):
            await read_until(source(), position, seen, withdraw)
    shop.execute("INSERT INTO articulos VALUES (3, 'c')")
    shop.execute(f"GRANT {withdrawn} TO cdc_consumer")
    while len(seen) < 3:
        position = await read_until(source(), position, seen, lambda: None)
    assert seen == [1, 2, 3]


async def no_repair(tables: Any) -> Any:
    raise AssertionError(tables)


async def read_until(source: Any, position: Any, seen: list[Any], write: Callable[[], object]) -> Any:
    """Open the source, write, and return the position of the next batch with changes, which is acknowledged."""
    try:
        async with asyncio.timeout(HANG_SECONDS):
            await source.open(position)
            if (first := await source.begin()) is not None:
                position = first.position
            write()
            async for batch in source.batches():
                await source.acknowledge(batch.position)
                position = batch.position
                seen += [change.key["id"] for each in batch.transactions for change in each.changes]
                if batch.transactions:
                    return position
    finally:
        await source.close()
