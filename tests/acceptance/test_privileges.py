"""Two accounts made by the statements that ``cdc grants`` prints do everything: one installs, the other consumes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from cdc.model.connection import AccountRole
from support.consumer import Consumer, Inbox, database_url, receiving
from support.database import Database
from support.grants import PrintedGrants

INSTALLER, CONSUMER = "cdc_main_installer", "cdc_main_consumer"
PASSWORD = "clave"
CUSTOMER = "INSERT INTO clientes (cifnif, codcliente, nombre) VALUES ('', %s, %s)"
USER = "INSERT INTO users (nick, password, logkey, creationdate) VALUES (%s, 'p', 'l', '2026-01-01')"


async def _printed(folder: Path, database: Database, options: str = "") -> PrintedGrants:
    """Return the grants that a DBA prints with an account of the server."""
    return PrintedGrants.read(await Consumer.configure(folder / "dba", database.info, options).call("grants"))


async def _works(consumer: Consumer, database: Database) -> None:
    """A day's work with these accounts: reading, look-ups, secrets, a drift that is repaired, the doctor."""
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            database.execute(CUSTOMER, ["1", "Ada"])
            database.execute(USER, ["ada"])
            database.execute("INSERT INTO roles_users (codrole, nick, id) VALUES ('employee', 'ada', 1)")
            database.execute(
                "INSERT INTO roles_access (codrole, pagename, id, allowdelete, allowupdate) "
                "VALUES ('employee', 'ListCliente', 1, false, false)"
            )
            database.execute("UPDATE clientes SET nombre = 'Grace' WHERE codcliente = '1'")
            await inbox.until(lambda inbox: _names(inbox).count("user.permissions_changed") == 2)
            await inbox.until(lambda inbox: "customer.updated" in _names(inbox))
            for alteration in (
                "ALTER TABLE clientes DROP COLUMN web",
                "ALTER TABLE clientes ADD COLUMN nuevo varchar(9)",
                "ALTER TABLE users ADD COLUMN nuevo varchar(9)",
            ):
                database.execute(alteration)
            database.execute(CUSTOMER, ["2", "Edsger"])
            database.execute("UPDATE users SET email = 'a@b' WHERE nick = 'ada'")
            await inbox.until(lambda inbox: "2" in {event["key"].get("codcliente") for event in inbox.events})
            await inbox.until(lambda inbox: "user.updated" in _names(inbox))
            await consumer.call("install-triggers")
            database.execute("UPDATE clientes SET nuevo = 'x' WHERE codcliente = '2'")
            await inbox.until_event(lambda event: event["data"].get("nuevo") == "x")
            told = json.loads(await consumer.call("doctor", "--json"))
            assert {check["severity"] for check in told["checks"]} <= {"ok", "warning"}
        assert not [line for line in consumer.messages() if line["message"] == "source failed"]
    await consumer.call("uninstall-triggers")


def _names(inbox: Inbox) -> list[str]:
    return [event["event"] for event in inbox.events]


@pytest.mark.parametrize(
    ("flavour", "binlog"), [("postgresql", False), ("mariadb", False), ("mariadb", True), ("mysql", False)]
)
async def test_the_printed_grants_are_enough(flavour: str, binlog: bool, own_server: Any, tmp_path: Path) -> None:
    database: Database = own_server(flavour, binlog=binlog, erp=True)
    printed = await _printed(tmp_path, database)
    consumer = Consumer.with_sources(tmp_path, printed.source(database.info))
    database.script(printed.before)
    await consumer.call("install-triggers")
    database.script(printed.after)
    await _works(consumer, database)


@pytest.mark.parametrize("flavour", ["postgresql", "mariadb", "mysql"])
async def test_doctor_names_changed_include(flavour: str, own_server: Any, tmp_path: Path) -> None:
    """The lines' tables are captured once their triggers are installed, and read once they are granted."""
    database: Database = own_server(flavour, erp=True)
    printed = await _printed(tmp_path, database)
    consumer = Consumer.with_sources(tmp_path, printed.source(database.info))
    database.script(printed.before)
    await consumer.call("install-triggers")
    database.script(printed.after)
    options = 'include = ["lines"]'
    Consumer.with_sources(tmp_path, printed.source(database.info, options))
    told = await consumer.call("doctor", "--json", expect=1)
    assert "somebody changed" not in told
    wrong = {check["check"]: check for check in json.loads(told)["checks"] if check["severity"] == "wrong"}
    (lines,) = [check for name, check in wrong.items() if name.endswith(" lineasfacturascli")]
    assert "tables or include changed" in lines["detail"]
    assert "lineasfacturascli" in wrong["table privileges"]["detail"]
    assert "cdc grants" in wrong["table privileges"]["mend"]
    again = await _printed(tmp_path, database, options)
    assert again.passwords == {}, "the accounts exist: their names and passwords stay"
    assert {printed.name(role) in again.text for role in AccountRole} == {True}
    database.script(again.text)
    await consumer.call("install-triggers")
    told = await consumer.call("doctor", "--json")
    assert {check["severity"] for check in json.loads(told)["checks"]} <= {"ok", "warning"}


LINES = "lineasfacturascli"


@pytest.mark.parametrize(
    ("flavour", "capture"),
    [
        ("postgresql", "triggers"),
        ("postgresql", "logical"),
        ("mariadb", "triggers"),
        ("mariadb", "binlog"),
        ("mysql", "triggers"),
        ("mysql", "binlog"),
    ],
)
def test_grants_are_printed_before_their_accounts_exist_and_cover_lines(
    flavour: str, capture: str, own_server: Any, tmp_path: Path
) -> None:
    database: Database = own_server(flavour, binlog=flavour != "postgresql", erp=True)
    info = database.info
    nobody, admin = database_url(info.as_user("nobody_yet", "x")), database_url(info)
    text = f'[source.main]\nurl = "{nobody}"\nadmin_url = "{admin}"\ncapture = "{capture}"\n'
    assert LINES not in Consumer.with_sources(tmp_path / "plain", text).run("grants")
    granted = Consumer.with_sources(tmp_path / "lines", f'{text}include = ["lines"]\n').run("grants")
    lines = granted.splitlines()
    assert any(line.startswith("GRANT SELECT") and LINES in line and "nobody_yet" in line for line in lines)
    created = PrintedGrants.read(granted).passwords
    assert created.pop("nobody_yet") == "x", "the account of the configuration, with its password"
    assert list(created) == ([] if capture == "binlog" else [INSTALLER])


@pytest.mark.parametrize("flavour", ["mariadb", "mysql"])
def test_log_reader_with_its_grants_is_not_warned_of_tables_that_it_need_not_see(
    flavour: str, own_server: Any, tmp_path: Path
) -> None:
    database: Database = own_server(flavour, binlog=True, erp=True)
    binlog = 'capture = "binlog"'
    printed = PrintedGrants.read(Consumer.configure(tmp_path / "dba", database.info, binlog).run("grants"))
    assert "reads the log of ALL its databases" in printed.text
    database.script(printed.text)
    consumer = Consumer.with_sources(tmp_path / "own", printed.source(database.info, binlog))
    told = json.loads(consumer.run("doctor", "--json"))
    missing = [check["detail"] for check in told["checks"] if "has no table" in check["detail"]]
    assert missing == []


async def test_without_grants_the_sentence_says_what_to_do(own_server: Any, tmp_path: Path) -> None:
    database: Database = own_server("mariadb", erp=True)
    printed = PrintedGrants("", "", "", {INSTALLER: PASSWORD, CONSUMER: PASSWORD})
    consumer = Consumer.with_sources(tmp_path, printed.source(database.info))
    for user in (INSTALLER, CONSUMER):
        database.execute(f"CREATE USER '{user}'@'%%' IDENTIFIED BY '{PASSWORD}'", ())
        database.execute(f"GRANT SELECT ON {database.name}.clientes TO '{user}'@'%%'", ())
    told = await asyncio.to_thread(consumer.fail, "install-triggers")
    assert "lacks the privileges TRIGGER" in told
    assert "cdc grants" in told
