"""The account of an ERP has code of its own run by an account of ours, which reads another tenant's database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import pymysql
import pytest

from cdc.capture.binlog.source import BinlogBridge
from cdc.capture.journal.database import Marker
from cdc.capture.journal.mysql import MySQLJournal, MySQLJournalProbe, journals_cascades, read_shapes
from cdc.capture.journal.mysql_watch import JournalWatch
from cdc.capture.mysql_lookup import MySQLLookup
from cdc.capture.triggers.mysql import MySQLInstaller
from cdc.model.column import Capture
from cdc.model.errors import CdcError
from support.database import Database
from support.mysql_capture import install

PASSWORD = "p4ssw0rd!"
#: Read with the rights of the caller, written with those of the ERP's account.
LEAK = """
CREATE PROCEDURE put(IN found VARCHAR(50)) SQL SECURITY DEFINER INSERT INTO stolen VALUES (found);
CREATE FUNCTION leak() RETURNS INT NOT DETERMINISTIC MODIFIES SQL DATA SQL SECURITY INVOKER
BEGIN
  DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
  CALL put((SELECT MAX(value) FROM `{other}`.secret));
  RETURN 1;
END
"""
#: What the ERP's account does → how one of our accounts would run it, were it not careful.
ATTACKS = {
    "procedure": (
        ["CREATE PROCEDURE cdc_wait(IN a BIGINT UNSIGNED, IN b REAL, IN c REAL) SQL SECURITY INVOKER SELECT leak()"],
        "CALL cdc_wait(0, 0, 0)",
    ),
    **{
        name: (
            [
                f"RENAME TABLE {name} TO away",
                f"CREATE SQL SECURITY INVOKER VIEW {name} AS SELECT * FROM away WHERE leak() = 1",
            ],
            f"SELECT * FROM {name}",
        )
        for name in ("cdc_journal", "cdc_shape", "cdc_installation", "cdc_marker", "cdc_probe", "item")
    },
    "materialized view": (
        [
            "RENAME TABLE cdc_journal TO away",
            "CREATE ALGORITHM = TEMPTABLE SQL SECURITY INVOKER VIEW cdc_journal AS SELECT * FROM away WHERE leak()",
        ],
        "SELECT COUNT(*) FROM cdc_journal",
    ),
}


@dataclass
class Tenants:
    """``erp``: the account of one ERP.  ``ours``: an account that reads the databases of two, with more rights than
    `cdc grants` prints."""

    database: Database
    erp: Any
    ours: Any

    @property
    def stolen(self) -> list[tuple[Any, ...]]:
        return self.database.execute("SELECT * FROM stolen")


@pytest.fixture(params=["mariadb_db", "mariadb_binlog_db", "mysql_db"])
def tenants(request: pytest.FixtureRequest) -> Iterator[Tenants]:
    database: Database = request.getfixturevalue(request.param)
    other, erp, ours = f"{database.name}_b", f"erp_{database.name}"[:32], f"our_{database.name}"[:32]
    database.script(
        f"CREATE DATABASE {other}; CREATE TABLE {other}.secret (value VARCHAR(50) PRIMARY KEY);"
        f"INSERT INTO {other}.secret VALUES ('of the other tenant');"
        "CREATE TABLE item (id INT PRIMARY KEY, name VARCHAR(50)); CREATE TABLE stolen (value VARCHAR(50));"
        f"CREATE USER '{erp}'@'%' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON {database.name}.* TO '{erp}'@'%';"
        f"CREATE USER '{ours}'@'%' IDENTIFIED BY '{PASSWORD}'; GRANT SELECT ON {other}.* TO '{ours}'@'%';"
        f"GRANT SELECT, INSERT, UPDATE, DELETE, EXECUTE ON {database.name}.* TO '{ours}'@'%'"
    )
    if database.flavour == "mariadb":
        database.execute(f"GRANT DELETE HISTORY ON {database.name}.* TO '{ours}'@'%'")
    install(database, "item")
    database.execute("INSERT INTO item VALUES (1, 'a'), (2, 'b')")
    database.execute("INSERT INTO cdc_probe VALUES (5, 5)")  # a view of an empty table calls nothing
    session = database.connect(erp, PASSWORD, autocommit=True).cursor()
    for statement in LEAK.format(other=other).split(";\nCREATE FUNCTION"):
        session.execute(statement if "put(IN" in statement else f"CREATE FUNCTION{statement}")
    yield Tenants(database, session, database.info.as_user(ours, PASSWORD))
    database.execute(f"DROP DATABASE {other}")
    database.execute(f"DROP USER '{erp}'@'%', '{ours}'@'%'")


async def _attempts(info: Any) -> None:
    """Everything that a consumer and the doctor do in a database; each may be refused."""
    journal = MySQLJournal(info, [Capture("item")])
    with suppress(CdcError):
        await journal.connect()
    session = journal._session
    await session.disconnect()
    await session.connect(lambda _: None)  # what was refused at the start could be done later
    lookup, probe = MySQLLookup({}), MySQLJournalProbe(info)
    bridge = BinlogBridge(info, [Capture("item")], journal.connect)
    works: list[Callable[[], Awaitable[object]]] = [
        lambda: journal.try_lock(1),
        lambda: journal.peek(10),
        lambda: journal.heads(10),
        lambda: journal.transaction_rows(["1"]),
        journal.marker,
        lambda: journal.wait(0.2),
        lambda: journal.delete(["1"], Marker("other", 1)),
        journal.installed,
        journal.tables,
        journal.definitions,
        lambda: journal.all_rows("item"),
        lambda: session.run(partial(lookup.rows, table="item", column="id", values=[1, 2])),
        lambda: session.run(read_shapes),
        lambda: session.run(journals_cascades),
        lambda: probe.ask(None),
        lambda: bridge.waiting(10),
    ]
    for work in works:
        with suppress(CdcError):
            await work()
    await asyncio.gather(journal.disconnect(), probe.close(), bridge.close())
    watch = JournalWatch()
    member = watch.join(info, versioned=False)
    async with asyncio.timeout(60):
        while not watch.connected:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.01)
    await watch.wait(member, 0, 0.2)
    await watch.leave(member)
    there = MySQLInstaller(info)
    for examine in (
        lambda: there.findings([Capture("item")]),
        lambda: there.survey(counted=True),
        there.existing_tables,
        there.repair,
    ):
        with suppress(CdcError):
            await asyncio.to_thread(examine)


@pytest.mark.parametrize("attack", ATTACKS)
async def test_no_code_of_the_erp_runs_with_our_rights(tenants: Tenants, attack: str) -> None:
    statements, careless = ATTACKS[attack]
    for statement in statements:
        tenants.erp.execute(statement)
    await _attempts(tenants.ours)
    assert tenants.stolen == []
    session = tenants.database.connect(tenants.ours.user, PASSWORD, autocommit=True).cursor()
    session.execute(careless)
    assert tenants.stolen != [], "the attack would work"


async def test_trigger_of_the_erp_on_the_journal_has_no_rights_of_ours(tenants: Tenants) -> None:
    for event in ("INSERT", "UPDATE", "DELETE"):
        for table in ("cdc_journal", "cdc_marker", "cdc_probe"):
            with suppress(pymysql.err.MySQLError):  # where there is a trigger of ours
                tenants.erp.execute(
                    f"CREATE TRIGGER {table}_{event} BEFORE {event} ON {table} FOR EACH ROW SET @n = leak()"
                )
    await _attempts(tenants.ours)
    assert [row for row in tenants.stolen if row != (None,)] == []
