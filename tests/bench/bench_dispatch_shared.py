"""How much faster several `cdc run --role dispatch` empty one PostgreSQL outbox than one does.

    python tests/bench/bench_dispatch_shared.py [--requests 20000] [--processes 1 3] [--cores 1 2] [--rounds 3]

Everything runs on this machine: the processes, the PostgreSQL server (durable commits) and an nginx that answers 204.
``--cores``: as many as the processes and the server have together, for each number of processes; nginx has all.  With
one process on two cores the server has one to itself, so that there is hardly a core left for a second process.
Counted is from the first recorded attempt to the last, so that starting Python does not count; printed are medians.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from bench_dispatch import make_events, nginx

from cdc.database.postgres_connection import conninfo
from cdc.dispatch.signing import new_secret
from cdc.model.change import Position
from cdc.model.connection import ConnectionInfo
from cdc.model.endpoint import Endpoint
from cdc.outbox.postgres.outbox import PostgresOutbox
from support.consumer import database_url
from support.server import postgres_server

AT_ONCE = 64


async def fill(info: ConnectionInfo, url: str, requests: int) -> None:
    outbox = PostgresOutbox(info)
    await outbox.open()
    now = datetime.now(UTC)
    await outbox.add_endpoint(Endpoint("ep_1", url, ("*",), new_secret(), now, concurrency=AT_ONCE))
    events = make_events(requests, 1)
    for start in range(0, requests, 1000):
        await outbox.store("main", Position("1"), events[start : start + 1000], {}, now)
    await outbox.close()


def start(folder: Path, info: ConnectionInfo, number: int) -> subprocess.Popen[bytes]:
    text = f'[outbox]\nurl = "{database_url(info)}"\n[dispatch]\nallow_private = true\n[web]\nlisten = ""\n'
    (folder / "cdc.toml").write_text(text)
    with (folder / f"{number}.log").open("wb") as log:
        command = [sys.executable, "-m", "cdc", "--log-format", "json", "run", "--role", "dispatch"]
        return subprocess.Popen(command, cwd=folder, stderr=log, env=dict(os.environ))


def drain(info: ConnectionInfo, processes: int, requests: int) -> float:
    """Requests a second."""
    with tempfile.TemporaryDirectory() as folder:
        running = [start(Path(folder), info, number) for number in range(processes)]
        try:
            while _unfinished(info):
                time.sleep(0.2)  # a look costs little, and the clock is the log's
        finally:
            for each in running:
                each.terminate()
            for each in running:
                each.wait()
    query = "SELECT count(*), extract(epoch FROM max(started_at) - min(started_at)) FROM cdc_outbox.attempt"
    ((attempts, seconds),) = _ask(info, query)
    if attempts < requests:
        raise SystemExit(f"{attempts} attempts for {requests} events")
    return float(attempts) / float(seconds)


def _unfinished(info: ConnectionInfo) -> bool:
    return bool(_ask(info, "SELECT EXISTS (SELECT FROM cdc_outbox.delivery WHERE state < 2)")[0][0])


def _ask(info: ConnectionInfo, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(conninfo(info, "bench"), autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


def measure(wanted: Sequence[tuple[int, int]], requests: int, rounds: int) -> dict[tuple[int, int], list[float]]:
    """``wanted``: processes and cores."""
    rates: dict[tuple[int, int], list[float]] = {each: [] for each in wanted}
    every = sorted(os.sched_getaffinity(0))
    with nginx() as url:
        for _ in range(rounds):
            for count, cores in wanted:
                os.sched_setaffinity(0, every[:cores])  # inherited by all that is started from here
                with postgres_server() as info:
                    asyncio.run(fill(info, url, requests))
                    rates[count, cores].append(drain(info, count, requests))
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 3])
    parser.add_argument("--cores", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rates = measure(list(zip(options.processes, options.cores, strict=True)), options.requests, options.rounds)
    base = statistics.median(next(iter(rates.values())))
    for (count, cores), each in rates.items():
        rate = statistics.median(each)
        print(f"{count} processes, {cores} cores {rate:8.0f} requests/s ({rate / base:5.2f} times)", flush=True)


if __name__ == "__main__":
    main()
