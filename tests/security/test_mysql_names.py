"""What other accounts create or set on a MariaDB or MySQL server changes nothing of what our sessions do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pymysql
import pytest

from support.consumer import RULES, TABLE, Consumer, Inbox, receiving
from support.database import Database

#: Functions that our statements call.  A stored function of that name would be called where the server has none itself.
FUNCTIONS = (
    "concat concat_ws convert_tz count database current_user connection_id extract get_lock is_used_lock "
    "ifnull json_array json_arrayagg json_extract json_object json_table nullif ps_current_thread_id row_count sleep "
    "unix_timestamp utc_timestamp uuid_short version coalesce ceil cast hex lower max "
    "min substring sum trim now"
)
#: Tables of the system's databases that our statements read, and databases named like them or like us.
VIEWS = "TABLES COLUMNS ROUTINES TRIGGERS STATISTICS KEY_COLUMN_USAGE events_transactions_current user proc"
MODES = "ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES,IGNORE_SPACE,HIGH_NOT_PRECEDENCE"
#: Names of ours, and what somebody else has there.
TAKEN = {
    "cdc_journal": "CREATE VIEW cdc_journal AS SELECT 1 AS id",
    "cdc_installation": "CREATE TABLE cdc_installation (id integer)",
    "cdc_shape": "CREATE TABLE cdc_shape (id integer) COMMENT 'mine'",
    "cdc_marker": "CREATE VIEW cdc_marker AS SELECT 1 AS id",
    "cdc_probe": "CREATE TABLE cdc_probe (id integer)",
}


def _shadowed(database: Database) -> None:
    """Namesakes that write down that they were called."""
    database.execute("CREATE TABLE called (name varchar(64)) ENGINE = InnoDB")
    database.execute(
        "CREATE FUNCTION shadow() RETURNS integer DETERMINISTIC MODIFIES SQL DATA "
        "BEGIN INSERT INTO called VALUES ('shadow'); RETURN 1; END"
    )
    for name in FUNCTIONS.split():
        try:
            database.execute(
                f"CREATE FUNCTION `{name}`(a integer) RETURNS integer DETERMINISTIC MODIFIES SQL DATA "
                f"BEGIN INSERT INTO called VALUES ('{name}'); RETURN 1; END"
            )
        except pymysql.err.MySQLError:  # what the server lets nobody create
            continue
    for name in VIEWS.split():
        database.execute(f"CREATE VIEW `{name}` AS SELECT shadow() AS TABLE_NAME")
    database.execute("CREATE DATABASE IF NOT EXISTS cdc")


@pytest.mark.parametrize("flavour", ["mariadb", "mysql"])
async def test_namesakes_are_not_called_and_settings_change_nothing(
    flavour: str, own_server: Callable[..., Database], tmp_path: Path
) -> None:
    database = own_server(flavour, f"--sql-mode={MODES}")
    database.execute(TABLE)
    _shadowed(database)
    database.execute("SET GLOBAL sql_select_limit = 1, GLOBAL sql_safe_updates = 1")  # for sessions from now on
    consumer = Consumer.configure(tmp_path / "cdc", database.info, 'rules = "rules.toml"\n')
    (consumer.folder / "rules.toml").write_text(RULES, encoding="utf-8")
    inbox = Inbox()
    async with receiving(inbox) as url:
        await consumer.call("table", "list")
        await consumer.call("grants")
        await consumer.call("install-triggers", "--dry-run")
        await consumer.call("install-triggers")
        endpoint = await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            for number in range(3):
                database.execute(f"INSERT INTO contadores VALUES ({number}, 0, 'a\\\\''b')")
            await inbox.until_count(3)
            await consumer.call("doctor")
            await consumer.call("backfill", "contadores", "--endpoint", endpoint["id"])
            await inbox.until_count(6)
        await consumer.call("uninstall-triggers")
    assert database.execute("SELECT name FROM called") == []
    names = [event["event"] for event in inbox.events]
    assert names == ["contadores.created"] * 3 + ["contadores.existing"] * 3


@pytest.mark.parametrize("engine", ["mariadb_db", "mysql_db"])
async def test_a_name_that_somebody_else_has_is_refused_by_name(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    database: Database = request.getfixturevalue(engine)
    database.execute(TABLE)
    consumer = Consumer.configure(tmp_path / "cdc", database.info, 'rules = "rules.toml"\n')
    (consumer.folder / "rules.toml").write_text(RULES, encoding="utf-8")
    for name, made in TAKEN.items():
        database.execute(made)
        said = await asyncio.to_thread(consumer.fail, "install-triggers")
        assert f"objects that are not ours under names that we need: {name}." in said
        assert database.execute("SHOW TRIGGERS") == []
        kind = made.split()[1]
        database.execute(f"DROP {kind} {name}")
    left = "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s AND TABLE_NAME LIKE 'cdc%%'"
    assert database.execute(left, (database.name,)) == []
