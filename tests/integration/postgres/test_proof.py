"""Proving that changes are captured, and where that must fail."""

from __future__ import annotations

import pytest

from cdc.capture.triggers.postgres import PostgresInstaller
from cdc.model.column import Capture
from cdc.model.connection import AccountChoice
from cdc.model.errors import InstallError
from cdc.model.finding import Finding, Severity
from support.database import Database

ITEM = "CREATE TABLE item (id integer PRIMARY KEY, name text)"
CAPTURES = [Capture("item")]
JOURNALED = "SELECT count(*) FROM cdc.cdc_journal"


@pytest.fixture
def there(postgres_db: Database) -> PostgresInstaller:
    postgres_db.execute(ITEM)
    installer = PostgresInstaller(postgres_db.info)
    installer.apply(installer.plan_install(CAPTURES), lambda _: None)
    return installer


def proved(installer: PostgresInstaller) -> Finding:
    (finding,) = [finding for finding in installer.findings(CAPTURES) if finding.check == "capture"]
    return finding


def test_proof_succeeds_and_leaves_no_row(postgres_db: Database, there: PostgresInstaller) -> None:
    assert proved(there).severity is Severity.OK
    assert postgres_db.execute("SELECT * FROM cdc.cdc_probe") == []
    assert postgres_db.execute(JOURNALED) == [(0,)]
    assert there.plan_install(CAPTURES).steps == ()
    there.apply(there.plan_uninstall(), lambda _: None)
    assert postgres_db.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'cdc'") == []


def test_installation_without_a_probe_gets_it_with_the_next_one(
    postgres_db: Database, there: PostgresInstaller
) -> None:
    """As 0.1.0 left it; the owner of the captured tables can still dump the database."""
    owner = f"owner_{postgres_db.name}"
    postgres_db.execute(f"CREATE ROLE {owner}")
    try:
        postgres_db.execute(f"ALTER TABLE item OWNER TO {owner}")
        postgres_db.execute("DROP TABLE cdc.cdc_probe")
        postgres_db.execute("DROP FUNCTION cdc.cdc_probe()")
        assert proved(there).severity is Severity.WARNING
        there.apply(there.plan_install(CAPTURES), lambda _: None)
        assert proved(there).severity is Severity.OK
        assert postgres_db.execute(f"SELECT has_table_privilege('{owner}', 'cdc.cdc_probe', 'SELECT')") == [(True,)]
    finally:
        postgres_db.execute(f"DROP OWNED BY {owner} CASCADE")
        postgres_db.execute(f"DROP ROLE {owner}")


def test_consumer_account_proves_capture_with_the_printed_grants(
    postgres_db: Database, there: PostgresInstaller
) -> None:
    consumer = f"consumer_{postgres_db.name}"
    postgres_db.execute(f"CREATE ROLE {consumer} LOGIN PASSWORD 'p4ssw0rd'")
    try:
        postgres_db.execute(f"GRANT USAGE ON SCHEMA cdc TO {consumer}")
        postgres_db.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA cdc TO {consumer}")
        as_consumer = PostgresInstaller(postgres_db.info.as_user(consumer, "p4ssw0rd"))
        finding = proved(as_consumer)
        assert (finding.severity, consumer in finding.detail) == (Severity.WARNING, True)
        for grant in finding.fix.split("; "):
            assert grant.split()[1] in {"INSERT", "UPDATE", "DELETE"}
            postgres_db.execute(grant)
        assert proved(as_consumer).severity is Severity.OK
        assert "SELECT, INSERT, UPDATE, DELETE ON cdc.cdc_probe" in there.grants(CAPTURES, AccountChoice(shared=True))
    finally:
        postgres_db.execute(f"DROP OWNED BY {consumer}")
        postgres_db.execute(f"DROP ROLE {consumer}")


def test_triggers_that_do_not_fire_are_found(postgres_db: Database, there: PostgresInstaller) -> None:
    postgres_db.execute("ALTER TABLE cdc.cdc_probe DISABLE TRIGGER _cdc_update")
    finding = proved(there)
    assert (finding.severity, finding.detail) == (
        Severity.WRONG,
        "3 changes of cdc.cdc_probe left 2 rows in the journal.",
    )


def test_function_that_may_not_write_the_journal_is_found(postgres_db: Database, there: PostgresInstaller) -> None:
    other = f"other_{postgres_db.name}"
    postgres_db.execute(f"CREATE ROLE {other}")
    try:
        postgres_db.execute(f"GRANT CREATE, USAGE ON SCHEMA cdc TO {other}")
        postgres_db.execute(f"ALTER FUNCTION cdc.cdc_append OWNER TO {other}")
        finding = proved(there)
        assert finding.severity is Severity.WRONG
        assert "permission denied for table cdc_journal" in finding.detail
    finally:
        postgres_db.execute(f"DROP OWNED BY {other} CASCADE")
        postgres_db.execute(f"DROP ROLE {other}")


def test_nothing_is_installed_where_the_proof_fails(postgres_db: Database) -> None:
    """An account set to `session_replication_role = replica` fires no trigger."""
    postgres_db.execute(ITEM)
    installer = PostgresInstaller(postgres_db.info)
    postgres_db.execute(f"ALTER DATABASE {postgres_db.name} SET session_replication_role = replica")
    with pytest.raises(InstallError, match="left 0 rows"):
        installer.apply(installer.plan_install(CAPTURES), lambda _: None)
    assert postgres_db.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'cdc'") == []
    assert postgres_db.execute("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal") == []
