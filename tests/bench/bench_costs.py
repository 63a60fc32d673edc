"""Costs of this checkout against those of another one, in turn on one server.  Linux only.

    PYTHONPATH=tests python tests/bench/bench_costs.py --base CHECKOUT [--rounds 10] [--seconds 10] [PART …]
        [--servers mysql …]

``--base``: a folder with a checkout and its `.venv`, which installs and runs what it has.  Printed are medians of each
side and of the pairs' ratios, this one's to the other's.

triggers  processor time of a PostgreSQL backend for an update, an update that changes nothing and an insert
writes    p50 and p99 of the same three, per server, each a transaction that does not wait for the disk, milliseconds
lookups   of a look-up by key on PostgreSQL: processor time here and in the server, latency
idle      of one source, per server: processor time of `cdc run` and the server (per cent of a core), resident memory
filters   of an evaluation of each of three filters, the last two with `matches`
"""

from __future__ import annotations

import argparse
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import cast

import psutil
import psycopg
from costs_side import COUNT, FILTERS, sched_us
from measure import SERVERS, BenchServer, add_invoices, percentile, process_at

from cdc.database.postgres_connection import conninfo
from support.consumer import database_url
from support.database import Database, create_database
from support.server import running_server
from support.servers import TestServer

HERE = Path(__file__).parents[2]
SETTLE = 5.0
WRITES = {
    "update": "UPDATE facturascli SET total = total + 1 WHERE idfactura = {}",
    "unchanged": "UPDATE facturascli SET total = total WHERE idfactura = {}",
    "insert": (
        "INSERT INTO recibospagoscli (idrecibo, idfactura, codcliente, coddivisa, codpago, idempresa, importe, numero,"
        " nick, fecha, codigofactura, liquidado, gastos)"
        " SELECT COALESCE(MAX(idrecibo), 0) + 1, {}, '1', 'EUR', '30D', 1, 121.5, 1, 'admin', '2026-01-01', 'F', 0, 0"
        " FROM recibospagoscli"
    ),
}
#: A commit does not wait for the disk.
UNSYNCED = {
    "postgresql": "SET synchronous_commit = off",
    "mariadb": "SET GLOBAL innodb_flush_log_at_trx_commit = 0, GLOBAL sync_binlog = 0",
    "mysql": "SET GLOBAL innodb_flush_log_at_trx_commit = 0, GLOBAL sync_binlog = 0",
}
Sides = dict[str, list[tuple[float, ...]]]


@contextmanager
def server_of(name: str) -> Iterator[BenchServer]:
    with running_server(SERVERS[name]) as server:
        yield BenchServer(SERVERS[name], server.port, name, process_at(server.port))


def new_database(server: BenchServer, at_end: ExitStack) -> Database:
    found = Database(cast("TestServer", server), create_database(cast("TestServer", server), erp=True))
    at_end.callback(found.close)
    return found


def installed(checkout: Path, database: Database, at_end: ExitStack) -> Path:
    """The folder of a configuration whose triggers are installed."""
    folder = Path(at_end.enter_context(tempfile.TemporaryDirectory()))
    source = f'[source.main]\nurl = "{database_url(database.info)}"\ncapture = "triggers"\n'
    rest = '[outbox]\nurl = "sqlite:///cdc.db"\n[dispatch]\nallow_private = true\n[web]\nlisten = ""\n'
    (folder / "cdc.toml").write_text(source + rest, encoding="utf-8")
    for command in (["install-triggers"], ["endpoint", "add", "http://127.0.0.1:9/hook", "--events", "*"]):
        subprocess.run([checkout / ".venv/bin/cdc", *command], cwd=folder, check=True, capture_output=True)
    return folder


def report(title: str, sides: Sides) -> None:
    columns = {side: list(zip(*results, strict=True)) for side, results in sides.items()}
    for side, each in columns.items():
        print(f"{title:30} {side:5}", *(f"{median(values):10.2f}" for values in each))
    pairs = zip(columns["this"], columns["base"], strict=True)
    ratios = (median(a / b for a, b in zip(*pair, strict=True)) for pair in pairs)
    print(f"{title:30} ratio", *(f"{ratio:10.3f}" for ratio in ratios), flush=True)


def triggers(checkouts: dict[str, Path], rounds: int) -> None:
    with server_of("postgresql") as server, ExitStack() as at_end:
        sessions = {}
        for side, checkout in checkouts.items():
            database = new_database(server, at_end)
            add_invoices(database, 1000)
            installed(checkout, database, at_end)
            session = psycopg.connect(conninfo(database.info, "bench"), autocommit=True)
            session.execute("SET synchronous_commit = off")
            sessions[side] = at_end.enter_context(session)
        for title, write in WRITES.items():
            sides: Sides = {side: [] for side in checkouts}
            for _ in range(rounds):
                numbers = random.sample(range(1, 1001), 50)
                for side in random.sample(list(sides), len(sides)):
                    before = sched_us(sessions[side].info.backend_pid)
                    for number in numbers:
                        sessions[side].execute(write.format(number).encode())
                    sides[side].append(((sched_us(sessions[side].info.backend_pid) - before) / len(numbers),))
            report(f"triggers, {title}, µs", sides)


def writes(checkouts: dict[str, Path], rounds: int, servers: list[str]) -> None:
    for name in servers:
        with server_of(name) as server, ExitStack() as at_end:
            cursors = {}
            for side, checkout in checkouts.items():
                database = new_database(server, at_end)
                add_invoices(database, 1000)
                installed(checkout, database, at_end)
                session = database.connect(autocommit=True)
                at_end.callback(session.close)
                cursors[side] = session.cursor()
                cursors[side].execute(UNSYNCED[database.flavour])
            for title, write in WRITES.items():
                sides: Sides = {side: [] for side in checkouts}
                for turn in range(rounds + 1):
                    times: dict[str, list[float]] = {side: [] for side in checkouts}
                    for number in random.choices(range(1, 1001), k=300):
                        for side in random.sample(list(sides), len(sides)):
                            began = time.perf_counter()
                            cursors[side].execute(write.format(number))
                            times[side].append((time.perf_counter() - began) * 1000)
                    for side, found in times.items() if turn else ():
                        sides[side].append((percentile(found, 50), percentile(found, 99)))
                report(f"{title}, {name}: p50, p99, ms", sides)


def lookups(checkouts: dict[str, Path], rounds: int) -> None:
    with server_of("postgresql") as server, ExitStack() as at_end:
        database = new_database(server, at_end)
        add_invoices(database, COUNT)
        info = database.info
        report(
            "look-up: here, server, latency",
            by_python(checkouts, rounds, "lookups", info.host, str(info.port), info.database, info.user, info.password),
        )


def filters(checkouts: dict[str, Path], rounds: int) -> None:
    print("filters:", *FILTERS, sep="\n  ")
    report("filters, µs", by_python(checkouts, rounds, "filters"))


def by_python(checkouts: dict[str, Path], rounds: int, *arguments: str) -> Sides:
    sides: Sides = {side: [] for side in checkouts}
    for _ in range(rounds):
        for side in random.sample(list(sides), len(sides)):
            python, script = checkouts[side] / ".venv/bin/python", Path(__file__).with_name("costs_side.py")
            command = [str(python), str(script), *arguments]
            printed = subprocess.run(command, cwd="/", check=True, capture_output=True, text=True).stdout
            sides[side].append(tuple(map(float, printed.split())))
    return sides


def idle(checkouts: dict[str, Path], rounds: int, seconds: float, servers: list[str]) -> None:
    for name in servers:
        with server_of(name) as server, ExitStack() as at_end:
            folders = {
                side: installed(checkout, new_database(server, at_end), at_end) for side, checkout in checkouts.items()
            }
            sides: Sides = {side: [] for side in checkouts}
            for _ in range(rounds):
                for side in random.sample(list(sides), len(sides)):
                    sides[side].append(idle_once(checkouts[side], folders[side], server, seconds))
            report(f"idle, {name}: cdc, server, all, MB", sides)


def idle_once(checkout: Path, folder: Path, server: BenchServer, seconds: float) -> tuple[float, ...]:
    log = folder / "log"
    with log.open("wb") as output:
        running = subprocess.Popen([checkout / ".venv/bin/cdc", "run"], cwd=folder, stdout=output, stderr=output)
        try:
            process = psutil.Process(running.pid)
            while b"reading" not in log.read_bytes():
                if running.poll() is not None:
                    raise SystemExit(log.read_text(encoding="utf-8")[-2000:])
                time.sleep(0.05)
            time.sleep(SETTLE)
            started, ours, theirs = time.monotonic(), tree_us(process), tree_us(server.process)
            time.sleep(seconds)
            passed = (time.monotonic() - started) * 10_000  # microseconds of a per cent
            ours, theirs = (tree_us(process) - ours) / passed, (tree_us(server.process) - theirs) / passed
            return ours, theirs, ours + theirs, process.memory_info().rss / 2**20
        finally:
            running.terminate()
            running.wait(60)


def tree_us(process: psutil.Process) -> float:
    """Return the microseconds of all threads of a process and its children; `psutil` counts hundredths of a second."""
    processes = (process, *process.children(recursive=True))
    return sum(sched_us(f"{each.pid}/task/{thread.id}") for each in processes for thread in each.threads())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["triggers", "writes", "lookups", "idle", "filters"])
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--servers", nargs="*", default=list(SERVERS), choices=list(SERVERS))
    options = parser.parse_args()
    checkouts = {"this": HERE, "base": options.base.resolve()}
    for part in options.parts:
        if part == "idle":
            idle(checkouts, options.rounds, options.seconds, options.servers)
        elif part == "writes":
            writes(checkouts, options.rounds, options.servers)
        else:
            {"triggers": triggers, "lookups": lookups, "filters": filters}[part](checkouts, options.rounds)


if __name__ == "__main__":
    main()
