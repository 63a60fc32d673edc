"""What the doctor says of a server whose log is to be read, and the grants that reading takes: exactly these."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest

from cdc.capture.binlog.inspector import BinlogInspector
from cdc.model.change import Position
from cdc.model.column import Capture
from cdc.model.connection import AccountChoice, AccountRole, ConnectionInfo
from cdc.model.errors import SourceError
from cdc.model.finding import Finding, Severity
from support.binlog_capture import reading
from support.database import Database, fresh_database
from support.server import Spec
from support.servers import KeeperClient, shared_server

SPECS = {"mariadb": Spec("mariadb", binlog=True), "mysql": Spec("mysql")}
CAPTURES = [Capture("articulos", frozenset({"nombre"})), Capture("familias")]
PASSWORD = "clave del consumidor"
_accounts = count(1)


@pytest.fixture(params=SPECS)
def items(request: pytest.FixtureRequest, keeper: KeeperClient) -> Iterator[Database]:
    with fresh_database(shared_server(keeper, SPECS[request.param]), erp=False) as database:
        prepare(database)
        yield database


def prepare(database: Database) -> None:
    database.execute("CREATE TABLE familias (id INT PRIMARY KEY)")
    database.execute("CREATE TABLE articulos (id INT PRIMARY KEY, nombre VARCHAR(40), familia INT)")


def findings(
    database: Database, info: ConnectionInfo | None = None, position: Position | None = None
) -> dict[str, Finding]:
    inspector = BinlogInspector(info or database.info)
    found = [*inspector.findings(CAPTURES), *([] if position is None else inspector.position_findings(position))]
    return {finding.check: finding for finding in found}


def severities(found: dict[str, Finding]) -> dict[str, Severity]:
    return {check: finding.severity for check, finding in found.items() if finding.severity is not Severity.OK}


def printed(database: Database, user: str) -> list[str]:
    """The statements of `cdc grants` for an account of this name."""
    configured = {AccountRole.CONSUMER: database.info.as_user(user, PASSWORD)}
    text = BinlogInspector(database.info).grants(CAPTURES, AccountChoice(configured=configured))
    return [line for line in text.splitlines() if line and not line.startswith("--")]


@contextmanager
def account(database: Database, statements: list[str], user: str) -> Iterator[ConnectionInfo]:
    try:
        for statement in statements:
            database.execute(statement.replace("%", "%%"), ())
        yield database.info.as_user(user, PASSWORD)
    finally:
        database.server.admin_execute(f"DROP USER IF EXISTS '{user}'@'%%'", ())


def new_user() -> str:
    return f"cdc_reader_{os.getpid()}_{next(_accounts)}"  # the server is shared with other processes


async def test_the_printed_grants_are_enough(items: Database) -> None:
    user = new_user()
    with account(items, printed(items, user), user) as info:
        assert {finding.severity for finding in findings(items, info).values()} <= {Severity.OK, Severity.WARNING}
        items.info = info
        async with reading(items, *CAPTURES) as log:
            items.server.admin_execute(f"INSERT INTO {items.name}.articulos VALUES (1, 'secret', 2)")
            items.server.admin_execute(f"ALTER TABLE {items.name}.articulos ADD COLUMN x INT")
            items.server.admin_execute(f"INSERT INTO {items.name}.articulos VALUES (2, 'secret', 2, 3)")
            changes = await log.drain()
            assert [dict(change.after or {}) for change in changes] == [
                {"id": 1, "familia": 2},
                {"id": 2, "familia": 2, "x": 3},
            ]


def revocations(database: Database, user: str) -> dict[str, str]:
    """What is taken away → the check that notices."""
    monitor = "BINLOG MONITOR" if database.flavour == "mariadb" else "REPLICATION CLIENT"
    return {
        f"REVOKE REPLICATION SLAVE ON *.* FROM '{user}'@'%'": "log privileges",
        f"REVOKE {monitor} ON *.* FROM '{user}'@'%'": "log privileges",
        f"REVOKE SELECT ON `{database.name}`.`articulos` FROM '{user}'@'%'": "privileges on articulos",
    }


async def test_without_any_of_them_the_doctor_says_which(items: Database) -> None:
    for number in range(3):
        user = new_user()
        revocation, check = list(revocations(items, user).items())[number]
        with account(items, [*printed(items, user), revocation], user) as info:
            found = findings(items, info)
            assert found[check].severity is Severity.WRONG
            fix = found[check].fix
            assert fix.startswith("GRANT ")
            items.server.admin_execute(fix.partition(";")[0].replace("%", "%%"), ())
            assert Severity.WRONG not in severities(findings(items, info)).values()


async def test_without_any_of_them_reading_says_so(items: Database) -> None:
    for number in range(2):
        user = new_user()
        revocation = list(revocations(items, user))[number]
        with account(items, [*printed(items, user), revocation], user) as info:
            reader = Database(items.server, items.name)
            reader.info = info
            with pytest.raises(SourceError, match=r"GRANT|cdc grants"):
                await _read_once(reader)


async def _read_once(database: Database) -> None:
    async with reading(database, *CAPTURES) as log:
        await log.next()


async def test_a_table_must_be_read_wholly(items: Database) -> None:
    """Of a table whose columns the account sees in part, nobody knows what the log's are."""
    user = new_user()
    statements = [line for line in printed(items, user) if "articulos" not in line]
    statements.append(f"GRANT SELECT (id, familia) ON `{items.name}`.`articulos` TO '{user}'@'%'")
    with account(items, statements, user) as info:
        assert findings(items, info)["privileges on articulos"].severity is Severity.WRONG
        reader = Database(items.server, items.name)
        reader.info = info
        with pytest.raises(SourceError, match="cdc grants"):
            await _read_once(reader)


def test_all_is_well(own_server: Any) -> None:
    for flavour in SPECS:
        database = own_server(flavour, "--binlog-row-metadata=FULL", "--binlog-expire-logs-seconds=864000", binlog=True)
        prepare(database)
        found = findings(database)
        assert severities(found) == {}, found
        assert found["log"].detail == "on, kept for 10 days"


@pytest.mark.parametrize(
    ("server", "check", "severity", "fix"),
    [
        ("mysql --skip-log-bin", "log_bin", Severity.WRONG, "log_bin = binlog"),
        ("mariadb --skip-log-bin", "log_bin", Severity.WRONG, "log_bin = binlog"),
        ("mysql --binlog-format=MIXED", "binlog_format", Severity.WRONG, "SET GLOBAL binlog_format = 'ROW'"),
        ("mariadb --binlog-format=STATEMENT", "binlog_format", Severity.WRONG, "SET GLOBAL binlog_format = 'ROW'"),
        ("mysql --binlog-row-image=NOBLOB", "binlog_row_image", Severity.WRONG, "= 'FULL'"),
        ("mariadb --binlog-row-image=MINIMAL", "binlog_row_image", Severity.WRONG, "= 'FULL'"),
        (
            "mysql --binlog-row-value-options=PARTIAL_JSON",
            "binlog_row_value_options",
            Severity.WRONG,
            "SET GLOBAL binlog_row_value_options = ''",
        ),
        ("mysql --binlog-row-metadata=MINIMAL", "binlog_row_metadata", Severity.WARNING, "= 'FULL'"),
        ("mariadb --binlog-row-metadata=NO_LOG", "binlog_row_metadata", Severity.WARNING, "= 'FULL'"),
        ("mysql --binlog-expire-logs-seconds=3600", "binlog_expire_logs_seconds", Severity.WARNING, "604800"),
        ("mariadb --expire-logs-days=0.5", "binlog_expire_logs_seconds", Severity.WARNING, "604800"),
        ("mariadb --max-binlog-total-size=10000000", "max_binlog_total_size", Severity.WARNING, "= 0"),
    ],
)
def test_each_setting_has_its_sentence(server: str, check: str, severity: Severity, fix: str, own_server: Any) -> None:
    flavour, option = server.split()
    database = own_server(flavour, option, binlog=option != "--skip-log-bin")
    prepare(database)
    found = findings(database)
    assert found[check].severity is severity
    assert fix in found[check].fix
    assert "table privileges" in found, "one check hides no other"
    if (statement := re.match(r"SET GLOBAL [^;]+", found[check].fix)) is not None:
        database.execute(statement[0])
        assert check not in severities(findings(database))


def test_a_table_without_a_primary_key_is_wrong(items: Database) -> None:
    items.execute("ALTER TABLE familias DROP PRIMARY KEY")
    assert findings(items)["key of familias"].severity is Severity.WRONG


def test_cascades_that_the_log_does_not_hold_are_named(items: Database) -> None:
    items.execute("ALTER TABLE articulos ADD FOREIGN KEY (familia) REFERENCES familias (id) ON DELETE CASCADE")
    found = findings(items)["cascades"]
    if items.flavour == "mariadb":
        assert found.severity is Severity.WARNING
        assert "articulos" in found.detail
    else:
        assert found.severity is Severity.OK
    user = new_user()
    with account(items, printed(items, user), user) as info:
        assert findings(items, info)["cascades"] == found


async def test_where_the_consumer_stands(own_server: Any) -> None:
    for flavour in SPECS:
        database = own_server(flavour, binlog=True)
        prepare(database)
        async with reading(database, *CAPTURES) as log:
            database.execute("INSERT INTO familias VALUES (1)")
            await log.drain()
        found = findings(database, position=log.position)["position"]
        assert found.severity is Severity.OK
        assert "the end of the log" in found.detail
        database.execute("INSERT INTO familias VALUES (2)")
        assert "the log ends at" in findings(database, position=log.position)["position"].detail
        database.execute("RESET MASTER" if flavour == "mariadb" else "RESET BINARY LOGS AND GTIDS")
        found = findings(database, position=log.position)["position"]
        assert found.severity is Severity.WRONG
        assert "on_purged" in found.fix
