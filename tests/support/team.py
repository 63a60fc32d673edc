"""Several `cdc run` that share the sources of one PostgreSQL outbox, while the ERP writes."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.commands import start_command
from support.consumer import RULES, TABLE, Consumer, Inbox, database_url, receiving
from support.database import Database, fresh_database
from support.servers import TestServer
from support.waiting import HANG_SECONDS

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
        least, more = divmod(len(self.databases), len(workers))
        fair = sorted([least] * (len(workers) - more) + [least + 1] * more)
        await self.until(lambda: sorted(Counter(self.leases().values()).values()) == fair and self.held_by(workers))

    def held_by(self, workers: tuple[str, ...]) -> bool:
        return len(held := self.leases()) == len(self.databases) and set(held.values()) <= set(workers)

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
    outbox: Database,
    servers: Sequence[TestServer],
    folder: Path,
    ports: Mapping[str, Mapping[int, int]],
    outbox_url: str = "",
) -> AsyncIterator[Team]:
    """Workers with these names, by the ports through which each reaches servers; they share all sources already.

    ``servers``: of each source.  ``outbox_url``: where it is not the one of ``outbox``."""
    with ExitStack() as stack:
        databases = {
            f"s{number}": stack.enter_context(fresh_database(server, erp=False))
            for number, server in enumerate(servers)
        }
        workers = {name: Worker(folder / name, name=name) for name in ports}
        for name, worker in workers.items():
            configure(worker, outbox_url or database_url(outbox.info), databases, ports[name])
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


def configure(
    worker: Worker, outbox: str, databases: Mapping[str, Database], ports: Mapping[int, int], dispatch: str = ""
) -> None:
    worker.folder.mkdir()
    (worker.folder / "rules.toml").write_text(RULES, encoding="utf-8")
    sources = "".join(
        f'[source.{name}]\nurl = "{database_url(each.info)}"\nrules = "rules.toml"\n'
        for name, each in databases.items()
    )
    text = f'{sources}[outbox]\nurl = "{outbox}"\n[process]\nnice = 0\n'
    text += f'[dispatch]\nallow_private = true\n{dispatch}[web]\nlisten = ""\n'
    for port, through in ports.items():
        text = text.replace(f":{port}/", f":{through}/")
    (worker.folder / "cdc.toml").write_text(text, encoding="utf-8")
