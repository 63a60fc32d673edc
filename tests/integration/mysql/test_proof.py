"""Proving that changes are captured: with each way to know a transaction, and where it must fail."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cdc.capture.triggers.mysql import LockTries, MySQLInstaller
from cdc.model.column import Capture
from cdc.model.connection import AccountChoice
from cdc.model.errors import InstallError
from cdc.model.finding import Finding, Severity
from support.database import Database
from support.mysql_capture import drain, install, installer

ITEM = "CREATE TABLE item (id INT PRIMARY KEY, name VARCHAR(50)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"
CAPTURES = [Capture("item")]
#: As released in 0.1.0.
SHARED_THREAD = "WHERE `THREAD_ID` = PS_CURRENT_THREAD_ID()"


def account(database: Database, name: str, *grants: str) -> MySQLInstaller:
    user = user_of(database, name)
    database.execute(f"CREATE USER '{user}'@'%' IDENTIFIED BY 'p4ssw0rd!'")
    for grant in grants:
        database.execute(f"GRANT {grant} TO '{user}'@'%'")
    return MySQLInstaller(database.info.as_user(user, "p4ssw0rd!"), LockTries(1, 1))


def user_of(database: Database, name: str) -> str:
    return f"{name}_{database.name}"[:32]


def proved(there: MySQLInstaller) -> list[Finding]:
    return [finding for finding in there.findings(CAPTURES) if finding.check == "capture"]


def severities(there: MySQLInstaller) -> list[Severity]:
    return [finding.severity for finding in proved(there)]


def test_proof_succeeds_and_leaves_no_row(db: Database) -> None:
    db.execute(ITEM)
    there = install(db, "item")
    for _ in range(2):
        (finding,) = proved(there)
        assert (finding.severity, "each transaction kept together" in finding.detail) == (Severity.OK, True)
        assert db.execute("SELECT * FROM cdc_probe WHERE id > 0") == []
        assert drain(db) == []
    db.execute("INSERT INTO item VALUES (1, 'a')")
    assert severities(there) == [Severity.OK]
    assert len(drain(db)) == 1


def test_proof_on_mysql_takes_a_connection_for_each_table_cache(own_server: Callable[..., Database]) -> None:
    """The tests' servers have two of them; this is MySQL's default."""
    db = own_server("mysql", "--table-open-cache-instances=16")
    db.execute(ITEM)
    (finding,) = proved(install(db, "item"))
    assert (finding.severity, "on 17 connections" in finding.detail) == (Severity.OK, True)


def test_uninstalling_removes_the_probe(db: Database) -> None:
    db.execute(ITEM)
    there = install(db, "item")
    there.apply(there.plan_uninstall(), lambda _: None)
    assert db.execute("SHOW TABLES") == [("item",)]


def test_installation_without_a_probe_is_not_proved_until_installed_again(db: Database) -> None:
    db.execute(ITEM)
    there = install(db, "item")
    db.execute("DROP TABLE cdc_probe")
    (finding,) = proved(there)
    assert (finding.severity, finding.fix.split(";")[0]) == (Severity.WARNING, "cdc install-triggers")
    there.repair()
    assert severities(there) == [Severity.WARNING], "an account of an earlier version may not make it"
    there.apply(there.plan_install(CAPTURES), lambda _: None)
    assert severities(there) == [Severity.OK]


def test_consumer_account_proves_capture_with_the_printed_grants(db: Database) -> None:
    db.execute(ITEM)
    owner = install(db, "item")
    consumer = account(db, "consumer", f"SELECT, TRIGGER ON `{db.name}`.*")
    (finding,) = proved(consumer)
    assert finding.severity is Severity.WARNING
    assert "may not write cdc_probe" in finding.detail
    assert user_of(db, "consumer") in finding.detail
    for grant in finding.fix.split("; "):
        db.execute(grant)
    assert severities(consumer) == [Severity.OK]
    printed = owner.grants(CAPTURES, AccountChoice(shared=True))
    assert f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{db.name}`.`cdc_probe` TO 'cdc_consumer'@'%';" in printed


def test_triggers_that_split_transactions_are_found(mysql_db: Database) -> None:
    """The triggers of 0.1.0, which share what was prepared for another session from the 17th connection on."""
    mysql_db.execute(ITEM)
    there = install(mysql_db, "item")
    shown = mysql_db.execute("SHOW TRIGGERS LIKE 'cdc_probe'")
    for name, event, _, body, timing, *_ in shown:
        mysql_db.execute(f"DROP TRIGGER {name}")
        old = body.replace("WHERE `THREAD_ID` = @cdc_thread", SHARED_THREAD)
        assert old != body
        mysql_db.execute(f"CREATE TRIGGER {name} {timing} {event} ON cdc_probe FOR EACH ROW {old}")
    (finding,) = proved(there)
    assert (finding.severity, finding.detail) == (Severity.WRONG, "The triggers take one transaction for several.")
    there.apply(there.plan_install(CAPTURES), lambda _: None)
    assert severities(there) == [Severity.OK]


def test_definer_without_the_performance_schema_is_found_by_any_account(mysql_db: Database) -> None:
    """A script can be run by hand with an account that may not read it."""
    mysql_db.execute(ITEM)
    erp = account(mysql_db, "erp", f"ALL PRIVILEGES ON `{mysql_db.name}`.*")
    connection = mysql_db.connect(user_of(mysql_db, "erp"), "p4ssw0rd!", autocommit=True)
    for step in erp.plan_install(CAPTURES).steps:
        for statement in step.statements:
            connection.cursor().execute(statement)
    for there in (erp, installer(mysql_db)):
        (finding,) = proved(there)
        assert (finding.severity, "each becomes a gap" in finding.detail) == (Severity.WRONG, True)
        grant = finding.fix.split(";")[0]
        assert f"events_transactions_current TO '{user_of(mysql_db, 'erp')}'@'%'" in grant
    mysql_db.execute(grant)
    (finding,) = proved(erp)
    assert (finding.severity, "is a replica" in finding.detail) == (Severity.WARNING, True)
    mysql_db.execute(finding.fix)
    assert severities(erp) == [Severity.OK]


def test_rights_through_a_role_are_refused_before_a_write_fails(mariadb_db: Database) -> None:
    """MariaDB's triggers run without their definer's roles: every write of another account would fail."""
    db = mariadb_db
    db.execute(ITEM)
    user, role = user_of(db, "member"), user_of(db, "role")
    db.execute(f"CREATE ROLE {role}")
    db.execute(f"GRANT ALL PRIVILEGES ON `{db.name}`.* TO {role}")
    member = account(db, "member")
    db.execute(f"GRANT {role} TO '{user}'@'%'")
    db.execute(f"SET DEFAULT ROLE {role} FOR '{user}'@'%'")
    with pytest.raises(InstallError, match=f"{user}@% may not write cdc_probe .* by rights of its own"):
        member.apply(member.plan_install(CAPTURES), lambda _: None)
    assert db.execute("SHOW TABLES") == [("item",)]
    db.execute("INSERT INTO item VALUES (1, 'a')")
    db.execute(f"DROP ROLE {role}")


def test_database_outside_the_binlog_is_refused(own_server: Callable[..., Database]) -> None:
    """MariaDB's @@last_gtid does not move there: the triggers would take several transactions for one."""
    db = own_server("mariadb", "--binlog-do-db=another", binlog=True)
    db.execute(ITEM)
    with pytest.raises(InstallError, match="several transactions for one") as caught:
        install(db, "item")
    assert "binlog_do_db" in caught.value.hint
    assert db.execute("SHOW TABLES") == [("item",)]
