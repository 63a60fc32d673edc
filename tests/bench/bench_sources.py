"""Many sources in one `cdc run`: how long it takes to start, what it costs while nothing happens, how quickly a change
of any one of them arrives, and what a stopped server does to the others.

    PYTHONPATH=tests python tests/bench/bench_sources.py [--mariadb 150] [--postgresql 150] [--idle 60] [--changes 400]
        [--mysql 0] [--accounts] [--busy 20]

``--accounts``: each source has the account that `cdc grants` prints for it, else all have one.  ``--busy``: idle, too,
while one database more of MariaDB or MySQL is written so many times a second.

Half of the databases are on one private MariaDB, half on one private PostgreSQL; each has three tables of
FacturaScripts, triggers by `cdc install-triggers`, and a source of its own.  Single updates of a customer in a source
that is drawn at random, 10 to 40 ms apart; latency is from "COMMIT returned" to "the POST has arrived".  Then MariaDB
is stopped, the same is done to the sources on PostgreSQL, and MariaDB is started again.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import orjson
import psutil
from measure import cpu_seconds, percentile, process_at
from product import receiving

from cdc.model.connection import ConnectionInfo
from support.consumer import Consumer, database_url
from support.database import Database
from support.grants import PrintedGrants
from support.server import Server, Spec, maintenance_database, owner_info, running_server
from support.servers import TestServer

SPECS = {
    "mariadb": Spec("mariadb", options=("--max-connections=2000", "--table-open-cache=4000")),
    "mysql": Spec("mysql", options=("--max-connections=2000", "--table-open-cache=4000")),
    "postgresql": Spec("postgresql", options=("max_connections=1000", "max_prepared_transactions=0")),
}
TABLES = """
CREATE TABLE clientes (codcliente varchar(10) PRIMARY KEY, nombre varchar(100), cifnif varchar(30),
    telefono1 varchar(30), riesgomax double precision);
CREATE TABLE productos (idproducto integer PRIMARY KEY, referencia varchar(30), descripcion text,
    precio double precision, actualizado timestamp);
CREATE TABLE estados_documentos (idestado integer PRIMARY KEY, nombre varchar(50), editable boolean,
    generadoc varchar(30), tipodoc varchar(30));
INSERT INTO clientes VALUES ('1', 'O&#39;Brien SL', 'B12345678', '', 0);
"""
PAUSES = (0.01, 0.04)
SETTLE = 10.0


@dataclass
class Side:
    """One server and its databases, by the names of their sources."""

    flavour: str
    server: Server
    process: psutil.Process
    databases: dict[str, ConnectionInfo]

    @property
    def all(self) -> Sequence[str]:
        return list(self.databases)


@contextmanager
def side(flavour: str, count: int) -> Iterator[Side]:
    spec = SPECS[flavour]
    with running_server(spec) as server:
        databases = dict(_databases(spec, server, flavour, count))
        yield Side(flavour, server, process_at(server.port), databases)


@dataclass
class _Reached:
    """As much of `support.servers.TestServer` as `Database` needs."""

    spec: Spec
    port: int

    @property
    def flavour(self) -> str:
        return self.spec.flavour

    def info(self, database: str = "") -> ConnectionInfo:
        return owner_info(self.spec, self.port, database or maintenance_database(self.flavour))


def _databases(spec: Spec, server: Server, flavour: str, count: int) -> Iterator[tuple[str, ConnectionInfo]]:
    reached = cast("TestServer", _Reached(spec, server.port))

    def create(number: int) -> tuple[str, ConnectionInfo]:
        administration = Database(reached, "postgres" if flavour == "postgresql" else "mysql")
        administration.execute(f"CREATE DATABASE fs_{number}")
        administration.close()
        database = Database(reached, f"fs_{number}")
        database.script(TABLES)
        database.close()
        return f"{flavour}-{number}", database.info

    with ThreadPoolExecutor(1 if flavour == "postgresql" else 8) as pool:  # PostgreSQL copies one at a time
        yield from pool.map(create, range(count))


@dataclass
class Arrivals:
    """Number of the change (it is written into the row) → when it arrived, and of which source it was."""

    times: dict[int, float] = field(default_factory=dict)
    sources: dict[int, str] = field(default_factory=dict)
    counts: Counter[int] = field(default_factory=Counter)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, when: float, body: bytes) -> None:
        event = orjson.loads(body)
        number = int(event["data"]["riesgomax"])
        self.times.setdefault(number, when)
        self.sources[number] = event["source"]
        self.counts[number] += 1
        self.news.set()

    async def until(self, numbers: Sequence[int], seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while not self.times.keys() >= set(numbers):
                self.news.clear()
                await self.news.wait()


@dataclass
class Writers:
    """A connection a database, made before it counts."""

    databases: dict[str, ConnectionInfo]
    connections: dict[str, Any] = field(default_factory=dict)
    written: dict[int, str] = field(default_factory=dict)

    def connect(self, sources: Sequence[str]) -> None:
        for name in sources:
            info = self.databases[name]
            spec = SPECS[name.partition("-")[0]]
            self.connections[name] = Database(cast("TestServer", _Reached(spec, info.port)), info.database).connect()

    def write(self, sources: Sequence[str], numbers: Sequence[int]) -> dict[int, float]:
        """Number of the change → when its commit returned."""
        committed: dict[int, float] = {}
        for number in numbers:
            time.sleep(random.uniform(*PAUSES))
            name = random.choice(sources)
            connection = self.connections[name]
            connection.cursor().execute("UPDATE clientes SET riesgomax = %s", [number])
            connection.commit()
            committed[number] = time.perf_counter()
            self.written[number] = name
        return committed


@dataclass
class Bench:
    sides: dict[str, Side]
    consumer: Consumer
    arrivals: Arrivals
    writers: Writers
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 1_000_000)))

    @property
    def every(self) -> list[str]:
        return [name for each in self.sides.values() for name in each.all]

    async def start(self) -> psutil.Process:
        started = time.perf_counter()
        self.consumer.start()
        assert self.consumer.process is not None
        process = psutil.Process(self.consumer.process.pid)
        await self.consumer.logged("reading", times=len(self.every), seconds=600)
        seconds = time.perf_counter() - started
        print(f"start: {len(self.every)} sources are read after {seconds:.1f} s, {cpu_seconds(process):.1f} s of CPU")
        return process

    def questions(self) -> dict[str, int]:
        """Return how many statements each server of MariaDB or MySQL has had."""
        counts = {}
        for flavour in self.sides.keys() - {"postgresql"}:
            name = next(iter(self.sides[flavour].databases))
            if name not in self.writers.connections:
                self.writers.connect([name])
            cursor = self.writers.connections[name].cursor()
            cursor.execute("SHOW GLOBAL STATUS LIKE 'Questions'")
            ((_, count),) = cursor.fetchall()
            counts[flavour] = int(count)
        return counts

    async def busy(self, process: psutil.Process, seconds: float, rate: float) -> None:
        """As `idle`, while a database that no source reads is written."""
        flavour = next(iter(self.sides.keys() - {"postgresql"}))
        info = next(iter(self.sides[flavour].databases.values()))
        database = Database(cast("TestServer", _Reached(SPECS[flavour], info.port)), info.database)
        database.script("CREATE DATABASE other; CREATE TABLE other.t (id INT AUTO_INCREMENT PRIMARY KEY)")
        ended = asyncio.Event()

        async def write() -> None:
            while not ended.is_set():
                await asyncio.to_thread(database.execute, "INSERT INTO other.t VALUES (NULL)")
                await asyncio.sleep(1 / rate)

        writing = asyncio.create_task(write())
        print(f"another database is written {rate:g} times a second")
        await self.idle(process, seconds)
        ended.set()
        await writing
        database.close()

    async def idle(self, process: psutil.Process, seconds: float) -> None:
        await asyncio.sleep(SETTLE)
        asked = self.questions()
        servers = [each.process for each in self.sides.values()]
        before = [cpu_seconds(each) for each in (process, *servers)]
        await asyncio.sleep(seconds)
        spent = [cpu_seconds(each) - then for each, then in zip((process, *servers), before, strict=True)]
        shares = ", ".join(f"{name} {cpu / seconds:.1%}" for name, cpu in zip(self.sides, spent[1:], strict=True))
        connections = Counter(each.raddr.port for each in process.net_connections() if each.raddr)
        each_side = ", ".join(f"{connections[each.server.port]} to {name}" for name, each in self.sides.items())
        print(
            f"idle: cdc run {spent[0] / seconds:.1%} of a core, {process.memory_info().rss >> 20} MB,"
            f" {process.num_threads()} threads; connections: {each_side}; servers: {shares}"
        )
        for flavour, count in self.questions().items():
            print(f"  {flavour}: {(count - asked[flavour]) / seconds:.0f} statements a second")

    async def latency(self, label: str, sources: Sequence[str], changes: int) -> None:
        numbers = [next(self.numbers) for _ in range(changes)]
        committed = await asyncio.to_thread(self.writers.write, sources, numbers)
        await self.arrivals.until(numbers)
        spent = [(self.arrivals.times[number] - at) * 1e3 for number, at in committed.items()]
        wrong = sum(self.arrivals.sources[number] != self.writers.written[number] for number in numbers)
        twice = sum(self.arrivals.counts[number] - 1 for number in numbers)
        print(
            f"{label}: p50 {percentile(spent, 50):.1f} ms  p99 {percentile(spent, 99):.1f} ms  max {max(spent):.1f} ms"
            f"  ({changes} changes; lost 0, doubled {twice}, of the wrong source {wrong})"
        )

    async def one_stopped(self, process: psutil.Process, changes: int) -> None:
        down, up = self.sides["mariadb"], self.sides["postgresql"]
        await asyncio.to_thread(down.server.stop)
        await self.consumer.logged("source failed", times=len(down.all), seconds=120)
        before, at = cpu_seconds(process), time.perf_counter()
        await self.latency("MariaDB stopped, sources on PostgreSQL", up.all, changes)
        print(f"  cdc run {(cpu_seconds(process) - before) / (time.perf_counter() - at):.1%} of a core meanwhile")
        messages = self.consumer.messages()
        failed = {each["source"] for each in messages if each["message"] == "source failed"}
        print(f"  failed: {len(failed & set(down.all))} sources on MariaDB, {len(failed & set(up.all))} on PostgreSQL")
        reading = sum(each["message"] == "reading" for each in messages)
        started = time.perf_counter()
        await asyncio.to_thread(down.server.start)
        await self.consumer.logged("reading", times=reading + len(down.all), seconds=120)
        print(f"  started again: all of its sources are read after {time.perf_counter() - started:.1f} s")


def configuration(sides: Sequence[Side]) -> str:
    databases = {name: info for each in sides for name, info in each.databases.items()}
    return "\n".join(f'[source.{name}]\nurl = "{database_url(info)}"' for name, info in databases.items())


def with_accounts(consumer: Consumer, sides: Sequence[Side]) -> None:
    """Have each source use the account that is printed for it."""
    printed = PrintedGrants.read(consumer.run("grants"))
    tables = []
    for each in sides:
        reached = cast("TestServer", _Reached(SPECS[each.flavour], each.server.port))
        for name, info in each.databases.items():
            own = info.as_user(f"cdc_{name}_consumer", printed.passwords[f"cdc_{name}_consumer"])
            table = f'[source.{name}]\nurl = "{database_url(own)}"\nadmin_url = "{database_url(info)}"\n'
            tables.append(table)
            database = Database(reached, info.database)
            statements = [f"CREATE USER '{own.user}'@'%' IDENTIFIED BY '{own.password}'"]
            statements += [line for line in printed.text.splitlines() if line.startswith("GRANT") and own.user in line]
            for statement in statements:
                database.execute(statement)
            database.close()
    Consumer.with_sources(consumer.folder, "\n".join(tables), as_installed=True)


async def measure(options: argparse.Namespace) -> None:
    counts = {"mariadb": options.mariadb, "mysql": options.mysql, "postgresql": options.postgresql}
    with ExitStack() as at_end:
        began = time.perf_counter()
        sides = {name: at_end.enter_context(side(name, count)) for name, count in counts.items() if count}
        folder = at_end.enter_context(tempfile.TemporaryDirectory())
        consumer = Consumer.with_sources(Path(folder), configuration(list(sides.values())), as_installed=True)
        print(f"databases made in {time.perf_counter() - began:.1f} s", flush=True)
        began = time.perf_counter()
        installing = await asyncio.create_subprocess_exec(
            *consumer.command("install-triggers"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if await installing.wait():
            raise SystemExit("the triggers could not be installed")
        print(f"triggers installed in {time.perf_counter() - began:.1f} s", flush=True)
        if options.accounts:
            with_accounts(consumer, list(sides.values()))
        arrivals = Arrivals()
        async with receiving(arrivals.take) as url:
            consumer.add_endpoint(url, "customer.updated")
            infos = {name: info for each in sides.values() for name, info in each.databases.items()}
            bench = Bench(sides, consumer, arrivals, Writers(infos))
            try:
                await run(bench, options)
            finally:
                if consumer.process is not None:
                    began = time.perf_counter()
                    await consumer.stop()
                    print(f"stop: {time.perf_counter() - began:.1f} s")


async def run(bench: Bench, options: argparse.Namespace) -> None:
    process = await bench.start()
    if options.idle:
        await bench.idle(process, options.idle)
        if options.busy:
            await bench.busy(process, options.idle, options.busy)
    await asyncio.to_thread(bench.writers.connect, bench.every)
    await bench.latency("warming up", bench.every, 50)
    await bench.latency("single changes", bench.every, options.changes)
    if {"mariadb", "postgresql"} <= bench.sides.keys():
        await bench.one_stopped(process, options.changes // 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mariadb", type=int, default=150)
    parser.add_argument("--mysql", type=int, default=0)
    parser.add_argument("--accounts", action="store_true")
    parser.add_argument("--busy", type=float, default=0)
    parser.add_argument("--postgresql", type=int, default=150)
    parser.add_argument("--idle", type=float, default=60)
    parser.add_argument("--changes", type=int, default=400)
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
