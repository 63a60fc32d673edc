"""`cdc doctor` with many sources: seconds and lines.

    PYTHONPATH=tests python tests/bench/bench_doctor.py [--sources 62 1000] [--databases 62] [--engine postgresql]
        [--installed] [--limit 600]

The sources share the databases, each with FacturaScripts' tables, on one private server.  Without ``--installed`` no
database has triggers, so that each source has problems.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

from bench_sources import _Reached

from support.consumer import database_url
from support.database import Database, create_database
from support.server import Spec, running_server
from support.servers import TestServer

SPECS = {
    "postgresql": Spec("postgresql", options=("max_connections=300",)),
    "mariadb": Spec("mariadb", options=("--max-connections=300",)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=int, nargs="+", default=[62, 1000])
    parser.add_argument("--databases", type=int, default=62)
    parser.add_argument("--engine", choices=SPECS, default="postgresql")
    parser.add_argument("--installed", action="store_true")
    parser.add_argument("--limit", type=float, default=600.0)
    options = parser.parse_args()
    spec = SPECS[options.engine]
    with running_server(spec) as server, tempfile.TemporaryDirectory() as folder:
        reached = cast("TestServer", _Reached(spec, server.port))
        with ThreadPoolExecutor(1 if options.engine == "postgresql" else 2) as pool:
            names = list(pool.map(lambda _: create_database(reached, erp=True), range(options.databases)))
        urls = []
        for name in names:
            database = Database(reached, name)
            urls.append(database_url(database.info))
            database.close()
        print(f"{options.databases} databases, load {os.getloadavg()[0]:.1f}", flush=True)
        for count in options.sources:
            _measure(Path(folder), [urls[number % len(urls)] for number in range(count)], options)


def _measure(folder: Path, urls: list[str], options: argparse.Namespace) -> None:
    file = folder / "cdc.toml"
    sources = [f'[source.tenant{number}]\nurl = "{url}"\n' for number, url in enumerate(urls)]
    file.write_text('[web]\nlisten = ""\n' + "".join(sources))
    command = [sys.executable, "-m", "cdc", "--config", str(file)]
    subprocess.run(
        [*command, "endpoint", "add", "https://example.com/", "--events", "*"], check=True, stdout=-3, stderr=-3
    )
    if options.installed:
        subprocess.run([*command, "install-triggers", "--yes"], check=True, stdout=-3, stderr=-3)
    began, cpu = time.perf_counter(), _cpu()
    try:
        done = subprocess.run([*command, "doctor"], capture_output=True, text=True, timeout=options.limit, check=False)
    except subprocess.TimeoutExpired:
        print(f"{len(urls)} sources: not done after {options.limit:g} s", flush=True)
        return
    seconds, lines = time.perf_counter() - began, (done.stdout + done.stderr).splitlines()
    print(f"{len(urls)} sources: {seconds:.1f} s, {_cpu() - cpu:.1f} s of CPU, {len(lines)} lines", flush=True)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
