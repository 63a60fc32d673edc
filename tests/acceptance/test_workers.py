"""Three `cdc run` share ten sources of one PostgreSQL outbox: killed, stopped and cut off, while the ERP writes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.commands import start_command
from support.consumer import RULES, TABLE, Consumer, Inbox, database_url, receiving
from support.database import Database, fresh_database
from support.tcp_proxy import Proxy
from support.waiting import HANG_SECONDS

SOURCES = 10
RECORDS = 3


@dataclass
class Worker(Consumer):
    """``url``: of the outbox and the sources, as it reaches them."""

    name: str = ""
    starts: int = 0

    def begin(self) -> None:
        self.starts += 1
        arguments = self.arguments("--log-format", "json", "run")
        self.process = start_command(arguments, self.said, self.log, os.environ | {"CDC_DISPATCH_WORKER": self.name})


@dataclass
class Team:
    """``databases``: of the sources, by name; ``written``: how often each record of theirs was changed."""

    outbox: Database
    databases: Mapping[str, Database]
    workers: Mapping[str, Worker]
    inbox: Inbox
    written: Counter[tuple[str, int]] = field(default_factory=Counter)

    def leases(self) -> dict[str, str | None]:
        return dict(self.outbox.execute("SELECT source, worker FROM cdc_outbox.source_lease"))

    def of(self, worker: str) -> set[str]:
        return {source for source, holder in self.leases().items() if holder == worker}

    async def until(self, wanted: Callable[[], bool]) -> None:
        async with asyncio.timeout(HANG_SECONDS):
            while not await asyncio.to_thread(wanted):  # noqa: ASYNC110 - a table of other processes: there is no event
                await asyncio.sleep(0.1)

    async def spread(self, *workers: str) -> None:
        """Until these workers have fair shares of all sources."""
        least, more = divmod(SOURCES, len(workers))
        fair = sorted([least] * (len(workers) - more) + [least + 1] * more)
        await self.until(lambda: sorted(Counter(self.leases().values()).values()) == fair and self.held_by(workers))

    def held_by(self, workers: tuple[str, ...]) -> bool:
        return len(held := self.leases()) == SOURCES and set(held.values()) <= set(workers)

    async def arrives(self, sources: set[str]) -> None:
        """A change of each of these sources, made now."""
        for source in sources:
            self.write(source, 0)
        wanted = {(source, self.written[source, 0]) for source in sources}
        await self.inbox.until(
            lambda inbox: wanted <= {(e["source"], e["data"]["valor"]) for e in inbox.events if e["key"] == {"id": 0}}
        )

    def write(self, source: str, record: int) -> None:
        self.databases[source].execute("UPDATE contadores SET valor = valor + 1 WHERE id = %s", [record])
        self.written[source, record] += 1

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Changes of all sources go on inside the block (not of record 0, which is for `arrives`)."""
        ended = threading.Event()

        def write() -> None:
            while True:
                for source in self.databases:
                    for record in range(1, RECORDS):
                        self.write(source, record)
                        if ended.wait(0.02):  # the pace of an ERP: a machine at work must keep up
                            return

        writer = threading.Thread(target=write)
        writer.start()
        try:
            yield
        finally:
            ended.set()
            writer.join()

    async def check(self) -> None:
        """Every change arrives, each record's in order at first sight; what came again had the same id and bytes."""
        changes = sum(self.written.values())
        await self.inbox.until(lambda inbox: len({event["id"] for event in inbox.events}) >= changes)
        seen: dict[str, bytes] = {}
        last: Counter[tuple[str, int]] = Counter()
        for received in self.inbox.received:
            event = received.event
            if event["id"] in seen:
                assert seen[event["id"]] == received.body
                continue
            seen[event["id"]] = received.body
            record = event["source"], event["key"]["id"]
            assert event["previous"]["valor"] == last[record], "out of order"
            last[record] = event["data"]["valor"]
        assert last == self.written


@asynccontextmanager
async def team(
    outbox: Database, mariadb: Database, folder: Path, ports: Mapping[str, Mapping[int, int]]
) -> AsyncIterator[Team]:
    """Workers with these names, by the ports through which each reaches servers; they share all sources already."""
    with ExitStack() as stack:
        servers = [outbox.server] * (SOURCES - 3) + [mariadb.server] * 3
        databases = {
            f"s{number}": stack.enter_context(fresh_database(server, erp=False))
            for number, server in enumerate(servers)
        }
        workers = {name: Worker(folder / name, name=name) for name in ports}
        for name, worker in workers.items():
            configure(worker, outbox, databases, ports[name])
        inbox = Inbox()
        first = next(iter(workers.values()))
        async with receiving(inbox) as url:
            for database in databases.values():
                database.execute(TABLE)
                for record in range(RECORDS):
                    database.execute("INSERT INTO contadores VALUES (%s, 0, NULL)", [record])
            await first.call("install-triggers")
            await asyncio.to_thread(first.add_endpoint, url, "contadores.*")
            try:
                for worker in workers.values():
                    worker.begin()
                made = Team(outbox, databases, workers, inbox)
                await made.spread(*workers)
                await made.arrives(set(databases))
                yield made
                codes = [await worker.stop() for worker in workers.values() if worker.process is not None]
                assert set(codes) == {0}
            finally:
                for worker in workers.values():
                    if worker.process is not None:
                        worker.process.send_signal(signal.SIGCONT)
                        await worker.stop(signal.SIGKILL)


def configure(worker: Worker, outbox: Database, databases: Mapping[str, Database], ports: Mapping[int, int]) -> None:
    worker.folder.mkdir()
    (worker.folder / "rules.toml").write_text(RULES, encoding="utf-8")
    sources = "".join(
        f'[source.{name}]\nurl = "{database_url(each.info)}"\nrules = "rules.toml"\n'
        for name, each in databases.items()
    )
    text = f'{sources}[outbox]\nurl = "{database_url(outbox.info)}"\n[process]\nnice = 0\n'
    text += '[dispatch]\nallow_private = true\n[web]\nlisten = ""\n'
    for port, through in ports.items():
        text = text.replace(f":{port}/", f":{through}/")
    (worker.folder / "cdc.toml").write_text(text, encoding="utf-8")


NAMES: dict[str, dict[int, int]] = {"w1": {}, "w2": {}, "w3": {}}


async def test_the_sources_of_a_killed_worker_are_shared_by_the_others_and_given_back(
    postgres_db: Database, mariadb_db: Database, tmp_path: Path
) -> None:
    async with team(postgres_db, mariadb_db, tmp_path, NAMES) as made:
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
    async with team(postgres_db, mariadb_db, tmp_path, NAMES) as made:
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
        async with team(postgres_db, mariadb_db, tmp_path, names) as made:
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
    async with team(postgres_db, mariadb_db, tmp_path, {"w1": {}, "w2": {}}) as made:
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
