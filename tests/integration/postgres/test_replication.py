"""The ways in which a server replicates the outbox, as health and doctor report them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cdc.model.errors import OutboxUnavailable
from cdc.outbox.base import Replication
from cdc.outbox.postgres.database import CALL_SECONDS
from cdc.outbox.postgres.outbox import PostgresOutbox
from support.commands import run_command
from support.consumer import Consumer, database_url
from support.database import Database
from support.outboxes import event, lease, store
from support.replication import make_synchronous
from support.tcp_proxy import proxy


async def test_an_outbox_knows_whether_its_commits_wait_for_a_standby(
    own_server: Callable[[str], Database], tmp_path: Path
) -> None:
    """For an account without privileges too; and the doctor warns."""
    primary = own_server("postgresql")
    primary.execute("CREATE ROLE plain LOGIN PASSWORD 'plain'")
    primary.execute(f"ALTER DATABASE {primary.name} OWNER TO plain")
    info = primary.info.as_user("plain", "plain")
    outbox = PostgresOutbox(info)
    await outbox.open()
    file = Consumer.configure(tmp_path, primary.info).folder / "cdc.toml"
    wanted = f'{database_url(info)}"\nsynchronous = true'
    file.write_text(file.read_text(encoding="utf-8").replace('sqlite:///cdc.db"', wanted), encoding="utf-8")
    try:
        assert await outbox.replication() is Replication.NONE
        assert check(tmp_path) == (
            "warning",
            "The outbox's server has no standby, and [outbox] synchronous asks for one.",
        )
        standby = primary.server.standby()
        try:
            assert await outbox.replication() is Replication.ASYNCHRONOUS
            warned = "The outbox's server does not wait for its standby: a fail-over may lose what was acknowledged."
            assert check(tmp_path) == ("warning", warned)
            make_synchronous(primary)
            assert await outbox.replication() is Replication.SYNCHRONOUS
            assert check(tmp_path) == ("ok", "each commit waits for a standby")
        finally:
            standby.discard()
    finally:
        await outbox.close()


async def test_a_server_that_hangs_is_left_for_another_one(
    postgres_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connections stay, and nothing comes through them any more."""
    monkeypatch.setattr("cdc.outbox.postgres.outbox.SOON_SECONDS", 1.0)
    info = postgres_db.info
    with proxy(info.port) as hanging:
        outbox = PostgresOutbox(replace(info, port=hanging.port, others=((info.host, info.port),), writable=True))
        await outbox.open()
        try:
            await store(outbox, event(1))
            assert await lease(outbox) == []
            hanging.deaf.set()
            async with asyncio.timeout(CALL_SECONDS / 2):
                with pytest.raises(OutboxUnavailable):
                    await lease(outbox)
                assert await lease(outbox) == []
        finally:
            hanging.cut()
            await outbox.close()


def check(folder: Path) -> tuple[str, str]:
    done = run_command("--config", str(folder / "cdc.toml"), "doctor", "--json")
    checks = json.loads(done.stdout)["checks"]
    (found,) = [each for each in checks if each["check"] == "replication"]
    return found["severity"], found["detail"]
