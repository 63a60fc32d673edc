"""A database with thousands of tables: installing triggers, `cdc doctor`, and the start of `cdc run` until it reads.

    python tests/bench/bench_tables.py [--tables 3000] [--captured] [--servers mariadb …] [--doctor 3]

Tables of plugins beside FacturaScripts' own; every tenth references another one.  With ``--captured`` a pattern in the
rules captures them, too: each gets triggers.  Goal for 3,000: install 60 s, doctor 10 s, reading after 10 s.  Printed:
seconds of each, as a user waits for them; of ``--doctor`` runs, the median.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from measure import SERVERS, commits_unsynced, erp_database
from product import start

from support.consumer import Consumer
from support.database import Database

GOALS = {"install": 60.0, "doctor": 10.0, "reading": 10.0}


def create(database: Database, count: int) -> None:
    with commits_unsynced(database) as connection:
        cursor = connection.cursor()
        for number in range(count):
            refers = number % 10 == 9
            key = f", FOREIGN KEY (padre) REFERENCES plugin_{number - 1:05} (id) ON DELETE CASCADE" if refers else ""
            columns = "id integer PRIMARY KEY, padre integer, codigo varchar(20), nombre varchar(100), total float8"
            if database.flavour != "postgresql":
                columns = columns.replace("float8", "double")
            cursor.execute(f"CREATE TABLE plugin_{number:05} ({columns}{key})")
        connection.commit()


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(database: Database, *, captured: bool, doctors: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        rules = Path(folder, "rules.toml")
        rules.write_text('tables = ["plugin_*"]\n' if captured else "", encoding="utf-8")
        consumer = Consumer.configure(Path(folder), database.info, 'rules = "rules.toml"', as_installed=True)
        install = seconds(lambda: consumer.run("install-triggers"))
        consumer.create_outbox()
        consumer.add_endpoint("http://127.0.0.1:9/hook")
        doctor = median(seconds(lambda: consumer.run("doctor")) for _ in range(doctors))
        reading = seconds(lambda: start(consumer))
        consumer.end()
        return {"install": install, "doctor": doctor, "reading": reading}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tables", type=int, default=3000)
    parser.add_argument("--captured", action="store_true")
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=list(SERVERS))
    parser.add_argument("--doctor", type=int, default=3)
    options = parser.parse_args()
    for name in options.servers:
        with erp_database(SERVERS[name]) as (database, server):
            create(database, options.tables)
            for what, taken in measure(database, captured=options.captured, doctors=options.doctor).items():
                print(f"{server.label}: {what} {taken:.1f} s{'' if taken <= GOALS[what] else ' (misses its goal)'}")


if __name__ == "__main__":
    main()
