"""Three `cdc run` share ten sources of one PostgreSQL outbox: killed, stopped and cut off, while the ERP writes."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from support.database import Database
from support.servers import TestServer
from support.tcp_proxy import Proxy
from support.team import team

NAMES: dict[str, dict[int, int]] = {"w1": {}, "w2": {}, "w3": {}}


def servers(postgres_db: Database, mariadb_db: Database) -> list[TestServer]:
    """Return the server of each source."""
    return [postgres_db.server] * 7 + [mariadb_db.server] * 3


async def test_the_sources_of_a_killed_worker_are_shared_by_the_others_and_given_back(
    postgres_db: Database, mariadb_db: Database, tmp_path: Path
) -> None:
    async with team(postgres_db, servers(postgres_db, mariadb_db), tmp_path, NAMES) as made:
        with made.writing():
            lost, killed = made.of("w1"), made.workers["w1"]
            await killed.stop(signal.SIGKILL)
            await made.spread("w2", "w3")
            await made.arrives(lost)
            killed.begin()
            await made.spread(*NAMES)
            await made.arrives(set(made.databases))
        await made.check()


async def test_a_stopped_worker_loses_its_sources_and_finds_out_when_it_continues(
    postgres_db: Database, mariadb_db: Database, tmp_path: Path
) -> None:
    async with team(postgres_db, servers(postgres_db, mariadb_db), tmp_path, NAMES) as made:
        with made.writing():
            lost, stopped = made.of("w1"), made.workers["w1"]
            assert stopped.process is not None
            stopped.process.send_signal(signal.SIGSTOP)
            await made.spread("w2", "w3")
            await made.arrives(lost)
            stopped.process.send_signal(signal.SIGCONT)
            await stopped.logged("source left", len(lost))
            await made.spread(*NAMES)
            await made.arrives(set(made.databases))
        await made.check()


async def test_a_worker_that_is_cut_off_loses_its_sources(
    postgres_db: Database, mariadb_db: Database, tmp_path: Path
) -> None:
    """Its connections stay, and nothing comes through them any more."""
    proxies = {each.info.port: Proxy(each.info.port) for each in (postgres_db, mariadb_db)}
    names = NAMES | {"w3": {port: proxy.port for port, proxy in proxies.items()}}
    try:
        async with team(postgres_db, servers(postgres_db, mariadb_db), tmp_path, names) as made:
            with made.writing():
                lost = made.of("w3")
                for proxy in proxies.values():
                    proxy.deaf.set()
                await made.spread("w1", "w2")
                await made.arrives(lost)
                await made.workers["w3"].logged("leases expired")
                await made.workers["w3"].stop(signal.SIGKILL)
            await made.check()
    finally:
        for proxy in proxies.values():
            proxy.close()


async def test_a_worker_that_ends_hands_its_sources_over(
    postgres_db: Database, mariadb_db: Database, tmp_path: Path
) -> None:
    async with team(postgres_db, servers(postgres_db, mariadb_db), tmp_path, {"w1": {}, "w2": {}}) as made:
        with made.writing():
            await made.workers["w2"].call("worker", "drain", "w1")
            await made.spread("w2")
            drained, reads = json.loads(await made.workers["w2"].call("worker", "list", "--json"))["workers"]
            assert (drained["state"], drained["sources"]) == ("draining", {})
            assert set(reads["sources"]) == set(made.databases)
            assert await made.workers["w1"].stop() == 0
            await made.spread("w2")
            await made.arrives(set(made.databases))
        await made.check()
