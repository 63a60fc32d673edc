"""Tables that are swapped, and a journal that is lost: no write of the ERP fails, and the tables are read again."""

from __future__ import annotations

import asyncio

import pytest

from cdc.capture.journal.postgres import PostgresJournal
from cdc.capture.journal.source import JournalSource
from cdc.capture.triggers.postgres import PostgresInstaller
from cdc.capture.triggers.postgres_session import LockWait
from cdc.model.column import Capture
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import InstallError, JournalMissing, LockTimeout
from cdc.model.finding import Repaired, Severity
from support.database import Database
from support.postgres_capture import CAPTURES, Shop
from support.waiting import HANG_SECONDS

INSERT = "INSERT INTO customers VALUES ('1', 'a')"
LOSSES = {
    "journal": "DROP TABLE cdc.cdc_journal",
    "journal renamed": "ALTER TABLE cdc.cdc_journal RENAME TO kept",
    "captures": "DROP TABLE cdc.cdc_capture",
    "installation": "DROP TABLE cdc.cdc_installation",
    "everything": "DROP TABLE cdc.cdc_journal, cdc.cdc_capture, cdc.cdc_installation",
}


def operations(shop: Shop) -> list[tuple[str, str]]:
    return [(table, operation) for table, operation, *_ in shop.journal()]


@pytest.mark.parametrize("loss", LOSSES)
def test_writes_go_on_without_the_journal_until_it_is_created_again(shop: Shop, loss: str) -> None:
    shop.execute("INSERT INTO users VALUES ('ada', 'p', 'l', 1)")
    shop.execute("DELETE FROM cdc.cdc_journal")
    shop.execute(LOSSES[loss])
    shop.execute(INSERT)
    shop.execute("UPDATE users SET level = 2")  # a table with secret columns has another function
    (wrong,) = [f for f in shop.installer.findings(CAPTURES) if f.severity is Severity.WRONG]
    assert "nothing is recorded" in wrong.detail
    assert shop.installer.restore(CAPTURES, "").failed == {}
    shop.execute("UPDATE customers SET name = 'b'")
    seen = operations(shop)
    assert {table for table, operation in seen if operation == "G"} == {capture.table for capture in CAPTURES}
    assert seen[-1] == ("customers", "U")
    assert [f for f in shop.installer.findings(CAPTURES) if f.severity is Severity.WRONG] == []
    assert shop.installer.restore(CAPTURES, "") == Repaired()
    assert shop.installer.repair() == Repaired()


@pytest.mark.parametrize("loss", LOSSES)
def test_lost_journal_can_be_uninstalled(shop: Shop, loss: str) -> None:
    shop.execute(LOSSES[loss])
    if loss == "journal renamed":
        shop.execute("DROP TABLE cdc.kept")
    shop.installer.apply(shop.installer.plan_uninstall(), lambda _: None)
    shop.execute(INSERT)
    assert shop.execute("SELECT FROM pg_namespace WHERE nspname = 'cdc'") == []
    assert shop.installer.restore(CAPTURES, "") == Repaired()  # wanted by nobody


def _consumer(shop: Shop, name: str) -> ConnectionInfo:
    shop.execute(f"DROP ROLE IF EXISTS {name}")
    shop.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'r34der-{name}'")
    shop.execute(f"GRANT USAGE ON SCHEMA public, cdc TO {name}")
    shop.execute(
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public, cdc TO {name}; GRANT DELETE ON cdc.cdc_journal TO {name}"
    )
    return shop.database.info.as_user(name, f"r34der-{name}")


def test_consumer_may_read_the_journal_that_was_created_again(shop: Shop) -> None:
    """Grants go with a table: the consumer's account need not be the one that installs."""
    name = f"reader_{shop.database.name}"
    info = _consumer(shop, name)
    try:
        shop.execute("DROP TABLE cdc.cdc_journal")

        async def restore() -> Repaired:
            return await asyncio.to_thread(shop.installer.restore, CAPTURES, name)

        async def repair(_tables: object) -> Repaired:
            return Repaired()

        async def read() -> list[str]:
            source = JournalSource("main", PostgresJournal(info, CAPTURES), repair, restore=restore)
            await source.open(None)
            try:
                async with asyncio.timeout(HANG_SECONDS):
                    batch = await anext(source.batches())
                await source.acknowledge(batch.position)
            finally:
                await source.close()
            return [gap.table for gap in batch.gaps]

        async def open_only() -> None:
            await JournalSource("main", PostgresJournal(info, CAPTURES), repair).open(None)

        with pytest.raises(JournalMissing):
            asyncio.run(open_only())
        assert sorted(asyncio.run(read())) == sorted(capture.table for capture in CAPTURES)
    finally:
        shop.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_schema_of_others_is_left_alone(postgres_db: Database) -> None:
    postgres_db.execute("CREATE TABLE customers (code text PRIMARY KEY)")
    postgres_db.execute("CREATE SCHEMA cdc")
    there = PostgresInstaller(postgres_db.info)
    assert there.restore([Capture("customers")], "") == Repaired()
    with pytest.raises(InstallError, match="not this product's"):
        there.plan_install([Capture("customers")])


@pytest.mark.parametrize("by", ["repair", "install-triggers"])
def test_table_swapped_by_rename_is_captured_again(shop: Shop, by: str) -> None:
    shop.execute("CREATE TABLE customers_new (LIKE customers INCLUDING ALL)")
    shop.execute("ALTER TABLE invoices DROP CONSTRAINT invoices_customer_fkey")
    with shop.database.connect() as connection:  # both at once
        connection.execute("ALTER TABLE customers RENAME TO customers_old")
        connection.execute("ALTER TABLE customers_new RENAME TO customers")
    shop.execute(INSERT)  # seen by nobody
    if by == "repair":
        assert shop.installer.repair().failed == {}
    else:
        shop.installer.apply(shop.installer.plan_install(CAPTURES), lambda _: None)
    shop.execute("INSERT INTO customers_old VALUES ('9', 'old')")
    shop.execute("UPDATE customers SET name = 'b'")
    mine = [each for each in operations(shop) if each[0] == "customers"]
    assert mine == [("customers", "G"), ("customers", "U")]


def test_failing_table_keeps_no_other_from_being_repaired(shop: Shop) -> None:
    impatient = PostgresInstaller(shop.database.info, LockWait(lock_seconds=0.2, lock_tries=1))
    shop.execute("DROP TRIGGER _cdc_row ON customers")
    shop.execute("DROP TRIGGER _cdc_row ON odd")
    shop.execute("ALTER TABLE users DROP CONSTRAINT users_pkey")
    busy = shop.database.connect()
    busy.execute("LOCK TABLE customers IN ACCESS SHARE MODE")
    busy.execute("INSERT INTO customers VALUES ('2', 'a')")
    outcome = impatient.repair()
    assert {table: type(error) for table, error in outcome.failed.items()} == {
        "customers": LockTimeout,
        "users": InstallError,
    }
    assert outcome.done == ("Repair the triggers of odd",)
    assert operations(shop) == [("odd", "G")]
    busy.rollback()
    assert list(impatient.repair().failed) == ["users"]
    assert operations(shop) == [("odd", "G"), ("customers", "G")]
