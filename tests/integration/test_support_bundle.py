"""``cdc support-bundle``: enough to help with, and nothing that is planted where secrets and people's data are."""

from __future__ import annotations

import asyncio
import json
import zipfile
from pathlib import Path

import pytest

from cdc.config.model import SECTIONS, SOURCE_TABLES
from cdc.runtime.support import OPEN, REDACTED
from support.consumer import Consumer, Inbox, answering, database_url
from support.database import Database

#: Where each is planted; none may be in the bundle.
PLANTED = {
    "name": "Perpetua Mendizabal",
    "mail": "perpetua@clientes.example",
    "path": "t0k3nInThePath",
    "header": "h3aderSecret",
    "description": "Despacho de Perpetua",
    "answer": "unknown customer Perpetua",
    "database password": "",  # of the account, known only when it runs
}
MORE = """
admin_url = "{url}"
"""
#: Options that are never told, on purpose; every other one is told.  A new option needs a decision.
WITHHELD = {
    "source": {
        *("url", "user", "password_file", "admin_url", "admin_user", "admin_password_file", "facturascripts", "rules"),
        *("rest", "nats", "site_url"),
    },
    "rest": {"url", "token", "token_file", "resources"},
    "nats": {"url", "password_file", "ca_file", "subject", "source_subject", "sources"},
    "outbox": {"url", "password_file", "secret_key_file", "synchronous"},
    "dispatch": {"allow_networks", "proxies", "client_certificates", "worker", "origin", "secret_folder"},
    "mail": {"host", "user", "password_file", "sender", "ca_file"},
    "web": {
        *("hosts", "listen", "trusted_proxies", "trusted_header", "facturascripts_login", "metrics_token_file"),
        *("url", "frame_ancestors", "brand_name", "brand_accent", "brand_logo"),
    },
    "oidc": {
        *("issuer", "name", "client_id", "client_secret_file", "scopes", "name_claim", "groups_claim", "groups"),
        *("second_factor", "allow_networks", "ca_file"),
    },
    "retention": set(),
    "tracing": {"endpoint"},
    "log": set(),
    "process": set(),
    "limits": set(),
}


async def _lived(consumer: Consumer, erp: Database) -> None:
    """A consumer with a failing endpoint, a mail endpoint and a log that tells of both."""
    inbox = Inbox()

    async def refuse(_event: object) -> int:
        return 500

    async with answering(refuse, inbox) as url:
        header = f"X-Api-Key: {PLANTED['header']}"
        options = ["--header", header, "--description", PLANTED["description"], "--retries", "none"]
        await consumer.call("endpoint", "add", f"{url}?k={PLANTED['path']}", "--events", "customer.*", *options)
        async with consumer.running():
            insert = "INSERT INTO clientes (cifnif, codcliente, nombre, email) VALUES ('', 'P', %s, %s)"
            erp.execute(insert, [PLANTED["name"], PLANTED["mail"]])
            await inbox.until_count(1)
            await consumer.logged("attempt")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_nothing_secret_or_personal_is_in_it(postgres_erp: Database, tmp_path: Path, kind: str) -> None:
    url = database_url(postgres_erp.info)
    consumer = Consumer.configure(tmp_path / "cdc", postgres_erp.info, MORE.format(url=url))
    toml = consumer.folder / "cdc.toml"
    if kind == "postgresql":
        toml.write_text(toml.read_text().replace("sqlite:///cdc.db", url))
    await consumer.call("install-triggers")
    await _lived(consumer, postgres_erp)
    bundle = tmp_path / "bundle.zip"
    told = json.loads(await consumer.call("support-bundle", str(bundle), "--log", str(consumer.log), "--json"))
    with zipfile.ZipFile(bundle) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert set(parts) == set(told["parts"])
    info = postgres_erp.info
    forbidden = [*filter(None, PLANTED.values()), info.password, info.user, info.host, info.database, str(tmp_path)]
    found = [(name, word) for name, text in parts.items() for word in forbidden if word.lower() in text.lower()]
    assert found == []
    assert await asyncio.to_thread(lambda: bundle.stat().st_mode & 0o777) == 0o600
    _is_of_use(parts, kind)


def _is_of_use(parts: dict[str, str], kind: str) -> None:
    configuration = json.loads(parts["configuration.json"])
    assert configuration["source"]["main"]["capture"] == "triggers"
    assert configuration["source"]["main"]["admin_url"] == REDACTED
    assert configuration["outbox"]["engine"] == kind
    checks = {(each["about"].split()[0], each["check"]): each for each in json.loads(parts["doctor.json"])}
    assert checks["outbox", "open"]["severity"] == "ok"
    assert "PostgreSQL" in checks["source", "server"]["detail"]
    outbox = json.loads(parts["outbox.json"])
    assert [list(states) for states in outbox["deliveries"].values()] == [["dead"]]
    assert outbox["positions"]["main"]
    assert outbox["schema"]["version"] > 0
    log = [json.loads(line) for line in parts["log.jsonl"].splitlines()]
    assert any(line.get("message") == "attempt" and line["status"] == 500 for line in log)
    assert {"version", "python", "system", "packages"} <= set(json.loads(parts["about.json"]))


def test_each_option_of_the_configuration_is_told_or_withheld_on_purpose() -> None:
    for name, section in {**SECTIONS, **SOURCE_TABLES}.items():
        assert set(OPEN[name]) | WITHHELD[name] == set(section.model_fields), name
        assert not set(OPEN[name]) & WITHHELD[name], name


def test_a_configuration_that_cannot_be_read_makes_a_bundle_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "cdc.toml").write_text('[source.main]\nurl = "postgresql://ana:hunter2@db/fs"\nnonsense = 1\n')
    consumer = Consumer(tmp_path)
    consumer.run("support-bundle", str(tmp_path / "bundle.zip"))
    with zipfile.ZipFile(tmp_path / "bundle.zip") as archive:
        text = b"".join(archive.read(name) for name in archive.namelist())
    assert b"ConfigError" in text
    assert b"hunter2" not in text
    assert "cannot be written" in consumer.fail("support-bundle", str(tmp_path / "bundle.zip"), expect=2)
