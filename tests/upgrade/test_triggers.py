"""The triggers of each release under writes, then the program of today: what they journaled arrives, nothing twice."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cdc.capture.triggers.postgres import PostgresInstaller
from cdc.outbox.secret_box import SecretBox
from cdc.outbox.sqlite.outbox import SqliteOutbox
from support.consumer import Consumer, Inbox, receiving
from support.database import Database
from support.releases import KEY, dumped, releases

INSERT = "INSERT INTO clientes (cifnif, codcliente, nombre) VALUES ('', %s, %s)"


def _installed(version: str, erp: Database) -> None:
    script = dumped(version, f"triggers.{erp.flavour}.sql.gz").replace("@DATABASE@", erp.name)
    erp.script("\n".join(line for line in script.splitlines() if not line.startswith("\\")))  # those are for psql


def _write(erp: Database, number: int) -> None:
    erp.execute(INSERT, [str(number), f"Cliente {number}"])
    erp.execute("UPDATE clientes SET nombre = %s WHERE codcliente = %s", [f"Otro {number}", str(number)])


def _earlier_outbox(version: str, folder: Path) -> None:
    with closing(sqlite3.connect(folder / "cdc.db")) as db:
        db.executescript(dumped(version, "outbox.sqlite.sql"))
        db.execute("DELETE FROM source_position")  # of another database; this one's journal was never read
        db.commit()


@pytest.mark.parametrize("version", releases())
async def test_upgrading_loses_nothing(
    version: str, erp: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outbox with undelivered events and a journal with unread changes, both of that release; writes go on."""
    monkeypatch.setitem(os.environ, "CDC_SECRET_KEY", KEY)
    consumer = Consumer.configure(tmp_path, erp.info)
    _earlier_outbox(version, tmp_path)
    _installed(version, erp)
    _write(erp, 1)
    if erp.flavour == "postgresql":
        assert "code of the ERP's account can run" in await consumer.call("doctor", "--source", "main", expect=1)
    await consumer.call("install-triggers")
    assert consumer.run("install-triggers", "--dry-run") == "", "nothing left to upgrade"
    _write(erp, 2)
    inbox = Inbox()
    async with receiving(inbox) as url:
        await consumer.call("endpoint", "update", "ep_a", "--url", url, "--no-headers")
        await consumer.call("endpoint", "remove", "ep_line")
        async with consumer.running():
            await inbox.until_count(8)
            _write(erp, 3)
            await inbox.until_count(10)
        checks = await consumer.call("doctor", "--source", "main", expect=1)
        assert "WRONG" not in checks.replace("WRONG    endpoint", ""), checks
    ids = [event["id"] for event in inbox.events]
    assert len(ids) == len(set(ids)) == 10
    assert sorted(each for each in ids if len(each) < 10) == ["evt_1", "evt_2", "evt_5", "evt_6"]
    for number in (1, 2, 3):
        of_one = [event for event in inbox.events if event["key"].get("codcliente") == str(number)]
        told = [(event["event"], event["data"]["nombre"]) for event in of_one]
        assert told == [("customer.created", f"Cliente {number}"), ("customer.updated", f"Otro {number}")]


@pytest.mark.parametrize("version", releases())
async def test_first_start_replaces_triggers_that_can_crash_mariadb(
    version: str, mariadb_erp: Database, tmp_path: Path
) -> None:
    consumer = Consumer.configure(tmp_path, mariadb_erp.info)
    _installed(version, mariadb_erp)
    checks = await consumer.call("doctor", expect=1)
    assert "They can crash the server" in checks
    async with consumer.running():
        await consumer.logged("triggers repaired")
        assert "can crash the server" not in await consumer.call("doctor")


async def test_the_key_of_these_outboxes_opens_them(tmp_path: Path) -> None:
    """Else the test above would say nothing of sealed secrets."""
    _earlier_outbox(releases()[0], tmp_path)
    outbox = SqliteOutbox(tmp_path / "cdc.db", box=SecretBox([KEY]))
    await outbox.open()
    try:
        assert await outbox.seal_secrets(dry_run=True) == 0
    finally:
        await outbox.close()
    assert "whsec_" not in dumped(releases()[0], "outbox.sqlite.sql")


@pytest.mark.parametrize("version", releases())
def test_repair_replaces_triggers_with_the_installers_rights(version: str, postgres_erp: Database) -> None:
    """As `cdc run` repairs them at its first start: they recorded all changes, so no table is read again."""
    _installed(version, postgres_erp)
    exposed = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'cdc'::regnamespace AND prosecdef AND pronargs = 0"
    assert postgres_erp.execute(exposed) != [(0,)]
    assert PostgresInstaller(postgres_erp.info).repair().failed == {}
    assert postgres_erp.execute(f"{exposed} AND proname <> 'cdc_probe'") == [(0,)]
    _write(postgres_erp, 1)
    recorded = postgres_erp.execute("SELECT operation::text FROM cdc.cdc_journal ORDER BY lsn")
    assert recorded == [("I",), ("U",)]
