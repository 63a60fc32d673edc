"""A day's log of tables of no interest, read through: MB/s, CPU and memory of a process that does nothing else, against
a bare loop that receives the same bytes and looks at none of them.

    PYTHONPATH=tests python tests/bench/bench_binlog_skip.py [--servers mysql …] [--mb 1024] [--rounds 3] [--tls]

The log: updates of facturascli as the server writes them, half of its bytes in transactions of one row, half in
transactions of fifty.  It has just been written, so it comes from memory, as the head of a log does.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from multiprocessing.connection import Connection

from measure import SERVERS, Pair, add_invoices, commits_unsynced, erp_database, paired

from cdc.capture.binlog.connection import LogConnection, log_head
from cdc.capture.binlog.item import Idle
from cdc.capture.binlog.log_position import LogPosition
from cdc.database.mysql_connection import connect
from cdc.model.connection import ConnectionInfo, Tls
from support.database import Database

INVOICES = 1000
MANY = 50
#: Transactions that the server makes before it is asked how long its log is.
STEP = 20_000
HEARTBEAT = 10.0
_PROCEDURE = """
CREATE PROCEDURE work(steps INT, many INT)
BEGIN
    DECLARE i INT DEFAULT 0;
    WHILE i < steps DO
        START TRANSACTION;
        UPDATE facturascli SET total = total + 1, numdocs = numdocs + 1
        WHERE idfactura BETWEEN i MOD 900 + 1 AND i MOD 900 + many;
        COMMIT;
        SET i = i + 1;
    END WHILE;
END"""


def logged(database: Database) -> int:
    return sum(int(row[1]) for row in database.execute("SHOW BINARY LOGS"))


def fill(database: Database, size: int) -> int:
    """Bytes that were logged, and a little more than asked for."""
    add_invoices(database, INVOICES)
    database.execute(_PROCEDURE)
    before = logged(database)
    with commits_unsynced(database) as connection:
        cursor = connection.cursor()
        for many, part in ((1, size // 2), (MANY, size)):
            while logged(database) - before < part:
                cursor.execute("CALL work(%s, %s)", [STEP // many, many])
    return logged(database) - before


#: Bytes received, seconds, CPU seconds, megabytes of memory at most.
Result = tuple[int, float, float, float]


def read(info: ConnectionInfo, start: LogPosition, end: LogPosition, bare: bool, answer: Connection) -> None:
    """In a process of its own."""
    received, began = 0, time.perf_counter()
    with closing(LogConnection.open(info, start, HEARTBEAT, follow=False)) as connection:
        if bare:
            for chunk in connection.chunks():
                received += len(chunk)
                if chunk[-9:-6] == b"\5\0\0" and chunk[-5] == 0xFE:  # the short packet at the log's end
                    break
        else:
            reached = start
            for item in connection.items(lambda _: None):
                if isinstance(item, Idle):
                    reached = item.reached
            if reached != end:
                message = f"the log was read to {reached}, not to {end}"
                raise SystemExit(message)
    seconds = time.perf_counter() - began
    usage = resource.getrusage(resource.RUSAGE_SELF)
    answer.send((received, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024))


def measured(info: ConnectionInfo, start: LogPosition, end: LogPosition, *, bare: bool) -> Result:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=read, args=(info, start, end, bare, theirs))
    process.start()
    theirs.close()
    result: Result = ours.recv()
    process.join()
    return result


def bench(name: str, size: int, rounds: int, *, tls: bool) -> None:
    with erp_database(SERVERS[name]) as (database, server):
        info = replace(database.info, tls=Tls("require" if tls else "disable"))
        with closing(connect(info)) as connection:
            start = log_head(connection)
            size = fill(database, size)
            end = log_head(connection)
        results: list[Result] = []

        def ours() -> float:
            results.append(measured(info, start, end, bare=False))
            return size / results[-1][1] / 1e6

        def bare() -> float:
            return size / measured(info, start, end, bare=True)[1] / 1e6

        pair: Pair = paired(ours, bare, rounds)
        cpu, memory = min(each[2] for each in results), max(each[3] for each in results)
        print(
            f"{server.label}{' with TLS' if tls else ''}, {size / 1e6:.0f} MB: {pair.ours:.0f} MB/s"
            f" (bare loop {pair.other:.0f} MB/s, ratio {pair.ratio:.2f}), {cpu:.1f} s of CPU, {memory:.0f} MB of memory"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--servers", nargs="+", choices=("mariadb-binlog", "mysql"), default=["mariadb-binlog", "mysql"]
    )
    parser.add_argument("--mb", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args(arguments)
    for name in options.servers:
        bench(name, options.mb << 20, options.rounds, tls=options.tls)


if __name__ == "__main__":
    main()
