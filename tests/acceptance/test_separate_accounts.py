"""A source whose accounts are those of all others gets accounts of its own, as docs/operations.md says."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from support.consumer import Consumer, Inbox, receiving
from support.database import Database
from support.grants import PrintedGrants

CUSTOMER = "INSERT INTO clientes (cifnif, codcliente, nombre) VALUES ('', %s, 'Ada')"


@pytest.mark.parametrize("flavour", ["postgresql", "mariadb"])
async def test_a_source_leaves_shared_accounts_and_loses_nothing(flavour: str, own_server: Any, tmp_path: Path) -> None:
    database: Database = own_server(flavour, erp=True)
    dba = Consumer.configure(tmp_path / "dba", database.info)
    printed = [PrintedGrants.read(await dba.call("grants", *words)) for words in (["--shared"], [])]
    assert list(printed[0].passwords) == ["cdc_installer", "cdc_consumer"]
    inbox = Inbox()
    async with receiving(inbox) as url:
        for number, each in enumerate(printed):
            consumer = Consumer.with_sources(tmp_path, each.source(database.info))
            database.script(each.before)
            if number:
                Consumer.with_sources(tmp_path, printed[0].source(database.info))
                await consumer.call("uninstall-triggers")
                Consumer.with_sources(tmp_path, each.source(database.info))
            await consumer.call("install-triggers")
            database.script(each.after)
            consumer.has_outbox = bool(number)
            if not number:
                await asyncio.to_thread(consumer.add_endpoint, url, "customer.*")
            async with consumer.running():
                database.execute(CUSTOMER, [str(number)])
                await inbox.until_count(number + 1)
        for account in printed[0].passwords:
            owned = "DROP OWNED BY {0} CASCADE; DROP ROLE {0}" if flavour == "postgresql" else "DROP USER {0}"
            database.execute(owned.format(account))
        async with consumer.running():
            database.execute(CUSTOMER, ["2"])
            await inbox.until_count(3)
            checks = json.loads(await consumer.call("doctor", "--json"))["checks"]
            assert [each for each in checks if each["severity"] == "wrong"] == []
    assert [event["key"]["codcliente"] for event in inbox.events] == ["0", "1", "2"]
