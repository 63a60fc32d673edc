"""`cdc doctor` in a loop beside writers and faults: what it calls WRONG while server and network work is a failure."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from support.commands import run_command
from support.consumer import Consumer
from support.fault.workload import Work

#: Between two transactions, so that positions move all the time.
PAUSE_SECONDS = 0.1
#: Faults that leave the source healthy, and some that doctor may report while they last.
WEIGHTS = {"kill": 12, "stop": 2, "cut": 1, "restart-server": 1, "kill-server": 1, "move": 4}


class Doctors:
    """``calls``: those that were judged; ``wrong``: what they called WRONG."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._outages = 0  # odd while one lasts
        self._stop = threading.Event()
        self.calls = 0
        self.wrong: list[str] = []

    @contextmanager
    def working(self, work: Work) -> Iterator[None]:
        """Call doctor until the end of the block; there is always something to write."""
        threads = [threading.Thread(target=self._run), threading.Thread(target=self._feed, args=(work,))]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Calls that this overlaps are not judged: what they call WRONG may be so."""
        self._outages += 1
        try:
            yield
        finally:
            self._outages += 1

    def _feed(self, work: Work) -> None:
        while not self._stop.wait(PAUSE_SECONDS):
            work.give(1)

    def _run(self) -> None:
        while not self._stop.is_set():
            before = self._outages
            done = run_command(*self._consumer.arguments("doctor", "--json"))
            if before % 2 or self._outages != before:
                continue
            self.calls += 1
            if done.stderr:
                self.wrong.append(done.stderr)
            self.wrong += [
                f"{each['about']}: {each['check']}: {each['detail']}"
                for each in json.loads(done.stdout or '{"checks": []}')["checks"]
                if each["severity"] == "wrong"
            ]
