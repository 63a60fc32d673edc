"""Two accounts made by the statements that ``cdc grants`` prints do everything: one installs, the other consumes."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from support.consumer import Consumer, Inbox, database_url, receiving
from support.database import Database

INSTALLER, CONSUMER = "cdc_installer", "cdc_consumer"
PASSWORDS = {INSTALLER: "clave del instalador", CONSUMER: "clave del consumidor"}
CUSTOMER = "INSERT INTO clientes (cifnif, codcliente, nombre) VALUES ('', %s, %s)"
USER = "INSERT INTO users (nick, password, logkey, creationdate) VALUES (%s, 'p', 'l', '2026-01-01')"


def _configured(folder: Path, database: Database, options: str = "") -> Consumer:
    url, admin = (database_url(database.info.as_user(user, PASSWORDS[user])) for user in (CONSUMER, INSTALLER))
    return Consumer.with_sources(folder, f'[source.main]\nurl = "{url}"\nadmin_url = "{admin}"\n{options}')


def _printed(folder: Path, database: Database, options: str = "") -> tuple[str, str]:
    """The statements for the installing and for the consuming account, as a DBA asks for them with an account of the
    server's; passwords filled in."""
    text = Consumer.configure(folder / "dba", database.info, options).run("grants")
    if database.flavour == "postgresql":
        for user, password in PASSWORDS.items():
            text = text.replace(f'CREATE ROLE "{user}" LOGIN', f"CREATE ROLE \"{user}\" LOGIN PASSWORD '{password}'")
        first, second = text.split("-- 2.")
        return first, f"-- 2.{second}"
    for user, password in PASSWORDS.items():
        text = re.sub(f"(CREATE USER '{user}'@'%' IDENTIFIED BY) 'change me'", rf"\1 '{password}'", text)
    first, second = text.split("-- The consuming account")
    return first, f"-- The consuming account{second}"


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
    consumer = _configured(tmp_path, database)
    for_installer, for_consumer = await asyncio.to_thread(_printed, tmp_path, database)
    database.script(for_installer)
    await consumer.call("install-triggers")
    database.script(for_consumer)
    await _works(consumer, database)


@pytest.mark.parametrize("flavour", ["postgresql", "mariadb", "mysql"])
async def test_doctor_names_changed_include(flavour: str, own_server: Any, tmp_path: Path) -> None:
    """The lines' tables are captured once their triggers are installed, and read once they are granted."""
    database: Database = own_server(flavour, erp=True)
    consumer = _configured(tmp_path, database)
    for_installer, for_consumer = await asyncio.to_thread(_printed, tmp_path, database)
    database.script(for_installer)
    await consumer.call("install-triggers")
    database.script(for_consumer)
    options = 'include = ["lines"]'
    _configured(tmp_path, database, options)
    told = await consumer.call("doctor", "--json", expect=1)
    assert "somebody changed" not in told
    wrong = {check["check"]: check for check in json.loads(told)["checks"] if check["severity"] == "wrong"}
    (lines,) = [check for name, check in wrong.items() if name.endswith(" lineasfacturascli")]
    assert "tables or include changed" in lines["detail"]
    assert "lineasfacturascli" in wrong["table privileges"]["detail"]
    assert "cdc grants" in wrong["table privileges"]["mend"]
    for printed in await asyncio.to_thread(_printed, tmp_path, database, options):
        database.script(_granted(printed))
    await consumer.call("install-triggers")
    told = await consumer.call("doctor", "--json")
    assert {check["severity"] for check in json.loads(told)["checks"]} <= {"ok", "warning"}


def _granted(text: str) -> str:
    """What is printed, for accounts that are there."""
    lines = [line for line in text.splitlines() if not line.startswith(("CREATE USER", "CREATE ROLE"))]
    return "\n".join(lines)


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
    assert any(line.startswith("GRANT SELECT") and LINES in line and CONSUMER in line for line in granted.splitlines())


@pytest.mark.parametrize("flavour", ["mariadb", "mysql"])
def test_log_reader_with_its_grants_is_not_warned_of_tables_that_it_need_not_see(
    flavour: str, own_server: Any, tmp_path: Path
) -> None:
    database: Database = own_server(flavour, binlog=True, erp=True)
    own = database.info.as_user(CONSUMER, PASSWORDS[CONSUMER])
    source = '[source.main]\nurl = "{}"\ncapture = "binlog"\n'
    dba = Consumer.with_sources(tmp_path / "dba", source.format(database_url(database.info)))
    database.script(dba.run("grants").replace("'change me'", f"'{PASSWORDS[CONSUMER]}'"))
    consumer = Consumer.with_sources(tmp_path / "own", source.format(database_url(own)))
    told = json.loads(consumer.run("doctor", "--json"))
    missing = [check["detail"] for check in told["checks"] if "has no table" in check["detail"]]
    assert missing == []


async def test_without_grants_the_sentence_says_what_to_do(own_server: Any, tmp_path: Path) -> None:
    database: Database = own_server("mariadb", erp=True)
    consumer = _configured(tmp_path, database)
    for user, password in PASSWORDS.items():
        database.execute(f"CREATE USER '{user}'@'%%' IDENTIFIED BY '{password}'", ())
        database.execute(f"GRANT SELECT ON {database.name}.clientes TO '{user}'@'%%'", ())
    told = await asyncio.to_thread(consumer.fail, "install-triggers")
    assert "lacks the privileges TRIGGER" in told
    assert "cdc grants" in told
