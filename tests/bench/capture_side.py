"""One reader of a binlog, in a process of its own on one core: ``capture_side.py READER`` with a JSON object on stdin.

Prints a JSON object: ``rows`` read and turned to JSON (but by `installed` and `mariadb-binlog`, which make something
else of them), ``seconds`` from the first to the last, ``cpu`` seconds of the process in that time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pymysqlreplication
from pymysqlreplication import row_event

from cdc.capture.binlog.connection import LogConnection
from cdc.capture.binlog.event import TableMap
from cdc.capture.binlog.item import LogTransaction
from cdc.capture.binlog.layout import KnownTable, LogLayout, layout_of
from cdc.capture.binlog.log_position import LogPosition
from cdc.config.url import parse_database_url
from cdc.database.mysql_connection import connect, server_of
from cdc.database.mysql_inspect import read_tables

Task = dict[str, Any]


def ours(task: Task) -> Iterator[int]:
    info = parse_database_url(task["url"], "url")
    connection = connect(info)
    flavour = server_of(connection).flavour
    table = read_tables(connection)[task["table"]]
    known = KnownTable(table.name, table.columns, table.key, flavour)

    def layouts(table_map: TableMap) -> LogLayout | None:
        return layout_of(table_map, known, lambda _: 0) if table_map.table == task["table"] else None

    reader = LogConnection.open(info, LogPosition(task["file"], 4, ""), heartbeat=10, follow=False)
    dumps = orjson.dumps
    for item in reader.items(layouts):
        if not isinstance(item, LogTransaction):
            continue
        count = 0
        for layout, event_type, body, _ in item.rows:
            assert isinstance(layout, LogLayout), "the table is known"
            names = layout.names
            for before, after in layout.rows(body, event_type):
                for image in (before, after):
                    if image is not None:
                        dumps(dict(zip(names, image, strict=True)))
                count += 1
        yield count
    reader.close()


def mysql_replication(task: Task, **options: Any) -> Iterator[Any]:
    stream = pymysqlreplication.BinLogStreamReader(
        connection_settings={key: task[key] for key in ("host", "port", "user", "password")}
        | {"passwd": task["password"]},
        server_id=4711,
        log_file=task["file"],
        log_pos=4,
        resume_stream=True,
        only_events=[row_event.WriteRowsEvent, row_event.UpdateRowsEvent, row_event.DeleteRowsEvent],
        only_tables=[task["table"]],
        **options,
    )
    yield from stream
    stream.close()


def installed(task: Task) -> Iterator[int]:
    """mysql-replication with its default settings, its rows looked at."""
    for event in mysql_replication(task):
        yield len(event.rows)


def frozen(task: Task) -> Iterator[int]:
    """mysql-replication with its fastest setting, rows to JSON."""
    for event in mysql_replication(task, freeze_schema=True):
        for row in event.rows:
            for image in row.values():
                if isinstance(image, dict):
                    orjson.dumps(image, default=str)
        yield len(event.rows)


def binlog_tool(task: Task) -> Iterator[int]:
    """The server's own program, with rows as pseudo SQL."""
    command = [
        task["program"], "-v", "--read-from-remote-server", f"--host={task['host']}", f"--port={task['port']}",
        f"--user={task['user']}", f"--password={task['password']}", "--to-last-log", task["file"],
    ]  # fmt: skip
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    yield task["rows"]


READERS: dict[str, Callable[[Task], Iterator[int]]] = {
    "ours": ours,
    "installed": installed,
    "frozen": frozen,
    "binlog-tool": binlog_tool,
}


def main() -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one core; the server has the other one
    task = json.load(sys.stdin)
    read, started, times = 0, time.perf_counter(), os.times()
    for count in READERS[sys.argv[1]](task):
        if not read and sys.argv[1] != "binlog-tool":  # connecting and schemas are not reading
            started, times = time.perf_counter(), os.times()
        read += count
        if read >= task["rows"]:
            break
    seconds, now = time.perf_counter() - started, os.times()
    cpu = sum(now[:4]) - sum(times[:4])
    print(json.dumps({"rows": read, "seconds": seconds, "cpu": cpu}))


if __name__ == "__main__":
    main()
