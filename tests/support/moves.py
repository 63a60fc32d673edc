"""``python -m support.moves``: moves between triggers and the log of MariaDB or MySQL, killed at every step.

    python -m support.moves --flavour mysql --moves 3000 --seed 7

Each move is a process that is forked, runs the product's sources on a real server, and stores each batch with its
position by one write to a file.  It kills itself (SIGKILL) at a step drawn from the seed: before or after a query, a
receipt from the log, a write or an acknowledgement.  The next process continues from the last line, in the same capture
mode or the other one.  Records count their changes, so a record's changes must form a chain.  Exits with 1 when a
change was lost, doubled or reordered, a table had a gap, or a move stood still.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.synchronize import Event
from pathlib import Path
from threading import Thread
from typing import Any

import orjson
import pymysql
import structlog

from cdc.capture.base import JournalLimits, LogLimits
from cdc.capture.binlog.connection import LogConnection
from cdc.capture.binlog.source import BinlogBridge, BinlogSource
from cdc.capture.journal.mysql import MySQLJournal
from cdc.capture.journal.source import JournalSource
from cdc.capture.moving import CaptureMode, MovingSource, read_position
from cdc.capture.mysql_session import MySQLSession
from cdc.database.mysql_journal import Tokens
from cdc.model.change import Batch, Position
from cdc.model.column import Capture
from cdc.model.connection import ConnectionInfo
from cdc.model.finding import Repaired
from support.database import Database, create_database
from support.fault.frame import options_of
from support.mysql_capture import installer
from support.server import Spec
from support.servers import KeeperClient, kept_servers, own_server

RECORDS = 30
WRITERS = 4
TABLE = "contadores"
#: Steps at which processes end, at most: from the start, or from the first batch of an overlap.
STEPS = 120
STUCK_SECONDS = 120


@dataclass
class Moves:
    """``completed``: reached the other capture mode before they were killed.  ``problems``: what must not happen."""

    moves: int = 0
    kills: int = 0
    completed: int = 0
    overlaps: int = 0
    changes: int = 0
    problems: list[str] = field(default_factory=list)


def go(
    keeper: KeeperClient,
    flavour: str,
    moves: int,
    seed: int,
    seconds: float = float("inf"),
    *,
    row_tokens: bool = False,
) -> Moves:
    """Make so many moves, or those that fit in so many seconds, and judge them.

    ``row_tokens``: MySQL's triggers name each row of a transaction differently.
    """
    server = own_server(keeper, Spec(flavour, binlog=flavour == "mariadb", durable=True))
    database = Database(server, create_database(server, erp=False))
    try:
        database.execute(f"CREATE TABLE {TABLE} (id INT PRIMARY KEY, valor INT NOT NULL)")
        rows = ", ".join(f"({number}, 0)" for number in range(RECORDS))
        database.execute(f"INSERT INTO {TABLE} VALUES {rows}")
        triggers = installer(database)
        tokens = Tokens.ROW if row_tokens else None
        triggers.apply(triggers.plan_install([Capture(TABLE)], tokens=tokens), lambda _: None)
        database.execute(f"UPDATE {TABLE} SET valor = 1 WHERE id = 0")  # read first: then there is a position
        with tempfile.TemporaryDirectory() as folder:
            return _go(database, moves, seed, time.monotonic() + seconds, Path(folder, "stored"))
    finally:
        database.close()
        server.discard()


def _go(database: Database, moves: int, seed: int, deadline: float, stored: Path) -> Moves:
    dice, done = random.Random(seed), Moves()
    _run(database.info, stored, CaptureMode.JOURNAL, None, 2)
    context = multiprocessing.get_context("fork")
    ended = context.Event()
    writing = context.Process(target=_write_all, args=(database.info, seed, ended))
    writing.start()
    try:
        mode = CaptureMode.JOURNAL
        while done.moves < moves and time.monotonic() < deadline and not done.problems:
            if dice.random() < 0.6:
                mode = CaptureMode.LOG if mode is CaptureMode.JOURNAL else CaptureMode.JOURNAL
            steps = Steps(dice.randrange(1, STEPS), overlap=dice.random() < 0.5)
            status = _run(database.info, stored, mode, steps, dice.choice((20, 100, 1000)))
            done.moves += 1
            done.kills += status == -signal.SIGKILL
            done.completed += status == 0
            if status not in (0, -signal.SIGKILL):
                done.problems.append(f"a process ended with status {status}")
    finally:
        ended.set()
        writing.join()
    done.problems += ["the last process did not catch up"] if _run(database.info, stored, mode, None, 1000) else []
    _judge(stored, dict(database.execute(f"SELECT id, valor FROM {TABLE}")), done)
    return done


# The writers.


def _write_all(info: ConnectionInfo, seed: int, ended: Event) -> None:
    threads = [Thread(target=_write, args=(info, random.Random(f"{seed} {n}"), ended)) for n in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _write(info: ConnectionInfo, dice: random.Random, ended: Event) -> None:
    """Write transactions of one to eleven updates; those that meet a deadlock are rolled back."""
    connection = pymysql.connect(
        host=info.host, port=info.port, user=info.user, password=info.password, database=info.database
    )
    with connection, connection.cursor() as cursor:
        while not ended.wait(dice.uniform(0, 0.04)):
            try:
                for _ in range(dice.randrange(1, 12)):
                    cursor.execute(f"UPDATE {TABLE} SET valor = valor + 1 WHERE id = {dice.randrange(RECORDS)}")
                cursor.execute("COMMIT" if dice.random() < 0.9 else "ROLLBACK")
            except pymysql.err.OperationalError:
                connection.rollback()


# The consumer.


def _run(info: ConnectionInfo, stored: Path, mode: CaptureMode, steps: Steps | None, batch: int) -> int:
    """Return the status of a process that reads in this capture mode, as `subprocess` gives it.

    Without ``steps`` it reads until nothing comes.
    """
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
            status = asyncio.run(_consume(info, stored, mode, steps, batch))
        except BaseException:  # noqa: BLE001 - whatever it is, the parent reports that the process failed
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Steps:
    """Ends the process at a step, counted from its start, or from the first batch of an overlap."""

    def __init__(self, kill_at: int, *, overlap: bool) -> None:
        self._left, self._waiting = kill_at, overlap

    def begin_overlap(self) -> None:
        self._waiting = False

    def step(self) -> None:
        if self._waiting:
            return
        self._left -= 1
        if self._left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        run, chunks = MySQLSession.run, LogConnection.chunks

        async def counted_run(session: MySQLSession, work: Any) -> Any:
            self.step()
            result = await run(session, work)
            self.step()
            return result

        def counted_chunks(connection: LogConnection) -> Iterator[bytes]:
            for received in chunks(connection):
                self.step()
                yield received

        MySQLSession.run, LogConnection.chunks = counted_run, counted_chunks  # type: ignore[assignment, method-assign]


async def _consume(info: ConnectionInfo, stored: Path, mode: CaptureMode, steps: Steps | None, batch: int) -> int:
    """Read until the position is of this mode and something was read after it; without a kill, until nothing comes."""
    if steps is not None:
        steps.install()
    source = _source(info, mode, batch)
    last = _last(stored)
    with open(stored, "ab", buffering=0) as file:  # noqa: ASYNC230, PTH123 - one short write a batch

        async def store(batch: Batch) -> bool:
            if steps is not None and "overlap" in batch.position:
                steps.begin_overlap()
            changes = [
                (
                    each.token,
                    change.key["id"],
                    change.before and change.before["valor"],
                    change.after and change.after["valor"],
                )
                for each in batch.transactions
                for change in each.changes
            ]
            line = orjson.dumps([batch.position, changes, len(batch.gaps)], option=orjson.OPT_APPEND_NEWLINE)
            file.write(line)
            if steps is not None:
                steps.step()
            await source.acknowledge(batch.position)
            if steps is not None:
                steps.step()
            return bool(changes) and read_position(batch.position) is mode

        async with asyncio.timeout(STUCK_SECONDS):
            await source.open(last)
            first = await source.begin()
            if first is not None:
                await store(first)
            return await _read(source, store, idle=steps is None)
    return 3


async def _read(source: MovingSource, store: Any, *, idle: bool) -> int:
    batches = source.batches()
    while True:
        coming = asyncio.ensure_future(anext(batches))
        finished, _ = await asyncio.wait({coming}, timeout=3 if idle else None)
        if not finished:
            return 0
        if await store(coming.result()) and not idle:
            return 0


def _source(info: ConnectionInfo, mode: CaptureMode, batch: int) -> MovingSource:
    captures = [Capture(TABLE)]

    async def repair(_tables: Sequence[str]) -> Repaired:
        raise AssertionError("a gap, where there can be none")

    async def check() -> None: ...

    quick: dict[str, Any] = {"batch": batch, "idle": 0.05, "standby": 0.05, "check_pause": timedelta(days=1)}
    return MovingSource(
        "main",
        mode,
        {
            CaptureMode.LOG: lambda: BinlogSource("main", info, captures, limits=LogLimits(progress=0, **quick)),
            CaptureMode.JOURNAL: lambda: JournalSource("main", MySQLJournal(info), repair, JournalLimits(**quick)),
        },
        lambda: BinlogBridge(info, captures, check),
    )


# The judge.


def _last(stored: Path) -> Position | None:
    lines = stored.read_bytes().splitlines() if stored.exists() else []
    return Position(orjson.loads(lines[-1])[0]) if lines else None


def _lines(stored: Path) -> Iterator[tuple[str, list[list[Any]], int]]:
    for line in stored.read_bytes().splitlines():
        yield orjson.loads(line)


def _judge(stored: Path, values: dict[int, int], done: Moves) -> None:
    """A change whose transaction and record came before is a repetition with the same id."""
    reached: Counter[int] = Counter()
    seen: set[tuple[str, int, int]] = set()
    for position, changes, gaps in _lines(stored):
        done.overlaps += "overlap" in position
        done.problems += [f"{gaps} gaps"] if gaps else []
        for token, record, before, after in changes:
            if (token, record, after) in seen:
                continue
            seen.add((token, record, after))
            done.changes += 1
            if before != reached[record] or after != before + 1:
                done.problems.append(f"record {record} from {reached[record]}: {before} → {after}, token {token}")
            reached[record] = after
    done.problems += [
        f"record {record} ends at {reached[record]} instead of {value}"
        for record, value in values.items()
        if reached[record] != value
    ]


def main() -> int:
    parser = options_of("make moves", __doc__)
    parser.add_argument("--flavour", choices=("mariadb", "mysql"), default="mysql")
    parser.add_argument("--row-tokens", action="store_true", help="as cdc install-triggers --row-tokens")
    parser.add_argument("--moves", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no move later")
    options = parser.parse_args()
    with kept_servers() as client:
        done = go(client, options.flavour, options.moves, options.seed, options.seconds, row_tokens=options.row_tokens)
    print(f"{options.flavour}, seed {options.seed}: {done.moves} moves begun, {done.kills} killed, {done.completed} ")
    print(f"completed; {done.changes} changes, {done.overlaps} batches of overlaps; problems: {done.problems[:20]}")
    return bool(done.problems)


if __name__ == "__main__":
    sys.exit(main())
