"""Installing, refusing, repairing and removing; nothing remains that was not there before."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from typing import Any

import pymysql
import pytest

from cdc.capture.triggers.base import Plan, Step
from cdc.capture.triggers.mysql import LockTries, MySQLInstaller
from cdc.database.mysql_inspect import APPLIER
from cdc.database.mysql_journal import Tokens
from cdc.model.column import Capture
from cdc.model.errors import CdcError, InstallError, LockTimeout
from cdc.model.finding import Repaired, Severity
from support.database import Database
from support.mysql_capture import brief, drain, install, installer, uninstall

ITEM = "CREATE TABLE item (id INT PRIMARY KEY, name VARCHAR(50)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"
CAPTURES = [Capture("facturascli"), Capture("stocks"), Capture("users", frozenset({"password", "logkey"}))]

ROUTINES = (
    "SELECT ROUTINE_NAME, ROUTINE_DEFINITION, ROUTINE_COMMENT FROM information_schema.ROUTINES "
    "WHERE ROUTINE_SCHEMA = DATABASE()"
)


def schema(database: Database) -> list[Any]:
    """Everything that a dump of the structure would show."""
    tables = [name for (name,) in database.execute("SHOW TABLES")]
    structure: list[Any] = [
        database.execute(f"SHOW CREATE TABLE `{name}`")[0][1].replace(" AUTO_INCREMENT=2", "") for name in tables
    ]
    structure += database.execute(
        "SELECT TRIGGER_NAME, ACTION_STATEMENT, DEFINER, ACTION_ORDER FROM information_schema.TRIGGERS "
        "WHERE EVENT_OBJECT_SCHEMA = DATABASE() ORDER BY 1"
    )
    structure += database.execute(ROUTINES)
    return structure


def test_install_twice_and_uninstall(shop: Database) -> None:
    before = schema(shop)
    there = install(shop, *CAPTURES)
    assert schema(shop) != before
    assert there.plan_install(CAPTURES) == Plan(())
    assert {f.check for f in there.findings(CAPTURES) if f.severity is not Severity.OK} <= {"foreign keys"}  # MySQL 9
    assert there.plan_uninstall().notes == ()
    shop.execute("UPDATE users SET email = 'a@b.example' LIMIT 1")
    assert there.plan_uninstall().notes == ("1 change in the journal has not been read and will be lost.",)
    uninstall(shop)
    assert schema(shop) == before
    assert there.plan_uninstall() == Plan(())


def test_progress_names_each_table(shop: Database) -> None:
    said: list[str] = []
    there = installer(shop)
    there.apply(there.plan_install(CAPTURES), said.append)
    assert "create triggers of facturascli" in said
    assert "create triggers of users" in said


def test_fewer_captures_remove_triggers(shop: Database) -> None:
    there = install(shop, *CAPTURES)
    plan = there.plan_install(CAPTURES[1:])
    assert "facturascli" in {step.table for step in plan.steps}
    there.apply(plan, lambda _: None)
    assert there.plan_install(CAPTURES[1:]) == Plan(())
    names = [
        name
        for (name,) in shop.execute(
            "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = DATABASE()"
        )
    ]
    assert not [name for name in names if name == "cdc_facturascli_ai"]


def test_the_script_can_be_run_by_hand(shop: Database) -> None:
    there = installer(shop)
    script = there.script(there.plan_install(CAPTURES))
    command = ["mariadb", "--no-defaults", "--skip-ssl", f"-h{shop.info.host}", f"-P{shop.info.port}"]
    command += [f"-u{shop.info.user}", f"-p{shop.info.password}", "--default-character-set=utf8mb4", shop.name]
    try:
        done = subprocess.run(command, input=script, text=True, capture_output=True, check=False)
    except FileNotFoundError:
        shop.script(script)
    else:
        assert done.returncode == 0, done.stderr
    assert there.plan_install(CAPTURES) == Plan(())


def test_other_people_s_triggers_stay_and_run_first(db: Database) -> None:
    db.execute(ITEM)
    db.execute("CREATE TABLE log (id INT AUTO_INCREMENT PRIMARY KEY, what VARCHAR(50))")
    db.execute("CREATE TRIGGER item_log AFTER INSERT ON item FOR EACH ROW INSERT INTO log (what) VALUES (NEW.name)")
    before = schema(db)
    install(db, "item")
    order = db.execute(
        "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = DATABASE() "
        "AND EVENT_MANIPULATION = 'INSERT' AND EVENT_OBJECT_TABLE = 'item' ORDER BY ACTION_ORDER"
    )
    assert order == [("item_log",), ("cdc_item_ai",)]
    db.execute("INSERT INTO item VALUES (1, 'a')")
    assert db.execute("SELECT what FROM log") == [("a",)]
    assert len(drain(db)) == 1
    db.execute("DELETE FROM log")
    uninstall(db)
    assert schema(db) == before


def refusal(database: Database, *captures: Capture | str) -> InstallError:
    with pytest.raises(InstallError) as caught:
        install(database, *captures)
    return caught.value


def test_refused_tables(db: Database) -> None:
    db.execute("CREATE TABLE keyless (a INT) ENGINE=InnoDB")
    db.execute("CREATE TABLE memory (a INT PRIMARY KEY) ENGINE=MEMORY")
    db.execute(ITEM)
    assert "without a primary key: keyless" in refusal(db, "keyless", "item").message
    assert "not stored in InnoDB: memory" in refusal(db, "memory").message
    assert "not in this database: absent" in refusal(db, "absent", "item").message
    assert "declared secret: item" in refusal(db, Capture("item", frozenset({"id"}))).message
    assert db.execute("SHOW TABLES LIKE 'cdc%'") == []


@pytest.mark.parametrize(
    "taken",
    [
        "CREATE TABLE cdc_journal (a INT)",
        "CREATE TABLE cdc_shape (a INT)",
        "CREATE TRIGGER cdc_item_ai AFTER INSERT ON item FOR EACH ROW SET @x = 1",
    ],
)
def test_refused_names(db: Database, taken: str) -> None:
    db.execute(ITEM)
    db.execute(taken)
    before = schema(db)
    assert "under names that we need: cdc_" in refusal(db, "item").message
    assert schema(db) == before
    assert installer(db).plan_uninstall() == Plan(())


def account(database: Database, name: str, *grants: str) -> MySQLInstaller:
    user = f"{name}_{database.name}"[:32]
    database.execute(f"CREATE USER '{user}'@'%' IDENTIFIED BY 'p4ssw0rd!'")
    for grant in grants:
        database.execute(f"GRANT {grant} TO '{user}'@'%'")
    return MySQLInstaller(database.info.as_user(user, "p4ssw0rd!"), LockTries(1, 1))


def test_refused_without_privileges(db: Database) -> None:
    db.execute(ITEM)
    poor = account(db, "poor", f"SELECT ON `{db.name}`.*")
    with pytest.raises(InstallError, match=r"lacks the privileges TRIGGER, LOCK TABLES"):
        poor.plan_install([Capture("item")])


def test_a_privilege_that_is_missed_half_way_leaves_nothing(db: Database) -> None:
    db.execute(ITEM)
    before = schema(db)
    rights = "SELECT, TRIGGER, LOCK TABLES, DROP, CREATE"
    half = account(db, "half", f"{rights} ON `{db.name}`.*", *_mysql_only(db))
    with pytest.raises(InstallError, match="lacks a privilege"):
        half.apply(half.plan_install([Capture("item")]), lambda _: None)
    assert schema(db) == before


def _mysql_only(database: Database) -> list[str]:
    return ["SELECT ON performance_schema.*"] if database.flavour == "mysql" else []


@pytest.mark.parametrize("flavour", ["mariadb", "mysql"])
def test_error_1419_is_seen_ahead(flavour: str, own_server: Callable[..., Database]) -> None:
    """On a server of its own: the setting is the whole server's."""
    db = own_server(flavour, binlog=True)
    db.execute(ITEM)
    ordinary = account(db, "ord", f"ALL PRIVILEGES ON `{db.name}`.*", *_mysql_only(db))
    db.execute("SET GLOBAL log_bin_trust_function_creators = 0")
    plan = ordinary.plan_install([Capture("item")])
    with pytest.raises(InstallError, match=r"1419.*log_bin_trust_function_creators"):
        ordinary.apply(plan, lambda _: None)
    assert db.execute("SHOW TABLES") == [("item",)]
    db.script(ordinary.script(plan))  # by an account that may
    assert ordinary.plan_install([Capture("item")]).steps == ()


def two_changes(database: Database) -> None:
    connection = database.connect()
    connection.cursor().execute("INSERT INTO item VALUES (1, 'a')")
    connection.cursor().execute("UPDATE item SET name = 'b'")
    connection.cursor().execute("DELETE FROM item")
    connection.commit()


def test_without_the_performance_schema_nothing_is_installed(mysql_db: Database) -> None:
    """The usual account of an ERP: every right on its own database, none elsewhere."""
    mysql_db.execute(ITEM)
    before = schema(mysql_db)
    erp = account(mysql_db, "erp", f"ALL PRIVILEGES ON `{mysql_db.name}`.*")
    plan = erp.plan_install([Capture("item")])
    user = f"'erp_{mysql_db.name}'@'%'"
    grant = f"GRANT SELECT ON performance_schema.events_transactions_current TO {user}"
    with pytest.raises(InstallError) as caught:
        erp.apply(plan, lambda _: None)
    assert caught.value.hint.startswith(f"{grant}; or cdc install-triggers --row-tokens")
    assert schema(mysql_db) == before
    mysql_db.execute(grant)
    erp.apply(erp.plan_install([Capture("item")]), lambda _: None)
    two_changes(mysql_db)
    rows = drain(mysql_db)
    assert (len(rows), len({row.token for row in rows}), any(row.gap for row in rows)) == (3, 1, False)


def test_doctor_names_the_grant_that_the_definer_lost(mysql_db: Database) -> None:
    mysql_db.execute(ITEM)
    erp = account(mysql_db, "erp", f"ALL PRIVILEGES ON `{mysql_db.name}`.*")
    right = "SELECT ON performance_schema.events_transactions_current"
    mysql_db.execute(f"GRANT {right} TO 'erp_{mysql_db.name}'@'%%'", ())
    mysql_db.execute(f"GRANT SELECT ON {APPLIER} TO 'erp_{mysql_db.name}'@'%%'", ())
    captures = [Capture("item")]
    erp.apply(erp.plan_install(captures), lambda _: None)
    assert [f for f in erp.findings(captures) if f.severity is not Severity.OK] == []
    mysql_db.execute(f"REVOKE {right} FROM 'erp_{mysql_db.name}'@'%%'", ())
    wrong = [f for f in erp.findings(captures) if f.severity is Severity.WRONG]
    assert any(f"GRANT {right} TO 'erp_{mysql_db.name}'" in f.fix for f in wrong)


def test_tokens_by_row_are_a_choice_that_can_be_taken_back(mysql_db: Database) -> None:
    mysql_db.execute(ITEM)
    erp = account(mysql_db, "erp", f"ALL PRIVILEGES ON `{mysql_db.name}`.*")
    captures = [Capture("item")]
    erp.apply(erp.plan_install(captures, tokens=Tokens.ROW), lambda _: None)
    assert erp.plan_install(captures) == Plan(())
    two_changes(mysql_db)
    rows = drain(mysql_db)
    assert (len(rows), len({row.token for row in rows}), any(row.gap for row in rows)) == (3, 3, False)
    mysql_db.execute(f"GRANT SELECT ON {APPLIER} TO 'erp_{mysql_db.name}'@'%%'", ())
    (told,) = [f for f in erp.findings(captures) if f.severity is not Severity.OK]
    assert (told.check, told.severity) == ("transactions", Severity.WARNING)
    owner = installer(mysql_db)
    owner.apply(owner.plan_install(captures, tokens=Tokens.PERFORMANCE_SCHEMA), lambda _: None)
    two_changes(mysql_db)
    assert len({row.token for row in drain(mysql_db)}) == 1


def test_a_performance_schema_that_is_off_is_refused(own_server: Callable[..., Database]) -> None:
    db = own_server("mysql", "--performance-schema=OFF")
    db.execute(ITEM)
    assert "does not record transactions" in refusal(db, "item").message
    there = installer(db)
    there.apply(there.plan_install([Capture("item")], tokens=Tokens.ROW), lambda _: None)
    two_changes(db)
    assert len(drain(db)) == 3


def test_a_metadata_lock_is_waited_for_then_named(db: Database) -> None:
    db.execute(ITEM)
    before = schema(db)
    holder = db.connect()
    holder.cursor().execute("SELECT * FROM item")
    with pytest.raises(LockTimeout) as caught:
        install(db, "item")
    assert f"connection {holder.thread_id()} of {db.info.user}@" in caught.value.message
    assert "table item stayed locked for 2 times 1 s" in caught.value.message
    assert schema(db) == before
    holder.rollback()
    install(db, "item")


def test_a_failure_half_way_restores_the_old_triggers(db: Database) -> None:
    db.execute(ITEM)
    there = install(db, "item")
    db.execute("ALTER TABLE item ADD COLUMN more INT")
    before = schema(db)[1:]
    plan = there.plan_install([Capture("item")])
    broken = Plan((*plan.steps, Step("fail", "", ("SELECT * FROM absent",))))
    with pytest.raises(InstallError, match="Could not fail"):
        there.apply(broken, lambda _: None)
    after = schema(db)[1:]
    assert [row[:2] for row in after if isinstance(row, tuple)] == [row[:2] for row in before if isinstance(row, tuple)]


def test_findings_name_each_drift(db: Database) -> None:
    db.execute(ITEM)
    captures = [Capture("item")]
    there = installer(db)
    assert [f.check for f in there.findings(captures) if f.severity is Severity.WRONG] == ["journal"]
    install(db, "item")

    def wrong() -> list[str]:
        return [f.detail for f in there.findings(captures) if f.severity is Severity.WRONG]

    assert wrong() == []
    db.execute("DROP TRIGGER cdc_item_au")
    assert wrong() == ["Missing: cdc_item_au."]
    there.repair(["item"])
    assert db.execute("SELECT gap FROM cdc_journal") == [(1,)]  # nobody knows what was missed meanwhile
    db.execute("DELETE FROM cdc_journal")
    db.execute("ALTER TABLE item ADD COLUMN more INT, MODIFY name VARCHAR(99)")
    assert "column more was added; column name was varchar(50)" in wrong()[0]
    db.execute("ALTER TABLE item DROP COLUMN more")
    there.repair(["item"])
    assert wrong() == []


def test_backlog_is_warned_of_by_age_and_by_size(db: Database) -> None:
    db.execute(ITEM)
    there = install(db, "item")

    def check() -> tuple[Severity, str]:
        (found,) = [f for f in there.findings([Capture("item")]) if f.check == "backlog"]
        return found.severity, found.detail

    assert check() == (Severity.OK, "0 changes wait")
    db.execute("INSERT INTO item VALUES (1, 'a')")
    severity, detail = check()
    assert severity is Severity.OK
    assert re.match(r"1 changes wait, the oldest for \d+ s; the journal takes \d", detail)
    db.execute("UPDATE cdc_journal SET at = at - INTERVAL 3 DAY")
    severity, detail = check()
    assert severity is Severity.WARNING
    assert "the oldest for 3 days" in detail
    db.execute("DELETE FROM cdc_journal")
    versioned = db.execute("SELECT 1 FROM cdc_installation WHERE tokens = 'row-start'")
    name, value = ("", "") if versioned else ("txn, ", "1, ")
    row = f"({name}at, shape, op) SELECT {value}UTC_TIMESTAMP(6), 1, 1"
    db.execute(f"INSERT INTO cdc_journal {row}")
    for _ in range(17):
        db.execute(f"INSERT INTO cdc_journal {row} FROM cdc_journal")
    db.execute("ANALYZE TABLE cdc_journal")  # the server counts pages now and then by itself
    severity, detail = check()
    assert severity is Severity.WARNING
    assert re.match(r"more than 100,000 changes wait, .* the journal takes \d+\.\d MB of disk", detail)


@pytest.mark.parametrize("by", ["install-triggers", "the consumer's repair", "uninstall-triggers"])
def test_procedure_of_an_earlier_version_is_removed(db: Database, by: str) -> None:
    db.execute(ITEM)
    there = install(db, "item")
    db.execute("CREATE PROCEDURE cdc_wait(IN seen BIGINT UNSIGNED, IN seconds DOUBLE, IN pause DOUBLE) SELECT 0")
    captures = [Capture("item")]
    assert [f.check for f in there.findings(captures) if f.severity is Severity.WARNING] == ["waiting"]
    rights = f"SELECT, TRIGGER, LOCK TABLES, INSERT, UPDATE, DELETE ON `{db.name}`.*"
    poor = account(db, "poor", rights, *_mysql_only(db))
    assert poor.repair() == Repaired(), "an account that may not drop it repairs all else"
    if by == "install-triggers":
        there.apply(there.plan_install(captures), lambda _: None)
    elif by == "uninstall-triggers":
        there.apply(there.plan_uninstall(), lambda _: None)
    else:
        assert there.repair().done == ("remove procedure cdc_wait",)
    assert db.execute(ROUTINES) == []


def test_a_missing_definer_is_found_and_mended(db: Database) -> None:
    db.execute(ITEM)
    other = account(db, "gone", f"ALL PRIVILEGES ON `{db.name}`.*", *_mysql_only(db))
    other.apply(other.plan_install([Capture("item")]), lambda _: None)
    user = db.execute("SELECT DEFINER FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = DATABASE()")[0][0]
    name, host = user.rsplit("@", 1)
    db.execute(f"DROP USER '{name}'@'{host}'")
    with pytest.raises(pymysql.err.OperationalError):
        db.execute("INSERT INTO item VALUES (1, 'a')")
    there = installer(db)
    found = [f for f in there.findings([Capture("item")]) if f.check == "definer"]
    assert [(f.severity, name in f.detail) for f in found] == [(Severity.WRONG, True)]
    there.repair(["item"])
    db.execute("INSERT INTO item VALUES (1, 'a')")
    assert brief(drain(db), "id") == [("create", "item", None, (1,))]


def test_existing_tables(db: Database) -> None:
    db.execute(ITEM)
    db.execute("CREATE VIEW view_of_item AS SELECT * FROM item")
    assert installer(db).existing_tables() == {"item": ("id", "name")}


def test_an_unreachable_server_is_said(db: Database) -> None:
    wrong = MySQLInstaller(db.info.as_user("nobody", "wrong-p4ss"))
    with pytest.raises(CdcError) as caught:
        wrong.existing_tables()
    assert "wrong-p4ss" not in str(caught.value)
