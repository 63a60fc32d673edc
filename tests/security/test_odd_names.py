"""Tables and columns may have any name: none ends a quote of ours, and none makes a trigger look wrong."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from support.consumer import Consumer, Inbox, receiving
from support.database import Database

#: The dollar quotes and placeholders of our templates, quotes of every engine, and the driver's own placeholders.
TABLES = ("x_$cdc$", "$function", "a'b", 'a"b', "back`tick", "per%scent", "{brace}", "semi;colon", "two words")
#: A secret column is named in the trigger's text.
SECRET = "p$cdc$; SELECT 1/0; --"


def _quoted(database: Database, name: str) -> str:
    mark = '"' if database.flavour == "postgresql" else "`"
    return (mark + name.replace(mark, mark * 2) + mark).replace("%", "%%")


async def test_any_name_is_installed_captured_and_found_in_order(database: Database, tmp_path: Path) -> None:
    secret = _quoted(database, SECRET)
    for table in TABLES:
        columns = f"id integer PRIMARY KEY, valor integer, {secret} varchar(20)"
        database.execute(f"CREATE TABLE {_quoted(database, table)} ({columns})", ())
    consumer = Consumer.configure(tmp_path / "cdc", database.info, 'rules = "rules.toml"\n')
    entities = [f"[entity.odd_{number}]\ntable = {json.dumps(table)}\n" for number, table in enumerate(TABLES)]
    secrets = [f"{json.dumps(table)} = [{json.dumps(SECRET)}]\n" for table in TABLES]
    (consumer.folder / "rules.toml").write_text("".join([*entities, "[secret]\n", *secrets]), encoding="utf-8")
    await consumer.call("install-triggers")
    assert json.loads(await consumer.call("install-triggers", "--json"))["sources"][0]["steps"] == []
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url, "*")
        checks = json.loads(await consumer.call("doctor", "--json"))["checks"]
        assert [check for check in checks if check["severity"] == "wrong"] == []
        async with consumer.running():
            for table in TABLES:
                database.execute(f"INSERT INTO {_quoted(database, table)} VALUES (1, 2, 'hidden')", ())
            await inbox.until_count(len(TABLES))
    told = [event["data"] for event in inbox.events]
    assert told == [{"id": 1, "valor": 2}] * len(TABLES)
    await consumer.call("uninstall-triggers")
