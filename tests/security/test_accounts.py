"""A thief of one tenant's accounts, as `cdc grants` prints them, tries to reach another tenant on the same server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pymysql
import pytest

from cdc.capture.binlog.connection import HEARTBEAT, LogConnection
from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.triggers.base import AnyInstaller
from cdc.database.postgres_capture import LOCK_CLASS, LOCK_CONSUMER
from cdc.database.postgres_connection import connect as connect_postgres
from cdc.model.column import Capture
from cdc.model.connection import AccountChoice, AccountRole, ConnectionInfo
from cdc.model.errors import SourceError
from cdc.model.finding import Severity
from cdc.runtime.capture import installer_of
from support.database import Database
from support.grants import PrintedGrants

CAPTURES = [Capture("item")]
ITEM = "CREATE TABLE item (id INT PRIMARY KEY, name VARCHAR(50))"
#: Statements of an account of tenant a against tenant b.  Each must be refused, or show and change nothing.
MYSQL = {
    "read a table": "SELECT * FROM `{b}`.item",
    "read the journal": "SELECT * FROM `{b}`.cdc_journal",
    "count its rows": "SELECT COUNT(*) FROM `{b}`.cdc_journal",
    "empty the journal": "DELETE FROM `{b}`.cdc_journal",
    "forge a change": "INSERT INTO `{b}`.cdc_probe VALUES (1, 1)",
    "take the position": "UPDATE `{b}`.cdc_marker SET batch = 0",
    "drop a trigger": "DROP TRIGGER `{b}`.cdc_item_ai",
    "create a trigger": "CREATE TRIGGER `{b}`.evil BEFORE INSERT ON `{b}`.item FOR EACH ROW SET @a = 1",
    "call a routine": "SELECT `{b}`.leak()",
    "show a routine": "SHOW CREATE FUNCTION `{b}`.leak",
    "lock a table": "LOCK TABLES `{b}`.item READ",
    "drop the journal": "DROP TABLE `{b}`.cdc_journal",
    "read by a view": "CREATE VIEW `{a}`.theirs AS SELECT * FROM `{b}`.item",
    "trigger of their definer": "CREATE DEFINER = '{installer}'@'%' TRIGGER `{a}`.evil BEFORE INSERT ON `{a}`.item "
    "FOR EACH ROW INSERT INTO `{b}`.item VALUES (9, NEW.name)",
    "own trigger into their table": "CREATE TRIGGER `{a}`.evil BEFORE INSERT ON `{a}`.item "
    "FOR EACH ROW INSERT INTO `{b}`.item VALUES (9, NEW.name); INSERT INTO `{a}`.item VALUES (5, 'x')",
    "become": "SET ROLE '{consumer}'",
    "take the password": "ALTER USER '{consumer}'@'%' IDENTIFIED BY 'x'",
    "grant": "GRANT SELECT ON `{b}`.item TO CURRENT_USER()",
    "create an account": "CREATE USER evil IDENTIFIED BY 'x'",
    "end their session": "KILL {session}",
    "names of tables": "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = '{b}'",
    "text of triggers": "SELECT ACTION_STATEMENT FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = '{b}'",
    "sessions of others": "SELECT INFO FROM information_schema.PROCESSLIST WHERE DB = '{b}'",
    "statements of others": "SELECT SQL_TEXT FROM performance_schema.events_statements_history "
    "WHERE CURRENT_SCHEMA = '{b}'",
    "accounts": "SELECT * FROM mysql.user",
    "events of the log": "SHOW BINLOG EVENTS LIMIT 1",
    "files of the log": "SHOW BINARY LOGS",
    "purge the log": "PURGE BINARY LOGS BEFORE NOW()",
    "stop the server's triggers": "SET GLOBAL read_only = 1",
    "read a file": "LOAD DATA INFILE '/etc/hostname' INTO TABLE `{a}`.cdc_probe",
}
POSTGRES = {
    "become": 'SET ROLE "{consumer}"',
    "become the installer": 'SET SESSION AUTHORIZATION "{installer}"',
    "take the password": "ALTER ROLE \"{consumer}\" PASSWORD 'x'",
    "become a member": 'GRANT "{consumer}" TO CURRENT_USER',
    "read everything": "GRANT pg_read_all_data TO CURRENT_USER",
    "create a role": "CREATE ROLE evil SUPERUSER",
    "open the database": "GRANT CONNECT ON DATABASE {b} TO PUBLIC; "
    "SELECT 1 WHERE has_database_privilege('public', '{b}', 'CONNECT')",
    "rename the database": "ALTER DATABASE {b} RENAME TO c",
    "settings of the database": "ALTER DATABASE {b} SET search_path = evil",
    "drop their objects": 'DROP OWNED BY "{consumer}"',
    "read a file": "SELECT pg_read_file('PG_VERSION')",
    "run a program": "COPY (SELECT 1) TO PROGRAM 'true'",
    "a slot": "SELECT pg_create_physical_replication_slot('evil')",
    "end their session": "SELECT 1 WHERE pg_terminate_backend({session})",
    "statements of others": "SELECT query FROM pg_stat_activity WHERE datname = '{b}' "
    "AND query !~ 'insufficient privilege'",
}
#: The same, connected to tenant b's database: as it was before CONNECT was revoked from PUBLIC.
INSIDE = {
    "read a table": "SELECT * FROM item",
    "a column": "SELECT name FROM item",
    "copy a table": "COPY item TO STDOUT",
    "read the journal": "SELECT * FROM cdc.cdc_journal",
    "empty the journal": "DELETE FROM cdc.cdc_journal",
    "forge a change": "INSERT INTO cdc.cdc_probe VALUES (1, 1)",
    "append to the journal": "SELECT cdc.cdc_append(1, 'c', NULL, NULL)",
    "take the position": "UPDATE cdc.cdc_marker SET batch = 0",
    "drop a trigger": "DROP TRIGGER _cdc_row ON item",
    "create a trigger": "CREATE TRIGGER evil BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION cdc.item()",
    "switch triggers off": "SET session_replication_role = replica",
    "call a routine": "SELECT private.leak()",
    "replace ours": "CREATE OR REPLACE FUNCTION cdc.item() RETURNS trigger LANGUAGE sql AS 'SELECT 1'",
    "lock a table": "LOCK TABLE item",
    "publish": "CREATE PUBLICATION evil FOR TABLE item",
    "a schema": "CREATE SCHEMA evil",
}
REFUSED = (pymysql.err.MySQLError, psycopg.Error)


@dataclass
class Tenant:
    database: Database
    printed: PrintedGrants

    def account(self, role: AccountRole) -> ConnectionInfo:
        return self.printed.account(self.database.info, role)

    def installer(self) -> AnyInstaller:
        return installer_of(self.account(AccountRole.INSTALLER))

    def state(self) -> object:
        """Return what an attack could have changed."""
        journal = "cdc.cdc_journal" if self.database.flavour == "postgresql" else "cdc_journal"
        rows = self.database.execute("SELECT * FROM item"), self.database.execute(f"SELECT COUNT(*) FROM {journal}")
        return rows, self.installer().plan_install(CAPTURES).steps


@dataclass
class Tenants:
    a: Tenant
    b: Tenant

    def attacked(self, statements: dict[str, str], execute: Callable[[str], list[Any]]) -> set[str]:
        """Return the attacks that were not refused."""
        their = self.b.printed
        with self.b.database.connect(autocommit=True) as session:
            number = session.info.backend_pid if self.b.database.flavour == "postgresql" else session.thread_id()
            names = {"a": self.a.database.name, "b": self.b.database.name, "session": number}
            names |= {role.value: their.name(role) for role in AccountRole}
            succeeded = set()
            for name, statement in statements.items():
                try:
                    if execute(statement.format(**names)):
                        succeeded.add(name)
                except REFUSED:
                    pass
            session.cursor().execute("SELECT 1")  # still there
        return succeeded


def _tenant(database: Database) -> Tenant:
    """A database with the accounts that are printed for it, which install; triggers and journal are there."""
    database.execute(ITEM)
    database.execute("INSERT INTO item VALUES (1, 'private')")
    if database.flavour == "postgresql":
        database.execute("CREATE SCHEMA private; CREATE FUNCTION private.leak() RETURNS text "
                         "LANGUAGE sql SECURITY DEFINER AS 'SELECT name FROM public.item'")  # fmt: skip
    else:
        database.execute("CREATE FUNCTION leak() RETURNS VARCHAR(50) READS SQL DATA RETURN (SELECT name FROM item)")
    printed = PrintedGrants.read(installer_of(database.info).grants(CAPTURES, AccountChoice(database.name)))
    tenant = Tenant(database, printed)
    database.script(printed.before)
    there = tenant.installer()
    there.apply(there.plan_install(CAPTURES), lambda _: None)
    database.script(printed.after)
    database.execute("INSERT INTO item VALUES (2, 'too')")
    return tenant


@pytest.fixture(params=["mariadb_db", "mariadb_binlog_db", "mysql_db", "postgres_db"])
def tenants(request: pytest.FixtureRequest) -> Iterator[Tenants]:
    """The name of one database fits that of the other as a pattern."""
    first: Database = request.getfixturevalue(request.param)
    second = first.name.replace("_", "x")
    first.execute(f"CREATE DATABASE {second}")
    found = []
    try:
        for name in (first.name, second):
            found += [_tenant(Database(first.server, name))]
        yield Tenants(*found)
    finally:
        for each in found:
            each.database.close()
        first.execute(f"DROP DATABASE {second}")
        for account in (name for each in found for name in each.printed.passwords):
            if first.flavour == "postgresql":
                first.execute(f'DROP OWNED BY "{account}" CASCADE; DROP ROLE "{account}"')
            else:
                first.execute(f"DROP USER '{account}'@'%'")


@pytest.mark.parametrize("role", AccountRole)
def test_accounts_of_one_tenant_reach_nothing_of_another(tenants: Tenants, role: AccountRole) -> None:
    own = tenants.a.account(role)
    before = tenants.b.state()
    if tenants.a.database.flavour == "postgresql":
        _attack_postgres(tenants, own)
    else:
        _attack_mysql(tenants, own)
    assert tenants.b.state() == before
    assert {each.severity for each in tenants.b.installer().findings(CAPTURES)} <= {Severity.OK, Severity.WARNING}


def _attack_mysql(tenants: Tenants, own: ConnectionInfo) -> None:
    cursor = tenants.a.database.connect(own.user, own.password, autocommit=True).cursor()

    def execute(statement: str) -> list[Any]:
        cursor.execute(statement)
        changed = cursor.description is None
        found = ["done"] if changed else list(cursor.fetchall())
        while cursor.nextset():
            pass
        return found

    assert execute("SELECT `name` FROM item WHERE id = 1") == [("private",)], "its own rows it reads"
    assert tenants.attacked(MYSQL, execute) == set()
    with pytest.raises((SourceError, pymysql.err.MySQLError)):
        _read_log(own)


def _read_log(info: ConnectionInfo) -> None:
    """As a replica does."""
    with closing(LogConnection.open(info, LogPosition("", 4, ""), HEARTBEAT, follow=False)) as log:
        next(log.items(lambda _: None), None)


def _attack_postgres(tenants: Tenants, own: ConnectionInfo) -> None:
    a, b = tenants.a.database, tenants.b.database
    connection = a.connect(own.user, own.password, autocommit=True)

    def execute(statement: str, at: Any = connection) -> list[Any]:
        cursor = at.execute(statement)
        while cursor.nextset():
            pass
        return cursor.fetchall() if cursor.description else ["done"]

    assert tenants.attacked(POSTGRES, execute) == set()
    inside = replace(own, database=b.name)
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        connect_postgres(inside, "thief")
    with pytest.raises(psycopg.OperationalError):
        connect_postgres(own, "thief", replication="database")
    b.execute(f'GRANT CONNECT ON DATABASE {b.name} TO "{own.user}"')
    try:
        with closing(connect_postgres(inside, "thief")) as there:
            there.execute("SET search_path = public")
            assert tenants.attacked(INSIDE, lambda statement: execute(statement, there)) == set()
            lock = f"SELECT pg_try_advisory_lock({LOCK_CLASS}, {LOCK_CONSUMER})"
            assert execute(lock, there) == [(True,)], "why CONNECT is revoked"
    finally:
        b.execute(f'REVOKE CONNECT ON DATABASE {b.name} FROM "{own.user}"')
