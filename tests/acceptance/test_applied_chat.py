"""An endpoint of a file gets messages for a chat: applied, captured, shaped and signed by the program itself."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from support.consumer import Consumer, Inbox, receiving
from support.database import Database

SECRET = "whsec_MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0"
INSERT = "INSERT INTO clientes (cifnif, codcliente, nombre) VALUES ('', '{}', '{}')"


async def test_an_applied_endpoint_sends_slack_messages(postgres_erp: Database, tmp_path: Path) -> None:
    consumer = Consumer.configure(tmp_path / "cdc", postgres_erp.info)
    await asyncio.to_thread(consumer.run, "install-triggers")
    (consumer.folder / "slack.secret").write_text(SECRET, encoding="utf-8")
    inbox, file = Inbox(), consumer.folder / "endpoints.toml"
    async with receiving(inbox, secret=SECRET) as url:
        table = f'[endpoint.slack]\nurl = "{url}"\nevents = ["customer.created"]\npreset = "slack"\nlanguage = "es"\n'
        file.write_text(f'{table}secret_file = "slack.secret"\n', encoding="utf-8")
        applied = json.loads(await asyncio.to_thread(consumer.run, "apply", str(file), "--json"))
        assert [step["action"] for step in applied["steps"]] == ["create"]
        consumer.has_outbox = True
        async with consumer.running():
            postgres_erp.execute(INSERT.format("S1", "Ada <!channel>"))
            await inbox.until_count(1)
        again = json.loads(await asyncio.to_thread(consumer.run, "apply", str(file), "--json"))
    assert [step["action"] for step in again["steps"]] == ["none"]
    assert [received.answered for received in inbox.received] == [204], "the signatures are right"
    assert inbox.events == [{"text": "Cliente S1 creado · Ada &lt;!channel&gt;"}]
