"""The PostgreSQL server of the outbox dies, and its standby takes over: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.consumer import database_url
from support.database import Database
from support.replication import make_synchronous
from support.servers import TestServer
from support.team import team


@pytest.fixture
def primary(own_server: Callable[[str], Database]) -> Database:
    return own_server("postgresql")


@pytest.fixture
def standby(primary: Database) -> Iterator[TestServer]:
    made = primary.server.standby()
    yield made
    made.discard()


async def test_nothing_is_lost_when_the_synchronous_standby_takes_over(
    primary: Database, standby: TestServer, postgres_db: Database, mariadb_db: Database, tmp_path: Path
) -> None:
    """Sources of all kinds move on; each record's changes arrive in order, and what came again has the same id."""
    await asyncio.to_thread(make_synchronous, primary)
    both = f":{primary.server.port},127.0.0.1:{standby.port}/"
    url = database_url(primary.info).replace(f":{primary.server.port}/", both)
    servers = [postgres_db.server] * 2 + [mariadb_db.server] * 2
    async with team(primary, servers, tmp_path, {"w1": {}, "w2": {}}, f"{url}?target_session_attrs=read-write") as made:
        assert await replication(made.workers["w1"]) == ("ok", "each commit waits for a standby")
        with made.writing():
            await made.arrives(set(made.databases))
            primary.server.kill()
            standby.admin_execute("SELECT pg_promote()")
            made.outbox = Database(standby, primary.name)
            await made.arrives(set(made.databases))
            await made.spread("w1", "w2")
            await made.arrives(set(made.databases))
        await made.check()
        made.outbox.close()


async def replication(consumer: Any) -> tuple[str, str] | None:
    """The doctor's check, if there is one."""
    checks = json.loads(await consumer.call("doctor", "--json"))["checks"]
    found = [(each["severity"], each["detail"]) for each in checks if each["check"] == "replication"]
    return found[0] if found else None
