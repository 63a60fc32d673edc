"""Planted secrets are looked for in everything that the product writes: journal, outbox, payloads, output and logs.

Personal data may be in events, which are made of it, but in no log and no error.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cdc.demo.receiver import Refusals
from support.commands import run_command
from support.consumer import Consumer, Inbox, answering, database_url, receiving
from support.database import Database
from support.waiting import HANG_SECONDS

#: In columns that never leave the database; every value also has a second form, for updates.
SECRETS = {
    "password": "S3cr3tPasswordHash",
    "logkey": "S3cr3tLogKey",
    "two_factor": "S3cr3tTwoFactor",
    "apikey": "S3cr3tApiKey",
    "properties": "S3cr3tMailPassword",
    "iban": "S3cr3tIban",
    "swift": "S3cr3tSw",
}
DATABASE_PASSWORD = "S3cr3t/Database:Pass@word"
PERSONAL = ("Personal Ada Lovelace", "Personal Calle Mayor 1")
RULES = 'tables = ["api_keys", "settings", "cuentasbcocli"]\n'
ENCODED_PASSWORD = "S3cr3t%2FDatabase%3APass%40word"


def _statements(database: Database) -> Iterator[str]:
    """Rows with secrets are inserted, updated twice (the second time the secret alone) and deleted."""
    name, address = PERSONAL
    rows = {
        "users": ("nick", "'u'", {"password": "password", "logkey": "logkey", "two_factor_secret_key": "two_factor"},
                  {"creationdate": "'2026-01-01'"}),
        "api_keys": ("id", "7", {"apikey": "apikey"},
                     {"creationdate": "'2026-01-01'", "description": "'d'", "enabled": "true"}),
        "settings": ("name", "'email'", {"properties": "properties"}, {}),
        "clientes": ("codcliente", "'C'", {}, {"cifnif": "''", "nombre": f"'{name}'"}),
        "contactos": ("idcontacto", "7", {}, {"direccion": f"'{address}'", "nombre": f"'{name}'"}),
        "cuentasbcocli": ("codcuenta", "'B'", {"iban": "iban", "swift": "swift"}, {"codcliente": "'C'"}),
    }  # fmt: skip
    for table, (key, value, secrets, others) in rows.items():
        values = {key: value, **others, **{column: f"'{SECRETS[secret]}'" for column, secret in secrets.items()}}
        yield f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join(values.values())})"
    for table, (key, value, secrets, _) in rows.items():
        changes = ", ".join(f"{column} = '{SECRETS[secret]}2'" for column, secret in secrets.items())
        if changes:
            yield f"UPDATE {table} SET {changes} WHERE {key} = {value}"
    yield "UPDATE users SET lastip = '10.0.0.1', email = 'u@example.com' WHERE nick = 'u'"
    yield "UPDATE cuentasbcocli SET descripcion = 'x' WHERE codcuenta = 'B'"
    yield "ALTER TABLE users DROP COLUMN langcode"
    yield f"UPDATE users SET logkey = '{SECRETS['logkey']}3', level = 2 WHERE nick = 'u'"
    yield "ALTER TABLE cuentasbcocli DROP COLUMN fmandato"
    yield f"UPDATE cuentasbcocli SET iban = '{SECRETS['iban']}3', descripcion = 'y' WHERE codcuenta = 'B'"
    yield "DELETE FROM clientes WHERE codcliente = 'C'"  # the account goes by cascade
    yield "DELETE FROM users WHERE nick = 'u'"
    yield "DELETE FROM api_keys"
    yield "DELETE FROM settings"


def _journal_text(database: Database) -> str:
    """Every value of every table of ours."""
    if database.flavour == "postgresql":
        names = database.execute(
            "SELECT 'cdc.' || relname FROM pg_class WHERE relnamespace = 'cdc'::regnamespace AND relkind = 'r'"
        )
    else:
        names = database.execute("SHOW TABLES LIKE 'cdc%%'", ())
    return "\n".join(repr(row) for (name,) in names for row in database.execute(f"SELECT * FROM {name}"))


def _found(values: Sequence[str], *texts: str | bytes) -> list[str]:
    all_bytes = b"\n".join(text.encode() if isinstance(text, str) else text for text in texts)
    return [value for value in values if value.encode() in all_bytes]


def _outbox_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.glob("cdc.db*")))


async def test_secrets_are_nowhere(erp: Database, tmp_path: Path) -> None:
    account = _consumer_account(erp)
    folder = tmp_path / "cdc"
    url, admin = (database_url(erp.info.as_user(*account)), database_url(erp.info))
    consumer = Consumer.with_sources(
        folder, f'[source.main]\nurl = "{url}"\nadmin_url = "{admin}"\nrules = "rules.toml"\n'
    )
    (folder / "rules.toml").write_text(RULES, encoding="utf-8")
    said = [_say(consumer, "install-triggers")]
    for statement in _statements(erp):  # nobody reads: everything is in the journal now
        erp.execute(statement)
    journal = _journal_text(erp)
    assert PERSONAL[0] in journal, "the journal was looked at"
    inbox, refused = Inbox(), Inbox()
    async with receiving(inbox, Refusals(count=2, status=500)) as taking, answering(_refuse, refused) as refusing:
        endpoints = [
            await asyncio.to_thread(consumer.add_endpoint, each, "*,*.read", "--retries", "0.1,0.1")
            for each in (taking, refusing)
        ]
        async with consumer.running():
            await inbox.until(lambda inbox: {event["event"] for event in inbox.accepted} >= _last(erp))
            said += await asyncio.to_thread(_every_command, consumer, endpoints[0]["id"])
            _lock_out(erp, account[0])
            await consumer.logged("source failed")
            said += [_say(consumer, "doctor", "--json"), _say(consumer, "doctor")]
    said += [consumer.log.read_text(), await _log_as_text(consumer)]
    said += await asyncio.to_thread(_errors, consumer, tmp_path)

    own_secrets = [each["secret"] for each in endpoints]
    outbox = _outbox_bytes(folder)
    payloads = [received.body for received in (*inbox.received, *refused.received)]
    everywhere = [*SECRETS.values(), DATABASE_PASSWORD, ENCODED_PASSWORD, erp.info.password]
    assert _found(everywhere, journal, outbox, *payloads, *said) == []
    assert _found(own_secrets, journal, *payloads, *said) == []
    assert _found(own_secrets, outbox) == own_secrets, "the outbox was looked at"
    assert _found(PERSONAL, *said) == []
    assert len(_found(PERSONAL, *payloads)) == len(PERSONAL), "the payloads were looked at"
    changed = {event["event"] for event in inbox.events}
    assert {"user.password_changed", "user.updated", "cuentasbcocli.updated"} <= changed, (
        "that they changed may be known"
    )


async def _refuse(_event: dict[str, Any]) -> int:
    return 400  # a 500 would open the breaker, and make no dead letter


def _last(database: Database) -> set[str]:
    """The events that come last.  Where triggers name columns, what happens to a table that lost a column is a gap:
    it is read again."""
    user = "user.deleted" if database.flavour == "postgresql" else "user.read"
    return {user, "api_keys.deleted", "settings.deleted", "customer.deleted"}


def _consumer_account(database: Database) -> tuple[str, str]:
    """An account with a password that must be escaped in URLs, the same for every run on this server."""
    name = f"lector_{database.name}"
    if database.flavour == "postgresql":
        database.execute(f"CREATE ROLE {name} LOGIN SUPERUSER PASSWORD '{DATABASE_PASSWORD}'")
    else:
        database.execute(f"CREATE USER {name} IDENTIFIED BY '{DATABASE_PASSWORD}'")
        database.execute(f"GRANT ALL ON {database.name}.* TO {name}")
    return name, DATABASE_PASSWORD


def _lock_out(database: Database, account: str) -> None:
    """Its connections are cut, and it may not log in any more."""
    if database.flavour == "postgresql":
        database.execute(f"ALTER ROLE {account} NOLOGIN")
        database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [account])
        return
    database.execute(f"ALTER USER {account} ACCOUNT LOCK")
    for (number,) in database.execute("SELECT id FROM information_schema.processlist WHERE user = %s", [account]):
        database.kill(number)


def _say(consumer: Consumer, *arguments: str) -> str:
    """Everything that a command says, whatever its exit code."""
    done = run_command(*consumer.arguments("--verbose", *arguments))
    return f"{arguments}\n{done.stdout}\n{done.stderr}"


def _every_command(consumer: Consumer, endpoint: str) -> list[str]:
    """But those that print payloads, which are made of personal data."""
    number = ""
    while not number:  # a receiver knows of its request before it is recorded
        dead = json.loads(consumer.run("delivery", "list", "--json", "--state", "dead", "--limit", "1"))
        number = next((delivery["id"] for delivery in dead["deliveries"]), "")
    commands = [
        ["doctor"], ["doctor", "--json"], ["config", "show"], ["config", "show", "--json"], ["grants"],
        ["install-triggers"], ["install-triggers", "--dry-run"], ["uninstall-triggers", "--dry-run"],
        ["endpoint", "list"], ["endpoint", "list", "--json"], ["endpoint", "show", endpoint],
        ["endpoint", "show", endpoint, "--json"], ["endpoint", "update", endpoint, "--description", "d", "--json"],
        ["endpoint", "disable", endpoint], ["delivery", "list"], ["delivery", "list", "--json"],
        ["delivery", "show", number], ["delivery", "show", number, "--json"],
    ]  # fmt: skip
    with ThreadPoolExecutor(4) as several:
        return list(several.map(lambda each: _say(consumer, *each), commands))


async def _log_as_text(consumer: Consumer) -> str:
    """The log of a run whose account is locked, as people read it."""
    consumer.log.unlink()
    consumer.start("text")
    async with asyncio.timeout(HANG_SECONDS):
        while b"source failed" not in (consumer.log.read_bytes() if consumer.log.exists() else b""):  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.02)  # a file tells nobody that it grew
    assert await consumer.stop() == 0
    return consumer.log.read_text()


def _errors(consumer: Consumer, folder: Path) -> list[str]:
    """What goes wrong is said without the secrets that were involved."""
    text = (consumer.folder / "cdc.toml").read_text(encoding="utf-8")
    others = []
    for number, (old, new) in enumerate(
        [
            ("[source.main]", "[source.main]\nunknown = 1"),  # a key that there is not
            ('url = "', 'url = "x'),  # no such scheme
            ("127.0.0.1:", "127.0.0.1:x"),  # no such port
            ("[outbox]", "[outbox"),  # not TOML
            (ENCODED_PASSWORD, DATABASE_PASSWORD),  # not escaped
            (ENCODED_PASSWORD, ENCODED_PASSWORD + "wrong"),  # a wrong password
            ("sqlite:///cdc.db", "sqlite:////nowhere/at/all.db"),
        ]
    ):
        assert old in text
        other = Consumer(folder / f"wrong{number}")
        other.folder.mkdir()
        (other.folder / "cdc.toml").write_text(text.replace(old, new), encoding="utf-8")
        (other.folder / "rules.toml").write_text(RULES, encoding="utf-8")
        others.append(other)
    commands = [(other, name) for other in others for name in (["doctor"], ["config", "show"])]
    with ThreadPoolExecutor(4) as several:
        return list(several.map(lambda each: _say(each[0], *each[1]), commands))
