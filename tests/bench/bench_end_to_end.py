"""Binlog → mapped → durable outbox → signed POST to nginx, all in one `cdc run`; against mysql-replication in a loop
that posts each row's JSON, signed, with aiohttp and uvloop, and keeps nothing.

    PYTHONPATH=tests python tests/bench/bench_end_to_end.py [--servers mysql …] [--changes 20000] [--rounds 3]

Updates of invoices (facturascli), one a transaction.  Ours counts from its beginning to read until the last 204 is
recorded, the other from its first row to its last 204; it reads a part of the changes only (it is slow).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from statistics import median
from typing import Any

import aiohttp
import orjson
import uvloop
from bench_dispatch import nginx
from capture_log import files
from capture_side import mysql_replication
from measure import SERVERS, add_invoices, change_invoices, erp_database
from product import consumer_of, start, unfinished, wait_for_position

from support.consumer import Consumer

INVOICES, AT_ONCE = 5000, 64
#: The part of the changes that the other side reads.
PART = 0.2


def ours(consumer: Consumer, changes: int) -> float:
    """Events a second."""
    wanted = unfinished(consumer)[0] + changes
    start(consumer)
    started = time.perf_counter()
    while unfinished(consumer) != (wanted, 0):
        time.sleep(0.2)
    seconds = time.perf_counter() - started
    consumer.end()
    return changes / seconds


# -- the other side, in a process of its own --------------------------------------------------------------------------


def _rows(task: dict[str, Any]) -> Iterator[dict[str, Any]]:
    options = {"freeze_schema": True} if task["frozen"] else {}
    for event in mysql_replication(task, **options):
        yield from event.rows


async def _post(task: dict[str, Any]) -> float:
    """A thread reads chunks of rows; 64 tasks post them."""
    rows = islice(_rows(task), task["rows"])
    queue: asyncio.Queue[bytes | None] = asyncio.Queue(1000)
    first = next(rows)
    started = time.perf_counter()

    def chunk() -> list[bytes]:
        return [_body(row) for row in islice(rows, 100)]

    async def read() -> None:
        await queue.put(_body(first))
        while bodies := await asyncio.to_thread(chunk):
            for body in bodies:
                await queue.put(body)
        for _ in range(AT_ONCE):
            await queue.put(None)

    async def work(session: aiohttp.ClientSession) -> None:
        while (body := await queue.get()) is not None:
            timestamp = str(int(time.time()))
            signed = b"evt_1." + timestamp.encode() + b"." + body
            signature = base64.b64encode(hmac.digest(b"k" * 32, signed, hashlib.sha256)).decode()
            headers = {"webhook-id": "evt_1", "webhook-timestamp": timestamp, "webhook-signature": f"v1,{signature}"}
            async with session.post(task["url"], data=body, headers=headers) as response:
                await response.read()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE)) as session:
        await asyncio.gather(read(), *(work(session) for _ in range(AT_ONCE)))
    return float(task["rows"] / (time.perf_counter() - started))


def _body(row: dict[str, Any]) -> bytes:
    return orjson.dumps({"event": "invoice.updated", "data": row["after_values"]}, default=str)


def other(task: dict[str, Any]) -> float:
    """Events a second."""
    command = [sys.executable, __file__, "--other"]
    ended = subprocess.run(command, input=json.dumps(task), capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"the other side: {ended.stderr.strip().splitlines()[-1]}")
    return float(ended.stdout)


# -- both -------------------------------------------------------------------------------------------------------------


def measure(name: str, changes: int, rounds: int) -> None:
    with erp_database(SERVERS[name]) as (database, server), nginx() as url:
        add_invoices(database, INVOICES)
        options = ("invoice.updated", "--concurrency", str(AT_ONCE))
        with consumer_of(database, url, *options, capture="binlog") as consumer:
            start(consumer)
            wait_for_position(consumer)
            consumer.end()
            results: dict[str, list[float]] = {"ours": [], "as installed": [], "freeze_schema": []}
            for _ in range(rounds):
                database.execute("FLUSH BINARY LOGS")
                file = list(files(database))[-1]
                change_invoices(database, INVOICES, changes)
                info = database.info
                task = {"host": info.host, "port": info.port, "user": info.user, "password": info.password}
                task |= {"table": "facturascli", "file": file, "url": url, "rows": int(changes * PART)}
                results["as installed"].append(other(task | {"frozen": False}))
                results["freeze_schema"].append(other(task | {"frozen": True}))
                results["ours"].append(ours(consumer, changes))
        best = median(results["ours"])
        print(f"{server.label}, {changes:,} updates of facturascli: ours {best:,.0f} events/s", flush=True)
        for reader in ("as installed", "freeze_schema"):
            rate = median(results[reader])
            print(
                f"  mysql-replication ({reader}) + aiohttp {rate:,.0f} events/s   ours x{best / rate:.1f}", flush=True
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    logged = [name for name, spec in SERVERS.items() if spec.binlog or spec.flavour == "mysql"]
    parser.add_argument("--servers", nargs="*", choices=logged, default=logged)
    parser.add_argument("--changes", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--other", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.other:
        print(uvloop.run(_post(json.load(sys.stdin))), flush=True)
        os._exit(0)  # its threads would keep the process
    for name in options.servers:
        measure(name, options.changes, options.rounds)


if __name__ == "__main__":
    main()
