"""Thousands of sources and endpoints, shared by workers on one PostgreSQL outbox.  Prints figures; no test.

    python tests/bench/bench_fleet.py [--workers 4] [--sources 5000] [--endpoints 20000] [--capture binlog | --fake]

The sources are schemas of one private MariaDB, each with three tables of FacturaScripts; an endpoint wants the events
of one source.  The outbox is on a private PostgreSQL.  Single updates of a customer in a source drawn at
random; latency is from "COMMIT returned" to "the POST to the last of its endpoints has arrived".  Then one worker is
killed (``kill -9``) and another one is stopped in good order.

``--fake``: the sources are journals in the workers' memory (`fleet_worker.py`), which cost nothing: what is measured is
the product's part and PostgreSQL's.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import bench_sources
import orjson
import psutil
import psycopg
from bench_sources import PAUSES, SPECS, Side, Writers, _Reached, configuration, side
from measure import cpu_seconds, percentile, process_at
from product import receiving

from cdc.database.postgres_connection import conninfo
from cdc.model.connection import ConnectionInfo, Engine
from support.consumer import database_url
from support.database import Database
from support.ports import free_port
from support.server import Server, Spec, postgres_server
from support.servers import TestServer
from support.team import Worker

#: :sources: how many there are; copies of the only endpoint, each for one source.
COPIES = """
INSERT INTO cdc_outbox.endpoint (id, events, sources, enabled, disabled_reason, secret, former_secret, settings,
    created_at, delivery_order, condition, headers, failing_since)
SELECT 'ep_' || n, events, ARRAY['mariadb-' || n % {sources}], enabled, disabled_reason, secret, former_secret,
    settings, created_at, delivery_order, condition, headers, failing_since
FROM cdc_outbox.endpoint, generate_series(0, {endpoints} - 1) AS s (n);
DELETE FROM cdc_outbox.endpoint WHERE sources = '{{}}';
UPDATE cdc_outbox.endpoint_version SET version = version + 1
"""
SETTLE = 15.0
AT_ONCE = 8
LIMIT = 300.0


class Arrivals:
    """Number of the change → when it arrived at the last of its endpoints."""

    def __init__(self, endpoints: int, sources: int) -> None:
        self._each = {f"mariadb-{number}": len(range(number, endpoints, sources)) for number in range(sources)}
        self._counts = Counter[int]()
        self.times: dict[int, float] = {}
        self.news = asyncio.Event()

    def take(self, when: float, body: bytes) -> None:
        event = orjson.loads(body)
        number = int(event["data"]["riesgomax"])
        self._counts[number] += 1
        if self._counts[number] == self._each[event["source"]]:
            self.times[number] = when
            self.news.set()

    async def until(self, numbers: Sequence[int]) -> None:
        async with asyncio.timeout(300):
            while not self.times.keys() >= set(numbers):
                self.news.clear()
                await self.news.wait()


class FakeWorker(Worker):
    def command(self, *more: str) -> list[str]:
        return [sys.executable, str(Path(__file__).with_name("fleet_worker.py")), *self.arguments(*more)]


class FakeWriters(Writers):
    """Datagrams to all workers: that which reads the source has the change."""

    def __init__(self, databases: dict[str, ConnectionInfo], ports: Sequence[int]) -> None:
        super().__init__(databases)
        self._ports = ports
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def connect(self, sources: Sequence[str]) -> None:
        self.connections = dict.fromkeys(sources)

    def write(self, sources: Sequence[str], numbers: Sequence[int]) -> dict[int, float]:
        committed: dict[int, float] = {}
        for number in numbers:
            time.sleep(random.uniform(*PAUSES))
            name = random.choice(sources)
            for port in self._ports:
                self._socket.sendto(f"{name} {number}".encode(), ("127.0.0.1", port))
            committed[number] = time.perf_counter()
        return committed


class Fleet:
    def __init__(self, outbox: ConnectionInfo, databases: Side, workers: Mapping[str, Worker]) -> None:
        self._outbox = outbox
        self._databases = databases
        self.workers = dict(workers)
        self.processes: dict[str, psutil.Process] = {}
        fake = databases.flavour == "fake"
        self._servers = {"PostgreSQL": process_at(outbox.port)} | ({} if fake else {"MariaDB": databases.process})
        self._numbers = iter(range(1, 1_000_000))

    def ask(self, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(conninfo(self._outbox, "bench"), autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()

    async def start(self) -> None:
        begun = time.perf_counter()
        for name, worker in self.workers.items():
            worker.start()
            assert worker.process is not None
            self.processes[name] = psutil.Process(worker.process.pid)
        await self._all_read(begun, f"start of {len(self.workers)} workers")
        print(f"  {sum(map(cpu_seconds, self.processes.values())):.0f} s of CPU", flush=True)
        while max(shares := await asyncio.to_thread(self._shares)) - min(shares) > 1:  # noqa: ASYNC110 - a table of theirs
            await asyncio.sleep(0.5)
        print(f"  shared evenly after {time.perf_counter() - begun:.1f} s", flush=True)

    def _shares(self) -> list[int]:
        """Return how many sources each worker has."""
        found = Counter(holder for (holder,) in self.ask("SELECT worker FROM cdc_outbox.source_lease"))
        return [found[name] for name in self.workers]

    async def _all_read(self, begun: float, what: str) -> None:
        wanted = set(self._databases.databases)
        while (reading := await asyncio.to_thread(self._reading)) != wanted:
            await asyncio.sleep(0.5)
            if time.perf_counter() - begun > LIMIT:
                print(f"{what}: only {len(reading)} sources are read after {LIMIT:.0f} s", flush=True)
                return
        print(f"{what}: all sources are read after {time.perf_counter() - begun:.1f} s", flush=True)

    def _reading(self) -> set[str]:
        """Return the sources that are read, by the workers' logs."""
        reading = set[str]()
        for worker in self.workers.values():
            mine = set[str]()
            for line in worker.log.read_bytes().splitlines():
                if b'"reading"' in line:
                    mine.add(orjson.loads(line)["source"])
                elif b'"source left"' in line or b'"source failed"' in line:
                    mine.discard(orjson.loads(line)["source"])
            reading |= mine
        return reading

    def _cpu(self) -> Callable[[], str]:
        """Return a function that returns how much of a core each part has taken since."""
        every, begun = [*self.processes.values(), *self._servers.values()], time.perf_counter()
        before = [cpu_seconds(each) for each in every]

        def spent() -> str:
            seconds = time.perf_counter() - begun
            shares = [(cpu_seconds(each) - then) / seconds for each, then in zip(every, before, strict=True)]
            workers, servers = shares[: -len(self._servers)], shares[-len(self._servers) :]
            named = [f"{name} {share:.0%}" for name, share in zip(self._servers, servers, strict=True)]
            return ", ".join([f"{sum(workers):.0%} of a core for all workers", *named])

        return spent

    async def idle(self, seconds: float) -> None:
        await asyncio.sleep(SETTLE)
        spent, before = self._cpu(), self._statements()
        await asyncio.sleep(seconds)
        shares, statements = spent(), self._statements()
        memory = [each.memory_info().rss >> 20 for each in self.processes.values()]
        connections = sum(len(each.net_connections()) for each in self.processes.values())
        threads = sum(each.num_threads() for each in self.processes.values())
        print(
            f"idle: {shares}; memory of each worker {memory} MB; {threads} threads, {connections} connections",
            flush=True,
        )
        each = ", ".join(f"{(statements[name] - before[name]) / seconds:.0f} {name}" for name in statements)
        print(f"  a second: {each}", flush=True)

    def _statements(self) -> dict[str, int]:
        """Return what the servers have done so far: figures that do not depend on the machine's load."""
        found: list[tuple[object, object]] = []
        if "MariaDB" in self._servers:
            database = Database(cast("TestServer", _Reached(SPECS["mariadb"], self._databases.server.port)), "mysql")
            wanted = "('Questions', 'Queries', 'Connections', 'Com_select', 'Com_call_procedure')"
            found = database.execute(f"SHOW GLOBAL STATUS WHERE Variable_name IN {wanted}")
            database.close()
        ((commits,),) = self.ask("SELECT sum(xact_commit) FROM pg_stat_database")
        return {f"MariaDB {name}": int(str(value)) for name, value in found} | {
            "PostgreSQL transactions": int(str(commits))
        }

    async def latency(self, what: str, writers: Writers, arrivals: Arrivals, changes: int) -> None:
        numbers = [next(self._numbers) for _ in range(changes)]
        cpu = self._cpu()
        committed = await asyncio.to_thread(writers.write, list(writers.connections), numbers)
        await arrivals.until(numbers)
        shares = cpu()
        spent = [(arrivals.times[number] - at) * 1e3 for number, at in committed.items()]
        print(
            f"{what}: p50 {percentile(spent, 50):.0f} ms, p99 {percentile(spent, 99):.0f} ms, max {max(spent):.0f} ms;"
            f" {shares}",
            flush=True,
        )

    async def lose(self, how: signal.Signals) -> None:
        name = next(iter(self.workers))
        worker = self.workers.pop(name)
        self.processes.pop(name)
        begun = time.perf_counter()
        ended = asyncio.create_task(worker.stop(how))
        await self._all_read(begun, f"{how.name} to {name}")
        await ended


async def measure(options: argparse.Namespace) -> None:
    bench_sources.SPECS["mariadb"] = Spec(
        "mariadb",
        binlog=options.capture == "binlog",
        options=(
            f"--max-connections={options.sources * 2 + 500}",
            "--table-open-cache=20000",
            "--open-files-limit=65536",
        ),
    )
    with ExitStack() as at_end:
        begun = time.perf_counter()
        databases = (
            _fake_side(options.sources) if options.fake else at_end.enter_context(side("mariadb", options.sources))
        )
        outbox = at_end.enter_context(postgres_server("max_connections=200"))
        folder = Path(at_end.enter_context(tempfile.TemporaryDirectory()))
        workers = {
            f"w{number}": _worker(folder / f"w{number}", databases, outbox, options.capture, fake=options.fake)
            for number in range(options.workers)
        }
        print(f"{options.sources} schemas after {time.perf_counter() - begun:.0f} s", flush=True)
        begun = time.perf_counter()
        first = workers["w0"]
        if options.capture == "triggers" and not options.fake:
            await _install(first, databases.all)
            print(f"triggers are installed after {time.perf_counter() - begun:.0f} s more", flush=True)
        arrivals = Arrivals(options.endpoints, options.sources)
        async with receiving(arrivals.take) as url:
            first.add_endpoint(url, "customer.updated")
            fleet = Fleet(outbox, databases, workers)
            with psycopg.connect(conninfo(outbox, "bench"), autocommit=True) as connection:
                text = COPIES.format(sources=options.sources, endpoints=options.endpoints)
                connection.execute(text.encode())
            try:
                await run(fleet, databases, arrivals, options)
            finally:
                for worker in workers.values():
                    if worker.process is not None:
                        await worker.stop(signal.SIGKILL)


async def _install(worker: Worker, sources: Sequence[str]) -> None:
    """Install triggers by several commands at once: one waits for the server's disk most of the time."""
    commands = [
        worker.command("install-triggers", *(word for name in sources[each::AT_ONCE] for word in ("--source", name)))
        for each in range(AT_ONCE)
    ]
    running = [await asyncio.create_subprocess_exec(*each, stderr=subprocess.DEVNULL) for each in commands]
    if any([await each.wait() for each in running]):
        raise SystemExit("the triggers could not be installed")


def _fake_side(count: int) -> Side:
    infos = {
        f"mariadb-{number}": ConnectionInfo(Engine.MYSQL, f"fs_{number}", "cdc", port=1) for number in range(count)
    }
    return Side("fake", cast("Server", None), psutil.Process(), infos)


def _worker(folder: Path, databases: Side, outbox: ConnectionInfo, capture: str, *, fake: bool) -> Worker:
    folder.mkdir()
    sources = configuration([databases]).replace("\n[source.", f'\ncapture = "{capture}"\n[source.')
    text = f'{sources}\ncapture = "{capture}"\n[outbox]\nurl = "{database_url(outbox)}"\n'
    text += f'[dispatch]\nallow_private = true\nworker = "{folder.name}"\n[web]\nlisten = ""\n[process]\nnice = 0\n'
    (folder / "cdc.toml").write_text(text, encoding="utf-8")
    if not fake:
        return Worker(folder, name=folder.name, as_installed=True)
    port = {"FLEET_PORT": str(free_port())}
    return FakeWorker(folder, name=folder.name, as_installed=True, environment=port)


async def run(fleet: Fleet, databases: Side, arrivals: Arrivals, options: argparse.Namespace) -> None:
    await fleet.start()
    await fleet.idle(options.idle)
    ports = [int(worker.environment["FLEET_PORT"]) for worker in fleet.workers.values() if worker.environment]
    writers = FakeWriters(databases.databases, ports) if options.fake else Writers(databases.databases)
    await asyncio.to_thread(writers.connect, databases.all[:: max(len(databases.all) // 200, 1)])
    await fleet.latency("warming up", writers, arrivals, 50)
    await fleet.latency("single changes", writers, arrivals, options.changes)
    await fleet.lose(signal.SIGKILL)
    await fleet.latency("afterwards", writers, arrivals, options.changes)
    await fleet.lose(signal.SIGTERM)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--sources", type=int, default=5000)
    parser.add_argument("--endpoints", type=int, default=20_000)
    parser.add_argument("--capture", choices=["triggers", "binlog"], default="triggers")
    parser.add_argument("--fake", action="store_true")
    parser.add_argument("--idle", type=float, default=60)
    parser.add_argument("--changes", type=int, default=400)
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
