"""The ways in which a server replicates the outbox, as health and doctor report them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from cdc.outbox.base import Replication
from cdc.outbox.postgres.outbox import PostgresOutbox
from support.commands import run_command
from support.consumer import Consumer, database_url
from support.database import Database
from support.replication import make_synchronous


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


def check(folder: Path) -> tuple[str, str]:
    done = run_command("--config", str(folder / "cdc.toml"), "doctor", "--json")
    checks = json.loads(done.stdout)["checks"]
    (found,) = [each for each in checks if each["check"] == "replication"]
    return found["severity"], found["detail"]
