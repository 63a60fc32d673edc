"""Installing, mending and removing on a real PostgreSQL."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator

import psycopg
import pytest

from cdc.capture.journal.postgres import PostgresJournal
from cdc.capture.pages import PageRequest
from cdc.capture.triggers.base import Plan, Step
from cdc.capture.triggers.postgres import LockWait, PostgresInstaller
from cdc.model.column import Capture
from cdc.model.connection import AccountChoice, AccountRole
from cdc.model.errors import InstallError, LockTimeout, SourceUnavailable
from cdc.model.finding import Severity
from support.database import Database
from support.postgres_capture import CAPTURES, Shop, client
from support.recording import SHARED

PROVE = "Prove that changes are captured"
FULL_SCHEMA = SHARED / "postgres-schema.sql.gz"


def silent(_title: str) -> None:
    pass


def dump(database: Database) -> str:
    """Without the random line that newer versions write."""
    return re.sub(r"\\(un)?restrict .*", "", client(database, "pg_dump", "--schema-only"))


def all_captures(installer: PostgresInstaller) -> list[Capture]:
    secrets = frozenset({"password", "logkey", "two_factor_secret_key", "apikey", "properties", "iban", "swift"})
    return [Capture(table, secrets & set(columns)) for table, columns in installer.existing_tables().items()]


def wrong(shop: Shop) -> dict[str, str]:
    findings = shop.installer.findings(CAPTURES)
    return {finding.check: finding.detail for finding in findings if finding.severity is Severity.WRONG}


def test_second_install_has_nothing_to_do(shop: Shop) -> None:
    assert shop.installer.plan_install(CAPTURES) == Plan(())
    assert "Nothing to do" in shop.installer.script(Plan(()))


def test_each_step_is_announced(plain: Database) -> None:
    installer = PostgresInstaller(plain.info)
    titles: list[str] = []
    installer.apply(installer.plan_install(CAPTURES), titles.append)
    ours = ["Make the journal", "Make the function that writes the journal", "Make the probe", PROVE]
    assert titles == [*ours, *(f"Capture {capture.table}" for capture in CAPTURES)]


def test_uninstall_restores_the_schema(plain: Database) -> None:
    before = dump(plain)
    installer = PostgresInstaller(plain.info)
    installer.apply(installer.plan_install(CAPTURES), silent)
    assert dump(plain) != before
    plain.execute("INSERT INTO customers VALUES ('1', 'a')")
    plan = installer.plan_uninstall()
    assert plan.notes == ("1 change in the journal has not been read and will be lost.",)
    assert [step.table for step in plan.steps][-1] == ""
    installer.apply(plan, silent)
    assert dump(plain) == before
    assert installer.plan_uninstall() == Plan(())


def test_every_table_of_the_erp(postgres_erp: Database) -> None:
    _round_trip(postgres_erp)


def test_the_full_schema(postgres_db: Database) -> None:
    if not FULL_SCHEMA.exists():
        pytest.skip("the dump of the full schema is not at hand (CDC_SHARED)")
    text = gzip.decompress(FULL_SCHEMA.read_bytes()).decode()
    text = re.sub(r"(?m)^(\\(un)?restrict .*|ALTER .* OWNER TO .*|SET transaction_timeout.*)$", "", text)
    postgres_db.connect(autocommit=True).execute(text.encode())
    assert _round_trip(postgres_db) == 83


def _round_trip(database: Database) -> int:
    before = dump(database)
    installer = PostgresInstaller(database.info)
    captures = all_captures(installer)
    installer.apply(installer.plan_install(captures), silent)
    assert installer.plan_install(captures) == Plan(())
    assert not [finding for finding in installer.findings(captures) if finding.severity is Severity.WRONG]
    installer.apply(installer.plan_uninstall(), silent)
    assert dump(database) == before
    return len(captures)


def test_the_script_runs_by_hand(plain: Database) -> None:
    installer = PostgresInstaller(plain.info)
    client(plain, "psql", "-q", text=installer.script(installer.plan_install(CAPTURES)))
    assert installer.plan_install(CAPTURES) == Plan(())
    client(plain, "psql", "-q", text=installer.script(installer.plan_uninstall()))
    assert plain.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'cdc'") == [(0,)]


def test_captures_come_and_go(shop: Shop) -> None:
    wanted = [Capture("customers", frozenset({"email"})), Capture("users", CAPTURES[2].secrets)]
    plan = shop.installer.plan_install(wanted)
    assert {step.table for step in plan.steps} == {"", "invoices", "odd", "customers"}
    shop.installer.apply(plan, silent)
    assert shop.installer.plan_install(wanted) == Plan(())
    shop.execute("INSERT INTO odd VALUES (1)")
    shop.execute("INSERT INTO customers VALUES ('1', 'a', 'hidden')")
    assert [row[0] for row in shop.journal()] == ["customers"]
    assert "hidden" not in str(shop.journal())


@pytest.mark.parametrize(
    ("damage", "phrase"),
    [
        ("DROP TRIGGER _cdc_row ON customers", "trigger _cdc_row is missing"),
        ("ALTER TABLE customers DISABLE TRIGGER _cdc_update", "trigger _cdc_update is disabled"),
        ("ALTER TABLE customers DISABLE TRIGGER ALL", "trigger _cdc_truncate is disabled"),
        ("DROP FUNCTION cdc.customers CASCADE", "function is missing"),
        ("ALTER FUNCTION cdc.customers SET search_path = public", "settings"),
        ("ALTER TABLE customers ADD COLUMN span interval", "settings"),
        ("ALTER FUNCTION cdc.customers SECURITY DEFINER", "settings"),
        (
            "CREATE OR REPLACE FUNCTION cdc.customers() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
            "function records nothing",
        ),
        (
            (
                "DROP TRIGGER _cdc_update ON customers; CREATE TRIGGER _cdc_update AFTER UPDATE ON customers "
                "FOR EACH ROW WHEN (OLD.name = 'c') EXECUTE FUNCTION cdc.customers()"
            ),
            "trigger _cdc_update was replaced by another one",
        ),
    ],
)
def test_drift_is_found_and_mended(shop: Shop, damage: str, phrase: str) -> None:
    shop.execute(damage)
    assert phrase in wrong(shop)["table customers"]
    titles = [step.title for step in shop.installer.plan_install(CAPTURES).steps]
    assert titles == [PROVE, "Repair the triggers of customers"]
    shop.installer.repair(["customers"])
    assert wrong(shop) == {}
    shop.execute("INSERT INTO customers VALUES ('1', 'a')")
    shop.execute("UPDATE customers SET name = 'b'")
    blind = "settings" not in phrase  # then nobody knows what was missed
    assert [operation for _, operation, *_ in shop.journal()] == [*(["G"] if blind else []), "I", "U"]


@pytest.mark.parametrize(
    ("damage", "phrase"),
    [
        ("DROP FUNCTION cdc.cdc_append", "cdc_append is missing"),
        ("REVOKE USAGE ON SCHEMA cdc FROM PUBLIC", "not every role may use"),
        ("REVOKE EXECUTE ON FUNCTION cdc.cdc_append FROM PUBLIC", "not every role may use"),
        ("ALTER FUNCTION cdc.cdc_append SECURITY INVOKER", "was replaced"),
        ("ALTER SCHEMA cdc RENAME TO elsewhere; ALTER SCHEMA elsewhere RENAME TO cdc", ""),
    ],
)
def test_journal_function_taken_away_fails_no_write_and_is_repaired(shop: Shop, damage: str, phrase: str) -> None:
    """Every captured table is read again, also when only one of them is repaired."""
    role = f"{shop.database.name}_erp"
    shop.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT INSERT ON customers TO {role}")
    try:
        erp = shop.database.connect(role, "x", autocommit=True)
        shop.execute(damage)
        if "INVOKER" not in damage:  # then its caller lacks the privilege, as with any table
            erp.execute("INSERT INTO customers VALUES ('1', 'a')")
        assert phrase in wrong(shop).get("journal", "")
        shop.installer.repair(["customers"])
        assert wrong(shop) == {}
        erp.execute("INSERT INTO customers VALUES ('2', 'a')")
        gaps = {(capture.table, "G") for capture in CAPTURES} if phrase else set()
        assert {(table, operation) for table, operation, *_ in shop.journal()} == gaps | {("customers", "I")}
    finally:
        shop.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_vanished_table_is_found(shop: Shop) -> None:
    shop.execute("DROP TABLE odd")
    assert wrong(shop) == {"table odd": "the table does not exist"}
    shop.installer.repair(["customers"])
    shop.installer.apply(shop.installer.plan_uninstall(), silent)


def test_findings_of_the_backlog_and_consumer(shop: Shop) -> None:
    checks = {finding.check: finding for finding in shop.installer.findings(CAPTURES)}
    assert {"server", "journal", "triggers", "consumer", "backlog"} <= set(checks)
    assert checks["consumer"].severity is Severity.WARNING
    shop.execute("SELECT pg_advisory_lock(%s, 1)", [0x63646300])
    shop.execute("INSERT INTO customers VALUES ('1', 'a')")
    checks = {finding.check: finding for finding in shop.installer.findings(CAPTURES)}
    assert checks["consumer"].severity is Severity.OK
    assert checks["backlog"].severity is Severity.OK
    assert checks["backlog"].detail.startswith("1 changes wait, the oldest for 0 s; the journal takes ")
    shop.execute("UPDATE cdc.cdc_journal SET at = now() - interval '1 hour'")
    stale = next(finding for finding in shop.installer.findings(CAPTURES) if finding.check == "backlog")
    assert stale.severity is Severity.WARNING
    assert "the oldest for 60 min; the journal takes " in stale.detail


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preparation", "capture", "sentence"),
    [
        ("CREATE TABLE keyless (a text)", "keyless", "No primary key: table keyless"),
        ("SELECT 1", "nowhere", "has no table nowhere"),
        ("CREATE VIEW looks AS SELECT * FROM odd", "looks", "looks is a view"),
        ("CREATE SCHEMA cdc", "odd", "already has a schema named cdc"),
        ("CREATE TABLE cdc_journal (a text)", "odd", "exist already: public.cdc_journal"),
        ("ALTER DATABASE {name} SET default_transaction_read_only = on", "odd", "is read-only here"),
    ],
)
def test_refusals(plain: Database, preparation: str, capture: str, sentence: str) -> None:
    plain.execute(preparation.format(name=plain.name))
    with pytest.raises(InstallError, match=sentence) as caught:
        PostgresInstaller(plain.info).plan_install([Capture(capture)])
    assert caught.value.hint


def test_a_trigger_name_that_is_taken(plain: Database) -> None:
    plain.execute(
        "CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; "
        "CREATE TRIGGER _cdc_row AFTER INSERT ON odd FOR EACH ROW EXECUTE FUNCTION mine()"
    )
    with pytest.raises(InstallError, match="trigger _cdc_row that is not this product's"):
        PostgresInstaller(plain.info).plan_install([Capture("odd")])


def test_no_server() -> None:
    from cdc.model.connection import ConnectionInfo, Engine  # noqa: PLC0415 - only this test makes one

    info = ConnectionInfo(Engine.POSTGRESQL, "x", "y", "hidden-password", port=1)
    with pytest.raises(SourceUnavailable) as caught:
        PostgresInstaller(info).existing_tables()
    assert "hidden-password" not in str(caught.value)


def test_a_lock_that_stays_names_its_holder_and_leaves_nothing_behind(plain: Database) -> None:
    before = dump(plain)
    holder = plain.connect()
    holder.execute("SET application_name = 'long report'; INSERT INTO odd VALUES (1, '{\"a\": \"PERSONAL\"}')")
    pauses: list[float] = []
    installer = PostgresInstaller(plain.info, LockWait(lock_seconds=0.1, lock_tries=2, pause=pauses.append))
    with pytest.raises(LockTimeout) as caught:
        installer.apply(installer.plan_install(CAPTURES), silent)
    assert f"connection {holder.info.backend_pid} (user {plain.info.user}, application long report" in str(caught.value)
    assert "2 tries" in str(caught.value)
    assert "PERSONAL" not in str(caught.value)
    assert pauses == [1.0]
    assert dump(plain) == before


def test_a_failing_step_takes_back_what_the_others_made(shop: Shop) -> None:
    """Captures installed before stay as they were."""
    shop.execute("CREATE TABLE more (id integer PRIMARY KEY)")
    plan = shop.installer.plan_install([*CAPTURES, Capture("more")])
    broken = Plan((*plan.steps, Step("Fail", "more", ("SELECT 1 / 0",))))
    with pytest.raises(InstallError, match="division by zero"):
        shop.installer.apply(broken, silent)
    assert shop.installer.plan_install(CAPTURES) == Plan(())
    assert shop.execute("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'more'::regclass") == [(0,)]


def test_a_failed_uninstall_puts_the_triggers_back(shop: Shop) -> None:
    shop.execute("CREATE TABLE cdc.somebodys (a text)")
    with pytest.raises(InstallError, match="schema cdc"):
        shop.installer.apply(shop.installer.plan_uninstall(), silent)
    assert shop.installer.plan_install(CAPTURES) == Plan(())


# -- accounts ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def accounts(plain: Database) -> Iterator[tuple[str, str, list[str]]]:
    """Installer, consumer, and the two parts of the statements that `grants` prints, for roles of this test."""
    installer, consumer = f"{plain.name}_installer", f"{plain.name}_consumer"
    names = {AccountRole.INSTALLER: installer, AccountRole.CONSUMER: consumer}
    configured = {role: plain.info.as_user(name, "x") for role, name in names.items()}
    parts = PostgresInstaller(plain.info).grants(CAPTURES, AccountChoice(configured=configured)).split("-- 2.")
    yield installer, consumer, [parts[0], "-- 2." + parts[1]]
    for role in (installer, consumer):
        if plain.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]):
            plain.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


async def test_exactly_the_granted_privileges_are_enough(plain: Database, accounts: tuple[str, str, list[str]]) -> None:
    installer_name, consumer_name, (before, after) = accounts
    plain.execute(before)
    installer = PostgresInstaller(plain.info.as_user(installer_name, "x"), LockWait(lock_seconds=0.2))
    installer.apply(installer.plan_install(CAPTURES), silent)
    plain.execute(after)
    plain.execute("INSERT INTO users VALUES ('a', 'PLANTED', 'PLANTED', 1)")
    journal = PostgresJournal(plain.info.as_user(consumer_name, "x"), CAPTURES)
    await journal.connect()
    assert await journal.try_lock(0)
    rows = await journal.peek(10)
    assert rows[0].change.after == {"nick": "a", "level": 1}
    assert await journal.all_rows("users") == [rows[0].change.after]
    assert await journal.rows("users", "nick", ["a"]) == [rows[0].change.after]
    page = await journal.page(PageRequest((await journal.tables())["users"], None, 10), 100)
    assert page is not None
    assert page.page.rows == [rows[0].change.after]
    await journal.delete([rows[0].token])
    assert await journal.peek(10) == []
    plain.execute("ALTER TABLE users ADD COLUMN later text DEFAULT 'x'")
    assert await journal.all_rows("users") == [rows[0].change.after]
    await journal.disconnect()
    consumer = plain.connect(consumer_name, "x", autocommit=True)
    for forbidden in (
        "SELECT password FROM users",
        "UPDATE users SET level = 2",
        "INSERT INTO cdc.cdc_capture VALUES ('a')",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            consumer.execute(forbidden)
    plain.execute("ALTER TABLE odd DISABLE TRIGGER _cdc_row")
    installer.repair(["odd"])
    installer.apply(installer.plan_uninstall(), silent)
    assert plain.execute("SELECT count(*) FROM pg_trigger WHERE tgname LIKE '\\_cdc%%'") == [(0,)]


def test_missing_privileges_are_named(plain: Database, accounts: tuple[str, str, list[str]]) -> None:
    name, _, (before, _) = accounts
    plain.execute(before)
    plain.execute(f"REVOKE TRIGGER ON odd FROM {name}")
    installer = PostgresInstaller(plain.info.as_user(name, "x"))
    with pytest.raises(InstallError, match="may not create triggers on table odd") as caught:
        installer.plan_install(CAPTURES)
    plain.execute(caught.value.hint)
    plain.execute(f"REVOKE CREATE ON DATABASE {plain.name} FROM {name}")
    with pytest.raises(InstallError, match="may not create a schema") as caught:
        installer.plan_install(CAPTURES)
    plain.execute(caught.value.hint)
    installer.apply(installer.plan_install(CAPTURES), silent)


def test_the_tables_owner_can_still_dump(plain: Database, accounts: tuple[str, str, list[str]]) -> None:
    name, owner, (before, _) = accounts
    plain.execute(before)
    plain.execute(f"ALTER TABLE odd OWNER TO {owner}")
    plain.execute(f"GRANT TRIGGER ON odd TO {name}")
    installer = PostgresInstaller(plain.info.as_user(name, "x"))
    installer.apply(installer.plan_install([Capture("odd")]), silent)
    reader = plain.connect(owner, "x", autocommit=True)
    assert reader.execute("SELECT count(*) FROM cdc.cdc_journal").fetchone() == (0,)
    reader.execute("BEGIN")
    reader.execute("LOCK TABLE cdc.cdc_journal, cdc.cdc_capture, cdc.cdc_installation IN ACCESS SHARE MODE")
    reader.rollback()
