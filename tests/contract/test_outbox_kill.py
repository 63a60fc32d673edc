"""``kill -9`` at any moment: the file opens, nothing is half there, the next process goes on where the last one stood.

Run as a program (``python test_outbox_kill.py FILE``) this file is the victim: it stores, leases and finishes for ever.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from itertools import count
from pathlib import Path

from cdc.model.change import Position
from cdc.model.delivery import DeliveryState
from cdc.outbox.sqlite.outbox import SqliteOutbox
from support.outboxes import EVERYTHING, NOW, check_order, endpoint, event, lease, outcome

KILLS = 10
BATCH = 5
ENDPOINTS = ("ep_a", "ep_b")
STATES = (DeliveryState.DELIVERED, DeliveryState.DELIVERED, DeliveryState.DEAD, DeliveryState.PENDING)


async def victim(path: Path) -> None:
    """Batch after batch behind the position found; a line on stdout says that it goes on."""
    outbox = SqliteOutbox(path)
    await outbox.open()
    await outbox.release("w", NOW)
    for batch in count(int(await outbox.position("main") or 0) + 1):
        events = [event(number, f"a:{number % 3}") for number in numbers_of(batch)]
        await outbox.store("main", Position(str(batch)), events, {"batch": str(batch)}, NOW)
        leased = await lease(outbox, limit=8)
        outcomes = [outcome(delivery, STATES[(batch + n) % len(STATES)]) for n, delivery in enumerate(leased)]
        await outbox.finish("w", outcomes, NOW)
        print(batch, flush=True)


def numbers_of(batch: int) -> range:
    return range(batch * BATCH, (batch + 1) * BATCH)


def test_a_killed_process_leaves_whole_transactions(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    asyncio.run(add_endpoints(path))
    randomness = random.Random(20261124)
    reached = 0
    for _ in range(KILLS):
        run_and_kill(path, lines=randomness.randrange(1, 12), delay=randomness.uniform(0, 0.01))
        before, reached = reached, asyncio.run(check(path))
        assert reached > before


async def add_endpoints(path: Path) -> None:
    outbox = SqliteOutbox(path)
    await outbox.open()
    for name in ENDPOINTS:
        await outbox.add_endpoint(endpoint(name))
    await outbox.close()


def run_and_kill(path: Path, lines: int, delay: float) -> None:
    """Kill the victim ``delay`` seconds behind its batch number ``lines``, wherever it is then."""
    command = [sys.executable, __file__, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={"PYTHONPATH": ":".join(sys.path)}) as process:
        assert process.stdout is not None
        for _ in range(lines):
            assert process.stdout.readline()
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.kill()
        assert process.wait() == -signal.SIGKILL


async def check(path: Path) -> int:
    """Everything up to the position is there, with its deliveries; the position."""
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    outbox = SqliteOutbox(path)
    await outbox.open()
    reached = int(await outbox.position("main") or 0)
    assert await outbox.states("main") == {"batch": str(reached)}
    events = await outbox.events(1_000_000)
    assert [one.id for one in events] == [f"evt_{n}" for batch in range(1, reached + 1) for n in numbers_of(batch)]
    views = await outbox.deliveries(EVERYTHING, 1_000_000)
    assert len(views) == len({(view.event_id, view.endpoint_id) for view in views}) == len(events) * len(ENDPOINTS)
    for view in views:  # an attempt's record and the delivery's state are one write
        recorded = len(await outbox.attempts(view.id))
        assert recorded == view.attempts - (view.state is DeliveryState.LEASED)
    await check_order(outbox)
    await outbox.close()
    return reached


if __name__ == "__main__":
    asyncio.run(victim(Path(sys.argv[1])))
