"""Tables that are swapped, and a journal that is lost: no write of the ERP fails, and the tables are read again."""

from __future__ import annotations

import asyncio

import pytest

from cdc.capture.journal.postgres import PostgresJournal
from cdc.capture.journal.source import JournalSource
from cdc.capture.triggers.postgres import LockWait, PostgresInstaller
from cdc.database.sqlfile import load
from cdc.model.column import Capture
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import InstallError, JournalMissing, LockTimeout
from cdc.model.finding import Repaired, Severity
from support.database import Database
from support.postgres_capture import CAPTURES, Shop, client
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


#: Act → the tables of which changes may have been missed.
ALL = {capture.table for capture in CAPTURES}
SWITCHES: dict[str, tuple[str, set[str]]] = {
    "off and on at once": (
        """BEGIN; ALTER TABLE customers DISABLE TRIGGER ALL; UPDATE customers SET name = 'unseen';
        ALTER TABLE customers ENABLE TRIGGER ALL; COMMIT""",
        {"customers"},
    ),
    "one trigger off and on": (
        "ALTER TABLE customers DISABLE TRIGGER _cdc_update; ALTER TABLE customers ENABLE TRIGGER _cdc_update",
        {"customers"},
    ),
    "data restored without triggers": (
        "ALTER TABLE users DISABLE TRIGGER ALL; DELETE FROM users; ALTER TABLE users ENABLE TRIGGER ALL",
        {"users"},
    ),
    "a dump of two tables": ("--table=public.customers --table=public.odd", {"customers", "odd"}),
    "a dump of the database": ("--no-tablespaces", ALL),
    "what changes no trigger": (
        """ALTER TABLE customers ADD COLUMN more text; ALTER TABLE customers RENAME email TO mail;
        ALTER TABLE customers ALTER name TYPE varchar(99); CREATE INDEX ON customers (name); ANALYZE customers;
        CLUSTER customers USING customers_pkey; REINDEX TABLE customers;
        TRUNCATE odd; ALTER TABLE users ALTER level SET DEFAULT 1; GRANT SELECT ON users TO PUBLIC""",
        set(),
    ),
}


@pytest.mark.parametrize("act", SWITCHES)
def test_tables_whose_triggers_were_off_or_that_were_restored_are_read_again(shop: Shop, act: str) -> None:
    """Also where all is as installed again before anybody asks."""
    statements, missed = SWITCHES[act]
    definitions = shop.execute(load("postgres/journal/definitions.sql"))
    shop.execute(INSERT)
    shop.execute("INSERT INTO users VALUES ('ada', 'p', 'l', 1)")
    if statements.startswith("--"):
        dump = client(shop.database, "pg_dump", "--clean", "--if-exists", "--inserts", *statements.split())
        shop.execute("UPDATE users SET level = 2; UPDATE customers SET name = 'gone with the restore'")
        shop.execute("ALTER TABLE invoices DROP CONSTRAINT invoices_customer_fkey")
        statements = "\n".join(line for line in dump.splitlines() if not line.startswith("\\"))
        shop.execute(f"{statements}; RESET ALL")
    else:
        shop.execute(statements)
    assert (shop.execute(load("postgres/journal/definitions.sql")) != definitions) is bool(
        missed
    )  # cdc run asks for them
    shop.execute("VACUUM FULL pg_trigger")
    shop.execute("DELETE FROM cdc.cdc_journal")
    found = {f.check for f in shop.installer.findings(CAPTURES) if "switched off for a while" in f.detail}
    assert found == {f"table {table}" for table in missed}
    assert shop.installer.repair().failed == {}
    assert set(operations(shop)) == {(table, "G") for table in missed}
    assert [f for f in shop.installer.findings(CAPTURES) if f.severity is Severity.WRONG] == []
    assert shop.installer.repair() == Repaired()


def test_roles_in_whose_sessions_no_trigger_fires_are_reported(shop: Shop) -> None:
    name = f"silent_{shop.database.name}"
    shop.execute(f"CREATE ROLE {name}")
    try:
        shop.execute(f"ALTER ROLE {name} IN DATABASE {shop.database.name} SET session_replication_role = replica")
        (finding,) = [f for f in shop.installer.findings(CAPTURES) if f.check == "silent sessions"]
        assert (finding.severity, name in finding.detail) == (Severity.WARNING, True)
    finally:
        shop.execute(f"DROP ROLE {name}")
    assert "silent sessions" not in {f.check for f in shop.installer.findings(CAPTURES)}
