"""The cost of each part of an update trigger on MariaDB and MySQL, and of other shapes of it.  Linux only.

    PYTHONPATH=tests python tests/bench/bench_trigger_shapes.py [--writes 300] [--pause 0.002] [SERVER …]

A copy of `facturascli` for each shape; each gets one update of three columns in turn, a pause before each.  Printed is
the processor time that the server's thread needs for an update more than for one without a trigger, in microseconds:
the median of the differences.  It is comparable on a busy machine; caches are as cold as the pause leaves them.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path
from statistics import median
from typing import Any

from measure import SERVERS, add_invoices, erp_database

from cdc.capture.triggers.mysql import MySQLInstaller
from cdc.capture.triggers.mysql_render import statement
from cdc.database.mysql_connection import Flavour
from cdc.database.mysql_types import MySQLColumn, image, same
from cdc.model.column import Capture
from support.database import Database

ROWS, TABLE = 500, "facturascli"
_COLUMNS = (
    "SELECT COLUMN_NAME, LOWER(DATA_TYPE), COLUMN_TYPE, COALESCE(CHARACTER_SET_NAME, ''), EXTRA"
    " FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s ORDER BY ORDINAL_POSITION"
)
_BODY = (
    "SELECT ACTION_STATEMENT FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE()"
    " AND EVENT_OBJECT_TABLE = %s AND EVENT_MANIPULATION = 'UPDATE' AND ACTION_TIMING = 'AFTER'"
)
_THREAD = {
    "mysql": "SELECT THREAD_OS_ID FROM performance_schema.threads WHERE PROCESSLIST_ID = CONNECTION_ID()",
    "mariadb": "SELECT TID FROM information_schema.PROCESSLIST WHERE ID = CONNECTION_ID()",
}


def shapes(installed: str, columns: list[MySQLColumn], flavour: str) -> dict[str, str]:
    """Name → body of a trigger."""
    numbered = flavour == "mysql"
    old, new = image(columns, "OLD"), image(columns, "NEW")
    rows = ", ".join(f"{row}.`{column.name}`" for row in ("OLD", "NEW") for column in columns)
    equal = [same(c, Flavour(flavour), f"OLD.`{c.name}`", f"NEW.`{c.name}`") for c in columns]
    joined = [f"CONCAT_WS(',', {', '.join(f'{row}.`{column.name}`' for column in columns)})" for row in ("OLD", "NEW")]
    differing = ", ".join(f"IF({equal[n]}, NULL, JSON_ARRAY({n}, OLD.`{c.name}`))" for n, c in enumerate(columns))
    changed = f"CONCAT_WS(',', {differing})"
    token = statement("mysql/triggers.sql#token_performance_schema") if numbered else ""

    def journal(before: str, after: str) -> str:
        names, values = ("`txn`, ", "1, ") if numbered else ("", "")
        named = f"INSERT INTO `cdc_journal` ({names}`at`, `shape`, `op`, `image_before`, `image_after`)"
        return f"{named} VALUES ({values}UTC_TIMESTAMP(6), 1, 2, {before}, {after});"

    history = f"INSERT INTO history VALUES (NULL, 1, UTC_TIMESTAMP(6), 2, {rows});"
    end = "  SET @cdc_thread" if numbered else "  INSERT INTO `cdc_journal`"
    compared = installed[: installed.rindex(end)]  # the handler inserts, too
    empty = "'[]'"
    parts = {
        "an empty trigger": "BEGIN END",
        "the comparison and its handler": f"{compared} END",
        "the transaction's number": f"BEGIN {token} END",
        "a journal row without images": f"BEGIN {journal(empty, empty)} END",
        "both images": f"BEGIN SET @a = {old}, @b = {new}; END",
        "as installed": installed,
        "the image after, changed values before": f"{compared} {token} {journal(changed, new)} END",
        "texts joined without escapes": f"{compared} {token} {journal(*joined)} END",
        "a history table's row, columns as they are": f"{compared} {token} {history} END",
    }
    if numbered:
        parts["the same, every row its own transaction"] = f"{compared} SET @cdc_txn = UUID_SHORT(); {history} END"
    else:
        del parts["the transaction's number"]
    return parts


def measured(database: Database, options: argparse.Namespace) -> dict[str, float]:
    """Name → microseconds more than without a trigger."""
    add_invoices(database, ROWS)
    installer = MySQLInstaller(database.info)
    installer.apply(installer.plan_install([Capture(TABLE)]), lambda _title: None)
    columns = [MySQLColumn(*row) for row in database.execute(_COLUMNS, [TABLE])]
    kept = ", ".join(f"`{side}{n}` {c.column_type} NULL" for side in "on" for n, c in enumerate(columns))
    key = "id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY"
    database.execute(f"CREATE TABLE history ({key}, txn BIGINT, at DATETIME(6), op TINYINT, {kept}, KEY (txn))")
    found = shapes(database.execute(_BODY, [TABLE])[0][0], columns, database.flavour)
    for number, body in enumerate(["", *found.values()]):
        database.execute(f"CREATE TABLE shape_{number} AS SELECT * FROM {TABLE}")
        database.execute(f"ALTER TABLE shape_{number} ADD PRIMARY KEY (idfactura)")
        if body:
            database.execute(f"CREATE TRIGGER t_{number} AFTER UPDATE ON shape_{number} FOR EACH ROW {body}")
    connection = database.connect(autocommit=True)
    thread = thread_of(connection, database.flavour)
    more: list[list[float]] = [[] for _ in range(len(found) + 1)]
    for _ in range(options.writes):
        used = [0.0] * len(more)
        for number in random.sample(range(len(more)), len(more)):
            time.sleep(options.pause)
            before = nanoseconds(thread)
            connection.query(update(number))
            used[number] = (nanoseconds(thread) - before) / 1000
        for number, each in enumerate(used):
            more[number].append(each - used[0])
    return dict(zip(found, map(median, more[1:]), strict=True))


def update(number: int) -> str:
    total = random.randrange(1_000_000) / 100
    sets = f"total = {total}, neto = {total / 2}, observaciones = 'note {total}'"
    return f"UPDATE shape_{number} SET {sets} WHERE idfactura = {random.randrange(ROWS) + 1}"


def thread_of(connection: Any, flavour: str) -> Path:
    """The statistics of the thread that serves this connection."""
    cursor = connection.cursor()
    cursor.execute(_THREAD[flavour])
    return next(Path("/proc").glob(f"[0-9]*/task/{cursor.fetchone()[0]}/schedstat"))


def nanoseconds(thread: Path) -> int:
    return int(thread.read_text().split()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("servers", nargs="*", metavar="SERVER", help="mysql, mariadb")
    parser.add_argument("--writes", type=int, default=300, help="updates of each shape")
    parser.add_argument("--pause", type=float, default=0.002, help="seconds before each update")
    options = parser.parse_args()
    for name in options.servers or ("mysql", "mariadb"):
        with erp_database(SERVERS[name]) as (database, server):
            print(server.label, flush=True)
            for shape, more in measured(database, options).items():
                print(f"{more:8.0f} µs  {shape}", flush=True)


if __name__ == "__main__":
    main()
