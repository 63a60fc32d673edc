"""Row events of a binlog to JSON: the decoder of `cdc.capture.binlog` against mysql-replication's, as installed and
with ``freeze_schema``, on the same bytes in memory: no network, no positions, only what rows cost.

    PYTHONPATH=tests python tests/bench/bench_binlog_decode.py [--servers mariadb-binlog mysql] [--rows 100000]
            [--rounds 5] [--tables recibospagoscli facturascli] [--update]

Each row is a transaction of its own, as a FacturaScripts request writes it, with its TABLE_MAP event before it.
facturascli gets six columns more, as plugins add them, which makes sixty.  mysql-replication is given a tenth of the
rows, or it would take minutes; the figures are rows a second.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import time
from collections.abc import Callable
from dataclasses import dataclass

import orjson
from measure import SERVERS, commits_unsynced, erp_database, paired

from cdc.capture.binlog.event import parse_table_map
from cdc.capture.binlog.layout import KnownTable, LogLayout, layout_of
from cdc.database.mysql_connection import Flavour, connect
from cdc.database.mysql_inspect import read_tables
from support.binlog_events import TABLE_MAP, Event, end_of_log, rows_events
from support.database import Database
from support.mysql_replication import replication_rows

#: mysql-replication as installed, and with freeze_schema: the least that it must be slower.
GOALS = {False: 12, True: 5}
#: mysql-replication is given this part of the rows.
_THEIR_PART = 10
_EXTRA = (
    "ALTER TABLE facturascli ADD plugin_a VARCHAR(60), ADD plugin_b DOUBLE DEFAULT 0, ADD plugin_c INT,"
    " ADD plugin_d TINYINT(1) DEFAULT 0, ADD plugin_e DATE, ADD plugin_f TEXT"
)
_VALUES: dict[str, Callable[[str, int], object]] = {
    "tinyint": lambda _, n: n % 2,
    "int": lambda _, n: n,
    "double": lambda _, n: n * 1.21,
    "date": lambda _, n: f"2026-{n % 12 + 1:02}-{n % 28 + 1:02}",
    "time": lambda _, n: f"{n % 24:02}:{n % 60:02}:00",
    "datetime": lambda _, n: f"2026-11-24 {n % 24:02}:{n % 60:02}:09",
    "timestamp": lambda _, n: f"2026-11-24 {n % 24:02}:{n % 60:02}:09",
    "varchar": lambda name, n: f"{name[:6]} {n % 1000}",
    "text": lambda _, n: (
        f"Entregado en mano, {n % 1000} unidades; el cliente no estaba en casa a las 10" if n % 2 else None
    ),
}


@dataclass(frozen=True, slots=True)
class Log:
    table: KnownTable
    events: list[Event]


def write_log(database: Database, table: str, rows: int, *, update: bool) -> Log:
    if table == "facturascli":
        database.execute(_EXTRA)
    connection = connect(database.info)
    found = read_tables(connection)[table]
    connection.close()
    known = KnownTable(found.name, found.columns, found.key, Flavour(database.flavour))
    statement = f"INSERT INTO {table} VALUES ({', '.join(['%s'] * len(known.columns))})"
    with commits_unsynced(database) as writer:
        cursor = writer.cursor()
        cursor.execute("SET SESSION foreign_key_checks = 0")
        start = end_of_log(database)
        for number in range(1, rows + 1):
            cursor.execute(statement, _row(known, number))
            writer.commit()
        if update:
            start = end_of_log(database)
            key, changed = found.key[0], next(c.name for c in known.columns if c.data_type == "double")
            for number in range(1, rows + 1):
                cursor.execute(f"UPDATE {table} SET {changed} = {changed} + 1 WHERE {key} = %s", [number])
                writer.commit()
    return Log(known, rows_events(database, start, table))


def _row(known: KnownTable, number: int) -> list[object]:
    """A FacturaScripts-like row: its own number, and now and then a NULL."""
    row = []
    for index, column in enumerate(known.columns):
        value: object = number
        if column.name not in known.key:
            value = _VALUES[column.data_type](column.name, number + index)
            limit = column.column_type.partition("(")[2].partition(")")[0]
            if isinstance(value, str) and column.data_type == "varchar":
                value = value[: int(limit)]
        row.append(value)
    return row


def ours(log: Log) -> Callable[[], int]:
    def run() -> int:
        layouts: dict[bytes, LogLayout] = {}
        layout, count = None, 0
        for event in log.events:
            body = event.body
            if event.type == TABLE_MAP:
                layout = layouts.get(body)
                if layout is None:
                    layout = layouts[body] = layout_of(
                        parse_table_map(body, log.table.flavour), log.table, lambda _: 3600
                    )
                    names = layout.names
            else:
                assert layout is not None
                for before, after in layout.rows(body, event.type):
                    if before is not None:
                        orjson.dumps(dict(zip(names, before, strict=True)))
                    if after is not None:
                        orjson.dumps(dict(zip(names, after, strict=True)))
                    count += 1
        return count

    return run


def theirs(log: Log, flavour: str, *, freeze_schema: bool) -> Callable[[], int]:
    def run() -> int:
        count = 0
        for before, after in replication_rows(log.events, flavour, freeze_schema=freeze_schema):
            for image in (before, after):
                if image is not None:
                    orjson.dumps(image, default=str)
            count += 1
        return count

    return run


def rate(run: Callable[[], int], rows: int) -> Callable[[], float]:
    """Rows a second of CPU: other processes on the machine do not count."""

    def measured() -> float:
        gc.collect()
        started = time.process_time()
        count = run()
        seconds = time.process_time() - started
        if count != rows:
            raise SystemExit(f"{count} rows were read instead of {rows}")
        return rows / seconds

    return measured


def measure(name: str, options: argparse.Namespace) -> None:
    with erp_database(SERVERS[name]) as (database, server):
        database.execute("SET GLOBAL binlog_row_metadata = FULL")
        for table in options.tables:
            log = write_log(database, table, options.rows, update=options.update)
            if options.profile:
                profile(ours(log))
                continue
            part = Log(log.table, log.events[: len(log.events) // _THEIR_PART])
            for freeze_schema, goal in GOALS.items():
                pair = paired(
                    rate(ours(log), options.rows),
                    rate(theirs(part, database.flavour, freeze_schema=freeze_schema), options.rows // _THEIR_PART),
                    options.rounds,
                )
                print(
                    f"{server.label:34} {table} ({len(log.table.columns)} columns), rows/s: mysql-replication"
                    f" {'frozen' if freeze_schema else 'as installed'} {pair.other:8,.0f}, ours {pair.ours:8,.0f},"
                    f" ratio {pair.ratio:.1f} (goal {goal})",
                    flush=True,
                )


def profile(run: Callable[[], int]) -> None:
    profiler = cProfile.Profile()
    profiler.runcall(run)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(15)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--servers", nargs="*", default=["mariadb-binlog", "mysql"], choices=["mariadb-binlog", "mysql"]
    )
    parser.add_argument("--tables", nargs="*", default=["recibospagoscli", "facturascli"])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--update", action="store_true", help="updates, two images each, instead of inserts")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    for name in options.servers:
        measure(name, options)


if __name__ == "__main__":
    main()
